//! The public catalogues: their contents follow the calendar and cover the fleet's KBs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::{TestClient, now};
use crate::{Endpoint, Fault, MissingKb, Options, Times, machine_record};

const INDEX: &str = "/cvrf/v3.0/updates";
const DOCUMENT: &str = "/cvrf/v3.0/cvrf/2025-Nov";
const KEV: &str = "/kev/known_exploited_vulnerabilities.json";
const EPSS: &str = "/epss/epss_scores-current.csv.gz";

impl TestClient {
    async fn catalogue(&self, path: &str) -> Value {
        serde_json::from_str(&self.catalogue_text(path).await).expect("JSON")
    }

    async fn catalogue_text(&self, path: &str) -> String {
        let response = self.catalogue_reply(path, "mde_exporter/1").await.expect("reply");
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.expect("body")
    }

    async fn catalogue_reply(&self, path: &str, agent: &str) -> reqwest::Result<reqwest::Response> {
        let url = format!("{}{path}", self.simulator.api_url());
        let request = self.http.get(url).header("accept", "application/json").header("user-agent", agent);
        request.send().await
    }

    async fn epss(&self) -> Vec<String> {
        let bytes = self.catalogue_reply(EPSS, "mde_exporter/1").await.expect("reply").bytes().await;
        let mut text = String::new();
        GzDecoder::new(&*bytes.expect("body")).read_to_string(&mut text).expect("gzip");
        text.lines().map(str::to_owned).collect()
    }

    fn inject(&self, endpoint: Endpoint, fault: Fault) {
        self.simulator.control().inject(endpoint, fault, Times::Next(1));
    }
}

/// The remediations with a KB, each with the CVE.
fn fixes(document: &Value) -> Vec<(&str, &Value)> {
    let vulnerabilities = document["Vulnerability"].as_array().expect("a list").iter();
    vulnerabilities
        .flat_map(|one| {
            let cve = one["CVE"].as_str().expect("a text");
            one["Remediations"].as_array().into_iter().flatten().map(move |fix| (cve, fix))
        })
        .filter(|(_, fix)| fix["Type"] == 2 && is_kb(&fix["Description"]["Value"]))
        .collect()
}

fn is_kb(text: &Value) -> bool {
    text.as_str().is_some_and(|text| text.len() == 7 && text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The KBs of a document.
fn kbs(document: &Value) -> BTreeSet<&str> {
    fixes(document).iter().filter_map(|(_, fix)| fix["Description"]["Value"].as_str()).collect()
}

#[tokio::test]
async fn documents_cover_most_kbs_that_machines_miss() {
    let client = TestClient::of(Options { machines: 60, ..Options::new(now) }).await;
    let control = client.simulator.control();
    let missing: BTreeSet<String> = control.machine_ids().iter().flat_map(|id| control.missing(id)).collect();
    let mut known = BTreeSet::new();
    for entry in client.catalogue(INDEX).await["value"].as_array().expect("entries").iter().take(16) {
        let id = entry["ID"].as_str().expect("an id");
        let document = client.catalogue(&format!("/cvrf/v3.0/cvrf/{id}")).await;
        assert_eq!(document["DocumentTracking"]["Identification"]["ID"]["Value"], id);
        known.extend(kbs(&document).into_iter().map(str::to_owned));
    }
    let unknown: Vec<_> = missing.difference(&known).collect();
    // Only the .NET updates of one system are in no document.
    assert!(!unknown.is_empty() && unknown.len() * 6 < missing.len(), "{unknown:?} of {missing:?}");
}

#[tokio::test]
async fn each_month_names_the_update_that_its_own_replaces() {
    let client = TestClient::plain(1).await;
    let november = client.catalogue(DOCUMENT).await;
    let october = client.catalogue("/cvrf/v3.0/cvrf/2025-Oct").await;
    let before = kbs(&october);
    let mut shapes = BTreeSet::new();
    let mut chained = BTreeSet::new();
    for (_, fix) in fixes(&november) {
        let Some(text) = fix["Supercedence"].as_str() else { continue };
        if before.iter().any(|kb| text.contains(kb)) {
            chained.insert(fix["Description"]["Value"].as_str().expect("KB"));
        }
        shapes.insert(text.chars().filter(|letter| !letter.is_ascii_digit()).collect::<String>());
    }
    assert!(chained.len() >= 5, "{chained:?}");
    assert!(shapes.len() >= 4, "{shapes:?}");
}

#[tokio::test]
async fn documents_follow_the_calendar() {
    let client = TestClient::plain(1).await;
    let control = client.simulator.control();
    let newest = |index: &Value| index["value"][0].clone();
    assert_eq!(newest(&client.catalogue(INDEX).await)["DocumentTitle"], "November 2025 Security Updates");
    let december = "/cvrf/v3.0/cvrf/2025-Dec";
    assert_eq!(client.catalogue_reply(december, "").await.expect("reply").status(), 404);
    control.skip_days(12);
    let early = newest(&client.catalogue(INDEX).await);
    assert_eq!(early["DocumentTitle"], "December 2025 Early Security Updates");
    assert_eq!(early["InitialReleaseDate"], "2025-12-02T08:00:00Z");
    assert!(kbs(&client.catalogue(december).await).is_empty());
    control.skip_days(7);
    assert_eq!(newest(&client.catalogue(INDEX).await)["InitialReleaseDate"], "2025-12-09T08:00:00Z");
    assert!(kbs(&client.catalogue(december).await).len() > 6);
    // The older document got a KB of the newer one.
    assert_eq!(
        kbs(&client.catalogue(DOCUMENT).await).intersection(&kbs(&client.catalogue(december).await)).count(),
        1
    );
}

#[tokio::test]
async fn index_has_the_oddities_of_the_real_one() {
    let client = TestClient::plain(1).await;
    let index = client.catalogue(INDEX).await;
    let entries = index["value"].as_array().expect("entries");
    let ids: Vec<&str> = entries.iter().filter_map(|entry| entry["ID"].as_str()).collect();
    assert!(
        ids.contains(&"2016-Apr") && ids.contains(&"2000-Feb") && ids.iter().any(|id| id.ends_with("-OOB"))
    );
    assert!(!ids.contains(&"2016-Mar"));
    let of = |id: &str| entries.iter().find(|entry| entry["ID"] == id).expect("an entry");
    assert_eq!(of("2023-Dec")["InitialReleaseDate"], "2023-12-12T08:00:00ZZ");
    assert!(
        entries.iter().all(|entry| entry["CvrfUrl"].as_str().is_some_and(|url| !url.contains("127.0.0.1")))
    );
}

#[tokio::test]
async fn exploitation_is_reported_by_either_source_or_both() {
    let client = TestClient::plain(1).await;
    let kev = client.catalogue(KEV).await;
    let entries = kev["vulnerabilities"].as_array().expect("entries");
    let listed: BTreeSet<&str> = entries.iter().filter_map(|entry| entry["cveID"].as_str()).collect();
    let mut seen = BTreeSet::new();
    for month in ["Nov", "Oct", "Sep"] {
        let document = client.catalogue(&format!("/cvrf/v3.0/cvrf/2025-{month}")).await;
        for one in document["Vulnerability"].as_array().expect("a list") {
            let status = one["Threats"].as_array().into_iter().flatten().find(|threat| threat["Type"] == 1);
            let msrc = status.is_some_and(|status| status.to_string().contains("Exploited:Yes"));
            seen.insert((msrc, listed.contains(one["CVE"].as_str().unwrap_or_default())));
        }
    }
    assert_eq!(seen, BTreeSet::from([(false, false), (false, true), (true, false), (true, true)]));
    assert!(entries.iter().any(|entry| entry.get("dueDate").is_none()));
    assert!(entries.iter().any(|entry| entry["product"] == "Windows "));
}

#[tokio::test]
async fn severity_differs_between_products() {
    let client = TestClient::plain(1).await;
    let mut differing = 0;
    for month in ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov"] {
        let document = client.catalogue(&format!("/cvrf/v3.0/cvrf/2025-{month}")).await;
        for one in document["Vulnerability"].as_array().expect("a list") {
            let threats = one["Threats"].as_array().expect("a list").iter();
            let ratings: BTreeSet<_> = threats
                .filter(|threat| threat["Type"] == 3)
                .map(|threat| threat["Description"]["Value"].as_str())
                .collect();
            differing += usize::from(ratings.len() > 1);
        }
    }
    assert!(differing > 0);
}

#[tokio::test]
async fn epss_has_a_comment_a_header_and_bad_rows() {
    let client = TestClient::plain(1).await;
    let rows = client.epss().await;
    assert_eq!(rows[0], "#model_version:v2026.06.15,score_date:2025-11-20T00:00:00+0000");
    assert_eq!(rows[1], "cve,epss,percentile");
    assert!(rows.iter().any(|row| row.contains(",unknown,")) && rows.len() > 1_000);
    for row in rows.iter().filter(|row| row.starts_with("CVE-2025-")) {
        let score: f64 = row.split(',').nth(1).expect("a score").parse().expect("a number");
        assert!((0.0..=1.0).contains(&score), "{row}");
    }
}

#[tokio::test]
async fn updates_that_a_test_set_are_in_their_document() {
    let client = TestClient::plain(0).await;
    let control = client.simulator.control();
    control.add_machine(machine_record("one", "one.corp.example", now()));
    let mut kb = MissingKb::new("KB5060999", "November 2025 Security Updates");
    kb.cves = 1;
    control.set_missing("one", vec![kb]);
    let document = client.catalogue(DOCUMENT).await;
    let cves: Vec<_> =
        fixes(&document).into_iter().filter(|(_, fix)| fix["Description"]["Value"] == "5060999").collect();
    assert_eq!(cves.len(), 1, "{cves:?}");
}

#[tokio::test]
async fn servicing_answers_with_and_without_a_last_slash() {
    let client = TestClient::plain(1).await;
    for path in ["/servicing/windows/", "/servicing/windows-server"] {
        let document = client.catalogue(path).await;
        assert!(document["result"]["releases"].as_array().is_some_and(|releases| releases.len() > 3));
    }
    assert_eq!(client.catalogue_reply("/servicing/ubuntu", "").await.expect("reply").status(), 404);
}

#[tokio::test]
async fn servicing_has_the_releases_that_are_out() {
    let client = TestClient::plain(1).await;
    let names = |document: &Value| -> Vec<String> {
        let releases = document["result"]["releases"].as_array().expect("releases");
        releases.iter().filter_map(|release| Some(release["name"].as_str()?.to_owned())).collect()
    };
    let before = client.catalogue("/servicing/windows").await;
    assert!(names(&before).contains(&"11-25h2-e".to_owned()), "{:?}", names(&before));
    assert!(!names(&before).contains(&"11-26h1-e".to_owned()), "released in February 2026");
    client.simulator.control().skip_days(365);
    let after = client.catalogue("/servicing/windows").await;
    assert!(names(&after).contains(&"11-26h1-e".to_owned()), "{:?}", names(&after));
    let ended = |document: &Value| {
        let releases = document["result"]["releases"].as_array().expect("releases");
        let release = releases.iter().find(|release| release["name"] == "11-23h2-e").expect("the release");
        release["isEol"].as_bool()
    };
    assert_eq!((ended(&before), ended(&after)), (Some(false), Some(true)));
}

#[tokio::test]
async fn catalogue_faults_change_the_contents() {
    let client = TestClient::plain(1).await;
    let control = client.simulator.control();
    let whole = client.catalogue(DOCUMENT).await;
    let revision = |document: &Value| -> u32 {
        let number = &document["DocumentTracking"]["RevisionHistory"][0]["Number"];
        number.as_str().expect("a text").parse().expect("a number")
    };

    control.inject_for_document("2025-Nov", Fault::Shrunken, Times::Next(1));
    client.catalogue("/cvrf/v3.0/cvrf/2025-Oct").await;
    assert!(kbs(&client.catalogue(DOCUMENT).await).len() * 2 < kbs(&whole).len());

    client.inject(Endpoint::MsrcDocument, Fault::OlderRevision);
    assert!(revision(&client.catalogue(DOCUMENT).await) < revision(&whole));

    client.inject(Endpoint::MsrcDocument, Fault::Padded);
    let padded = client.catalogue_text(DOCUMENT).await;
    assert!(padded.len() > 4 << 20);
    let padded: Value = serde_json::from_str(&padded).expect("JSON");
    assert_eq!(kbs(&padded), kbs(&whole));

    let entries = client.catalogue(KEV).await["count"].as_u64();
    client.inject(Endpoint::Kev, Fault::Shrunken);
    assert!(client.catalogue(KEV).await["count"].as_u64() < entries.map(|entries| entries / 2));

    let rows = client.epss().await.len();
    client.inject(Endpoint::Epss, Fault::Shrunken);
    assert!(client.epss().await.len() * 2 < rows);
}

#[tokio::test]
async fn catalogue_faults_end_or_refuse_the_reply() {
    let client = TestClient::plain(1).await;
    for (endpoint, path) in [(Endpoint::MsrcDocument, DOCUMENT), (Endpoint::Kev, KEV), (Endpoint::Epss, EPSS)]
    {
        client.inject(endpoint, Fault::Truncated);
        let reply = client.catalogue_reply(path, "mde_exporter/1").await.expect("headers");
        assert!(reply.bytes().await.is_err(), "{path}");
        client.inject(endpoint, Fault::Reset);
        assert!(client.catalogue_reply(path, "mde_exporter/1").await.is_err(), "{path}");
        client.simulator.control().inject(endpoint, Fault::RefusedToOthers, Times::Next(2));
        assert_eq!(client.catalogue_reply(path, "curl/8").await.expect("reply").status(), 403);
        assert_eq!(client.catalogue_reply(path, "mde_exporter/1").await.expect("reply").status(), 200);
    }
}

#[tokio::test]
async fn catalogue_calls_are_recorded_and_need_no_token() {
    let client = TestClient::plain(1).await;
    client.catalogue(DOCUMENT).await;
    let control = client.simulator.control();
    assert_eq!(control.requests(Endpoint::MsrcDocument), 1);
    let call = control.calls().pop().expect("a call");
    assert_eq!((call.path_and_query.as_str(), call.authorization, call.status), (DOCUMENT, None, Some(200)));
    assert!(call.accepts_gzip);
}

#[tokio::test]
async fn catalogues_can_be_taken_as_files() {
    let client = TestClient::plain(1).await;
    let files: BTreeMap<String, Vec<u8>> =
        client.simulator.control().catalogue_files(6).into_iter().collect();
    assert!(files.len() >= 10, "{:?}", files.keys());
    assert_eq!(files["2025-Nov.json"], client.catalogue_text(DOCUMENT).await.into_bytes());
    assert!(files.contains_key("windows-server.json") && files.contains_key("epss_scores-current.csv.gz"));
}
