//! The page as it is served.

mod deadlines;
mod servicing;

use std::time::Duration;

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::fleet::unreadable::{UnreadableId, UnreadableIds};
use crate::fleet::{Assessment, ExportVersion, Machine, MachineFacts, MissingUpdate, ReportedUpdate};
use crate::model::{DeadlineStart, KbId, MachineId, Policy, PolicyPreset, Source};
use crate::self_metrics::{QuotaWindow, TenantStatus};
use crate::web::tests::{HOSTILE, ago, get, polled, published, published_with, state};

/// A machine that was assessed an hour ago with `missing` = (number of missing updates, days since first
/// seen); none if it was never assessed.
fn machine(id: &str, name: &str, missing: Option<(u32, i64)>) -> Arc<Machine> {
    let facts = MachineFacts {
        name: name.to_owned(),
        os_platform: "Windows11".to_owned(),
        device_group: "Clients".to_owned(),
        ..MachineFacts::unlisted(MachineId::parse(id).unwrap())
    };
    let update = |number| ReportedUpdate {
        kb: KbId::new(5_000_000 + number).unwrap(),
        facts: Arc::default(),
        cves: None,
        reported_machines: None,
        severity: None,
        cvss: None,
    };
    let update_since =
        |number, days| MissingUpdate { update: update(number), first_seen: ago(days * 86_400), chain: None };
    let missing_updates = |(count, days)| (0..count).map(|number| update_since(number, days)).collect();
    let assessment = missing.map(|missing| Assessment::of_now(ago(3600), missing_updates(missing)));
    Arc::new(Machine { facts, assessment, attempt: None })
}

fn fleet(tenant: &str, machines: impl IntoIterator<Item = Arc<Machine>>) -> TenantFleet {
    let mut fleet = TenantFleet::new(tenant.into());
    fleet.machines = machines.into_iter().map(|machine| (machine.facts.id.clone(), machine)).collect();
    fleet
}

fn body(page: &str) -> &str {
    page.split_once("<body>").unwrap().1
}

/// The texts between two marks.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    text.split(start).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0)).collect()
}

/// Ids of the machines in the table, in order.
fn ids(page: &str) -> Vec<&str> {
    between(page, "<code>", "</code>")
}

/// The text of a page between its tags, and its tags without their attributes.
fn text_and_tags(page: &str) -> (String, Vec<String>) {
    let (mut text, mut tags) = (String::new(), Vec::new());
    for part in page.split('<').skip(1) {
        let (tag, rest) = part.split_once('>').expect("every tag ends");
        tags.push(tag.split(' ').next().unwrap_or_default().to_owned());
        text.push_str(rest);
    }
    (text, tags)
}

#[tokio::test]
async fn page_shows_tenants_series_and_machines() {
    let mut failing = TenantFleet::new("fabrikam".into());
    failing.source = Source::Export;
    failing.export_version = Some(ExportVersion::new(ago(4 * 3600), ago(5), false, None));
    failing.status.last_poll = Some(ago(5));
    failing.status.last_error = Some("token refused (AADSTS7000222)".to_owned());
    let mut state = state(vec![]);
    let policy = Policy::single("14d", Duration::ZERO, DeadlineStart::FirstSeen);
    let fleets = vec![polled("contoso"), failing, TenantFleet::new("new".into())];
    let windows = [(12, 40), (310, 1200)].map(|(used, allowed)| QuotaWindow { allowed, used });
    let contoso = TenantStatus {
        quota: Some(windows),
        poll_interval: Some(Duration::from_hours(6)),
        token_expiry: Some(ago(-47 * 60)),
    };
    let fabrikam = TenantStatus { token_expiry: Some(ago(60)), ..TenantStatus::default() };
    let statuses = vec![contoso, fabrikam, TenantStatus::default()];
    state.published = published_with(fleets, vec![policy], 110, statuses);
    let page = get(&state, "/").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header(CONTENT_TYPE), "text/html; charset=utf-8");
    insta::assert_snapshot!(body(page.text()));
}

#[tokio::test]
async fn content_policy_allows_only_the_style_and_the_form() {
    let page = get(&state(vec![polled("contoso")]), "/").await;
    let style = between(page.text(), "<style>", "</style>")[0];
    let hash = STANDARD.encode(digest(&SHA256, style.as_bytes()).as_ref());
    assert_eq!(
        page.header(CONTENT_SECURITY_POLICY),
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'self'; \
             frame-ancestors 'none'"
        )
    );
    assert_eq!(page.header(X_CONTENT_TYPE_OPTIONS), "nosniff");
    assert_eq!(page.header(REFERRER_POLICY), "no-referrer");
    let markup = page.text().split_once("</style>").unwrap().1;
    for dynamic in ["<script", " style=", " on", "http://", "https://", "src="] {
        assert!(!markup.contains(dynamic), "{dynamic}");
    }
}

#[tokio::test]
async fn unknown_value_is_never_a_number() {
    let inactive = Arc::new(Machine {
        facts: MachineFacts { last_seen: Some(ago(40 * 86_400)), ..machine("b", "", None).facts.clone() },
        ..Machine::clone(&machine("b", "", Some((0, 0))))
    });
    let unread = fleet("t", [machine("a", "never.read", None), inactive]);
    let mut state = state(vec![]);
    let policy = Policy::single("p", Duration::ZERO, DeadlineStart::FirstSeen);
    state.published = published(vec![unread], vec![policy], 0);
    let page = get(&state, "/").await;
    let rows = between(page.text(), "<tr>\n<th scope=\"row\">", "</tr>");
    assert_eq!(rows.len(), 2);
    for row in rows {
        for cell in ["Missing", "Overdue", "Oldest"] {
            let unknown = format!("<td data-label=\"{cell}\" class=\"number soft\">unknown</td>");
            assert!(row.contains(&unknown), "{row}");
        }
    }
    assert!(
        page.text().contains("<dt>missing updates</dt><dd><span class=\"soft\">unknown</span></dd>"),
        "{}",
        page.text()
    );
}

#[tokio::test]
async fn unreadable_update_id_is_shown_and_is_no_zero() {
    let mut machine = machine("a1", "a1.example", Some((0, 0)));
    let assessment = Arc::make_mut(&mut machine).assessment.as_mut().unwrap();
    let id = UnreadableId { text: "Click to Run".into(), is_newest: true, apart_from: Box::default() };
    assessment.unreadable = Some(Box::new(UnreadableIds { ids: [id].into(), held: Box::default() }));
    let mut state = state(vec![]);
    state.published = published(vec![fleet("contoso", [machine])], vec![], 0);
    let page = get(&state, "/").await;
    assert!(page.text().contains("unreadable update id"));
    assert!(page.text().contains("<dt>missing updates</dt><dd><span class=\"soft\">unknown</span></dd>"));
    assert!(page.text().contains("<td data-label=\"Missing\" class=\"number soft\">unknown</td>"));
}

#[tokio::test]
async fn search_finds_parts_of_names_and_whole_ids() {
    let machines = [
        machine("aa01", "SRV-DB-01.corp.example", Some((1, 0))),
        machine("aa02", "srv-web-01.corp.example", Some((2, 0))),
        machine("aa03", "Жук.corp.example", None),
        machine("aa0", "", None),
    ];
    let state = state(vec![fleet("t", machines)]);
    for (search, found) in [
        ("srv-db", vec!["aa01"]),
        ("SRV-", vec!["aa02", "aa01"]),
        ("++Srv-Web-01.CORP.example++", vec!["aa02"]),
        ("%D0%B6%D1%83%D0%9A", vec!["aa03"]),
        ("aa0", vec!["aa0"]),
        ("AA03", vec!["aa03"]),
        ("aa", vec![]),
        ("srv*", vec![]),
        ("%00", vec![]),
        ("%ff%fe", vec![]),
        ("", vec!["aa02", "aa01", "aa0", "aa03"]),
    ] {
        let page = get(&state, &format!("/?q={search}")).await;
        assert_eq!(page.status, 200);
        assert_eq!(ids(page.text()), found, "{search}");
        let is_empty_note_shown = page.text().contains("No machine in scope matches.");
        assert_eq!(is_empty_note_shown, found.is_empty(), "{search}");
    }
}

#[tokio::test]
async fn form_keeps_the_query() {
    let fleets =
        ["one", "<two>"].map(|tenant| fleet(tenant, [machine(tenant.trim_matches(['<', '>']), "x", None)]));
    let page = get(&state(fleets.into()), "/?q=%22x%3C&tenant=%3Ctwo%3E&state=unknown").await;
    let page = page.text();
    assert!(page.contains("name=\"q\" type=\"search\" value=\"&#34;x&#60;\""), "{page}");
    assert_eq!(between(page, "\" selected>", "</option>"), ["&#60;two&#62;", "unknown"]);
    assert!(page.contains(">Show all</a>"));
}

#[tokio::test]
async fn tenant_and_state_filter_the_list() {
    let machines = |first: &str, second: &str| {
        [machine(first, "same.name", Some((1, 1))), machine(second, "same.name", None)]
    };
    let state = state(vec![fleet("one", machines("a1", "a2")), fleet("two", machines("b1", "b2"))]);
    for (query, found) in [
        ("", vec!["a1", "b1", "a2", "b2"]),
        ("?tenant=two", vec!["b1", "b2"]),
        ("?tenant=two&state=fresh", vec!["b1"]),
        ("?state=unknown&q=same", vec!["a2", "b2"]),
        ("?tenant=none", vec![]),
        ("?tenant=&state=&q=&page=", vec!["a1", "b1", "a2", "b2"]),
        ("?state=stale", vec![]),
    ] {
        assert_eq!(ids(get(&state, &format!("/{query}")).await.text()), found, "{query}");
    }
}

#[tokio::test]
async fn pages_show_every_machine_once_and_link_each_other() {
    let machines = (0..120).map(|number| machine(&format!("{number:03}"), &format!("pc-{number:03}"), None));
    let other = machine("other", "srv", Some((3, 3)));
    let state = state(vec![fleet("t", machines.chain([other]))]);
    let (mut link, mut seen) = ("?q=PC-".to_owned(), Vec::new());
    loop {
        let page = get(&state, &format!("/{}", link.split('#').next().unwrap())).await;
        let rows = ids(page.text());
        assert!(rows.len() <= 50);
        seen.extend(rows.into_iter().map(str::to_owned));
        let links = |rel: &str| {
            let before = page.text().split_once(&format!("\" rel=\"{rel}\"")).map(|(before, _)| before);
            before.and_then(|text| text.rsplit('"').next()).map(|link| link.replace("&#38;", "&"))
        };
        assert_eq!(links("prev").is_some(), seen.len() > 50);
        let Some(next) = links("next") else { break };
        link = next;
    }
    assert_eq!(link, "?q=PC-&page=3#machines");
    assert_eq!(seen, (0..120).map(|number| format!("{number:03}")).collect::<Vec<_>>());
    for (page, first) in [
        ("0", "other"),
        ("-1", "other"),
        ("x", "other"),
        ("3", "099"),
        ("4", "099"),
        ("18446744073709551615", "099"),
    ] {
        assert_eq!(ids(get(&state, &format!("/?page={page}")).await.text())[0], first, "{page}");
    }
}

#[tokio::test]
async fn large_results_are_cut_to_a_page() {
    let name = "<\u{202e}".repeat(50_000);
    let machines = (0..200).map(|number| machine(&format!("{number:03}"), &name, Some((1, 1))));
    let mut fleet = fleet("t", machines);
    fleet.status.last_error = Some(name.clone());
    let search = "%3C%E2%80%AE".repeat(5_000);
    let page = get(&state(vec![fleet]), &format!("/?page=2&q={search}")).await;
    assert_eq!(ids(page.text()).len(), 50);
    assert!(page.text().len() < 2_000_000, "{}", page.text().len());
}

#[tokio::test]
async fn policies_that_cannot_judge_everything_are_named() {
    let mut state = state(vec![]);
    let mut tagged = Arc::unwrap_or_clone(machine("1", "", Some((1, 3))));
    tagged.facts.tags = Some(["lab".to_owned()].into());
    let fleets = vec![fleet("contoso", [Arc::new(tagged)])];
    let policy = PolicyPreset::EssentialEightMl3.policy("essential <8>".into());
    state.published = published_with(fleets, vec![policy], 100, Vec::new());
    let page = get(&state, "/").await;
    assert_eq!(
        between(page.text(), "<p class=\"error\"><strong>Warning</strong> ", "</p>"),
        [
            "Policy essential &#60;8&#62; needs facts that were never loaded (msrc, kev): machines with missing \
             updates are unknown under it.",
            "No machine of contoso has the tag internet-facing, which the preset of policy essential &#60;8&#62; uses.",
        ]
    );
}

#[tokio::test]
async fn suppressed_series_are_shown() {
    let mut state = state(vec![]);
    let machines = (0..20).map(|number| machine(&number.to_string(), "", Some((3, 3))));
    state.published = published(vec![fleet("t", machines)], Vec::new(), 100);
    let page = get(&state, "/").await;
    let page = page.text();
    assert!(page.contains("<dt>limit of all levels</dt><dd>100</dd>"), "{page}");
    let levels = between(page, "<a href=\"./metrics?detail=", "</div>");
    assert_eq!(
        levels,
        [
            "fleet\">fleet</a>, deepest</dt><dd>40</dd><dd class=\"left-out\">none suppressed</dd>",
            "machine\">machine</a></dt><dd>0</dd><dd class=\"left-out waiting\">80 suppressed</dd>",
            "update\">update</a></dt><dd>0</dd><dd class=\"left-out waiting\">60 suppressed</dd>",
        ]
    );
}

#[tokio::test]
async fn many_tenants_without_a_problem_are_folded() {
    let mut fleets: Vec<_> = (0..10).map(|number| polled(&format!("t{number}"))).collect();
    fleets[4].status.last_error = Some("a failure".to_owned());
    fleets[7].status.up = false;
    let unfolded = |page: &str| {
        let cards = between(page, "<details class=\"card\"", "</summary>").into_iter();
        cards.map(|card| card.starts_with(" open")).collect::<Vec<_>>()
    };
    let many = get(&state(fleets), "/").await;
    assert_eq!(unfolded(many.text()), (0..10).map(|number| [4, 7].contains(&number)).collect::<Vec<_>>());
    assert_eq!(unfolded(get(&state(vec![polled("t")]), "/").await.text()), [true]);
}

#[tokio::test]
async fn hostile_text_stays_text() {
    let mut hostile = fleet(HOSTILE, [machine("a", HOSTILE, None)]);
    hostile.status.last_error = Some(HOSTILE.to_owned());
    let mut state = state(vec![hostile, fleet("b", [])]);
    state.telemetry_path = format!("/{HOSTILE}");
    let search: String = form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect();
    let page = get(&state, &format!("/?q={search}&tenant={search}")).await;
    assert!(!page.text().contains("<script") && !page.text().contains(HOSTILE), "{}", page.text());
    assert_eq!(ids(page.text()), ["a"]);
    let escaped = "&#60;script&#62;alert(&#39;1&#39;)&#60;/script&#62;&#34;&#38;";
    // Path four times; tenant as heading, in the table and twice as a choice; name; search; error.
    assert_eq!(page.text().matches(escaped).count(), 4 + 4 + 3, "{}", page.text());
}

fn page_of(name: &str, search: &str) -> String {
    let fleet = fleet("t", [machine("a", name, Some((1, 1)))]);
    let search: String = form_urlencoded::byte_serialize(search.as_bytes()).collect();
    StatusPage::of(&state(vec![fleet]), &format!("q={search}")).render().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_name_changes_the_structure_of_the_page(
        // A search for white space is none, and the page of one has no way back.
        name in prop_oneof!["[<>&\"'/!\\-a-z =]{1,60}", "\\PC{1,60}", ".{1,60}"]
            .prop_filter("white space", |name| !name.trim().is_empty()),
    ) {
        let shown = |name: &str| {
            let page = page_of(name, name);
            prop_assert_eq!(ids(&page).len(), 1, "it is found by its name");
            let (text, tags) = text_and_tags(&page);
            let control = text.chars().find(|character| character.is_control() && *character != '\n');
            prop_assert_eq!(control, None);
            Ok::<_, TestCaseError>(tags)
        };
        prop_assert_eq!(shown(&name)?, shown("plain")?);
    }
}
