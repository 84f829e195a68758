//! Logs: one line per event on stderr, as logfmt or JSON.
//!
//! Only events of this crate are written. An error of a library is logged once, where this crate handles it.
//! Every line is counted by level.

use std::io;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::model::LogLevel;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `key=value` pairs, the format of Prometheus and its exporters.
    Logfmt,
    /// One JSON object per line.
    Json,
}

/// Starts logging for the whole process. `count` is called with the level of each line.
///
/// # Errors
/// Fails if logging has already been started.
pub fn init(
    level: LogLevel,
    format: LogFormat,
    count: impl Fn(LogLevel) + Send + Sync + 'static,
) -> Result<(), TryInitError> {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let own = Targets::new().with_target("mde_exporter", level);
    let lines = match format {
        LogFormat::Logfmt => {
            tracing_logfmt::builder().with_target(false).layer().with_writer(io::stderr).boxed()
        }
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_writer(io::stderr)
            .boxed(),
    };
    // Counted before it is written, so that the counter covers every line that a reader has seen.
    tracing_subscriber::registry().with(LevelCounter(count).and_then(lines).with_filter(own)).try_init()
}

struct LevelCounter<F>(F);

impl<S: Subscriber, F: Fn(LogLevel) + 'static> Layer<S> for LevelCounter<F> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        (self.0)(match *event.metadata().level() {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            Level::DEBUG | Level::TRACE => LogLevel::Debug,
        });
    }
}
