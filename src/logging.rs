//! Logs: one line per event on stderr, as logfmt or JSON.
//!
//! Only this crate speaks: what a library has to say reaches the operator through an error that is
//! logged where it is handled, once. Every line is counted by level.

use std::io;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `key=value` pairs, as Prometheus and its exporters write them.
    Logfmt,
    /// One JSON object per line.
    Json,
}

/// The least severe events that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    /// Also what only a developer asks for.
    Debug,
    /// Start, stop and one line per poll.
    Info,
    /// Degraded, but going on.
    Warn,
    /// Someone must act.
    Error,
}

/// Starts logging for the whole process; `count` is told the level of each line.
///
/// # Errors
/// When logging was started before.
pub fn init(
    level: LogLevel,
    format: LogFormat,
    count: impl Fn(&'static str) + Send + Sync + 'static,
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
    // Counted first, so that whoever has read a line finds it counted.
    tracing_subscriber::registry().with(Counting(count).and_then(lines).with_filter(own)).try_init()
}

struct Counting<F>(F);

impl<S: Subscriber, F: Fn(&'static str) + 'static> Layer<S> for Counting<F> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        (self.0)(match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        });
    }
}
