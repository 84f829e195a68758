//! The body of a reply, received by a task and read by a blocking thread.
//!
//! Chunks pass through a short channel, so that a body is never held in memory and a slow reader slows the download.

use std::io::{self, BufRead, Read};

use tokio::sync::mpsc::{Receiver, Sender, channel};

/// The number of chunks between the download and the reading thread; a chunk has at most about 100 KB.
const CHUNKS: usize = 8;

/// The sending end of a body: chunks, then `None`. A sender that is dropped before `None` has not sent a complete
/// body.
pub type BodySender = Sender<Option<Vec<u8>>>;

/// A body that is being received, for a blocking reader.
#[derive(Debug)]
pub struct BodyReader {
    receiver: Receiver<Option<Vec<u8>>>,
    chunk: Vec<u8>,
    consumed: usize,
    is_end: bool,
}

/// Creates both ends of a body.
#[must_use]
pub fn body() -> (BodySender, BodyReader) {
    let (sender, receiver) = channel(CHUNKS);
    (sender, BodyReader { receiver, chunk: Vec::new(), consumed: 0, is_end: false })
}

impl BufRead for BodyReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.consumed == self.chunk.len() && !self.is_end {
            match self.receiver.blocking_recv() {
                Some(Some(chunk)) => (self.chunk, self.consumed) = (chunk, 0),
                Some(None) => self.is_end = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        Ok(&self.chunk[self.consumed..])
    }

    fn consume(&mut self, amount: usize) {
        self.consumed += amount;
    }
}

impl Read for BodyReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}
