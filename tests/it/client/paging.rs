//! Lists of several pages: every record that can be read is read, in about as many calls as there are pages.

use std::collections::BTreeSet;

use mde_exporter::defender::ListQuery;
use mde_simulator::{Endpoint, Fault, NextLinks, Options, Realism, Times};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::api::{Api, options};

async fn api(machines: usize, page_size: usize, realism: Realism) -> Api {
    Api::new(Options { page_size, ..options(machines, realism) }, |_| {}).await
}

/// The ids of the machines on the list that count, and the number of calls.
async fn read(api: &Api, query: ListQuery<'_>) -> (BTreeSet<String>, u64) {
    let calls = || api.control().requests(Endpoint::Machines) + api.control().requests(Endpoint::FindByTag);
    let before = calls();
    let machines = api.client.machines(query).await.unwrap();
    let in_scope = machines.iter().filter(|machine| !machine.excluded_by_defender);
    (in_scope.map(|machine| machine.facts.id.to_string()).collect(), calls() - before)
}

fn all(api: &Api) -> BTreeSet<String> {
    api.control().machine_ids().into_iter().collect()
}

#[tokio::test]
async fn full_page_without_a_link_is_not_the_end() {
    for (machines, calls) in [(9_999, 1), (10_000, 2), (10_001, 2), (20_000, 3)] {
        let api = api(machines, 10_000, Realism::Plain).await;
        api.control().set_next_links(NextLinks::Absent);
        assert_eq!(read(&api, ListQuery::All).await, (all(&api), calls), "{machines}");
    }
}

#[tokio::test]
async fn full_page_of_a_tag_is_not_the_end() {
    let api = api(1, 10_000, Realism::Plain).await;
    let records: Vec<_> = (0..10_000).map(|number| json!({"id": format!("m{number}")})).collect();
    let first = json!({"value": records}).to_string().into_bytes();
    let second = json!({"value": [{"id": "last"}]}).to_string().into_bytes();
    for page in [first.clone(), second] {
        api.control().inject(Endpoint::FindByTag, Fault::Body(page), Times::Next(1));
    }
    let (machines, calls) = read(&api, ListQuery::Tag("a b")).await;
    assert_eq!((machines.len(), calls), (10_001, 2));
    let path = api.control().calls().pop().unwrap().path_and_query;
    assert_eq!(path, "/api/machines/findbytag?tag=a%20b&useStartsWithFilter=false&$skip=10000");

    // An API that knows no `$skip` answers with the same page, 400, or 404.
    for end in [Fault::Body(first.clone()), Fault::Status(400), Fault::NotFound] {
        api.control().inject(Endpoint::FindByTag, Fault::Body(first.clone()), Times::Next(1));
        api.control().inject(Endpoint::FindByTag, end, Times::Next(1));
        let (machines, calls) = read(&api, ListQuery::Tag("a b")).await;
        assert_eq!((machines.len(), calls), (10_000, 2));
    }
}

#[tokio::test]
async fn odd_links_lose_no_machine_and_cost_no_calls() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for (links, calls) in [
        (NextLinks::Complete, 13),
        (NextLinks::Growing, 13),
        (NextLinks::SamePage, 14),
        (NextLinks::FirstPage, 15),
        (NextLinks::Http, 13),
        (NextLinks::Port(80), 13),
        (NextLinks::Port(unused), 13),
    ] {
        let api = api(90, 7, Realism::Plain).await;
        api.control().set_next_links(links);
        let (machines, made) = read(&api, ListQuery::All).await;
        assert_eq!(machines, all(&api), "{links:?}");
        assert!(made <= calls, "{links:?}: {made} calls");
    }
}

#[tokio::test]
async fn odd_links_of_real_pages_lose_no_machine() {
    for links in [NextLinks::Growing, NextLinks::Http] {
        let api = api(90, 7, Realism::Realistic).await;
        api.control().set_next_links(links);
        let (machines, calls) = read(&api, ListQuery::All).await;
        assert_eq!(machines, all(&api), "{links:?}");
        assert!(calls <= 18, "{links:?}: {calls} calls");
    }
}

#[tokio::test]
async fn link_without_its_filter_or_tag_selects_the_same_machines() {
    let api = api(40, 3, Realism::Plain).await;
    let filter = "startswith(computerDnsName,'prod-')";
    let tagged: Vec<String> = api.control().machine_ids().into_iter().skip(5).take(10).collect();
    for id in &tagged {
        let mut record = api.control().machine(id).unwrap();
        record["machineTags"] = json!(["a tag"]);
        api.control().add_machine(record);
    }
    let filtered = read(&api, ListQuery::Filter(filter)).await;
    assert!(filtered.0.len() > 6 && filtered.0.len() < 40, "{filtered:?}");
    let with_tag = (tagged.into_iter().collect::<BTreeSet<_>>(), 4);
    for links in [NextLinks::Growing, NextLinks::SamePage, NextLinks::FirstPage] {
        api.control().set_next_links(links);
        let (machines, calls) = read(&api, ListQuery::Filter(filter)).await;
        assert_eq!(machines, filtered.0, "{links:?}");
        assert!(calls <= filtered.1 + 2, "{links:?}: {calls} calls");
        let (machines, calls) = read(&api, ListQuery::Tag("a tag")).await;
        assert_eq!(machines, with_tag.0, "{links:?}");
        assert!(calls <= with_tag.1 + 2, "{links:?}: {calls} calls");
    }
}

#[tokio::test]
async fn broken_name_costs_no_other_machine() {
    let api = api(3, 10_000, Realism::Plain).await;
    let names: [(&[u8], &str); 7] = [
        (br"a\ud800b", "a\u{fffd}b"),
        (br"\udc00", "\u{fffd}"),
        (b"M\xfcnchen", "M?nchen"),
        (b"cut\xc3", "cut?"),
        (b"a\x00b", "a b"),
        (br"a\x41", "a?x41"),
        (br"\ud83d\ude00", "\u{1f600}"),
    ];
    for (broken, name) in names {
        api.control().inject(Endpoint::Machines, Fault::BrokenName(broken.to_vec()), Times::Next(1));
        let machines = api.client.machines(ListQuery::All).await.unwrap();
        assert_eq!(machines.len(), 3, "{name}");
        assert!(machines.iter().any(|machine| machine.facts.name == name), "{name}: {machines:?}");
    }
}

#[tokio::test]
async fn missing_page_of_a_list_is_not_its_end() {
    let api = api(9, 3, Realism::Plain).await;
    let first = json!({"value": [{"id": "a"}], "@odata.nextLink": "/api/machines?$skip=3"});
    let first = Fault::Body(first.to_string().into_bytes());
    api.control().inject(Endpoint::Machines, first, Times::Next(1));
    api.control().inject(Endpoint::Machines, Fault::NotFound, Times::Next(1));
    let error = api.client.machines(ListQuery::All).await.unwrap_err();
    assert_eq!(error.kind(), "unexpected_status", "{error}");
}
