//! The thread that writes log lines, and the bounded queue before it.
//!
//! `tracing-appender` is not used: it prints to stdout if its queue is full at the end, where `once` has printed
//! the exposition, and it does not count lines that cannot be written, as to a closed pipe.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// The bound of the lines that wait to be written, in bytes.
const QUEUE_BYTES: usize = 256 << 10;

/// The memory of a line in the queue in addition to its text.
const LINE_OVERHEAD_BYTES: usize = 64;

/// The time that [`LogWriter::drain`] waits.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// A writer of log lines that never blocks. Each `write` is one line. Clones share one queue.
#[derive(Clone)]
pub struct LogWriter {
    queue: Sender<Message>,
    shared: Arc<Shared>,
}

enum Message {
    Line(Vec<u8>),
    /// Answered when everything before it has been written.
    Flush(SyncSender<()>),
}

struct Shared {
    queued_bytes: AtomicUsize,
    /// The number of dropped lines that no line of the log has reported.
    unreported: AtomicU64,
    count_dropped: Box<dyn Fn(u64) + Send + Sync>,
}

impl Shared {
    fn dropped(&self) {
        self.unreported.fetch_add(1, Ordering::Relaxed);
        (self.count_dropped)(1);
    }
}

impl LogWriter {
    /// Starts the thread that writes to `output`. It ends with the process.
    pub(super) fn start(
        output: impl Write + Send + 'static,
        count_dropped: impl Fn(u64) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (queue, messages) = mpsc::channel();
        let count_dropped = Box::new(count_dropped);
        let shared = Arc::new(Shared {
            queued_bytes: AtomicUsize::new(0),
            unreported: AtomicU64::new(0),
            count_dropped,
        });
        let state = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(output, &messages, &state))?;
        Ok(Self { queue, shared })
    }

    /// Writes a text that is no log line, such as the error that ends the process.
    pub fn print(&self, text: &str) {
        self.push(format!("{text}\n").into_bytes());
    }

    /// Waits until every line has been written, but not longer than a second.
    pub fn drain(&self) {
        let (done, is_done) = mpsc::sync_channel(1);
        if self.queue.send(Message::Flush(done)).is_ok() {
            // An error means that nobody reads the log in time.
            is_done.recv_timeout(FLUSH_LIMIT).unwrap_or_default();
        }
    }

    fn push(&self, line: Vec<u8>) {
        let bytes = line.len() + LINE_OVERHEAD_BYTES;
        let queued = self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if queued + bytes > QUEUE_BYTES || self.queue.send(Message::Line(line)).is_err() {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.dropped();
        }
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn write_all(mut output: impl Write, messages: &Receiver<Message>, shared: &Shared) {
    while let Ok(message) = messages.recv() {
        match message {
            Message::Line(line) => {
                let written = output.write_all(&line).and_then(|()| output.flush());
                let bytes = line.len() + LINE_OVERHEAD_BYTES;
                let queued = shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed) - bytes;
                if written.is_err() {
                    shared.dropped();
                } else if queued == 0 {
                    report_dropped(shared);
                }
            }
            // An error means that the wait was given up.
            Message::Flush(done) => done.send(()).unwrap_or_default(),
        }
    }
}

/// Logs the number of dropped lines once the log is read again.
fn report_dropped(shared: &Shared) {
    let lines = shared.unreported.swap(0, Ordering::Relaxed);
    if lines > 0 {
        tracing::warn!(lines, "log lines were dropped because the reader of the log did not read them");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// An output that takes a line when the test allows it.
    struct Gate {
        open: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.open.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.written.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A writer to a [`Gate`].
    struct GatedLog {
        writer: LogWriter,
        allow: Sender<()>,
        written: Arc<Mutex<Vec<u8>>>,
        dropped: Arc<AtomicU64>,
    }

    fn gated() -> GatedLog {
        let (allow, open) = mpsc::channel();
        let (written, dropped) = (Arc::default(), Arc::new(AtomicU64::new(0)));
        let counter = Arc::clone(&dropped);
        let count = move |lines| {
            counter.fetch_add(lines, Ordering::Relaxed);
        };
        let gate = Gate { open, written: Arc::clone(&written) };
        let writer = LogWriter::start(gate, count).unwrap();
        GatedLog { writer, allow, written, dropped }
    }

    #[test]
    fn lines_beyond_the_queue_are_dropped_and_counted() {
        let GatedLog { mut writer, allow, written, dropped } = gated();
        let line = vec![b'x'; 1 << 14];
        for _ in 0..20 {
            writer.write_all(&line).unwrap();
        }
        // The line that is being written counts as queued until it is written.
        assert_eq!(dropped.load(Ordering::Relaxed), 5);
        for _ in 0..15 {
            allow.send(()).unwrap();
        }
        writer.drain();
        assert_eq!(written.lock().unwrap().len(), 15 << 14);
        assert_eq!(writer.shared.queued_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let GatedLog { mut writer, allow, dropped, .. } = gated();
        drop(allow);
        for _ in 0..3 {
            writer.write_all(b"lost\n").unwrap();
        }
        writer.drain();
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn flush_of_an_unread_log_ends() {
        let GatedLog { writer, allow: _allow, .. } = gated();
        writer.print("error: nobody reads this");
        writer.drain();
    }
}
