//! A host of export files. A test chooses each reply of the list and of the files, byte by byte.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub(crate) const LIST: &str = "/api/machines/SoftwareVulnerabilitiesExport";

/// The reply to one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A complete reply; the text holds further header lines.
    Complete(u16, &'static str, Vec<u8>),
    /// A body that lacks this many bytes of its announced length.
    Truncated(Vec<u8>, usize),
    /// A head, then a byte every 20 ms.
    Drip,
    /// The connection is closed without a reply.
    Closed,
    /// No reply; the connection stays open.
    Silence,
}

impl Reply {
    pub(crate) fn file(rows: &[Value]) -> Self {
        let text: String = rows.iter().flat_map(|row| [row.to_string(), "\n".to_owned()]).collect();
        Self::Complete(200, "", gzip(text.as_bytes()))
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::Complete(status, "", b"<Error>the link ?sig=SECRET is refused</Error>".to_vec())
    }
}

pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A request that the host received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedRequest {
    pub(crate) path_and_query: String,
    pub(crate) head: String,
}

/// The replies by path; the last one is repeated.
type Script = Arc<Mutex<BTreeMap<String, VecDeque<Reply>>>>;

pub(crate) struct ExportHost {
    pub(crate) url: String,
    script: Script,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
    _task: JoinSet<()>,
}

impl ExportHost {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (script, requests) = (Script::default(), Arc::default());
        let mut task = JoinSet::new();
        task.spawn(serve(listener, Arc::clone(&script), Arc::clone(&requests)));
        Self { url, script, requests, _task: task }
    }

    /// Sets the next replies at `path`; the last one is repeated.
    pub(crate) fn answer(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.script.lock().unwrap().insert(path.to_owned(), replies.into_iter().collect());
    }

    /// A list of these files. `turn` distinguishes its links from those of other lists.
    pub(crate) fn list(&self, generated_at: &str, turn: u32, files: &[&str]) -> Reply {
        let link = |file: &&str| format!("{}{file}?turn={turn}&sig=SECRET", self.url);
        let links: Vec<_> = files.iter().map(link).collect();
        let body = json!({"@odata.context": "x", "exportFiles": links, "generatedTime": generated_at});
        Reply::Complete(200, "", body.to_string().into_bytes())
    }

    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().unwrap().clone()
    }

    /// Paths and queries of the requests, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.requests().into_iter().map(|requests| requests.path_and_query).collect()
    }
}

async fn serve(listener: TcpListener, script: Script, requests: Arc<Mutex<Vec<ReceivedRequest>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(answer(stream, Arc::clone(&script), Arc::clone(&requests)));
    }
}

/// Answers one request and closes the connection.
async fn answer(mut stream: TcpStream, script: Script, requests: Arc<Mutex<Vec<ReceivedRequest>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let path_and_query = head.split(' ').nth(1).unwrap().to_owned();
    let path = path_and_query.split('?').next().unwrap().to_owned();
    requests.lock().unwrap().push(ReceivedRequest { path_and_query, head: head.to_ascii_lowercase() });
    let reply = match script.lock().unwrap().get_mut(&path) {
        Some(replies) if replies.len() > 1 => replies.pop_front().unwrap(),
        Some(replies) => replies[0].clone(),
        None => panic!("unexpected request for {path}"),
    };
    // A client may close the connection early; that is no fault of the host.
    drop(send(&mut stream, reply).await);
}

async fn send(stream: &mut TcpStream, reply: Reply) -> std::io::Result<()> {
    let head = |status, more: &str, length| {
        format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n")
    };
    match reply {
        Reply::Complete(status, more, body) => {
            stream.write_all(head(status, more, body.len()).as_bytes()).await?;
            stream.write_all(&body).await?;
            stream.shutdown().await
        }
        Reply::Truncated(body, missing) => {
            stream.write_all(head(200, "", body.len() + missing).as_bytes()).await?;
            stream.write_all(&body).await?;
            stream.shutdown().await
        }
        Reply::Drip => {
            stream.write_all(head(200, "", 1 << 30).as_bytes()).await?;
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            // The header of a gzip file with an endless comment.
            let bytes = [0x1f, 0x8b, 8, 0x10, 0, 0, 0, 0, 0, 3].into_iter().chain(std::iter::repeat(b'x'));
            for byte in bytes {
                pace.tick().await;
                stream.write_all(&[byte]).await?;
            }
            Ok(())
        }
        Reply::Closed => Ok(()),
        Reply::Silence => std::future::pending().await,
    }
}
