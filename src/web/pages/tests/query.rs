//! Parameters of addresses.

use proptest::prelude::*;

use super::{fleet, machine, policy};
use crate::fleet::MachineState;
use crate::fleet::overview::NotJudged;
use crate::fleet::policy::PolicyState;
use crate::metrics::RenderOptions;
use crate::model::OwnLabel;
use crate::publish::SnapshotReader;
use crate::web::pages::query::{PageQuery, WrittenKb, kb_named};
use crate::web::tests::rendered;

const ORDERS: [&str; 2] = ["overdue", "name"];

fn snapshot() -> SnapshotReader {
    let options = RenderOptions {
        policies: [policy("14d", 14), policy("C++ hosts", 30)].into(),
        labels: [OwnLabel::new("team".into(), "team:")].into(),
        ..RenderOptions::default()
    };
    let fleets = vec![fleet("one", [machine("a", "x", None)]), fleet("A&B", [])];
    rendered(fleets, &options, Vec::new())
}

#[test]
fn query_is_parsed_from_the_address() {
    let snapshot = snapshot();
    let text = "q=+SRV%2Ddb+&tenant=A%26B&state=stale&page=7&q=other&policy=C%2B%2B+hosts&team=&sort=name&kb=kb5000001";
    let query = PageQuery::parse(text, &snapshot.borrow(), &ORDERS).unwrap();
    let expected = PageQuery {
        search: "SRV-db".to_owned(),
        tenant: Some(1),
        state: Some(MachineState::Stale),
        policy: 1,
        kb: Some(WrittenKb::new("kb5000001")),
        labels: vec![Some(String::new())],
        sort: Some("name"),
        page: 7,
        ..PageQuery::default()
    };
    assert_eq!(query, expected);
    assert_eq!(
        query.with(|_| ()).suffix(&snapshot.borrow()),
        "?q=SRV-db&tenant=A%26B&policy=C%2B%2B+hosts&state=stale&kb=kb5000001&team=&sort=name"
    );
    assert_eq!(query.kept().suffix(&snapshot.borrow()), "?tenant=A%26B&policy=C%2B%2B+hosts");
}

#[test]
fn kb_is_read_as_in_the_path_of_its_page() {
    for text in ["5000001", "KB5000001", "kb 5000001", "05000001"] {
        let query = PageQuery::parse(&format!("kb={text}"), &snapshot().borrow(), &ORDERS).unwrap();
        assert_eq!(query.kb.unwrap().kb, kb_named(text), "{text}");
    }
}

#[test]
fn long_search_is_cut() {
    let query = PageQuery::parse(&format!("q={}", "ö".repeat(9000)), &snapshot().borrow(), &ORDERS).unwrap();
    assert_eq!(query.search, "ö".repeat(256));
}

proptest! {
    #[test]
    fn link_keeps_the_query(
        search in ".{0,20}",
        texts in proptest::collection::vec(proptest::option::of(".{1,20}"), 4),
        owner in proptest::option::of(".{0,20}"),
        numbers in (0_usize..2, 0_usize..3, 0_usize..6, 0_usize..8),
        page in 1_usize..,
        is_fixed: bool,
    ) {
        let snapshot = snapshot();
        let [platform, group, tag, kb] = <[_; 4]>::try_from(texts).unwrap();
        let query = PageQuery {
            search: search.trim().to_owned(),
            tenant: numbers.1.checked_sub(1),
            policy: numbers.0,
            policy_state: Some(PolicyState::ALL[numbers.2]),
            reason: Some(NotJudged::ALL[numbers.3]),
            platform,
            group,
            tag,
            kb: kb.as_deref().map(WrittenKb::new),
            labels: vec![owner],
            sort: Some(ORDERS[numbers.0]),
            page,
            is_fixed,
            ..PageQuery::default()
        };
        let link = query.suffix(&snapshot.borrow());
        let parsed = link.strip_prefix('?').unwrap();
        prop_assert!(parsed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=&%+*-._".contains(&byte)));
        prop_assert_eq!(PageQuery::parse(parsed, &snapshot.borrow(), &ORDERS).unwrap(), query);
    }

    #[test]
    fn no_address_is_a_fault(query in ".*") {
        prop_assert!(PageQuery::parse(&query, &snapshot().borrow(), &ORDERS).is_ok() || query.contains('='));
    }
}
