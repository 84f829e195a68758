//! Faults of the export's list and of its files, as a client sees them.

use std::io::{ErrorKind, Read as _};
use std::time::Duration;

use flate2::read::{GzDecoder, MultiGzDecoder};

use super::export::LIST;
use super::{Response, TestClient, now};
use crate::{Endpoint, Fault, Options, QuotaPeriod, Realism, Times};

struct FaultyFiles {
    client: TestClient,
    link: String,
}

impl FaultyFiles {
    async fn new() -> Self {
        let options = Options { machines: 12, quota_per_minute: None, ..Options::new(now) };
        let client = TestClient::of(Options { realism: Realism::Plain, ..options }).await;
        let (_, list) = client.get_json(LIST).await;
        let link = list["exportFiles"][0].as_str().expect("link").to_owned();
        Self { client, link }
    }

    /// Injects a fault and returns the reply to the next download.
    async fn download_with(&self, fault: Fault) -> reqwest::Result<Response> {
        self.client.simulator.control().inject(Endpoint::ExportFile, fault, Times::Next(1));
        self.client.http.get(&self.link).send().await
    }

    async fn status(&self, fault: Fault) -> (u16, String) {
        let response = self.download_with(fault).await.expect("reply");
        let code = response.headers().get("x-ms-error-code").and_then(|code| code.to_str().ok());
        (response.status().as_u16(), code.unwrap_or_default().to_owned())
    }
}

fn error(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn file_errors_are_those_of_the_store() {
    let files = FaultyFiles::new().await;
    assert_eq!(files.status(Fault::Status(403)).await, error(403, "AuthenticationFailed"));
    assert_eq!(files.status(Fault::Status(500)).await, error(500, "InternalError"));
    assert_eq!(files.status(Fault::Status(503)).await, error(503, "ServerBusy"));
    assert_eq!(files.status(Fault::NotFound).await, error(404, "BlobNotFound"));
    let throttle = Fault::Throttle { retry_after: Some("7".to_owned()), window: QuotaPeriod::Hour };
    let busy = files.download_with(throttle).await.expect("reply");
    assert_eq!((busy.status().as_u16(), busy.headers()["retry-after"].to_str().ok()), (503, Some("7")));
    assert_eq!(files.status(Fault::EndlessPaging).await, error(500, "InternalError"));
    assert_eq!(files.status(Fault::Redirect("https://elsewhere.example/".to_owned())).await.0, 302);
    let text = files.download_with(Fault::Status(404)).await.expect("reply").text().await.expect("text");
    assert!(text.trim_start_matches('\u{feff}').starts_with("<?xml"), "{text}");
    files.download_with(Fault::Reset).await.expect_err("reset");
    assert_eq!(files.status(Fault::Delay(Duration::from_millis(1))).await.0, 200);
    assert_eq!(
        files
            .download_with(Fault::Body(b"unchanged".to_vec()))
            .await
            .expect("reply")
            .text()
            .await
            .expect("text"),
        "unchanged"
    );
}

#[tokio::test]
async fn truncated_file_begins_with_its_own_rows() {
    let files = FaultyFiles::new().await;
    let mut response = files.download_with(Fault::Truncated).await.expect("head");
    let mut compressed = Vec::new();
    let error = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => compressed.extend_from_slice(&chunk),
            Ok(None) => panic!("the body must not end without an error"),
            Err(error) => break error,
        }
    };
    assert!(error.is_body() || error.is_decode(), "{error:?}");
    let mut text = Vec::new();
    let error = MultiGzDecoder::new(compressed.as_slice()).read_to_end(&mut text).expect_err("cut");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    let first = files.client.simulator.control().machine_ids().remove(0);
    assert!(String::from_utf8_lossy(&text).contains(&first));
}

#[tokio::test]
async fn files_with_wrong_contents_are_still_gzip() {
    let files = FaultyFiles::new().await;
    for (fault, beginning) in [(Fault::NotJson, "The service"), (Fault::WrongShape, "[1,2]\n7\nnull\n")] {
        let compressed = files.download_with(fault).await.expect("reply").bytes().await.expect("body");
        let mut text = String::new();
        MultiGzDecoder::new(&*compressed).read_to_string(&mut text).expect("gzip");
        assert!(text.starts_with(beginning), "{text}");
    }
}

#[tokio::test]
async fn slow_file_is_valid_gzip_that_never_ends() {
    let files = FaultyFiles::new().await;
    let mut response = files.download_with(Fault::SlowDrip).await.expect("head");
    let mut compressed = Vec::new();
    for _ in 0..4 {
        compressed.extend_from_slice(&response.chunk().await.expect("bytes").expect("more"));
    }
    let mut text = Vec::new();
    let error = GzDecoder::new(compressed.as_slice()).read_to_end(&mut text).expect_err("no end yet");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert!(text.ends_with(b"}\n") && text.len() > 5_000);
}

#[tokio::test]
async fn huge_files_are_small_while_compressed() {
    let files = FaultyFiles::new().await;
    for (fault, least_ratio) in [(Fault::HugeBody, 3), (Fault::CompressedBomb, 100)] {
        let mut response = files.download_with(fault).await.expect("head");
        let mut compressed = Vec::new();
        while compressed.len() < 100 << 10 {
            compressed.extend_from_slice(&response.chunk().await.expect("bytes").expect("more"));
        }
        let mut text = Vec::new();
        // The test stops reading at the end of a member or within one.
        MultiGzDecoder::new(compressed.as_slice()).read_to_end(&mut text).ok();
        assert!(text.len() > compressed.len() * least_ratio, "{} of {}", text.len(), compressed.len());
    }
}

#[tokio::test]
async fn list_faults_keep_the_shape_of_the_list() {
    let files = FaultyFiles::new().await;
    let control = files.client.simulator.control();
    let inject = |fault| control.inject(Endpoint::Export, fault, Times::Next(1));
    inject(Fault::ForeignNextLink("http://elsewhere.example/file".to_owned()));
    let (_, list) = files.client.get_json(LIST).await;
    assert_eq!(list["exportFiles"][0], "http://elsewhere.example/file");
    inject(Fault::EndlessPaging);
    let (_, list) = files.client.get_json(LIST).await;
    assert!(list["exportFiles"][0].is_string() && list["@odata.nextLink"].is_string());
    inject(Fault::EndlessEmptyPages);
    assert_eq!(files.client.get_json(LIST).await.1["exportFiles"].as_array().map(Vec::len), Some(0));
    inject(Fault::WrongShape);
    assert!(files.client.get_json(LIST).await.1["exportFiles"].is_object());
    inject(Fault::Throttle { retry_after: None, window: QuotaPeriod::Hour });
    let (status, reply) = files.client.get_json(LIST).await;
    assert_eq!(
        (status, super::message(&reply)),
        (429, "API calls quota exceeded! maximum allowed 20 per 01:00:00")
    );
    inject(Fault::Truncated);
    files.client.get(LIST).await.expect("head").bytes().await.expect_err("cut short");
}
