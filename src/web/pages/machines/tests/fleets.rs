//! Fleets for the tests of the pages of machines.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::date;
use tokio::sync::watch;

use crate::facts::{Facts, KbFacts, KnownExploited};
use crate::fleet::{Assessment, Attempt, Chain, Link, Machine, MachineFacts, MissingUpdate, ReportedUpdate};
use crate::metrics::{RenderOptions, Renderer};
use crate::model::{
    Condition, DeadlineStart, Exception, FactsSource, KbId, MachineCondition, MachineId, OwnLabel, Policy,
    TextPattern,
};
use crate::publish::Snapshot;
use crate::web::WebState;
use crate::web::tests::{ago, now, state};

pub(in crate::web::pages) use crate::fleet::TenantFleet as Fleet;

const DAY: i64 = 86_400;

pub(in crate::web::pages) fn kb(number: u32) -> KbId {
    KbId::new(5_000_000 + number).unwrap()
}

/// A machine that was read an hour ago and misses KB5000001 and following, seen that many days ago; none if it was never
/// read.
pub(in crate::web::pages) fn machine(id: &str, name: &str, missing: Option<&[i64]>) -> Arc<Machine> {
    let facts = MachineFacts {
        name: name.to_owned(),
        os_platform: "Windows11".to_owned(),
        os_version: "25H2".to_owned(),
        os_build: Some(26_200),
        device_group: "Clients".to_owned(),
        last_seen: Some(ago(1800)),
        ..MachineFacts::unlisted(MachineId::parse(id).unwrap())
    };
    let update = |number| ReportedUpdate {
        kb: kb(number),
        facts: Arc::default(),
        cves: None,
        reported_machines: None,
        severity: None,
        cvss: None,
    };
    let dated = |(number, days): (u32, &i64)| MissingUpdate {
        update: update(number),
        first_seen: ago(days * DAY),
        chain: None,
    };
    let of_days = |days: &[i64]| Assessment::of_now(ago(3600), (1..).zip(days).map(dated).collect());
    Arc::new(Machine { facts, assessment: missing.map(of_days), attempt: None })
}

pub(in crate::web::pages) fn fleet(tenant: &str, machines: impl IntoIterator<Item = Arc<Machine>>) -> Fleet {
    let mut fleet = Fleet::new(tenant.into());
    fleet.machines = machines.into_iter().map(|machine| (machine.facts.id.clone(), machine)).collect();
    fleet
}

/// Machines in every state, and one id in two tenants.
pub(in crate::web::pages) fn fleets() -> Vec<Fleet> {
    let changed = |mut machine: Arc<Machine>, change: &dyn Fn(&mut Machine)| {
        change(Arc::make_mut(&mut machine));
        machine
    };
    let server = |machine: &mut Machine| {
        machine.facts.os_platform = "WindowsServer2022".to_owned();
        machine.facts.os_version = "21H2".to_owned();
        machine.facts.os_build = Some(20_348);
        machine.facts.device_group = "Servers".to_owned();
    };
    let overdue = changed(machine("a1", "SRV-DB-01.corp", Some(&[20, 3, 16])), &|machine| {
        server(machine);
        machine.facts.tags = Some(["internet-facing".to_owned(), "team:payments".to_owned()].into());
        let links = vec![Link { kb: kb(0), first_seen: ago(50 * DAY) }];
        machine.assessment.as_mut().unwrap().missing_updates[2].chain = Chain::of(links);
    });
    let due = changed(machine("a2", "srv-web.corp", Some(&[2, 3])), &|machine| {
        server(machine);
        machine.assessment.as_mut().unwrap().as_of = ago(15 * 3600);
        machine.attempt = Some(Attempt::ended(ago(600), false));
    });
    let cyrillic = changed(machine("a3", "Жук.corp", Some(&[])), &|machine| {
        machine.facts.device_group = "Сервер".to_owned();
    });
    let ended = changed(machine("a6", "old.corp", Some(&[])), &|machine| {
        machine.facts.os_version = "22H2".to_owned();
        machine.facts.os_build = Some(22_621);
    });
    let phone =
        changed(machine("a7", "phone", None), &|machine| "iOS".clone_into(&mut machine.facts.os_platform));
    let inactive = changed(machine("a5", "gone.corp", Some(&[9])), &|machine| {
        machine.facts.last_seen = Some(ago(40 * DAY));
    });
    let contoso = [overdue, due, cyrillic, machine("a4", "unread.corp", None), inactive, ended, phone];
    let fabrikam = [machine("a1", "twin", Some(&[])), machine("b1", "lap", Some(&[15, 14]))];
    vec![fleet("contoso", contoso), fleet("fabrikam", fabrikam)]
}

/// Two policies, an exception and an own label.
pub(in crate::web::pages) fn options() -> RenderOptions {
    let policy =
        |name, days: u64| Policy::single(name, Duration::from_hours(days * 24), DeadlineStart::FirstSeen);
    let lab = Exception {
        name: "CHG0012345".into(),
        reason: "replaced in March".to_owned(),
        until: date(2026, 3, 31),
        tenants: Vec::new(),
        conditions: vec![Condition::from(MachineCondition::Names(vec![TextPattern::new("old.corp")]))],
        not: Vec::new(),
    };
    RenderOptions {
        policies: [policy("14d", 14), policy("strict", 1)].into(),
        exceptions: [lab].into(),
        labels: [OwnLabel::new("team".into(), "team:")].into(),
        ..RenderOptions::default()
    }
}

/// Facts by which KB5000003 is exploited.
fn facts() -> Facts {
    let known =
        KnownExploited { cves: 1, since: ago(10 * DAY), due: Some(ago(-11 * DAY)), ransomware: false };
    let exploited = KbFacts { exploited: Some(true), known_exploited: Some(known), ..KbFacts::default() };
    let harmless = KbFacts { exploited: Some(false), ..KbFacts::default() };
    let kbs = [(kb(0), harmless.clone()), (kb(1), harmless.clone()), (kb(2), harmless), (kb(3), exploited)];
    Facts::new([FactsSource::Msrc, FactsSource::Kev], kbs)
}

pub(in crate::web::pages) fn served(fleets: Vec<Fleet>, options: &RenderOptions) -> WebState {
    let fleets = fleets.into_iter().map(Arc::new).collect();
    let facts = Arc::new(facts());
    let snapshot = Snapshot::render(&mut Renderer::default(), 1, fleets, now(), options, facts);
    WebState { published: watch::channel(Arc::new(snapshot)).1, ..state(Vec::new()) }
}

/// The text between the tags of a part of a page, with single spaces.
pub(in crate::web::pages) fn words(part: &str) -> String {
    let mut text = String::new();
    for piece in part.split('<') {
        let (_, rest) = piece.split_once('>').unwrap_or(("", piece));
        text.push(' ');
        text.push_str(rest);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
