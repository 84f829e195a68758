//! Links that the client follows and links that it rejects: pages end, and no other host gets a token.

use mde_exporter::defender::ListQuery;
use mde_simulator::{Endpoint, Fault, Times};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::api::Api;

/// The number of machines on the list while the fault is active, or the kind of the error.
async fn list_with(api: &Api, fault: Fault) -> Result<usize, &'static str> {
    api.control().clear();
    api.control().inject(Endpoint::Machines, fault, Times::Always);
    match api.client.machines(ListQuery::All).await {
        Ok(machines) => Ok(machines.len()),
        Err(error) => Err(error.kind()),
    }
}

/// Returns whether a client has connected to `listener`.
async fn is_connected(listener: &TcpListener) -> bool {
    tokio::select! {
        biased;
        _ = listener.accept() => true,
        // A pending connection is accepted before this.
        () = tokio::task::yield_now() => false,
    }
}

#[tokio::test]
async fn foreign_next_link_is_rejected_and_receives_no_token() {
    let api = Api::plain(1).await;
    let other_host = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (api_port, other_port) =
        (api.tenant.api_url.port().unwrap(), other_host.local_addr().unwrap().port());
    for link in [
        // Another host or scheme.
        format!("https://localhost:{api_port}/api/machines?$skip=1"),
        format!("//localhost:{other_port}/api/machines"),
        format!("ftp://127.0.0.1:{api_port}/api/machines?$skip=1"),
        "https://api.securitycenter.microsoft.com/api/machines?$skip=1".to_owned(),
        // The API's host with a user name; and a host that only looks like the API's.
        format!("https://eve:secret@127.0.0.1:{api_port}/api/machines?$skip=1"),
        format!("https://127.0.0.1:{api_port}@127.0.0.1:{other_port}/api/machines"),
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
    assert!(!is_connected(&other_host).await);
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
    assert_eq!(machines.len(), 2, "the machine of the first page and the second machine of the fleet");
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let api = Api::plain(1).await;
    let other_host = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for to in [
        format!("https://{}/", other_host.local_addr().unwrap()),
        format!("{}/api/machines", api.test_tenant.sim.api_url()),
    ] {
        let before = api.requests();
        assert_eq!(list_with(&api, Fault::Redirect(to)).await, Err("unexpected_status"));
        assert_eq!(api.requests() - before, 1);
    }
    assert!(!is_connected(&other_host).await);
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
async fn page_without_a_new_id_ends_the_list() {
    let api = Api::plain(1).await;
    assert_eq!(list_with(&api, Fault::RepeatedLink).await, Ok(1));
    assert_eq!(api.requests(), 2);
    api.control().inject(Endpoint::MissingKbs, Fault::RepeatedLink, Times::Always);
    assert_eq!(api.fetch_kbs().await.unwrap().len(), 1);
    assert_eq!(api.requests(), 3);
}

#[tokio::test]
async fn endless_empty_pages_end_in_an_error() {
    let api = Api::plain(1).await;
    assert_eq!(list_with(&api, Fault::EndlessEmptyPages).await, Err("page_limit"));
    assert_eq!(api.requests(), 3);
    api.control().inject(Endpoint::MissingKbs, Fault::EndlessEmptyPages, Times::Always);
    assert_eq!(api.fetch_kbs().await.unwrap_err().kind(), "page_limit");
}
