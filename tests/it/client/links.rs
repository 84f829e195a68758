//! Where the client follows a link, and where it does not: pages end, and tokens stay at home.

use mde_exporter::defender::ListQuery;
use mde_simulator::{Endpoint, Fault, Times};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::api::Api;

/// What the machine list comes to while the fault lasts.
async fn list_with(api: &Api, fault: Fault) -> Result<usize, &'static str> {
    api.control().clear();
    api.control().inject(Endpoint::Machines, fault, Times::Always);
    match api.client.machines(ListQuery::All).await {
        Ok(machines) => Ok(machines.len()),
        Err(error) => Err(error.kind()),
    }
}

/// Whether anybody has connected to `listener`.
async fn visited(listener: &TcpListener) -> bool {
    tokio::select! {
        biased;
        _ = listener.accept() => true,
        // By then an accept that can be done is done.
        () = tokio::task::yield_now() => false,
    }
}

#[tokio::test]
async fn foreign_next_link_is_rejected_and_receives_no_token() {
    let api = Api::plain(1).await;
    let stranger = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (home, away) = (api.tenant.api_url.port().unwrap(), stranger.local_addr().unwrap().port());
    for link in [
        // Another port, another host, another scheme.
        format!("https://127.0.0.1:{away}/api/machines?$skip=1"),
        format!("//127.0.0.1:{away}/api/machines"),
        format!("https://localhost:{home}/api/machines?$skip=1"),
        format!("http://127.0.0.1:{home}/api/machines?$skip=1"),
        format!("http://127.0.0.1:{away}/api/machines?$skip=1"),
        "https://api.securitycenter.microsoft.com/api/machines?$skip=1".to_owned(),
        // At home, but with a user of the link's own; and a host that only looks like home.
        format!("https://eve:secret@127.0.0.1:{home}/api/machines?$skip=1"),
        format!("https://127.0.0.1:{home}@127.0.0.1:{away}/api/machines"),
        "file:///etc/passwd".to_owned(),
        "https://[".to_owned(),
    ] {
        let before = api.requests();
        assert_eq!(
            list_with(&api, Fault::ForeignNextLink(link.clone())).await,
            Err("foreign_link"),
            "{link}"
        );
        assert_eq!(api.requests() - before, 1, "{link}");
    }
    assert!(!visited(&stranger).await);
}

#[tokio::test]
async fn foreign_link_is_named_without_its_secrets() {
    let api = Api::plain(1).await;
    let link = "https://eve:hunter2@evil.example:8443/api?token=abc";
    api.control().inject(Endpoint::Machines, Fault::ForeignNextLink(link.to_owned()), Times::Next(1));
    let text = api.client.machines(ListQuery::All).await.unwrap_err().to_string();
    assert!(text.contains("`https://evil.example:8443`"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("abc"), "{text}");
}

#[tokio::test]
async fn relative_next_link_is_followed() {
    let api = Api::plain(2).await;
    let record = json!({"id": "aa", "computerDnsName": "first"});
    let page = json!({"value": [record], "@odata.nextLink": "/api/machines?$skip=1"});
    let page = Fault::Body(page.to_string().into_bytes());
    api.control().inject(Endpoint::Machines, page, Times::Next(1));
    let machines = api.client.machines(ListQuery::All).await.unwrap();
    assert_eq!(machines.len(), 2, "the one of the first page, and the second of the fleet");
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let api = Api::plain(1).await;
    let stranger = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for to in [
        format!("https://{}/", stranger.local_addr().unwrap()),
        format!("{}/api/machines", api.test_tenant.sim.api_url()),
    ] {
        let before = api.requests();
        assert_eq!(list_with(&api, Fault::Redirect(to)).await, Err("unexpected_status"));
        assert_eq!(api.requests() - before, 1);
    }
    assert!(!visited(&stranger).await);
}

#[tokio::test]
async fn endless_pages_end_in_an_error() {
    let api = Api::plain(1).await;
    assert_eq!(list_with(&api, Fault::EndlessPaging).await, Err("page_limit"));
    assert_eq!(api.requests(), 500);
    api.control().inject(Endpoint::MissingKbs, Fault::EndlessPaging, Times::Always);
    assert_eq!(api.fetch_kbs().await.unwrap_err().kind(), "page_limit");
    assert_eq!(api.requests(), 520);
}

#[tokio::test]
async fn repeated_link_ends_in_an_error() {
    let api = Api::plain(1).await;
    assert_eq!(list_with(&api, Fault::RepeatedLink).await, Err("page_limit"));
    assert_eq!(api.requests(), 1);
}

#[tokio::test]
async fn endless_empty_pages_end_in_an_error() {
    let api = Api::plain(1).await;
    assert_eq!(list_with(&api, Fault::EndlessEmptyPages).await, Err("page_limit"));
    assert_eq!(api.requests(), 3);
    api.control().inject(Endpoint::MissingKbs, Fault::EndlessEmptyPages, Times::Always);
    assert_eq!(api.fetch_kbs().await.unwrap_err().kind(), "page_limit");
}
