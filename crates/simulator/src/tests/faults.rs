//! Faults, as a client sees them.

use std::collections::BTreeSet;

use super::TestClient;
use crate::{Endpoint, Fault, QuotaPeriod, Times};

#[tokio::test]
async fn faults_break_delay_and_redirect_replies() {
    let client = TestClient::plain(2).await;
    let control = client.simulator.control();
    let inject = |fault| control.inject(Endpoint::Machines, fault, Times::Next(1));

    inject(Fault::Reset);
    client.get("/api/machines").await.expect_err("reset");
    inject(Fault::Truncated);
    client.get("/api/machines").await.expect("head").bytes().await.expect_err("cut short");
    inject(Fault::HtmlError(502));
    let page = client.get("/api/machines").await.expect("reply");
    assert_eq!(page.status().as_u16(), 502);
    assert!(page.text().await.expect("text").starts_with("<html>"));
    inject(Fault::Throttle { retry_after: Some("soon".to_owned()), window: QuotaPeriod::Hour });
    let throttled = client.get("/api/machines").await.expect("reply");
    assert_eq!(throttled.headers()["retry-after"], "soon");
    inject(Fault::ForeignNextLink("https://elsewhere.example/".to_owned()));
    let (_, page) = client.get_json("/api/machines").await;
    assert_eq!(page["@odata.nextLink"], "https://elsewhere.example/");
    inject(Fault::Redirect("https://elsewhere.example/".to_owned()));
    assert_eq!(client.get("/api/machines").await.expect("reply").status().as_u16(), 302);
    inject(Fault::SlowDrip);
    let mut dripping = client.get("/api/machines").await.expect("head");
    assert!(dripping.chunk().await.expect("first bytes").is_some());
    drop(dripping);
    assert_eq!(client.get_json("/api/machines").await.0, 200, "each fault applied once");
}

#[tokio::test]
async fn fault_can_apply_to_every_second_call() {
    let client = TestClient::plain(2).await;
    client.simulator.control().inject(Endpoint::Machines, Fault::Status(503), Times::EverySecond);
    for status in [503, 200, 503, 200] {
        assert_eq!(client.get("/api/machines").await.expect("reply").status().as_u16(), status);
    }
}

#[tokio::test]
async fn endless_paging_never_repeats_a_link() {
    let client = TestClient::plain(2).await;
    let control = client.simulator.control();
    control.inject(Endpoint::Machines, Fault::EndlessPaging, Times::Always);
    let mut path = "/api/machines".to_owned();
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        let (_, page) = client.get_json(&path).await;
        path = page["@odata.nextLink"].as_str().expect("a link").to_owned();
        assert!(seen.insert(path.clone()));
    }
}

#[tokio::test]
async fn hanging_call_ends_when_its_client_gives_up() {
    let client = TestClient::plain(1).await;
    let control = client.simulator.control().clone();
    control.inject(Endpoint::Machines, Fault::Hang, Times::Always);
    let url = format!("{}/api/machines", client.simulator.api_url());
    let hanging = client.http.get(url).send();
    tokio::select! {
        _ = hanging => panic!("a hanging call must not be answered"),
        () = control.wait_for_requests(Endpoint::Machines, 1) => {}
    }
    assert_eq!(control.calls().last().expect("a call").status, None);
}

#[tokio::test]
async fn decompression_bomb_is_small_until_it_is_unpacked() {
    let client = TestClient::plain(1).await;
    client.simulator.control().inject(Endpoint::Machines, Fault::CompressedBomb, Times::Next(1));
    let mut reply = client.get("/api/machines").await.expect("head");
    let mut unpacked = 0;
    while unpacked < 8 << 20 {
        let chunk = reply.chunk().await.expect("white space").expect("more of it");
        assert!(chunk.iter().all(|&byte| byte == b' '));
        unpacked += chunk.len();
    }
}

#[tokio::test]
async fn fault_for_one_machine_does_not_affect_the_others() {
    let client = TestClient::plain(2).await;
    let control = client.simulator.control();
    let ids = control.machine_ids();
    control.inject_for_machine(&ids[0], Fault::Status(503), Times::Always);
    let status = async |id: &str| client.get_json(&format!("/api/machines/{id}/getmissingkbs")).await.0;
    assert_eq!((status(&ids[0]).await, status(&ids[1]).await), (503, 200));
    control.clear();
    assert_eq!(status(&ids[0]).await, 200);
}
