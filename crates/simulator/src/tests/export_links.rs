//! Who may list the export, and which of its links are good.

use std::sync::Mutex;

use jiff::ToSpan as _;

use super::super::*;
use super::export::{LIST, unlimited};
use super::{Visitor, json_of, message, now};

#[tokio::test]
async fn list_needs_its_role_and_has_its_own_quota() {
    let mut visitor = Visitor::of(Options { machines: 1, ..Options::new(now) }).await;
    let control = visitor.simulator.control().clone();
    control.set_roles(&["Machine.Read.All", "Software.Read.All"]);
    visitor.renew().await;
    let (status, reply) = visitor.get_json(LIST).await;
    assert_eq!(status, 403);
    assert!(message(&reply).contains("API required roles: Vulnerability.Read.All"), "{reply}");
    control.set_roles(&["Vulnerability.Read.All"]);
    visitor.renew().await;
    for _ in 0..5 {
        assert_eq!(visitor.get_json(LIST).await.0, 200);
    }
    let refused = visitor.get(LIST).await.expect("reply");
    assert_eq!(refused.status().as_u16(), 429);
    assert_eq!(message(&json_of(refused).await), "API calls quota exceeded! maximum allowed 5 per 00:01:00");
    control.set_quota(None, None);
    for _ in 0..25 {
        assert_eq!(visitor.get_json(LIST).await.0, 200);
    }
    assert_eq!(control.requests(Endpoint::Export), 32);
    assert_eq!(
        visitor
            .client
            .get(format!("{}{LIST}", visitor.simulator.api_url()))
            .send()
            .await
            .expect("reply")
            .status(),
        401
    );
}

#[tokio::test]
async fn links_are_valid_as_long_as_was_asked_for() {
    let clock = Arc::new(Mutex::new(now()));
    let read = clock.clone();
    let options = Options { machines: 2, awkwardness: Awkwardness::None, ..unlimited() };
    let visitor =
        Visitor::of(Options { now: Arc::new(move || *read.lock().expect("clock")), ..options }).await;
    let link = async |query: &str| {
        let (_, list) = visitor.get_json(&format!("{LIST}{query}")).await;
        list["exportFiles"][0].as_str().expect("link").to_owned()
    };
    let (short, long) = (link("").await, link("?sasValidHours=6").await);
    assert!(short.contains("se=2025-11-20T13%3A00%3A00Z&sr=b&sp=r&sig="), "{short}");
    assert!(short.contains(visitor.simulator.link_secret()));
    for bad in ["0", "7", "x", ""] {
        let (status, reply) = visitor.get_json(&format!("{LIST}?sasValidHours={bad}")).await;
        assert_eq!((status, reply["error"]["code"].as_str()), (400, Some("InvalidInput")), "{bad}");
    }
    let status = async |link: &str| visitor.download(link).await.status().as_u16();
    *clock.lock().expect("clock") = now() + 59.minutes();
    assert_eq!((status(&short).await, status(&long).await), (200, 200));
    *clock.lock().expect("clock") = now() + 60.minutes();
    assert_eq!((status(&short).await, status(&long).await), (403, 200));
    visitor.simulator.control().expire_links();
    let refused = visitor.download(&long).await;
    assert_eq!(refused.headers()["x-ms-error-code"], "AuthenticationFailed");
    let text = refused.text().await.expect("text");
    assert!(
        text.contains("<AuthenticationErrorDetail>Signature not valid in the specified time frame"),
        "{text}"
    );
    assert_eq!(status(&link("").await).await, 200, "a new link is good");
}

#[tokio::test]
async fn store_refuses_tokens_changed_links_and_forgotten_snapshots() {
    let visitor = Visitor::of(Options { machines: 2, awkwardness: Awkwardness::None, ..unlimited() }).await;
    let control = visitor.simulator.control();
    let link = visitor.links().await.remove(0);
    assert_eq!(visitor.get(&link).await.expect("reply").status().as_u16(), 400, "it carries a token");
    let calls = control.calls();
    assert!(calls.last().expect("a call").authorization.is_some());
    let status = async |link: &str| visitor.download(link).await.status().as_u16();
    assert_eq!(status(&link.replace("se=2025", "se=2026")).await, 403);
    assert_eq!(status(&link.replace("part-00000", "part-00001")).await, 403);
    assert_eq!(status(link.split('?').next().expect("path")).await, 403);
    assert_eq!(status(&link).await, 200);
    assert!(control.calls().last().expect("a call").authorization.is_none());
    for _ in 0..2 {
        control.rebuild_export();
        assert_eq!(visitor.get_json(LIST).await.0, 200);
    }
    let gone = visitor.download(&link).await;
    assert_eq!(
        (gone.status().as_u16(), &gone.headers()["x-ms-error-code"]),
        (404, &"BlobNotFound".parse().expect("text"))
    );
    assert_eq!(control.requests(Endpoint::ExportFile), 6);
}
