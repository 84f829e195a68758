//! Every number is a link to exactly the rows that it counts.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::fleet::{Chain, Link, Machine, Onboarding};
use crate::model::MachineId;
use crate::web::tests::ago;

/// The number at the end of a text.
fn number(text: &str) -> usize {
    text.rsplit(' ').next().unwrap().replace(',', "").parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

/// The number of rows of a list, or of the table on the page of a machine.
pub(in crate::web::pages) async fn count(state: &WebState, link: &str) -> usize {
    let page = get(state, link).await;
    assert_eq!(page.status, 200, "{link}: {}", page.text());
    if !link.starts_with("/machines?") {
        return rows(page.text()).len();
    }
    let position = between(page.text(), "<p class=\"soft\">", "</p>")[0];
    let (position, _) = position.split_once(", ").unwrap_or_default();
    position.rsplit_once(" of ").map_or(0, |(_, total)| number(total))
}

/// Follows the links of the states, the filters and the numbers of the first rows. Returns their number.
async fn follow(state: &WebState, at: &str) -> usize {
    let page = get(state, at).await;
    assert_eq!(page.status, 200, "{at}: {}", page.text());
    let page = page.text();
    let part = |label: &str| between(page, &format!("<nav aria-label=\"{label}\">"), "</nav>")[0].to_owned();
    let mut followed = links(at, &part("States"));
    let filters = links(at, &part("Filters"));
    followed.extend(filters.into_iter().filter(|(_, words)| !words.ends_with('×')));
    for row in rows(page).into_iter().take(4) {
        for cell in ["Missing", "Exploited", "Overdue"] {
            let cells = between(row, &format!("data-label=\"{cell}\">"), "</td>");
            followed.extend(links(at, cells[0]));
        }
    }
    for (link, words) in &followed {
        assert_eq!(count(state, link).await, number(words), "{at}: {words} {link}");
    }
    followed.len()
}

/// The same for the page of a machine.
async fn follow_machine(state: &WebState, at: &str) {
    let page = get(state, at).await;
    for chips in between(page.text(), "<ul class=\"chips\">", "</ul>") {
        for (link, words) in links(at, chips) {
            assert_eq!(count(state, &link).await, number(&words), "{at}: {words} {link}");
        }
    }
}

#[tokio::test]
async fn every_number_counts_the_rows_behind_its_link() {
    let state = served(fleets(), &options());
    for query in
        ["", "policy=strict", "tenant=contoso&policy_state=overdue", "kb=5000001", "q=corp", "state=fresh"]
    {
        assert!(follow(&state, &format!("/machines?{query}")).await > 10, "{query}");
    }
    for id in ["a1?tenant=contoso", "a1?tenant=contoso&policy=strict", "a2", "b1?policy_state=due", "b1?kb=1"]
    {
        follow_machine(&state, &format!("/machines/{id}")).await;
    }
}

fn random_machine() -> impl Strategy<Value = Machine> {
    let text = |values: &'static [&'static str]| proptest::sample::select(values);
    let tags =
        proptest::collection::vec(text(&["team:a", "TEAM:A", "lab", "Lab", "team:", "team:a&b=#?"]), 0..4);
    let missing = proptest::option::weighted(0.8, proptest::collection::vec(0..40_i64, 0..5));
    let facts = (
        text(&["Windows11", "windows11", "WindowsServer2022", "iOS", ""]),
        text(&["", "Servers", "servers", "ü/ß"]),
    );
    let times = (text(&["fresh", "stale", "expired", "inactive", "not onboarded"]), text(&["22H2", "25H2"]));
    (tags, missing, facts, times, any::<bool>()).prop_map(
        |(tags, missing, (platform, group), (state, version), has_link)| {
            let mut machine = (*machine("x", group, missing.as_deref())).clone();
            let mut tags: Vec<String> = tags.into_iter().map(str::to_owned).collect();
            tags.sort();
            tags.dedup();
            machine.facts.tags = Some(tags.into());
            machine.facts.os_platform = platform.to_owned();
            machine.facts.device_group = group.to_owned();
            machine.facts.os_version = version.to_owned();
            machine.facts.os_build = Some(if version == "22H2" { 22_621 } else { 26_200 });
            if let Some(assessment) = &mut machine.assessment {
                assessment.as_of = ago(if state == "stale" {
                    15
                } else if state == "expired" {
                    90
                } else {
                    1
                } * 3600);
                if let Some(first) = assessment.missing_updates.first_mut().filter(|_| has_link) {
                    first.chain = Chain::of(vec![Link { kb: kb(3), first_seen: ago(30 * 86_400) }]);
                }
            }
            match state {
                "inactive" => machine.facts.last_seen = Some(ago(50 * 86_400)),
                "not onboarded" => machine.facts.onboarding = Onboarding::NotOnboarded,
                _ => {}
            }
            machine
        },
    )
}

/// Two tenants, with some ids in both.
pub(in crate::web::pages) fn random_fleets() -> impl Strategy<Value = Vec<Fleet>> {
    let machines = proptest::collection::vec((random_machine(), 0..12_u32, any::<bool>()), 0..20);
    machines.prop_map(|machines| {
        let of_tenant = |wanted: bool| {
            let of = machines.iter().filter(|(_, _, second)| *second == wanted);
            let named = of.map(|(machine, id, _)| {
                let mut machine = machine.clone();
                machine.facts.id = MachineId::parse(&format!("m{id}")).unwrap();
                Arc::new(machine)
            });
            named.collect::<Vec<_>>()
        };
        vec![fleet("one", of_tenant(false)), fleet("two", of_tenant(true))]
    })
}

pub(in crate::web::pages) fn random_query() -> impl Strategy<Value = String> {
    let parameter = proptest::sample::select(vec![
        "tenant=one",
        "tenant=two",
        "policy=strict",
        "policy_state=overdue",
        "policy_state=unknown",
        "policy_state=due",
        "state=fresh",
        "state=stale",
        "platform=windows11",
        "group=SERVERS",
        "tag=lab",
        "kb=5000001",
        "kb=KB5000003",
        "team=A",
        "team=",
        "exploited=true",
        "exploited=false",
        "servicing=ended",
        "q=a",
        "q=5000002",
        "reason=never_read",
        "deadline=2026-03-12",
        "sort=name",
        "sort=exploited",
    ]);
    proptest::collection::vec(parameter, 0..4).prop_map(|parameters| parameters.join("&"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn numbers_are_true_for_any_fleet_and_query(fleets in random_fleets(), query in random_query()) {
        let state = served(fleets, &options());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            follow(&state, &format!("/machines?{query}")).await;
        });
    }
}
