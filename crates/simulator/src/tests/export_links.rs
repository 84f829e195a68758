//! Access to the list of the export, and the validity of its links.

use std::sync::{Arc, Mutex};

use jiff::ToSpan as _;

use super::export::{LIST, unlimited};
use super::{TestClient, json_of, message, now};
use crate::{Endpoint, Options, Realism};

#[tokio::test]
async fn list_needs_its_role_and_has_its_own_quota() {
    let mut client = TestClient::of(Options { machines: 1, ..Options::new(now) }).await;
    let control = client.simulator.control().clone();
    control.set_roles(&["Machine.Read.All", "Software.Read.All"]);
    client.renew().await;
    let (status, reply) = client.get_json(LIST).await;
    assert_eq!(status, 403);
    assert!(message(&reply).contains("API required roles: Vulnerability.Read.All"), "{reply}");
    control.set_roles(&["Vulnerability.Read.All"]);
    client.renew().await;
    for _ in 0..5 {
        assert_eq!(client.get_json(LIST).await.0, 200);
    }
    let rejected = client.get(LIST).await.expect("reply");
    assert_eq!(rejected.status().as_u16(), 429);
    assert_eq!(message(&json_of(rejected).await), "API calls quota exceeded! maximum allowed 5 per 00:01:00");
    control.set_quota(None, None);
    for _ in 0..25 {
        assert_eq!(client.get_json(LIST).await.0, 200);
    }
    assert_eq!(control.requests(Endpoint::Export), 32);
    assert_eq!(
        client
            .http
            .get(format!("{}{LIST}", client.simulator.api_url()))
            .send()
            .await
            .expect("reply")
            .status(),
        401
    );
}

#[tokio::test]
async fn links_are_valid_for_the_requested_hours() {
    let clock = Arc::new(Mutex::new(now()));
    let read = clock.clone();
    let options = Options { machines: 2, realism: Realism::Plain, ..unlimited() };
    let client =
        TestClient::of(Options { now: Arc::new(move || *read.lock().expect("clock")), ..options }).await;
    let link = async |query: &str| {
        let (_, list) = client.get_json(&format!("{LIST}{query}")).await;
        list["exportFiles"][0].as_str().expect("link").to_owned()
    };
    let short = link("").await;
    let long = link("?sasValidHours=6").await;
    assert!(short.contains("se=2025-11-20T13%3A00%3A00Z&sr=b&sp=r&sig="), "{short}");
    assert!(short.contains(client.simulator.link_secret()));
    for invalid in ["0", "7", "x", ""] {
        let (status, reply) = client.get_json(&format!("{LIST}?sasValidHours={invalid}")).await;
        assert_eq!((status, reply["error"]["code"].as_str()), (400, Some("InvalidInput")), "{invalid}");
    }
    let status = async |link: &str| client.download(link).await.status().as_u16();
    *clock.lock().expect("clock") = now() + 59.minutes();
    assert_eq!((status(&short).await, status(&long).await), (200, 200));
    *clock.lock().expect("clock") = now() + 60.minutes();
    assert_eq!((status(&short).await, status(&long).await), (403, 200));
    client.simulator.control().expire_links();
    let rejected = client.download(&long).await;
    assert_eq!(rejected.headers()["x-ms-error-code"], "AuthenticationFailed");
    let text = rejected.text().await.expect("text");
    assert!(
        text.contains("<AuthenticationErrorDetail>Signature not valid in the specified time frame"),
        "{text}"
    );
    assert_eq!(status(&link("").await).await, 200, "a new link is valid");
}

#[tokio::test]
async fn store_rejects_tokens_and_changed_or_dropped_links() {
    let client = TestClient::of(Options { machines: 2, realism: Realism::Plain, ..unlimited() }).await;
    let control = client.simulator.control();
    let link = client.links().await.remove(0);
    assert_eq!(client.get(&link).await.expect("reply").status().as_u16(), 400, "the request has a token");
    let calls = control.calls();
    assert!(calls.last().expect("a call").authorization.is_some());
    let status = async |link: &str| client.download(link).await.status().as_u16();
    assert_eq!(status(&link.replace("se=2025", "se=2026")).await, 403);
    assert_eq!(status(&link.replace("part-00000", "part-00001")).await, 403);
    assert_eq!(status(link.split('?').next().expect("path")).await, 403);
    assert_eq!(status(&link).await, 200);
    assert!(control.calls().last().expect("a call").authorization.is_none());
    for _ in 0..2 {
        control.rebuild_export();
        assert_eq!(client.get_json(LIST).await.0, 200);
    }
    let gone = client.download(&link).await;
    assert_eq!(
        (gone.status().as_u16(), &gone.headers()["x-ms-error-code"]),
        (404, &"BlobNotFound".parse().expect("text"))
    );
    assert_eq!(control.requests(Endpoint::ExportFile), 6);
}
