//! Faults, as a client meets them.

use std::collections::BTreeSet;

use super::super::*;
use super::Visitor;

#[tokio::test]
async fn faults_cut_stall_and_mislead() {
    let visitor = Visitor::plain(2).await;
    let control = visitor.simulator.control();
    let inject = |fault| control.inject(Endpoint::Machines, fault, Times::Next(1));

    inject(Fault::Reset);
    visitor.get("/api/machines").await.expect_err("reset");
    inject(Fault::Truncated);
    visitor.get("/api/machines").await.expect("head").bytes().await.expect_err("cut short");
    inject(Fault::HtmlError(502));
    let page = visitor.get("/api/machines").await.expect("reply");
    assert_eq!(page.status().as_u16(), 502);
    assert!(page.text().await.expect("text").starts_with("<html>"));
    inject(Fault::Throttle { retry_after: Some("soon".to_owned()), window: Window::Hour });
    let throttled = visitor.get("/api/machines").await.expect("reply");
    assert_eq!(throttled.headers()["retry-after"], "soon");
    inject(Fault::ForeignNextLink("https://elsewhere.example/".to_owned()));
    let (_, page) = visitor.get_json("/api/machines").await;
    assert_eq!(page["@odata.nextLink"], "https://elsewhere.example/");
    inject(Fault::Redirect("https://elsewhere.example/".to_owned()));
    assert_eq!(visitor.get("/api/machines").await.expect("reply").status().as_u16(), 302);
    inject(Fault::SlowDrip);
    let mut dripping = visitor.get("/api/machines").await.expect("head");
    assert!(dripping.chunk().await.expect("first bytes").is_some());
    drop(dripping);
    assert_eq!(visitor.get_json("/api/machines").await.0, 200, "all faults are used up");
}

#[tokio::test]
async fn endless_paging_never_repeats_a_link() {
    let visitor = Visitor::plain(2).await;
    let control = visitor.simulator.control();
    control.inject(Endpoint::Machines, Fault::EndlessPaging, Times::Always);
    let mut path = "/api/machines".to_owned();
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        let (_, page) = visitor.get_json(&path).await;
        path = page["@odata.nextLink"].as_str().expect("a link").to_owned();
        assert!(seen.insert(path.clone()));
    }
}

#[tokio::test]
async fn hanging_call_ends_with_its_client() {
    let visitor = Visitor::plain(1).await;
    let control = visitor.simulator.control().clone();
    control.inject(Endpoint::Machines, Fault::Hang, Times::Always);
    let url = format!("{}/api/machines", visitor.simulator.api_url());
    let hanging = visitor.client.get(url).send();
    tokio::select! {
        _ = hanging => panic!("it must not be answered"),
        () = control.wait_for_requests(Endpoint::Machines, 1) => {}
    }
    assert_eq!(control.calls().last().expect("a call").status, None);
}

#[tokio::test]
async fn compressed_bomb_is_small_until_it_is_unpacked() {
    let visitor = Visitor::plain(1).await;
    visitor.simulator.control().inject(Endpoint::Machines, Fault::CompressedBomb, Times::Next(1));
    let mut reply = visitor.get("/api/machines").await.expect("head");
    let mut unpacked = 0;
    while unpacked < 8 << 20 {
        let chunk = reply.chunk().await.expect("white space").expect("more of it");
        assert!(chunk.iter().all(|&byte| byte == b' '));
        unpacked += chunk.len();
    }
}

#[tokio::test]
async fn fault_for_one_machine_leaves_the_others_alone() {
    let visitor = Visitor::plain(2).await;
    let control = visitor.simulator.control();
    let ids = control.machine_ids();
    control.inject_for_machine(&ids[0], Fault::Status(503), Times::Always);
    let status = async |id: &str| visitor.get_json(&format!("/api/machines/{id}/getmissingkbs")).await.0;
    assert_eq!((status(&ids[0]).await, status(&ids[1]).await), (503, 200));
    control.clear();
    assert_eq!(status(&ids[0]).await, 200);
}
