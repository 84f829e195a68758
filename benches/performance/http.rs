//! A client that discards replies, so that the server is measured.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// The number of lines of a text.
pub(crate) fn lines(text: &[u8]) -> usize {
    text.split_inclusive(|byte| *byte == b'\n').count()
}

/// A persistent connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("a listening server");
        stream.set_nodelay(true).expect("a connected socket");
        Self { stream, buffer: vec![0; 1 << 20] }
    }

    /// Requests `path` and returns the length of the body.
    pub(crate) fn get(&mut self, path: &str, encoding: &str) -> usize {
        self.read(path, encoding, |_| {})
    }

    /// Requests `path` and returns the body.
    pub(crate) fn body(&mut self, path: &str, encoding: &str) -> Vec<u8> {
        let mut body = Vec::new();
        self.read(path, encoding, |part| body.extend_from_slice(part));
        body
    }

    fn read(&mut self, path: &str, encoding: &str, mut take: impl FnMut(&[u8])) -> usize {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {encoding}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).expect("a connected socket");
        let (mut filled, end_of_head) = self.head();
        let head = String::from_utf8_lossy(&self.buffer[..end_of_head]).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length:")) else {
            return self.chunked(filled, end_of_head, take);
        };
        let length: usize = length.trim().parse().expect("a number");
        take(&self.buffer[end_of_head..filled]);
        let mut read = filled - end_of_head;
        while read < length {
            filled = self.fill(0);
            take(&self.buffer[..filled]);
            read += filled;
        }
        assert_eq!(read, length);
        length
    }

    /// Reads to the end of the head. Returns the number of bytes read and the end of the head.
    fn head(&mut self) -> (usize, usize) {
        let mut filled = 0;
        loop {
            filled += self.fill(filled);
            let end = self.buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                return (filled, end + 4);
            }
        }
    }

    /// Reads a chunked body, which ends with an empty chunk. The count includes the chunk headers.
    fn chunked(&mut self, filled: usize, start: usize, mut take: impl FnMut(&[u8])) -> usize {
        let mut tail = self.buffer[start..filled].to_vec();
        let mut read = tail.len();
        take(&tail);
        while !tail.ends_with(b"0\r\n\r\n") {
            let filled = self.fill(0);
            take(&self.buffer[..filled]);
            read += filled;
            tail.extend_from_slice(&self.buffer[filled.saturating_sub(8)..filled]);
            tail.drain(..tail.len().saturating_sub(8));
        }
        read
    }

    fn fill(&mut self, from: usize) -> usize {
        let read = self.stream.read(&mut self.buffer[from..]).expect("a connected socket");
        assert!(read > 0, "the server hung up");
        read
    }
}
