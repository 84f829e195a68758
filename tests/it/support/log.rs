//! The log of the exporter, as an operator reads it.

use std::io::Write;
use std::sync::{Arc, Mutex};

use mde_exporter::logging::{LogFormat, layer};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::{DefaultGuard, set_default};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};

/// The log lines of this thread from level info on, until the guard is dropped.
#[derive(Clone, Default)]
pub(crate) struct CapturedLog(Arc<Mutex<Vec<u8>>>);

impl Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl CapturedLog {
    pub(crate) fn capture(&self) -> DefaultGuard {
        let log = self.clone();
        let lines = layer(LogFormat::Logfmt, move || log.clone());
        let own = Targets::new().with_target("mde_exporter", LevelFilter::INFO);
        set_default(tracing_subscriber::registry().with(lines.with_filter(own)))
    }

    /// The lines so far, without their timestamps.
    pub(crate) fn lines(&self) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    pub(crate) fn count(&self, text: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(text)).count()
    }
}
