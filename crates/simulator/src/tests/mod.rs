//! The simulator over real https, as a client sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Certificate, Client, Response};
use serde_json::Value;

use crate::secrets::{CLIENT_ID, CLIENT_SECRET, TENANT_ID};
use crate::{Endpoint, MissingKb, Options, Realism, Simulator, machine_record};

mod authority;
mod catalogues;
mod export;
mod export_faults;
mod export_links;
mod faults;
mod fleet;
mod past;

fn now() -> Timestamp {
    "2025-11-20T12:00:00Z".parse().expect("a timestamp")
}

struct TestClient {
    simulator: Simulator,
    http: Client,
    token: String,
}

impl TestClient {
    /// Starts a simulator, and returns a client that trusts it and has a token.
    async fn of(options: Options) -> Self {
        let simulator = Simulator::start(options).await.expect("start");
        let certificate = Certificate::from_pem(simulator.ca_pem().as_bytes()).expect("CA");
        let http = Client::builder()
            .tls_certs_only([certificate])
            .timeout(Duration::from_secs(20))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("client");
        let mut client = Self { simulator, http, token: String::new() };
        client.renew().await;
        client
    }

    async fn plain(machines: usize) -> Self {
        Self::of(Options { machines, realism: Realism::Plain, ..Options::new(now) }).await
    }

    async fn renew(&mut self) {
        let (status, reply) = self.request_token(&[]).await;
        assert_eq!(status, 200, "{reply}");
        self.token = reply["access_token"].as_str().expect("token").to_owned();
    }

    /// Requests a token. `changed` replaces fields; an empty value omits the field.
    async fn request_token(&self, changed: &[(&str, &str)]) -> (u16, Value) {
        let mut fields = vec![
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT_ID),
            ("client_secret", CLIENT_SECRET),
            ("scope", "https://api.securitycenter.microsoft.com/.default"),
        ];
        for change in changed {
            fields.retain(|(key, _)| *key != change.0);
            fields.push(*change);
        }
        fields.retain(|(key, value)| !value.is_empty() && *key != "tenant");
        let tenant = changed.iter().find(|(key, _)| *key == "tenant").map_or(TENANT_ID, |(_, value)| value);
        let url = format!("{}/{tenant}/oauth2/v2.0/token", self.simulator.authority_url());
        let form = reqwest::Url::parse_with_params("https://form/", &fields).expect("form");
        let request = self
            .http
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.query().unwrap_or_default().to_owned());
        let response = request.send().await.expect("token reply");
        (response.status().as_u16(), json_of(response).await)
    }

    async fn get(&self, path: &str) -> reqwest::Result<Response> {
        let url = if path.starts_with('/') {
            format!("{}{path}", self.simulator.api_url())
        } else {
            path.to_owned()
        };
        self.http.get(url).bearer_auth(&self.token).send().await
    }

    async fn get_json(&self, path: &str) -> (u16, Value) {
        let response = self.get(path).await.expect("reply");
        (response.status().as_u16(), json_of(response).await)
    }

    /// All pages of a list.
    async fn list(&self, path: &str) -> Vec<Vec<Value>> {
        let mut pages = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let (status, mut page) = self.get_json(&path).await;
            assert_eq!(status, 200, "{page}");
            next = page["@odata.nextLink"].as_str().map(str::to_owned);
            let Value::Array(value) = page["value"].take() else { panic!("no value in {page}") };
            pages.push(value);
        }
        pages
    }
}

async fn json_of(response: Response) -> Value {
    serde_json::from_str(&response.text().await.expect("body")).expect("JSON")
}

fn message(reply: &Value) -> &str {
    reply["error"]["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn client_takes_a_token_lists_machines_and_reads_missing_kbs() {
    let client = TestClient::plain(12).await;
    let machines = client.list("/api/machines").await.concat();
    assert_eq!(machines.len(), 12);
    let control = client.simulator.control();
    for machine in &machines {
        let id = machine["id"].as_str().expect("id");
        let (_, reply) = client.get_json(&format!("/api/machines/{id}/getmissingkbs")).await;
        let kbs: BTreeSet<String> = reply["value"]
            .as_array()
            .expect("value")
            .iter()
            .map(|kb| kb["id"].as_str().expect("kb").to_owned())
            .collect();
        assert_eq!(kbs, control.missing(id));
    }
    assert_eq!(control.requests(Endpoint::MissingKbs), 12);
    let calls = control.calls();
    assert!(calls.iter().all(|call| call.status == Some(200)));
    assert_eq!(control.token_requests()[0].field("client_secret"), Some(CLIENT_SECRET));
    client.simulator.stop().await;
}

#[tokio::test]
async fn reported_machines_are_those_that_miss_the_kb() {
    let options = Options { quota_per_minute: None, ..Options::new(now) };
    let client = TestClient::of(Options { machines: 90, realism: Realism::Plain, ..options }).await;
    let control = client.simulator.control();
    let mut counted = std::collections::HashMap::new();
    let mut reported = std::collections::HashMap::new();
    for id in control.machine_ids() {
        let (_, reply) = client.get_json(&format!("/api/machines/{id}/getmissingkbs")).await;
        for kb in reply["value"].as_array().expect("value") {
            *counted.entry(kb["id"].to_string()).or_insert(0) += 1;
            reported.insert(kb["id"].to_string(), kb["machineMissedOn"].as_i64().expect("number"));
        }
    }
    assert!(counted.len() > 5, "{counted:?}");
    assert_eq!(counted, reported);
}

#[tokio::test]
async fn call_over_the_quota_is_throttled_with_the_api_text() {
    let options = Options { quota_per_minute: Some(2), machines: 2, ..Options::new(now) };
    let client = TestClient::of(options).await;
    let id = client.simulator.control().machine_ids().remove(0);
    let path = format!("/api/machines/{id}/getmissingkbs");
    client.get_json(&path).await;
    client.get_json(&path).await;
    let rejected = client.get(&path).await.expect("reply");
    assert_eq!(rejected.status().as_u16(), 429);
    let retry_after: u64 =
        rejected.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=60).contains(&retry_after), "{retry_after}");
    let reply = json_of(rejected).await;
    assert_eq!(reply["error"]["code"], "429");
    assert_eq!(message(&reply), "API calls quota exceeded! maximum allowed 2 per 00:01:00");
    assert_eq!(client.get_json("/api/machines").await.0, 200, "another API has a quota of its own");
}

#[tokio::test]
async fn pages_cover_the_fleet_and_one_of_them_is_empty() {
    let options = Options { machines: 60, page_size: 20, ..Options::new(now) };
    let client = TestClient::of(options).await;
    let pages = client.list("/api/machines?$filter=startswith(osPlatform,'Windows')").await;
    assert!(pages[1].is_empty(), "the second page is empty");
    assert!(pages.len() > 4);
    let records = pages.concat();
    let mut ids: Vec<&str> = records.iter().filter_map(|record| record["id"].as_str()).collect();
    let with_repeats = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert!(ids.len() < with_repeats, "some are listed twice");
    let in_scope: BTreeSet<String> = client.simulator.control().machine_ids().into_iter().collect();
    assert_eq!(in_scope.len(), 60);
    // The Ubuntu machine does not match the filter.
    assert_eq!(in_scope.iter().filter(|id| ids.contains(&id.as_str())).count(), 59);
}

#[tokio::test]
async fn machines_are_found_by_tag_filter_and_name() {
    let client = TestClient::plain(12).await;
    assert_eq!(client.list("/api/machines/findbytag?tag=production").await.concat().len(), 4);
    assert_eq!(
        client.list("/api/machines/findbytag?tag=prod&useStartsWithFilter=true").await.concat().len(),
        6
    );
    assert_eq!(client.list("/api/machines/findbytag?tag=nobody").await.concat().len(), 0);
    let (status, machine) = client.get_json("/api/machines/prod-0002.corp.example").await;
    assert_eq!((status, machine["rbacGroupName"].as_str()), (200, Some("Servers Production")));
    let (status, reply) = client.get_json("/api/machines?$filter=rbacGroupName%20eq%20'x'").await;
    assert_eq!((status, reply["error"]["code"].as_str()), (400, Some("ODataError")));
}

#[tokio::test]
async fn unknown_machine_and_query_options_are_rejected() {
    let client = TestClient::plain(1).await;
    let (status, reply) = client.get_json("/api/machines/123123123/getmissingkbs").await;
    assert_eq!((status, reply["error"]["code"].as_str()), (404, Some("ResourceNotFound")));
    assert_eq!(message(&reply), "Machine 123123123 was not found");
    let id = client.simulator.control().machine_ids().remove(0);
    let (status, _) = client.get_json(&format!("/api/machines/{id}/getmissingkbs?$top=1")).await;
    assert_eq!(status, 400);
    client.simulator.control().remove_machine(&id);
    assert_eq!(client.get_json("/api/machines").await.0, 404, "no machine at all");
}

#[tokio::test]
async fn machines_added_by_a_test_have_the_set_updates() {
    let client = TestClient::plain(0).await;
    let control = client.simulator.control();
    control.add_machine(machine_record("a1", "one.example", now()));
    control.add_machine(machine_record("b2", "two.example", now()));
    control.set_missing("a1", vec![MissingKb::new("5065429", "September 2025 Security Updates")]);
    control.set_missing("b2", vec![MissingKb::new("5065429", "September 2025 Security Updates")]);
    let (_, reply) = client.get_json("/api/machines/a1/getmissingkbs").await;
    assert_eq!(reply["value"][0]["machineMissedOn"], 2);
    assert_eq!(
        reply["value"][0]["url"],
        "https://catalog.update.microsoft.com/v7/site/Search.aspx?q=KB5065429"
    );
    control.set_reply("b2", "[[[");
    let response = client.get("/api/machines/b2/getmissingkbs").await.expect("reply");
    assert_eq!(response.text().await.expect("text"), "[[[");
}

#[tokio::test]
async fn stopped_simulator_refuses_connections() {
    let client = TestClient::plain(1).await;
    let url = format!("{}/api/machines", client.simulator.api_url());
    assert_eq!(client.http.get(&url).send().await.expect("reply").status().as_u16(), 401);
    client.simulator.stop().await;
    assert!(client.http.get(&url).send().await.expect_err("stopped").is_connect());
}

#[tokio::test]
async fn call_log_has_the_token_of_each_call() {
    let client = TestClient::plain(1).await;
    let id = client.simulator.control().machine_ids().remove(0);
    client.get_json(&format!("/api/machines/{id}/getmissingkbs")).await;
    let calls = client.simulator.control().calls();
    let [token, missing] = calls.as_slice() else { panic!("two calls: {calls:?}") };
    assert_eq!((token.endpoint, token.authorization.as_deref()), (Endpoint::Token, None));
    assert_eq!(missing.machine_id, Some(id));
    assert_eq!(missing.authorization.as_deref(), Some(format!("Bearer {}", client.token).as_str()));
}
