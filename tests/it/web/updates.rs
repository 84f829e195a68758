//! The page of the missing updates.

use axum::http::StatusCode;
use mde_exporter::facts::Facts;
use mde_exporter::fleet::TenantFleet;
use std::sync::Arc;

use crate::support::fleets::{special_case_fleets, special_case_policies};
use crate::support::pages::{Served, settings, special_cases};
use crate::support::report::ReportSettings;

async fn page(served: &Served, path: &str) -> String {
    let reply = served.ask("GET", path).await;
    assert_eq!(reply.status, StatusCode::OK, "{path}");
    reply.text
}

fn headline(html: &str) -> &str {
    let (_, rest) = html.split_once("<h1>").unwrap();
    rest.split_once("</h1>").unwrap().0
}

/// The links of `html` that show a number of machines, with the number.
fn counts(html: &str) -> Vec<(String, usize)> {
    let cells = html.split("<td class=\"n\" data-label=\"").skip(1);
    let cells = cells.filter(|cell| cell.starts_with("Machines\"") || cell.starts_with("Overdue\""));
    let link = |cell: &str| {
        let link = cell.split_once("href=\"")?.1.split_once('"')?.0.replace("&#38;", "&");
        let number = cell.split_once("<a")?.1.split_once('>')?.1.split_once('<')?.0;
        Some((link, number.replace(',', "").parse().unwrap()))
    };
    cells.filter_map(link).collect()
}

#[tokio::test]
async fn headline_counts_exploited_and_overdue_updates() {
    let served = special_cases();
    let html = page(&served, "/updates").await;
    let rows = served.rows("/updates").await;
    let exploited = rows.iter().filter(|row| row["exploited"] == "true").count();
    assert!(exploited > 0, "{rows:#?}");
    let expected = format!("{exploited} of {} missing updates", rows.len());
    assert!(headline(&html).starts_with(&expected), "{}", headline(&html));
    assert!(headline(&html).contains("overdue"), "{}", headline(&html));
    let html = page(&served, "/updates?exploited=true").await;
    assert!(headline(&html).starts_with(&expected), "{}", headline(&html));
}

#[tokio::test]
async fn every_number_leads_to_as_many_machines() {
    let served = special_cases();
    for query in [
        "",
        "?policy_state=overdue",
        "?policy_state=due",
        "?platform=windows11",
        "?group=Clients",
        "?exploited=true",
        "?q=june",
        "?state=stale",
        "?policy=8h",
    ] {
        let html = page(&served, &format!("/updates{query}")).await;
        let counts = counts(&html);
        assert!(!counts.is_empty() || html.contains("matches"), "{query}");
        for (link, count) in counts {
            let path = link.strip_prefix("./").unwrap();
            let rows = served.rows(&format!("/{path}")).await;
            assert_eq!(rows.len(), count, "{query} {path}");
        }
    }
}

#[tokio::test]
async fn empty_list_says_why() {
    let served = special_cases();
    let html = page(&served, "/updates?q=nothing").await;
    assert_eq!(headline(&html), "No missing update matches");
    assert!(html.contains("Remove all filters"));
    let html = page(&served, "/updates?page=9").await;
    assert!(html.contains("The list ends at page 1."));
    let unread = Served::new(&[Arc::new(TenantFleet::new("contoso".into()))], &ReportSettings::default());
    assert_eq!(headline(&page(&unread, "/updates").await), "No machine has been read yet");
}

#[tokio::test]
async fn without_facts_severity_is_unknown() {
    let settings =
        ReportSettings { facts: Facts::default(), ..settings(special_case_policies().into(), false, false) };
    let served = Served::new(&special_case_fleets(), &settings);
    let html = page(&served, "/updates").await;
    assert!(html.contains("turn on `facts` in the configuration"));
    assert!(headline(&html).contains("are missing"), "{}", headline(&html));
    let heads = html.matches("aria-sort=\"descending\"").count();
    assert_eq!(heads, 1);
}
