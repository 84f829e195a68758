//! Valid replies, including unusual ones: pages of machine lists, and missing KBs.

use std::collections::BTreeSet;

use mde_exporter::defender::{ListQuery, ListedMachine};
use mde_exporter::model::MachineId;
use mde_simulator::{Endpoint, Fault, MissingKb, Options, Realism, Times};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::api::{Api, options};

fn ids(machines: &[ListedMachine]) -> Vec<&str> {
    machines.iter().map(|machine| machine.facts.id.as_str()).collect()
}

/// Path and query of the last call.
fn last_path(api: &Api) -> String {
    api.control().calls().pop().unwrap().path_and_query
}

#[tokio::test]
async fn every_page_is_read_and_each_machine_counts_once() {
    let api = Api::new(Options { page_size: 7, ..options(90, Realism::Realistic) }, |_| {}).await;
    let machines = api.client.machines(ListQuery::All).await.unwrap();

    let (excluded, in_scope): (Vec<_>, Vec<_>) =
        machines.into_iter().partition(|machine| machine.excluded_by_defender);
    let mut expected = api.control().machine_ids();
    expected.sort();
    assert_eq!(ids(&in_scope), expected);
    assert_eq!(excluded.len(), 2, "one is merged, one is excluded");
    assert_eq!(api.count("duplicate_records_total", &[]), 2.0);
    let rejected = |reason| api.count("rejected_records_total", &[("reason", reason)]);
    assert_eq!((rejected("no_id"), rejected("wrong_type"), rejected("bad_id")), (2.0, 1.0, 0.0));
    // 97 records and one empty page.
    let requests = api.control().requests(Endpoint::Machines);
    assert_eq!(requests, 15);
    assert_eq!(api.count("api_requests_total", &[("endpoint", "machines"), ("code", "200")]), 15.0);
    assert_eq!(api.control().token_requests().len(), 1, "one token serves every call");
}

/// Queues these records as pages of these sizes; an empty page never follows two others.
fn queue_pages(api: &Api, records: &[Value], sizes: &[usize]) -> u64 {
    let mut pages: Vec<&[Value]> = Vec::new();
    let mut rest = records;
    for size in sizes {
        let (page, behind) = rest.split_at((*size).min(rest.len()));
        if page.is_empty() && pages.ends_with(&[&[], &[]]) {
            continue;
        }
        pages.push(page);
        rest = behind;
    }
    pages.push(rest);
    for (index, page) in pages.iter().enumerate() {
        let mut body = json!({"value": page});
        if index + 1 < pages.len() {
            let link = format!("{}/api/machines?$skiptoken={index}", api.test_tenant.sim.api_url());
            body["@odata.nextLink"] = link.into();
        }
        let body = Fault::Body(body.to_string().into_bytes());
        api.control().inject(Endpoint::Machines, body, Times::Next(1));
    }
    pages.len() as u64
}

#[test]
fn any_page_split_gives_the_same_machines() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let api = runtime.block_on(Api::plain(23));
    let records: Vec<Value> =
        api.control().machine_ids().iter().map(|id| api.control().machine(id).unwrap()).collect();
    let whole = runtime.block_on(api.client.machines(ListQuery::All)).unwrap();
    assert_eq!(whole.len(), 23);

    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let sizes = prop::collection::vec(0..9usize, 0..12);
    let same_in_any_split = |sizes: Vec<usize>| {
        api.control().clear();
        let before = api.requests();
        let pages = queue_pages(&api, &records, &sizes);
        let split = runtime.block_on(api.client.machines(ListQuery::All)).unwrap();
        prop_assert_eq!(&split, &whole);
        prop_assert_eq!(api.requests() - before, pages);
        Ok(())
    };
    TestRunner::new(config).run(&sizes, same_in_any_split).unwrap();
}

#[tokio::test]
async fn filter_is_sent_unchanged_for_every_page() {
    let api = Api::new(Options { page_size: 1, ..options(12, Realism::Plain) }, |_| {}).await;
    let filter = "startswith(computerDnsName,'prod-') and healthStatus eq 'Active'";
    let machines = api.client.machines(ListQuery::Filter(filter)).await.unwrap();
    assert_eq!(machines.len(), 2);
    assert!(machines.iter().all(|machine| machine.facts.name.starts_with("prod-")));

    let calls = api.control().calls();
    let first = &calls.iter().find(|call| call.endpoint == Endpoint::Machines).unwrap().path_and_query;
    let sent =
        "%24filter=startswith%28computerDnsName%2C%27prod-%27%29%20and%20healthStatus%20eq%20%27Active%27";
    assert_eq!(first, &format!("/api/machines?{sent}"));
    assert_eq!(last_path(&api), format!("/api/machines?{sent}&$skip=1"));
}

#[tokio::test]
async fn tag_with_special_characters_is_matched_exactly() {
    let api = Api::plain(3).await;
    let tag = "Köln & Büro+1 100%";
    let tagged = api.id();
    let mut record = api.control().machine(tagged.as_str()).unwrap();
    record["machineTags"] = json!([tag]);
    api.control().add_machine(record);

    let machines = api.client.machines(ListQuery::Tag(tag)).await.unwrap();
    assert_eq!(ids(&machines), [tagged.as_str()]);
    assert_eq!(
        last_path(&api),
        "/api/machines/findbytag?tag=K%C3%B6ln%20%26%20B%C3%BCro%2B1%20100%25&useStartsWithFilter=false"
    );
    assert_eq!(ids(&api.client.machines(ListQuery::Tag("Köln")).await.unwrap()), [""; 0]);
    assert_eq!(api.count("api_requests_total", &[("endpoint", "findbytag"), ("code", "200")]), 2.0);
}

#[tokio::test]
async fn list_with_status_404_is_empty() {
    let api = Api::plain(0).await;
    assert_eq!(api.client.machines(ListQuery::All).await.unwrap(), []);
    assert_eq!(api.count("api_requests_total", &[("endpoint", "machines"), ("code", "404")]), 1.0);
}

#[tokio::test]
async fn missing_kbs_match_the_simulator_for_a_realistic_fleet() {
    let api = Api::new(options(120, Realism::Realistic), |_| {}).await;
    let mut not_found = 0;
    for id in api.control().machine_ids() {
        let key = MachineId::parse(&id).unwrap();
        let mut answer = api.client.missing_kbs(&key).await;
        if answer.as_ref().is_err_and(|error| error.kind() == "not_found") {
            not_found += 1;
            answer = api.client.missing_kbs(&key).await;
        }
        let updates = answer.unwrap().updates;
        let kbs: BTreeSet<_> = updates.iter().map(|dated| dated.update.kb.to_string()).collect();
        assert_eq!(kbs.len(), updates.len(), "each KB once");
        assert_eq!(kbs, api.control().missing(&id), "{id}");
        let mut updates = updates.iter().map(|dated| &dated.update);
        assert!(updates.clone().all(|update| update.facts.title.ends_with(" Security Updates")));
        assert!(updates.all(|update| update.cves.is_some() && update.reported_machines.is_some()));
    }
    assert!(not_found > 0 && api.count("api_retries_total", &[]) == 0.0, "the caller retries a 404");
    assert!(api.count("duplicate_records_total", &[]) > 0.0);
    assert!(api.count("rejected_records_total", &[("reason", "no_id")]) > 0.0);
}

#[tokio::test]
async fn empty_reply_is_valid_and_a_reply_of_bad_records_is_not() {
    let api = Api::plain(1).await;
    let id = api.id();
    api.control().set_missing(id.as_str(), vec![]);
    assert_eq!(api.fetch_kbs().await.unwrap(), [""; 0]);
    api.control().set_reply(id.as_str(), r#"{"value":[{"id":null},{"name":"x"},7]}"#);
    assert_eq!(api.fetch_kbs().await.unwrap_err().kind(), "decode");
    // An advisory is not a KB.
    api.control().set_missing(id.as_str(), vec![MissingKb::new("ADV200002", "March 2020 Security Updates")]);
    let answer = api.client.missing_kbs(&id).await.unwrap();
    assert_eq!((answer.updates.len(), answer.unreadable), (0, vec!["ADV200002".into()]));
    assert_eq!(api.count("rejected_records_total", &[("reason", "bad_kb")]), 1.0);
}
