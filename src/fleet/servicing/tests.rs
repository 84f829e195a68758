//! The servicing of machines by table, settings and time.

use std::sync::Arc;

use jiff::civil::date;

use super::*;
use crate::facts::servicing::ServicingEnd::{On, Passed};
use crate::model::{Condition, MachineCondition, MachineId, TextPattern};
use ServicingEdition::{Enterprise, Ltsc, Pro, Server};
use ServicingState::{Ended, InService, Uncertain, Unknown};

/// Builds: 1 has two editions, 2 Extended Security Updates, 3 those of the past, 4 ends without days.
fn table() -> ServicingTable {
    let day = |year| Some(On(date(year, 10, 14)));
    let version = |editions: &[(ServicingEdition, Option<ServicingEnd>)], extended| VersionServicing {
        editions: editions.iter().copied().collect(),
        extended,
    };
    ServicingTable::new([
        ((false, 1), version(&[(Pro, day(2024)), (Enterprise, day(2026))], None)),
        ((true, 1), version(&[(Server, day(2034))], None)),
        ((false, 2), version(&[(Pro, day(2025)), (Enterprise, day(2025))], day(2028))),
        ((true, 3), version(&[(Server, day(2020))], day(2023))),
        ((false, 4), version(&[(Pro, Some(Passed(true))), (Enterprise, None)], Some(Passed(false)))),
        ((false, 5), version(&[(Pro, Some(Passed(true)))], None)),
    ])
}

fn machine(os_platform: &str, os_build: impl Into<Option<u32>>, tags: &[&str]) -> MachineFacts {
    MachineFacts {
        os_platform: os_platform.to_owned(),
        os_build: os_build.into(),
        tags: Some(tags.iter().map(|&tag| tag.to_owned()).collect()),
        ..MachineFacts::unlisted(MachineId::parse("a").unwrap())
    }
}

/// A rule for machines with this tag; for all machines if it is empty.
fn rule<T>(value: T, tag: &str) -> ServicingRule<T> {
    let tags = || MachineCondition::Tags(vec![TextPattern::new(tag)]);
    let conditions = if tag.is_empty() { Vec::new() } else { vec![Condition::Machine(tags())] };
    ServicingRule { value, tenants: Vec::new(), conditions, place: Arc::default() }
}

fn servicing(settings: &ServicingSettings, facts: &MachineFacts, now: &str) -> MachineServicing {
    let table = table();
    let compiled = CompiledServicing::new(settings, &table, now.parse().unwrap());
    TenantServicing::new(&compiled, "contoso").of_machine(facts)
}

/// The state without settings, noon of a day.
fn state(os_platform: &str, os_build: impl Into<Option<u32>>, day: &str) -> ServicingState {
    let facts = machine(os_platform, os_build, &[]);
    servicing(&ServicingSettings::default(), &facts, &format!("{day}T12:00:00Z")).state
}

#[test]
fn edition_that_is_not_known_is_uncertain_between_the_ends() {
    assert_eq!(state("Windows11", 1, "2024-10-14"), InService);
    assert_eq!(state("Windows11", 1, "2024-10-15"), Uncertain);
    assert_eq!(state("Windows11", 1, "2026-10-14"), Uncertain);
    assert_eq!(state("Windows11", 1, "2026-10-15"), Ended);
}

#[test]
fn end_is_the_midnight_after_the_last_day() {
    let facts = machine("Windows11", 1, &[]);
    let at = |now| servicing(&ServicingSettings::default(), &facts, now);
    assert_eq!(at("2026-10-14T23:59:59.999999999Z").state, Uncertain);
    let ended = at("2026-10-15T00:00:00Z");
    assert_eq!((ended.state, ended.ended_at), (Ended, "2026-10-15T00:00:00Z".parse().ok()));
    assert_eq!(at("2026-10-14T23:59:59Z").ended_at, None);
}

#[test]
fn platform_decides_between_client_and_server() {
    for platform in ["WindowsServer2025", "windowsserver2025", "WINDOWSSERVER"] {
        assert_eq!(state(platform, 1, "2027-01-01"), InService, "{platform}");
    }
    for platform in ["Windows11", "windows10wvd", "Windows"] {
        assert_eq!(state(platform, 1, "2027-01-01"), Ended, "{platform}");
    }
    assert_eq!(state("", 1, "2027-01-01"), Unknown, "nothing says what it is");
}

#[test]
fn build_that_is_not_in_the_table_is_unknown() {
    assert_eq!(state("Windows11", 9, "2027-01-01"), Unknown);
    assert_eq!(state("Windows11", None, "2027-01-01"), Unknown);
    assert_eq!(state("WindowsServer2025", 2, "2027-01-01"), Unknown, "it is a build of clients");
}

#[test]
fn extended_updates_decide_until_they_end() {
    assert_eq!(state("Windows10", 2, "2025-10-14"), InService);
    assert_eq!(state("Windows10", 2, "2025-10-15"), Uncertain);
    assert_eq!(state("Windows10", 2, "2028-10-15"), Ended);
    let settings = ServicingSettings {
        extended: vec![rule(true, "esu"), rule(false, "")],
        ..ServicingSettings::default()
    };
    let at = |tags: &[&str], now: &str| {
        let servicing = servicing(&settings, &machine("Windows10", 2, tags), now);
        (servicing.state, servicing.ended_at.map(|end| end.to_string()), servicing.extended_rule)
    };
    assert_eq!(at(&["ESU"], "2026-01-01T00:00:00Z"), (InService, None, Some(0)));
    let end = |text: &str| Some(text.to_owned());
    assert_eq!(at(&["esu"], "2028-10-15T00:00:00Z"), (Ended, end("2028-10-15T00:00:00Z"), Some(0)));
    assert_eq!(at(&[], "2025-10-14T23:00:00Z"), (InService, None, Some(1)));
    assert_eq!(at(&[], "2028-10-15T00:00:00Z"), (Ended, end("2025-10-15T00:00:00Z"), Some(1)));
}

#[test]
fn extended_updates_of_the_past_end_without_settings() {
    let facts = machine("WindowsServer2012R2", 3, &[]);
    let servicing = servicing(&ServicingSettings::default(), &facts, "2024-01-01T00:00:00Z");
    assert_eq!((servicing.state, servicing.ended_at), (Ended, "2023-10-15T00:00:00Z".parse().ok()));
}

#[test]
fn edition_of_the_settings_decides_alone() {
    let settings = ServicingSettings {
        editions: vec![rule(Enterprise, "office"), rule(Ltsc, "kiosk"), rule(Pro, "")],
        ..ServicingSettings::default()
    };
    let of = |tags: &[&str]| servicing(&settings, &machine("Windows11", 1, tags), "2025-01-01T00:00:00Z");
    assert_eq!((of(&["office"]).state, of(&["office"]).edition_rule), (InService, Some(0)));
    assert_eq!((of(&[]).state, of(&[]).edition_rule), (Ended, Some(2)));
    assert_eq!(of(&["kiosk", "office"]).edition_rule, Some(0), "the first one applies");
    let kiosk = of(&["kiosk"]);
    assert_eq!(kiosk.state, Uncertain, "the version has no such edition");
    assert!(kiosk.editions.has(Pro) && kiosk.editions.has(Enterprise) && !kiosk.editions.has(Ltsc));
    assert!(of(&["office"]).editions.has(Enterprise) && !of(&["office"]).editions.has(Pro));
    let server = servicing(&settings, &machine("WindowsServer2025", 1, &[]), "2025-01-01T00:00:00Z");
    assert_eq!(server.state, InService, "a server has one end");
}

#[test]
fn rule_is_limited_to_its_tenants() {
    let rule = |tenant: &str| ServicingRule { tenants: vec![tenant.into()], ..rule(Pro, "") };
    let of = |tenant| {
        let settings = ServicingSettings { editions: vec![rule(tenant)], ..ServicingSettings::default() };
        servicing(&settings, &machine("Windows11", 1, &[]), "2025-01-01T00:00:00Z").state
    };
    assert_eq!((of("contoso"), of("Contoso"), of("fabrikam")), (Ended, Uncertain, Uncertain));
}

#[test]
fn condition_that_is_unknown_selects_nothing() {
    let settings = ServicingSettings { editions: vec![rule(Pro, "office")], ..ServicingSettings::default() };
    let facts = MachineFacts { tags: None, ..machine("Windows11", 1, &[]) };
    assert_eq!(servicing(&settings, &facts, "2025-01-01T00:00:00Z").state, Uncertain);
}

#[test]
fn uncertain_state_says_what_decides() {
    let needs = |build, now: &str| {
        let servicing = servicing(&ServicingSettings::default(), &machine("Windows", build, &[]), now);
        (servicing.needs_edition, servicing.needs_extended)
    };
    assert_eq!(needs(1, "2025-01-01T00:00:00Z"), (true, false));
    assert_eq!(needs(2, "2026-01-01T00:00:00Z"), (false, true));
    assert_eq!(needs(4, "2026-01-01T00:00:00Z"), (true, true));
    for (build, now) in
        [(1, "2024-01-01T00:00:00Z"), (1, "2027-01-01T00:00:00Z"), (9, "2027-01-01T00:00:00Z")]
    {
        assert_eq!(needs(build, now), (false, false));
    }
}

#[test]
fn end_without_a_day_has_no_time() {
    let servicing =
        servicing(&ServicingSettings::default(), &machine("Windows8", 5, &[]), "2026-01-01T00:00:00Z");
    assert_eq!((servicing.state, servicing.ended_at), (Ended, None));
}

#[test]
fn ended_decides_unless_the_machine_is_unsupported_or_inactive() {
    let ended = servicing(&ServicingSettings::default(), &machine("Windows", 1, &[]), "2027-01-01T00:00:00Z");
    let deciding = MachineState::ALL.into_iter().filter(|state| ended.decides(*state));
    assert_eq!(
        deciding.collect::<Vec<_>>(),
        [MachineState::Fresh, MachineState::Stale, MachineState::Unknown]
    );
    let uncertain =
        servicing(&ServicingSettings::default(), &machine("Windows", 1, &[]), "2025-01-01T00:00:00Z");
    assert!(!MachineState::ALL.into_iter().any(|state| uncertain.decides(state)));
}

/// Another shard may poll the machines that a rule is about.
#[test]
fn rule_for_tenants_of_other_shards_is_not_called_unused() {
    let of = |tenants: &[&str], place: &str| ServicingRule {
        tenants: tenants.iter().map(|tenant| (*tenant).into()).collect(),
        place: place.into(),
        ..rule(Pro, "kiosk")
    };
    let settings = |other_tenants: &[&str]| ServicingSettings {
        editions: vec![
            of(&[], "all"),
            of(&["other"], "other"),
            of(&["contoso", "other"], "both"),
            of(&["contoso"], "own"),
        ],
        other_tenants: other_tenants.iter().map(|tenant| (*tenant).into()).collect(),
        ..ServicingSettings::default()
    };
    let unused = |settings: &ServicingSettings| {
        let (table, now) = (table(), "2026-01-01T00:00:00Z".parse().unwrap());
        let compiled = CompiledServicing::new(settings, &table, now);
        let mut uses = ServicingRuleUses::new(&compiled);
        uses.add_tenant("contoso", true, [machine("Windows11", 1, &[])].iter());
        uses.warnings().iter().map(|warning| warning.place.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(unused(&settings(&["other"])), ["own"]);
    assert_eq!(unused(&settings(&[])), ["all", "both", "own"]);
}
