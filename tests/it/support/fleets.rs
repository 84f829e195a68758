//! Fleets and policies with every special case, arbitrary ones, and their exposition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_exporter::facts::{Facts, KbFacts, KnownExploited};
use mde_exporter::fleet::{
    Machine, MachineAnswer, MachineFacts, Onboarding, ReportedUpdate, ResolutionHistogram, TenantFleet,
    UpdateFacts,
};
use mde_exporter::metrics::{Body, RenderOptions, Renderer};
use mde_exporter::model::{
    ContentEncoding, CvssScore, DeadlineStart, DetailLevel, Exception, ExpositionFormat, FactsSource,
    Freshness, KbId, MachineId, Policy, Severity, UpdateCondition, VendorSeverity,
};
use proptest::prelude::*;

use super::exposition::{Exposition, parse};

const FRESHNESS: Freshness = Freshness::DEFAULT;

pub(crate) fn now() -> Timestamp {
    "2024-06-20T12:00:00Z".parse().expect("a valid time")
}

fn hours_ago(hours: i64) -> Timestamp {
    now() - jiff::SignedDuration::from_hours(hours)
}

fn id(text: &str) -> MachineId {
    MachineId::parse(text).expect("a valid id")
}

fn machine(id_text: &str, name: &str, platform: &str, group: &str) -> MachineFacts {
    MachineFacts {
        name: name.to_owned(),
        os_platform: platform.to_owned(),
        os_version: "22H2".to_owned(),
        os_build: match platform {
            "Windows11" => Some(22_621),
            "Windows10" => Some(19_045),
            _ => None,
        },
        device_group: group.to_owned(),
        last_seen: Some(hours_ago(3)),
        ..MachineFacts::unlisted(id(id_text))
    }
}

/// Returns whether servicing of the machine ended before [`now`] and makes it overdue. Of the builds of [`any_fleets`],
/// only 18363 had ended for every edition.
pub(crate) fn is_past_servicing(machine: &Machine) -> bool {
    let facts = &machine.facts;
    let has_ended = facts.os_build == Some(18_363) && !facts.os_platform.trim().is_empty();
    has_ended && machine.state(now(), &FRESHNESS).is_asked()
}

pub(crate) fn update(kb: &str, title: &str, products: &[&str], cves: Option<u32>) -> ReportedUpdate {
    ReportedUpdate {
        kb: KbId::new(kb.parse().expect("a number")).expect("a valid KB"),
        facts: Arc::new(UpdateFacts {
            title: title.to_owned(),
            products: products.iter().map(|&product| product.to_owned()).collect(),
        }),
        cves,
        reported_machines: cves.map(|cves| cves / 10),
        severity: None,
        cvss: None,
    }
}

/// Two tenants with every special case: names that need escaping, machines in every state, an unreadable update id,
/// an update that two machines report differently and one reports twice, a reply without CVEs.
pub(crate) fn special_case_fleets() -> Vec<Arc<TenantFleet>> {
    let june = || ReportedUpdate {
        severity: Some(Severity::Critical),
        ..update("5039212", "June 2024 Security Updates", &["edge", "windows_11"], Some(49))
    };
    let mut contoso = TenantFleet::new("contoso".into());
    contoso.apply_list(
        vec![
            machine("a1", "srv-\"db\"\\01.contoso.example", "WindowsServer2022", "Servers"),
            machine("a2", "line\nbreak.contoso.example", "Windows11", "Clients"),
            machine("a3", "größe-日本.contoso.example", "Windows11", "Clients"),
            machine("a4", "stale.contoso.example", "Windows11", "Clients"),
            machine("a5", "expired.contoso.example", "Windows11", "Clients"),
            MachineFacts {
                last_seen: Some(hours_ago(800)),
                ..machine("a6", "inactive", "Windows11", "Clients")
            },
            MachineFacts::unlisted(id("a7")),
            machine("a8", "ubuntu.contoso.example", "Ubuntu", "Servers"),
            machine("a9", "unreadable.contoso.example", "Windows11", "Clients"),
        ],
        now(),
        &FRESHNESS,
    );
    contoso.apply_answer(&id("a1"), hours_ago(9), vec![june()], &FRESHNESS, &Facts::default());
    let older = update("5036893", "April 2024 Security Updates", &["windows_11"], None);
    contoso.apply_answer(&id("a1"), hours_ago(1), vec![june(), older.clone()], &FRESHNESS, &Facts::default());
    let other_june = update("5039212", "", &["internet_explorer"], Some(50));
    contoso.apply_answer(
        &id("a2"),
        hours_ago(2),
        vec![older.clone(), other_june.clone(), other_june],
        &FRESHNESS,
        &Facts::default(),
    );
    contoso.apply_answer(&id("a3"), hours_ago(2), vec![june()], &FRESHNESS, &Facts::default());
    contoso.apply_answer(&id("a3"), hours_ago(1), vec![], &FRESHNESS, &Facts::default());
    contoso.apply_answer(&id("a4"), hours_ago(20), vec![june()], &FRESHNESS, &Facts::default());
    contoso.apply_failure(&id("a4"), hours_ago(1));
    contoso.apply_answer(&id("a5"), hours_ago(60), vec![june()], &FRESHNESS, &Facts::default());
    contoso.apply_answer(&id("a6"), hours_ago(1), vec![], &FRESHNESS, &Facts::default());
    let unreadable = MachineAnswer { unreadable: vec!["Click to Run".into()], ..MachineAnswer::default() };
    contoso.apply_answer(&id("a9"), hours_ago(1), unreadable, &FRESHNESS, &Facts::default());
    contoso.status.up = true;
    contoso.totals.resolution = ResolutionHistogram::default();
    for hours in [24, 25, 50 * 24, 400 * 24] {
        contoso.totals.resolution.observe(Duration::from_hours(hours) + Duration::from_millis(10));
    }

    let mut fabrikam = TenantFleet::new("fabrikam \"west\"\\\n".into());
    fabrikam.apply_list(vec![machine("a1", "same-id.fabrikam.example", "Windows10", "")], now(), &FRESHNESS);
    fabrikam.apply_answer(&id("a1"), hours_ago(1), vec![older], &FRESHNESS, &Facts::default());

    let unread = TenantFleet::new("a-tenant-not-yet-read".into());
    vec![Arc::new(fabrikam), Arc::new(contoso), Arc::new(unread)]
}

/// Facts about the updates of [`special_case_fleets`]: the one of June is exploited and supersedes that of April.
pub(crate) fn special_case_facts() -> Facts {
    let kb = |number| KbId::new(number).expect("a valid KB");
    let day = |text: &str| text.parse().expect("a valid time");
    let known_exploited = KnownExploited {
        cves: 2,
        since: day("2024-06-13T00:00:00Z"),
        due: Some(day("2024-07-05T00:00:00Z")),
        ransomware: false,
    };
    let june = KbFacts {
        vendor_severity: Some(VendorSeverity::Critical),
        cvss: CvssScore::new(9.8),
        exploited: Some(true),
        known_exploited: Some(known_exploited),
        epss: Some(0.94329),
        released: Some(day("2024-06-11T07:00:00Z")),
        supersedes: [kb(5_036_893)].into(),
        ..KbFacts::default()
    };
    let april = KbFacts {
        vendor_severity: Some(VendorSeverity::Important),
        exploited: Some(false),
        ..KbFacts::default()
    };
    let loaded = [FactsSource::Msrc, FactsSource::Kev, FactsSource::Epss];
    Facts::new(loaded, [(kb(5_039_212), june), (kb(5_036_893), april)])
}

pub(crate) fn policy(name: &str, hours: u64, from: DeadlineStart) -> Policy {
    Policy::single(name, Duration::from_hours(hours), from)
}

/// A long deadline before the shortest one, and a name that needs escaping.
pub(crate) fn special_case_policies() -> [Policy; 2] {
    let longer = policy("14 \"days\"\\\nfrom release", 14 * 24, DeadlineStart::Released);
    [longer, policy("8h", 8, DeadlineStart::FirstSeen)]
}

/// An exception until this day for these KBs in these tenants; all tenants if there are none.
pub(crate) fn exception(name: &str, until: &str, tenants: &[&str], kbs: &[u32]) -> Exception {
    let kbs = kbs.iter().map(|number| KbId::new(*number).expect("a valid KB")).collect();
    Exception {
        name: name.into(),
        reason: "CHG0012345".to_owned(),
        until: until.parse().expect("a valid day"),
        tenants: tenants.iter().map(|&tenant| tenant.into()).collect(),
        conditions: vec![UpdateCondition::Kbs(kbs).into()],
        not: Vec::new(),
    }
}

/// An exception for the update of April, with a name that needs escaping, and one that has ended.
fn special_case_exceptions() -> [Exception; 2] {
    [
        exception("legacy \"lab\"\\\n", "2024-06-30", &[], &[5_036_893]),
        exception("ended", "2024-06-19", &["contoso"], &[5_036_893, 5_039_212]),
    ]
}

/// The exposition of `fleets` under `policies`, within `series_limit` down to `detail`.
pub(crate) fn body_within(
    fleets: &[Arc<TenantFleet>],
    policies: &[Policy],
    detail: DetailLevel,
    series_limit: u64,
) -> Body {
    let options = RenderOptions {
        freshness: FRESHNESS,
        policies: policies.into(),
        exceptions: special_case_exceptions().into(),
        detail,
        series_limit,
        ..RenderOptions::default()
    };
    body_with(fleets, &options)
}

/// The exposition of `fleets` with these options, about the facts of the special cases.
pub(crate) fn body_with(fleets: &[Arc<TenantFleet>], options: &RenderOptions) -> Body {
    Renderer::default().render(fleets, now(), options, &special_case_facts())
}

/// The exposition of `fleets` under `policies` with these facts.
pub(crate) fn text_with_facts(fleets: &[Arc<TenantFleet>], policies: &[Policy], facts: &Facts) -> String {
    let (detail, policies) = (DetailLevel::Update, policies.into());
    let options = RenderOptions { freshness: FRESHNESS, policies, detail, ..RenderOptions::default() };
    let body = Renderer::default().render(fleets, now(), &options, facts);
    answer(&body, detail, ExpositionFormat::Text)
}

pub(crate) fn body_of(fleets: &[Arc<TenantFleet>]) -> Body {
    body_within(fleets, &special_case_policies(), DetailLevel::Update, 0)
}

/// The exposition without self metrics.
pub(crate) fn answer(body: &Body, level: DetailLevel, format: ExpositionFormat) -> String {
    let pieces: Vec<_> = body.answer(level, format, ContentEncoding::Identity, Vec::new()).collect();
    String::from_utf8(pieces.concat()).expect("UTF-8")
}

pub(crate) fn text_under(fleets: &[Arc<TenantFleet>], policies: &[Policy]) -> String {
    answer(
        &body_within(fleets, policies, DetailLevel::Update, 0),
        DetailLevel::Update,
        ExpositionFormat::Text,
    )
}

pub(crate) fn text_of(fleets: &[Arc<TenantFleet>]) -> String {
    text_under(fleets, &special_case_policies())
}

/// Any text; characters that need escaping are likely.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\\\\\"\n{},= aé\r\u{2028}]{0,8}"]
}

/// A tag, mostly of a team.
fn any_tag() -> impl Strategy<Value = String> {
    prop_oneof![any_text(), "team:[ab]", any_text().prop_map(|team| format!("TEAM:{team}"))]
}

prop_compose! {
    fn any_update()(
        kb in 1_u32..12,
        title in prop_oneof![any_text(), Just("June 2024 Security Updates".to_owned())],
        products in prop::collection::btree_set(any_text(), 0..3),
        cves: Option<u16>,
        reported: Option<u16>,
        severity in prop::option::of(prop::sample::select(Severity::ALL.to_vec())),
    ) -> ReportedUpdate {
        ReportedUpdate {
            kb: KbId::new(kb).expect("a valid KB"),
            facts: Arc::new(UpdateFacts { title, products: products.into_iter().collect() }),
            cves: cves.map(u32::from),
            reported_machines: reported.map(u32::from),
            severity, cvss: None }
    }
}

prop_compose! {
    /// A machine, and the time and the missing updates of its assessment, if any.
    fn any_machine()(
        number in 0_u8..40,
        name in any_text(),
        os_platform in prop_oneof![any_text(), Just("Windows11".to_owned()), Just("WindowsServer2016".to_owned())],
        os_version in any_text(),
        os_build in prop::option::of(prop::sample::select(vec![18_363, 19_045, 26_100, 14_393, 1])),
        device_group in any_text(),
        tags in prop::option::of(prop::collection::btree_set(any_tag(), 0..4)),
        seen in prop::option::of(0_i64..1000),
        read in prop::option::of((0_i64..70, prop::collection::vec(any_update(), 0..6))),
    ) -> (MachineFacts, Option<(Timestamp, Vec<ReportedUpdate>)>) {
        let id = id(&format!("{number:x}"));
        let last_seen = seen.map(hours_ago);
        let facts = MachineFacts { id, name, os_platform, os_version, device_group, last_seen, onboarding: Onboarding::Onboarded, tags: tags.map(|tags| tags.into_iter().collect()), os_build };
        (facts, read.map(|(hours, missing)| (hours_ago(hours), missing)))
    }
}

fn any_fleet() -> impl Strategy<Value = Arc<TenantFleet>> {
    let machines = prop::collection::vec(any_machine(), 0..12);
    (any_text(), machines).prop_map(|(tenant, machines)| {
        let mut fleet = TenantFleet::new(tenant.into());
        fleet.apply_list(machines.iter().map(|(facts, _)| facts.clone()).collect(), now(), &FRESHNESS);
        for (facts, read) in machines {
            if let Some((at, missing)) = read {
                fleet.apply_answer(&facts.id, at, missing, &FRESHNESS, &Facts::default());
            }
        }
        Arc::new(fleet)
    })
}

/// Fleets of different tenants: the configuration refuses two tenants of one name.
pub(crate) fn any_fleets() -> impl Strategy<Value = Vec<Arc<TenantFleet>>> {
    prop::collection::vec(any_fleet(), 0..4).prop_map(|fleets| {
        let by_tenant = fleets.into_iter().map(|fleet| (Arc::clone(&fleet.tenant), fleet));
        by_tenant.collect::<BTreeMap<_, _>>().into_values().collect()
    })
}

pub(crate) fn parsed(fleets: &[Arc<TenantFleet>]) -> Exposition {
    parse(&text_of(fleets)).expect("the format")
}

pub(crate) const FIRST_SEEN: &str = "mde_machine_missing_update_first_seen_timestamp_seconds";
