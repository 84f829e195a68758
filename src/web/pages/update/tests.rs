//! The page of one update.

mod rows;

use std::sync::Arc;

use axum::http::StatusCode;
use jiff::Timestamp;
use jiff::civil::date;
use tokio::sync::watch;

use crate::facts::{CveFacts, Facts, KbFacts, KnownExploited};
use crate::fleet::burn_down::{UpdateBurnDown, day_of};
use crate::fleet::{
    Assessment, BurnDown, Machine, MachineFacts, MissingUpdate, ReportedUpdate, TenantFleet, UpdateFacts,
};
use crate::metrics::{RenderOptions, Renderer};
use crate::model::{
    Condition, CveId, CvssScore, Exception, FactsSource, KbId, MachineCondition, MachineId, OwnLabel, Policy,
    Restart, TextPattern, UpdateCondition, VendorSeverity,
};
use crate::publish::Snapshot;
use crate::web::WebState;
use crate::web::tests::{HOSTILE, ago, get, now, state};

const KB: u32 = 5_094_126;
const DAY: i64 = 86_400;

fn kb(number: u32) -> KbId {
    KbId::new(number).unwrap()
}

/// A machine that misses `KB` for `days`; none if it misses nothing.
fn machine(name: &str, team: &str, days: Option<i64>) -> Machine {
    let id = MachineId::parse(&name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")).unwrap();
    let facts = UpdateFacts {
        title: "November 2025 Security Updates".to_owned(),
        products: vec!["windows_11".to_owned()],
    };
    let update = |days: i64| MissingUpdate {
        update: ReportedUpdate {
            kb: kb(KB),
            facts: Arc::new(facts.clone()),
            cves: Some(2),
            reported_machines: Some(9),
            severity: None,
            cvss: None,
        },
        first_seen: ago(days * DAY),
        chain: None,
    };
    let tags = (!team.is_empty()).then(|| format!("team:{team}")).into_iter().collect();
    Machine {
        facts: MachineFacts {
            name: name.to_owned(),
            os_platform: "Windows11".to_owned(),
            os_version: "24H2".to_owned(),
            last_seen: Some(ago(60)),
            tags: Some(tags),
            ..MachineFacts::unlisted(id)
        },
        assessment: Some(Assessment::of_now(ago(60), days.map(update).into_iter().collect())),
        attempt: None,
    }
}

fn fleet(tenant: &str, machines: impl IntoIterator<Item = Machine>) -> TenantFleet {
    let mut fleet = TenantFleet::new(tenant.into());
    fleet.machines.extend(machines.into_iter().map(|machine| (machine.facts.id.clone(), Arc::new(machine))));
    fleet.listed_at = Some(ago(60));
    fleet.status.up = true;
    fleet
}

fn options() -> RenderOptions {
    let policy = Policy::default();
    let lab = MachineCondition::Names(vec![TextPattern::new("lab-*")]);
    let exception = Exception {
        name: "lab".into(),
        reason: "isolated".to_owned(),
        until: date(2026, 6, 30),
        tenants: Vec::new(),
        conditions: vec![Condition::Update(UpdateCondition::Kbs(vec![kb(KB)])), Condition::Machine(lab)],
        not: Vec::new(),
    };
    RenderOptions {
        policies: [policy].into(),
        exceptions: [exception].into(),
        labels: [OwnLabel::new("team".into(), "team:")].into(),
        ..RenderOptions::default()
    }
}

fn facts() -> Facts {
    let cve = |text: &str| CveId::parse(text).unwrap();
    let listed = KnownExploited { cves: 1, since: ago(20 * DAY), due: Some(ago(-DAY)), ransomware: false };
    let worst = CveFacts {
        vendor_severity: Some(VendorSeverity::Critical),
        cvss: CvssScore::new(9.8),
        epss: Some(0.94),
        ..CveFacts::default()
    };
    let exploited =
        CveFacts { known_exploited: Some(listed), cvss: CvssScore::new(5.0), ..CveFacts::default() };
    let of_kb = KbFacts {
        cves: [cve("CVE-2025-1000"), cve("CVE-2025-2000"), cve("CVE-2025-3000")].into(),
        vendor_severity: Some(VendorSeverity::Critical),
        exploited: Some(true),
        known_exploited: Some(listed),
        supersedes: [kb(5_089_573)].into(),
        restart: Some(Restart::Yes),
        ..KbFacts::default()
    };
    Facts::new([FactsSource::Msrc, FactsSource::Kev, FactsSource::Epss], [(kb(KB), of_kb)])
        .with_cves([(cve("CVE-2025-2000"), worst), (cve("CVE-2025-3000"), exploited)])
}

/// The numbers of one update from its first-seen day on.
fn burn_down(first_seen: Timestamp, machines: &[u32]) -> Arc<BurnDown> {
    let numbers = machines.iter().map(|machines| Some(*machines)).collect();
    let update = UpdateBurnDown::new(first_seen, None, day_of(first_seen), numbers).unwrap();
    Arc::new([(kb(KB), update)].into_iter().collect())
}

fn serve(
    fleets: Vec<TenantFleet>,
    options: &RenderOptions,
    facts: Facts,
    burn_downs: &[Arc<BurnDown>],
) -> WebState {
    let fleets = fleets.into_iter().map(Arc::new).collect();
    let mut snapshot = Snapshot::render(&mut Renderer::default(), 1, fleets, now(), options, Arc::new(facts));
    if !burn_downs.is_empty() {
        snapshot.burn_downs = burn_downs.to_vec();
    }
    WebState { published: watch::channel(Arc::new(snapshot)).1, ..state(Vec::new()) }
}

/// Two tenants: four machines miss the update in the first one, two of them for longer than its deadline, and one in the
/// second one.
fn two_tenants() -> WebState {
    let contoso = [
        machine("lap-1", "sales", Some(20)),
        machine("lap-2", "sales", Some(3)),
        machine("pc-3", "", Some(16)),
        machine("lab-4", "lab", Some(30)),
        machine("ok-5", "sales", None),
    ];
    let fabrikam = [machine("srv-1", "it", Some(2))];
    let burn_downs = [burn_down(ago(30 * DAY), &[9, 8, 7, 5, 4]), burn_down(ago(29 * DAY), &[1, 1, 1, 1])];
    serve(vec![fleet("contoso", contoso), fleet("fabrikam", fabrikam)], &options(), facts(), &burn_downs)
}

async fn page(state: &WebState, path: &str) -> String {
    let answer = get(state, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}\n{}", answer.text());
    answer.text().to_owned()
}

/// The machines in the table of a page.
fn machines(html: &str) -> Vec<&str> {
    let rows = html.split("<tr>\n<th scope=\"row\"><a href=\"../machines/").skip(1);
    rows.map(|row| row.split(['"', '?']).next().unwrap()).collect()
}

#[tokio::test]
async fn page_answers_which_machines_miss_an_update() {
    let html = page(&two_tenants(), "/updates/KB5094126").await;
    for text in [
        "<title>KB5094126 is missing on 5 machines, 2 of them past their deadline · mde_exporter</title>",
        "past their deadline <span class=\"tag bad\">exploited</span></h1>",
        "November 2025 Security Updates",
        "<span class=\"soft\">Products</span> <bdi>windows_11</bdi>",
        "<dt>Replaces</dt><dd>KB5089573</dd>",
        "<dt>Restart</dt><dd>needed</dd>",
        "in KEV since 18 Feb, due 11 Mar",
        "<small>3, the worst first</small>",
        "lab until 2026-06-30",
    ] {
        assert!(html.contains(text), "{text}\n{html}");
    }
    assert_eq!(machines(&html), ["lap-1", "pc-3", "lab-4", "lap-2", "srv-1"], "overdue, then the oldest");
    let place = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text}\n{html}"));
    assert!(
        place("CVE-2025-3000") < place("CVE-2025-2000") && place("CVE-2025-2000") < place("CVE-2025-1000")
    );
}

#[tokio::test]
async fn update_is_found_in_any_spelling_and_others_are_not() {
    let state = two_tenants();
    for path in ["/updates/5094126", "/updates/kb5094126", "/updates/Kb5094126?tenant=fabrikam"] {
        page(&state, path).await;
    }
    for path in ["/updates/5000000", "/updates/x", "/updates/KB", "/updates/5089573", "/updates/5094126%2F"] {
        assert_eq!(get(&state, path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["/updates/5094126?sort=worst", "/updates/5094126?policy=x", "/updates/5094126?page=0"] {
        assert_eq!(get(&state, path).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

/// The links of numbers to this page, with their numbers.
fn counted_links(html: &str) -> Vec<(String, usize)> {
    let links = html.split("href=\"").skip(1).filter_map(|link| {
        let (address, rest) = link.split_once('"')?;
        let text = rest.split_once('>')?.1.split_once("</a>")?.0;
        let number = text.rsplit(' ').next()?.parse().ok()?;
        Some((address.replace("&amp;", "&").replace("&#38;", "&"), number))
    });
    links.collect()
}

#[tokio::test]
async fn numbers_lead_to_as_many_machines() {
    let state = two_tenants();
    for path in ["", "?tenant=contoso", "?team=", "?policy_state=accepted"]
        .map(|query| format!("/updates/5094126{query}"))
    {
        let links = counted_links(&page(&state, &path).await);
        assert!(links.len() > 7, "{links:?}");
        for (link, number) in links {
            let html = page(&state, &format!("/{}", link.trim_start_matches("../"))).await;
            assert_eq!(machines(&html).len(), number, "{path} {link}");
        }
    }
}

#[tokio::test]
async fn parameters_select_among_the_machines() {
    let state = two_tenants();
    for (query, expected) in [
        ("sort=name", &["lab-4", "lap-1", "lap-2", "pc-3", "srv-1"][..]),
        ("sort=oldest", &["lab-4", "lap-1", "pc-3", "lap-2", "srv-1"]),
        ("policy_state=accepted", &["lab-4"]),
        ("policy_state=due", &["lap-2", "srv-1"]),
        ("policy_state=unsupported", &[]),
        ("q=lap", &["lap-1", "lap-2"]),
        ("team=sales&policy_state=overdue", &["lap-1"]),
        ("platform=Linux", &[]),
        ("tenant=fabrikam&sort=name", &["srv-1"]),
    ] {
        let html = page(&state, &format!("/updates/5094126?{query}")).await;
        assert_eq!(machines(&html), expected, "{query}");
        assert_eq!(html.contains("No machine matches."), expected.is_empty(), "{query}");
    }
}

#[tokio::test]
async fn machines_are_shown_in_pages_of_fifty() {
    let many = (0..120).map(|number| machine(&format!("pc-{number:03}"), "", Some(1)));
    let state = serve(vec![fleet("t", many)], &options(), facts(), &[]);
    for (number, rows, position) in
        [(1, 50, "1 to 50 of 120"), (3, 20, "101 to 120 of 120"), (99, 0, "none of 120")]
    {
        let html = page(&state, &format!("/updates/5094126?page={number}")).await;
        assert_eq!(machines(&html).len(), rows, "{number}");
        assert!(html.contains(position), "{number}\n{html}");
        assert_eq!(html.contains("rel=\"prev\""), number > 1);
        assert_eq!(html.contains("rel=\"next\""), number == 1);
    }
}

#[tokio::test]
async fn installed_update_is_known_as_long_as_it_has_numbers() {
    let installed = || vec![fleet("t", [machine("pc-1", "", None)])];
    let state = serve(installed(), &options(), facts(), &[burn_down(ago(5 * DAY), &[2, 1, 0])]);
    let html = page(&state, "/updates/5094126").await;
    assert!(html.contains("<h1>No machine misses KB5094126"), "{html}");
    assert!(
        html.contains("2 machines missed KB5094126 on 5 Mar, day 0 after first seen, and 0 on 7 Mar, day 2"),
        "{html}"
    );
    // A day that is yet to come is from a clock that was ahead.
    let ahead = serve(installed(), &options(), facts(), &[burn_down(ago(-5 * DAY), &[2])]);
    assert_eq!(get(&ahead, "/updates/5094126").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn page_works_without_policies_labels_and_facts() {
    let state = serve(
        vec![fleet("t", [machine("pc-1", "", Some(60))])],
        &RenderOptions::default(),
        Facts::default(),
        &[Arc::default()],
    );
    let html = page(&state, "/updates/5094126").await;
    for text in [
        "<h1>KB5094126 is missing on 1 machine</h1>",
        "turn on `facts`",
        "There are no daily numbers",
        "<h2 id=\"owners\">Platforms</h2>",
    ] {
        assert!(html.contains(text), "{text}\n{html}");
    }
    assert!(!html.contains("Deadline") && !html.contains("id=\"cves\""), "{html}");
}

#[tokio::test]
async fn platforms_are_counted_in_any_case() {
    let of_platform = |name, platform: &str| {
        let mut machine = machine(name, "", Some(60));
        platform.clone_into(&mut machine.facts.os_platform);
        machine
    };
    let machines = [of_platform("pc-1", "Windows11"), of_platform("pc-2", "windows11")];
    let state = serve(vec![fleet("t", machines)], &RenderOptions::default(), Facts::default(), &[]);
    let html = page(&state, "/updates/5094126").await;
    assert_eq!(html.matches("platform=Windows11\">2</a>").count(), 1, "{html}");
    assert!(!html.contains("platform=windows11"), "{html}");
}

#[tokio::test]
async fn hostile_names_are_text() {
    let mut hostile = machine("pc-1", HOSTILE, Some(1));
    HOSTILE.clone_into(&mut hostile.facts.name);
    let state = serve(vec![fleet(HOSTILE, [hostile]), fleet("u", [])], &options(), facts(), &[]);
    let html = page(&state, "/updates/5094126").await;
    assert!(!html.contains("<script") && !html.contains("style="), "{html}");
}
