//! Logs: one line per event on stderr, as logfmt or JSON.
//!
//! Only events of this crate are written. An error of a library is logged once, where this crate handles it.
//! Every line is counted by level. A thread of its own writes the lines, so that a reader of stderr that stops
//! reading delays nothing; lines for which there is no space are dropped and counted.

mod line;
mod writer;

use std::any::Any;
use std::panic::PanicHookInfo;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::model::LogLevel;
pub use writer::LogWriter;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `key=value` pairs, the format of Prometheus and its exporters.
    Logfmt,
    /// One JSON object per line.
    Json,
}

/// An error that prevents the start of logging.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The thread that writes the lines cannot be started.
    #[error("cannot start the thread that writes the log")]
    Thread(#[from] std::io::Error),
    /// Logging was started before.
    #[error("cannot start the log")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging for the whole process, panics included. `count` is called with the level of each line, and
/// `count_dropped` with each number of lines that were dropped.
///
/// # Errors
/// Fails if logging has already been started, or if no thread can be started.
pub fn init(
    level: LogLevel,
    format: LogFormat,
    count: impl Fn(LogLevel) + Send + Sync + 'static,
    count_dropped: impl Fn(u64) + Send + Sync + 'static,
) -> Result<LogWriter, LogError> {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let own = Targets::new().with_target("mde_exporter", level);
    let writer = LogWriter::start(std::io::stderr(), count_dropped)?;
    let lines = layer(format, writer.clone());
    // Counted before it is written, so that the counter covers every line that a reader has seen.
    tracing_subscriber::registry().with(LevelCounter(count).and_then(lines).with_filter(own)).try_init()?;
    // The default hook writes to stderr directly, which can block.
    std::panic::set_hook(Box::new(log_panic));
    Ok(writer)
}

/// Returns the layer that writes each event as one line to `writer`.
pub fn layer<S, W>(format: LogFormat, writer: W) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer().event_format(format).with_writer(writer).log_internal_errors(false)
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(tracing::field::display);
    tracing::error!(location, panic = text(panic.payload()), "a task panicked; this is a bug");
}

fn text(payload: &dyn Any) -> Option<&str> {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

struct LevelCounter<F>(F);

impl<S: Subscriber, F: Fn(LogLevel) + 'static> Layer<S> for LevelCounter<F> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        (self.0)(level(event));
    }
}

fn level(event: &Event<'_>) -> LogLevel {
    match *event.metadata().level() {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG | Level::TRACE => LogLevel::Debug,
    }
}
