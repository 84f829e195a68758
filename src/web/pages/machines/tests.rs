//! The list of machines as it is served.

mod fleets;
mod golden;
mod hostile;
mod numbers;
mod orders;

use url::Url;

pub(in crate::web::pages) use self::fleets::{Fleet, fleet, fleets, kb, machine, options, served, words};
pub(in crate::web::pages) use self::numbers::{random_fleets, random_query};
use crate::web::WebState;
use crate::web::tests::{get, polled, state};

/// The texts between two marks.
pub(in crate::web::pages) fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    text.split(start).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0)).collect()
}

/// The path and query of a link on the page at `shown_at`.
pub(in crate::web::pages) fn target(shown_at: &str, link: &str) -> String {
    let page = Url::parse("http://exporter").unwrap().join(shown_at).unwrap();
    let url = page.join(&link.replace("&#38;", "&").replace("&#39;", "'")).unwrap();
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}

/// The links of a part of the page at `shown_at`: the target of each, and its words.
pub(in crate::web::pages) fn links(shown_at: &str, part: &str) -> Vec<(String, String)> {
    let link = |text: &str| {
        let (link, rest) = text.split_once('"').unwrap();
        let text = rest.split_once("</a>").unwrap().0.split_once('>').unwrap().1;
        (target(shown_at, link), words(text))
    };
    part.split("<a ").skip(1).filter_map(|text| Some(link(text.split_once("href=\"")?.1))).collect()
}

/// The rows of the tables of a page.
pub(in crate::web::pages) fn rows(page: &str) -> Vec<&str> {
    between(page, "<tr>\n<th scope=\"row\">", "</tr>")
}

/// The ids of the machines in the list, in order.
fn ids(page: &str) -> Vec<&str> {
    between(page, "<span class=\"title id\">", "</span>")
}

async fn listed(state: &WebState, query: &str) -> Vec<String> {
    let page = get(state, &format!("/machines?{query}")).await;
    assert_eq!(page.status, 200, "{query}: {}", page.text());
    ids(page.text()).into_iter().map(str::to_owned).collect()
}

fn headline(page: &str) -> &str {
    between(page, "<h1>", "</h1>")[0]
}

#[tokio::test]
async fn search_finds_parts_of_what_a_machine_has() {
    let state = served(fleets(), &options());
    for (search, found) in [
        ("srv-db", vec!["a1"]),
        ("SRV-", vec!["a1", "a2"]),
        ("++Srv-Web.CORP++", vec!["a2"]),
        ("%D0%B6%D1%83%D0%9A", vec!["a3"]),
        ("A4", vec!["a4"]),
        ("windowsserver2022", vec!["a1", "a2"]),
        ("ервер", vec!["a3"]),
        ("internet-", vec!["a1"]),
        ("team:pay", vec!["a1"]),
        ("KB5000001", vec!["a1", "a2"]),
        ("5000003", vec!["a1"]),
        ("srv*", vec![]),
        ("%00", vec![]),
        ("%ff%fe", vec![]),
    ] {
        let mut ids = listed(&state, &format!("tenant=contoso&q={search}")).await;
        ids.sort();
        assert_eq!(ids, found, "{search}");
    }
    let page = get(&state, "/machines?q=srv*").await;
    assert!(
        page.text()
            .contains("<p>No machine matches. <a class=\"more\" href=\"./machines\">Remove all filters</a>")
    );
    assert_eq!(headline(page.text()), "No machine matches");
}

#[tokio::test]
async fn filters_select_whole_values_in_any_case() {
    let state = served(fleets(), &options());
    for (query, found) in [
        ("tenant=fabrikam", vec!["a1", "b1"]),
        ("state=stale", vec!["a2"]),
        ("policy_state=overdue", vec!["a1", "b1"]),
        ("policy_state=overdue&policy=strict", vec!["a1", "a2", "b1"]),
        ("platform=windowsserver2022", vec!["a1", "a2"]),
        ("platform=windows", vec![]),
        ("group=servers", vec!["a1", "a2"]),
        ("tag=INTERNET-facing", vec!["a1"]),
        ("tag=internet", vec![]),
        ("kb=5000001&tenant=contoso", vec!["a1", "a2"]),
        ("kb=KB5000001&tenant=contoso", vec!["a1", "a2"]),
        ("kb=nothing", vec![]),
        ("team=payments", vec!["a1"]),
        ("team=&tenant=contoso", vec!["a2", "a3", "a4", "a5", "a6", "a7"]),
        ("exploited=true&tenant=contoso", vec!["a1"]),
        ("servicing=ended&tenant=contoso", vec!["a6"]),
        ("reason=never_read", vec!["a4"]),
        ("policy_state=&state=&q=&page=&tenant=fabrikam", vec!["a1", "b1"]),
    ] {
        let mut ids = listed(&state, query).await;
        ids.sort();
        assert_eq!(ids, found, "{query}");
    }
}

#[tokio::test]
async fn value_outside_a_closed_list_is_refused() {
    let state = served(fleets(), &options());
    for (path, listed) in [
        ("/machines?sort=size", "overdue\nmissing\nexploited\noldest\nname\n"),
        ("/machines?policy_state=late", "compliant\ndue\noverdue\naccepted\nunknown\nunsupported\n"),
        ("/machines?tenant=none", "contoso\nfabrikam\n"),
        ("/machines?policy=none", "14d\nstrict\n"),
        ("/machines?page=0", "a number from 1\n"),
        ("/machines/a1?sort=name", "deadline\nseverity\nfirst_seen\nkb\n"),
        ("/machines/a1?state=late", "fresh\nstale\ninactive\nunknown\nunsupported\n"),
    ] {
        let answer = get(&state, path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.text().ends_with(listed), "{}", answer.text());
    }
}

#[tokio::test]
async fn pages_show_every_machine_once_and_link_each_other() {
    let machines = (0..120).map(|number| machine(&format!("{number:03}"), &format!("pc-{number:03}"), None));
    let other = machine("other", "srv", Some(&[3]));
    let state = served(vec![fleet("t", machines.chain([other]))], &options());
    let (mut link, mut seen) = ("/machines?q=PC-&refresh=off".to_owned(), Vec::new());
    let mut positions = Vec::new();
    loop {
        let page = get(&state, &link).await;
        let rows = ids(page.text());
        seen.extend(rows.into_iter().map(str::to_owned));
        positions.push(between(page.text(), "<p class=\"soft\">", ",")[0].to_owned());
        let links = between(page.text(), "<nav class=\"pages\"", "</nav>");
        let links = links.first().map(|part| self::links(&link, part)).unwrap_or_default();
        assert_eq!(links.iter().any(|(_, words)| words == "Previous"), seen.len() > 50);
        let Some((next, _)) = links.into_iter().find(|(_, words)| words == "Next") else { break };
        link = next;
    }
    assert_eq!(positions, ["1 to 50 of 120", "51 to 100 of 120", "101 to 120 of 120"]);
    assert_eq!(link, "/machines?q=PC-&page=3&refresh=off");
    assert_eq!(seen, (0..120).map(|number| format!("{number:03}")).collect::<Vec<_>>());
    for page in ["4", "18446744073709551615", "99999999999999999999"] {
        let page = get(&state, &format!("/machines?page={page}")).await;
        let text = page.text();
        assert_eq!(ids(text), Vec::<&str>::new());
        assert!(
            text.contains("<p>The list ends at page 3. <a class=\"more\" href=\"./machines?page=3\">"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn filter_in_effect_is_shown_with_a_link_that_removes_it() {
    let state = served(fleets(), &options());
    let query = "q=s&tenant=contoso&state=fresh&platform=WindowsServer2022&group=servers&tag=internet-facing&\
                 kb=5000001&exploited=true&servicing=in_service&team=payments&reason=expired&deadline=2026-03-11&x=1";
    let at = format!("/machines?{query}");
    let page = get(&state, &at).await;
    let filters = between(page.text(), "<a class=\"set\" ", "</a>");
    let shown: Vec<_> = filters.iter().map(|text| words(text.split_once('>').unwrap().1)).collect();
    let names = shown.iter().map(|text| text.strip_prefix("Remove the filter ").unwrap());
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            "search: s ×",
            "tenant: contoso ×",
            "data: fresh ×",
            "reason: Unknown: last read more than 2 days ago ×",
            "servicing: in service ×",
            "exploited: missing ×",
            "next deadline: 2026-03-11 ×",
            "platform: WindowsServer2022 ×",
            "group: servers ×",
            "tag: internet-facing ×",
            "KB: 5000001 ×",
            "team: payments ×",
        ]
    );
    for text in filters {
        let link = target(&at, between(text, "href=\"", "\"")[0]);
        let narrowed = get(&state, &link).await;
        let left = between(narrowed.text(), "<a class=\"set\" ", "</a>").len();
        assert_eq!(left, shown.len() - 1, "{link}");
    }
}

#[tokio::test]
async fn unknown_value_is_never_a_number() {
    let mut inactive = machine("b", "", Some(&[]));
    std::sync::Arc::make_mut(&mut inactive).facts.last_seen = Some(crate::web::tests::ago(40 * 86_400));
    let state = served(vec![fleet("t", [machine("a", "never.read", None), inactive])], &options());
    let page = get(&state, "/machines").await;
    let rows = rows(page.text());
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert!(row.contains("data-label=\"Missing\"><span class=\"soft\">unknown</span>"), "{row}");
        for cell in ["Exploited", "Overdue", "Oldest missing"] {
            assert!(row.contains(&format!("<td class=\"n\" data-label=\"{cell}\"></td>")), "{row}");
        }
        assert!(row.contains("<span class=\"mark unknown\">unknown</span>"), "{row}");
    }
}

#[tokio::test]
async fn empty_list_says_what_to_do() {
    let page = get(&state(vec![Fleet::new("t".into())]), "/machines").await;
    assert!(
        page.text().contains("<p>No machine list yet. <a class=\"more\" href=\"./status\">"),
        "{}",
        page.text()
    );
    let mut listed = fleet("t", []);
    listed.listed_at = Some(crate::web::tests::now());
    let page = get(&state(vec![listed]), "/machines").await;
    assert_eq!(headline(page.text()), "No machine is in scope: the selectors match none");
}

#[tokio::test]
async fn without_policies_no_machine_is_called_compliant() {
    let state = state(vec![polled("contoso")]);
    for path in ["/machines", "/machines/fresh"] {
        let page = get(&state, path).await;
        let text = page.text().split_once("<body>").unwrap().1;
        for word in ["compliant", "overdue", "Overdue", "deadline", "Policy"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
    let page = get(&state, "/machines").await;
    let states = between(page.text(), "<nav aria-label=\"States\">", "</nav>")[0];
    let shown: Vec<_> = links("/machines", states).into_iter().map(|(_, words)| words).collect();
    assert_eq!(shown, ["all 4", "fresh 1", "stale 1", "inactive 1", "unknown 1", "unsupported 0"]);
}

#[tokio::test]
async fn headline_answers_the_query() {
    let state = served(fleets(), &options());
    for (query, expected) in [
        ("", "9 machines, 2 of them past their deadline, 2 cannot be judged"),
        ("policy_state=overdue", "2 of 9 machines are past their deadline"),
        ("policy_state=unsupported", "1 of 9 machines is unsupported"),
        ("kb=5000001", "3 machines miss KB5000001, 2 of them past their deadline"),
        ("kb=5000001&policy_state=due", "1 due machine misses KB5000001"),
        ("exploited=true", "1 machine misses an exploited update, past its deadline"),
        ("team=&group=servers", "1 machine matches, not past its deadline"),
        ("group=servers", "2 machines match, 1 of them past their deadline"),
        ("reason=never_read", "1 machine matches, which cannot be judged"),
    ] {
        let page = get(&state, &format!("/machines?{query}")).await;
        assert_eq!(headline(page.text()), expected, "{query}");
        assert!(page.text().contains(&format!("<title>{expected} · mde_exporter</title>")));
    }
}
