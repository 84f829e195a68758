//! Faults of the export's list and of its files, as a client meets them.

use std::io::{ErrorKind, Read as _};

use flate2::read::{GzDecoder, MultiGzDecoder};

use super::super::*;
use super::export::LIST;
use super::{Response, Visitor, now};

struct Files {
    visitor: Visitor,
    link: String,
}

impl Files {
    async fn new() -> Self {
        let options = Options { machines: 12, quota_per_minute: None, ..Options::new(now) };
        let visitor = Visitor::of(Options { awkwardness: Awkwardness::None, ..options }).await;
        let (_, list) = visitor.get_json(LIST).await;
        let link = list["exportFiles"][0].as_str().expect("link").to_owned();
        Self { visitor, link }
    }

    /// The answer to the next download when it meets a fault.
    async fn meet(&self, fault: Fault) -> reqwest::Result<Response> {
        self.visitor.simulator.control().inject(Endpoint::ExportFile, fault, Times::Next(1));
        self.visitor.client.get(&self.link).send().await
    }

    async fn status(&self, fault: Fault) -> (u16, String) {
        let response = self.meet(fault).await.expect("reply");
        let code = response.headers().get("x-ms-error-code").and_then(|code| code.to_str().ok());
        (response.status().as_u16(), code.unwrap_or_default().to_owned())
    }
}

fn named(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn file_errors_are_those_of_the_store() {
    let files = Files::new().await;
    assert_eq!(files.status(Fault::Status(403)).await, named(403, "AuthenticationFailed"));
    assert_eq!(files.status(Fault::Status(500)).await, named(500, "InternalError"));
    assert_eq!(files.status(Fault::Status(503)).await, named(503, "ServerBusy"));
    assert_eq!(files.status(Fault::NotFound).await, named(404, "BlobNotFound"));
    let throttle = Fault::Throttle { retry_after: Some("7".to_owned()), window: Window::Hour };
    let busy = files.meet(throttle).await.expect("reply");
    assert_eq!((busy.status().as_u16(), busy.headers()["retry-after"].to_str().ok()), (503, Some("7")));
    assert_eq!(files.status(Fault::EndlessPaging).await, named(500, "InternalError"));
    assert_eq!(files.status(Fault::Redirect("https://elsewhere.example/".to_owned())).await.0, 302);
    let text = files.meet(Fault::Status(404)).await.expect("reply").text().await.expect("text");
    assert!(text.trim_start_matches('\u{feff}').starts_with("<?xml"), "{text}");
    files.meet(Fault::Reset).await.expect_err("reset");
    assert_eq!(files.status(Fault::Delay(Duration::from_millis(1))).await.0, 200);
    assert_eq!(
        files.meet(Fault::Body(b"as it is".to_vec())).await.expect("reply").text().await.expect("text"),
        "as it is"
    );
}

#[tokio::test]
async fn cut_file_begins_with_its_own_rows() {
    let files = Files::new().await;
    let mut response = files.meet(Fault::Truncated).await.expect("head");
    let mut packed = Vec::new();
    let error = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => packed.extend_from_slice(&chunk),
            Ok(None) => panic!("it must not end well"),
            Err(error) => break error,
        }
    };
    assert!(error.is_body() || error.is_decode(), "{error:?}");
    let mut text = Vec::new();
    let error = MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut text).expect_err("cut");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    let first = files.visitor.simulator.control().machine_ids().remove(0);
    assert!(String::from_utf8_lossy(&text).contains(&first));
}

#[tokio::test]
async fn wrong_files_are_gzip_all_the_same() {
    let files = Files::new().await;
    for (fault, begins) in [(Fault::NotJson, "The service"), (Fault::WrongShape, "[1,2]\n7\nnull\n")] {
        let packed = files.meet(fault).await.expect("reply").bytes().await.expect("body");
        let mut text = String::new();
        MultiGzDecoder::new(&*packed).read_to_string(&mut text).expect("gzip");
        assert!(text.starts_with(begins), "{text}");
    }
}

#[tokio::test]
async fn dripping_file_is_good_gzip_that_never_ends() {
    let files = Files::new().await;
    let mut response = files.meet(Fault::SlowDrip).await.expect("head");
    let mut packed = Vec::new();
    for _ in 0..4 {
        packed.extend_from_slice(&response.chunk().await.expect("bytes").expect("more"));
    }
    let mut text = Vec::new();
    let error = GzDecoder::new(packed.as_slice()).read_to_end(&mut text).expect_err("no end yet");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert!(text.ends_with(b"}\n") && text.len() > 5_000);
}

#[tokio::test]
async fn huge_files_are_small_on_the_way() {
    let files = Files::new().await;
    for (fault, least_ratio) in [(Fault::HugeBody, 3), (Fault::CompressedBomb, 100)] {
        let mut response = files.meet(fault).await.expect("head");
        let mut packed = Vec::new();
        while packed.len() < 100 << 10 {
            packed.extend_from_slice(&response.chunk().await.expect("bytes").expect("more"));
        }
        let mut text = Vec::new();
        // The test cuts it, at the end of a member or within one.
        MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut text).ok();
        assert!(text.len() > packed.len() * least_ratio, "{} of {}", text.len(), packed.len());
    }
}

#[tokio::test]
async fn list_faults_keep_the_shape_of_the_list() {
    let files = Files::new().await;
    let control = files.visitor.simulator.control();
    let inject = |fault| control.inject(Endpoint::Export, fault, Times::Next(1));
    inject(Fault::ForeignNextLink("http://elsewhere.example/file".to_owned()));
    let (_, list) = files.visitor.get_json(LIST).await;
    assert_eq!(list["exportFiles"][0], "http://elsewhere.example/file");
    inject(Fault::EndlessPaging);
    let (_, list) = files.visitor.get_json(LIST).await;
    assert!(list["exportFiles"][0].is_string() && list["@odata.nextLink"].is_string());
    inject(Fault::EndlessEmptyPages);
    assert_eq!(files.visitor.get_json(LIST).await.1["exportFiles"].as_array().map(Vec::len), Some(0));
    inject(Fault::WrongShape);
    assert!(files.visitor.get_json(LIST).await.1["exportFiles"].is_object());
    inject(Fault::Throttle { retry_after: None, window: Window::Hour });
    let (status, reply) = files.visitor.get_json(LIST).await;
    assert_eq!(
        (status, super::message(&reply)),
        (429, "API calls quota exceeded! maximum allowed 20 per 01:00:00")
    );
    inject(Fault::Truncated);
    files.visitor.get(LIST).await.expect("head").bytes().await.expect_err("cut short");
}
