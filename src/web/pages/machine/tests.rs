//! The page of one machine as it is served.

use std::sync::Arc;

use crate::fleet::unreadable::{UnreadableId, UnreadableIds};
use crate::web::pages::machines::tests::{between, fleet, fleets, machine, options, rows, served, words};
use crate::web::tests::get;

async fn headline(path: &str) -> String {
    let page = get(&served(fleets(), &options()), path).await;
    words(between(page.text(), "<h1>", "</h1>")[0])
}

/// The KBs of the rows, in order.
async fn kbs(path: &str) -> Vec<String> {
    let page = get(&served(fleets(), &options()), path).await;
    rows(page.text()).into_iter().map(|row| words(row)[..9].to_owned()).collect()
}

#[tokio::test]
async fn headline_answers_for_the_machine() {
    for (path, expected) in [
        (
            "a1?tenant=contoso",
            "SRV-DB-01.corp misses 3 updates, 2 of them past their deadline, the oldest since 2 Feb",
        ),
        ("a1?tenant=fabrikam", "twin misses no update"),
        ("a1", "SRV-DB-01.corp is in 2 tenants"),
        ("a2", "srv-web.corp misses 2 updates, none past its deadline, the next deadline is 21 Mar"),
        ("a4", "unread.corp cannot be judged: never read"),
        ("a5", "gone.corp cannot be judged: not seen by Defender for 30 days"),
        ("a6", "old.corp runs Windows11 22H2, whose servicing ended on 14 Oct, and misses no update"),
        ("a7", "phone is unsupported: no Windows"),
        ("b1", "lap misses 2 updates, 1 of them past its deadline since 9 Mar"),
        ("b1?policy=strict", "lap misses 2 updates, all past their deadline, the oldest since 24 Feb"),
    ] {
        assert_eq!(headline(&format!("/machines/{path}")).await, expected, "{path}");
    }
}

#[tokio::test]
async fn updates_are_sorted_and_selected() {
    for (query, found) in [
        ("", vec!["KB5000003", "KB5000001", "KB5000002"]),
        ("&sort=deadline", vec!["KB5000003", "KB5000001", "KB5000002"]),
        ("&sort=first_seen", vec!["KB5000001", "KB5000003", "KB5000002"]),
        ("&sort=kb", vec!["KB5000001", "KB5000002", "KB5000003"]),
        ("&sort=severity", vec!["KB5000003", "KB5000001", "KB5000002"]),
        ("&policy_state=overdue", vec!["KB5000003", "KB5000001"]),
        ("&policy_state=due", vec!["KB5000002"]),
        ("&policy_state=accepted", vec![]),
        ("&policy_state=compliant", vec![]),
        ("&exploited=true", vec!["KB5000003"]),
        ("&exploited=false", vec!["KB5000001", "KB5000002"]),
        ("&kb=5000002", vec!["KB5000002"]),
        ("&kb=x", vec![]),
    ] {
        assert_eq!(kbs(&format!("/machines/a1?tenant=contoso{query}")).await, found, "{query}");
    }
    let page = get(&served(fleets(), &options()), "/machines/a1?tenant=contoso&kb=x").await;
    assert!(page.text().contains("<p>No missing update matches.</p>"));
}

#[tokio::test]
async fn machine_of_several_tenants_is_shown_in_each() {
    let state = served(fleets(), &options());
    let page = get(&state, "/machines/A1").await;
    let sections: Vec<_> = between(page.text(), "<h2><a", "</h2>")
        .into_iter()
        .map(|text| words(text.split_once('>').unwrap().1))
        .collect();
    assert_eq!(
        sections,
        [
            "contoso : SRV-DB-01.corp misses 3 updates, 2 of them past their deadline, the oldest since 2 Feb",
            "fabrikam : twin misses no update",
        ]
    );
    let answer = get(&state, "/machines/b1?tenant=contoso").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text()),
        (404, "no machine in scope of contoso has the id b1\n")
    );
}

#[tokio::test]
async fn unreadable_update_id_is_shown_and_is_no_zero() {
    let mut machine = machine("a", "a.example", Some(&[]));
    let assessment = Arc::make_mut(&mut machine).assessment.as_mut().unwrap();
    let id = UnreadableId { text: "<Click to Run>".into(), is_newest: true, apart_from: Box::default() };
    assessment.unreadable = Some(Box::new(UnreadableIds { ids: [id].into(), held: Box::default() }));
    let state = served(vec![fleet("t", [machine])], &options());
    let page = get(&state, "/machines/a").await;
    let text = page.text();
    assert!(
        text.contains("<dt>Unreadable update ids</dt><dd><span class=\"warn\">&#60;Click to Run&#62;</span>"),
        "{text}"
    );
    assert!(
        text.contains("a.example cannot be judged: Defender lists an update whose id is no KB"),
        "{text}"
    );
    assert!(!text.contains("No update is missing"), "{text}");
    let list = get(&state, "/machines").await;
    assert!(list.text().contains("unreadable update id"));
    assert!(list.text().contains("data-label=\"Missing\"><span class=\"soft\">unknown</span>"));
}
