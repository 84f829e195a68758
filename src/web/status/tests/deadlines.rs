//! The headline, the policies, the exceptions and the own labels on the page.

use jiff::civil::{Date, date};

use super::*;
use crate::metrics::RenderOptions;
use crate::model::{Condition, Exception, MachineCondition, OwnLabel, TextPattern, UpdateCondition};
use crate::web::tests::rendered;

const DAY: Duration = Duration::from_hours(24);

/// An exception for machines with this name.
pub(super) fn exception(name: &str, until: Date, machine: &str) -> Exception {
    let conditions = vec![Condition::from(MachineCondition::Names(vec![TextPattern::new(machine)]))];
    Exception {
        name: name.into(),
        reason: format!("reason of {name}"),
        until,
        tenants: Vec::new(),
        conditions,
        not: Vec::new(),
    }
}

async fn page_of(fleets: Vec<TenantFleet>, policies: Vec<Policy>, exceptions: Vec<Exception>) -> String {
    let options = RenderOptions {
        policies: policies.into(),
        exceptions: exceptions.into(),
        ..RenderOptions::default()
    };
    let mut state = state(vec![]);
    state.published = rendered(fleets, &options, Vec::new());
    get(&state, "/").await.text().to_owned()
}

fn policies() -> Vec<Policy> {
    let policy = |name: &str, days| Policy::single(name, days * DAY, DeadlineStart::FirstSeen);
    vec![policy("14d", 14), policy("strict", 1)]
}

/// Three compliant machines, two due ones, an overdue one, one with an exception, and one that cannot be judged.
fn fleets() -> Vec<TenantFleet> {
    let mut phone = machine("5", "phone", None);
    Arc::make_mut(&mut phone).facts.os_platform = "iOS".to_owned();
    let first = [
        machine("1", "patched-1", Some((0, 0))),
        machine("2", "patched-2", Some((0, 0))),
        machine("3", "due", Some((2, 3))),
        machine("4", "lab", Some((3, 30))),
        phone,
    ];
    let second = [
        machine("6", "patched-3", Some((0, 0))),
        machine("7", "also due", Some((1, 5))),
        machine("8", "overdue", Some((4, 20))),
        machine("9", "unread", None),
    ];
    vec![fleet("contoso", first), fleet("fabrikam", second)]
}

fn headline(page: &str) -> &str {
    between(page, "<h1>", "</h1>")[0]
}

/// The text of a part of the page, with a space in place of each tag.
pub(super) fn words(part: &str) -> String {
    let texts = part.split('<').enumerate().map(|(place, piece)| match piece.split_once('>') {
        Some((_, text)) if place > 0 => text,
        _ => piece,
    });
    let text = texts.collect::<Vec<_>>().join(" ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The cards of the policies as text.
fn cards(page: &str) -> Vec<String> {
    let sections = between(page, "<section aria-labelledby=\"deadlines\">", "</section>");
    let cards =
        sections.first().map_or(Vec::new(), |section| between(section, "<div class=\"card\">", "</dl>"));
    cards.into_iter().map(words).collect()
}

/// The rows of the exceptions as text.
fn rows(page: &str) -> Vec<String> {
    let sections = between(page, "<section aria-labelledby=\"exceptions\">", "</section>");
    let rows =
        sections.first().map_or(Vec::new(), |section| between(section, "<tr>\n<th scope=\"row\">", "</tr>"));
    rows.into_iter().map(words).collect()
}

#[tokio::test]
async fn headline_is_the_share_within_the_first_deadline() {
    let lab = exception("lab", date(2026, 12, 31), "lab");
    let page = page_of(fleets(), policies(), vec![lab]).await;
    let expected = "85.7 % of 7 judged machines within deadline under 14d, 1 cannot be judged";
    assert_eq!(headline(&page), expected);
    assert_eq!(between(&page, "<title>", "</title>"), [format!("{expected} · mde_exporter")]);
    assert!(
        page.contains("<p class=\"soft\">3 of 7 machines with data miss nothing and are still serviced. "),
        "{page}"
    );
    assert_eq!(
        cards(&page),
        [
            "14d 85.7 % of 7 judged machines within deadline compliant 3 due 2 accepted 1 overdue 1 cannot be judged 1 \
             unsupported 1",
            "strict 57.1 % of 7 judged machines within deadline compliant 3 due 0 accepted 1 overdue 3 cannot be judged \
             1 unsupported 1",
        ]
    );
}

#[tokio::test]
async fn headline_says_when_there_is_nothing_to_judge() {
    let headline_of =
        async |fleets, policies| headline(&page_of(fleets, policies, Vec::new()).await).to_owned();
    let all = |count: u32| {
        vec![fleet("t", (0..count).map(|number| machine(&number.to_string(), "", Some((0, 0)))))]
    };
    assert_eq!(
        headline_of(all(1), policies()).await,
        "100 % of 1 judged machine within deadline under 14d, 0 cannot be judged"
    );
    let unread = vec![fleet("t", [machine("1", "", None)])];
    assert_eq!(headline_of(unread, policies()).await, "No machine can be judged under 14d: 1 unknown");
    assert_eq!(headline_of(vec![fleet("t", [])], policies()).await, "No machine to judge under 14d");
    assert_eq!(
        headline_of(fleets(), Vec::new()).await,
        "3 of 7 machines with data miss nothing and are still serviced"
    );
    let mut many = all(2000);
    many.push(fleet("late", [machine("f", "", Some((1, 15)))]));
    assert_eq!(
        headline_of(many, policies()).await,
        "99.9 % of 2,001 judged machines within deadline under 14d, 0 cannot be judged",
        "one overdue machine is not rounded away"
    );
}

#[tokio::test]
async fn exceptions_are_listed_with_end_and_missing_updates() {
    let exceptions = vec![
        exception("long", date(2026, 12, 31), "lab"),
        exception("soon", date(2026, 3, 19), "*e*"),
        exception("last day", date(2026, 3, 10), "none"),
        exception("ended", date(2026, 3, 7), "lab"),
        exception("<b>", date(2026, 12, 31), "due"),
    ];
    let page = page_of(fleets(), policies(), exceptions).await;
    assert_eq!(
        rows(&page),
        [
            "long reason of long 2026-12-31 in 296 days 3",
            "soon reason of soon 2026-03-19 in 9 days 7",
            "last day reason of last day 2026-03-10 in 12 hours 0",
            "ended reason of ended 2026-03-07 ended 2 days ago 0",
            "&#60;b&#62; reason of &#60;b&#62; 2026-12-31 in 296 days 2",
        ]
    );
    let classes = between(&page, "<time class=\"", "\"");
    assert_eq!(classes, ["soft", "waiting", "waiting", "bad", "soft"]);
    assert!(page_of(fleets(), policies(), Vec::new()).await.contains("exceptions").eq(&false));
}

#[tokio::test]
async fn accepted_updates_of_a_machine_are_shown() {
    let kb = KbId::new(5_000_001).unwrap();
    let of_one_kb = Exception {
        conditions: vec![UpdateCondition::Kbs(vec![kb]).into()],
        ..exception("kb", date(2026, 12, 31), "")
    };
    let page =
        page_of(fleets(), policies(), vec![exception("lab", date(2026, 12, 31), "lab"), of_one_kb]).await;
    let table = between(&page, "<table class=\"rows machines\"", "</table>")[0];
    let missing = between(table, "<td data-label=\"Missing\" class=\"number\">", "</td>");
    let expected = ["4 1 accepted", "3 3 accepted", "2 1 accepted", "1", "0", "0", "0"];
    assert_eq!(missing.iter().map(|cell| words(cell)).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn own_labels_of_a_machine_are_shown_whole() {
    let long = "é".repeat(300);
    let mut owned = machine("1", "a", None);
    Arc::make_mut(&mut owned).facts.tags = Some(["SITE:<b>".to_owned(), format!("team:{long}")].into());
    let labels = ["team", "site", "cost"].map(|name| OwnLabel::new(name.into(), &format!("{name}:")));
    let options = RenderOptions { labels: labels.into(), ..RenderOptions::default() };
    let mut state = state(vec![]);
    state.published = rendered(vec![fleet("t", [owned, machine("2", "b", None)])], &options, Vec::new());
    let page = get(&state, "/").await;
    let groups = between(page.text(), "<td data-label=\"Group\">", "</td>");
    let expected = [format!("Clients team {long} site &#60;b&#62;"), "Clients".to_owned()];
    assert_eq!(groups.iter().map(|cell| words(cell)).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn exception_without_its_facts_is_named() {
    let with_not = |until| Exception {
        not: vec![UpdateCondition::Exploited(true).into()],
        ..exception("lab", until, "lab")
    };
    let page = page_of(fleets(), policies(), vec![with_not(date(2026, 12, 31))]).await;
    assert_eq!(
        between(&page, "<strong>Warning</strong> ", "</p>"),
        ["Exception lab needs facts that were never loaded (msrc, kev): it covers nothing."]
    );
    assert_eq!(rows(&page), ["lab reason of lab 2026-12-31 in 296 days 0"]);
    let ended = page_of(fleets(), policies(), vec![with_not(date(2026, 3, 1))]).await;
    assert!(!ended.contains("<strong>Warning</strong>"), "an exception that has ended needs nothing");
}
