//! The progress of the first reading of a fleet, in the log.
//!
//! The quota makes the first reading of a large fleet take hours. It is logged when it begins, at each tenth
//! and when it ends. A short one is not logged.

use std::time::Duration;

/// A first reading that takes longer is logged.
const LONG: Duration = Duration::from_mins(5);

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct FirstReading {
    /// The reading that is logged, if any.
    running: Option<Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    machines: usize,
    /// The number of tenths that were logged.
    tenths: usize,
}

/// A line to log, with the number of machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProgressLine {
    Begin { machines: usize },
    Tenth { machines: usize, percent: usize },
    End { machines: usize },
}

impl FirstReading {
    /// Logs the progress while `never_asked` machines are left, which takes about `left`.
    pub(super) fn update(&mut self, tenant: &str, never_asked: usize, left: Duration) {
        let Some(line) = self.next_line(never_asked, left) else { return };
        let time_left = rounded(left);
        match line {
            ProgressLine::Begin { machines } => {
                tracing::info!(tenant, machines, %time_left, "first reading of the machines begins");
            }
            ProgressLine::Tenth { machines, percent } => {
                tracing::info!(tenant, percent, machines, %time_left, "first reading of the machines continues");
            }
            ProgressLine::End { machines } => {
                tracing::info!(tenant, machines, "first reading of the machines is complete");
            }
        }
    }

    fn next_line(&mut self, never_asked: usize, left: Duration) -> Option<ProgressLine> {
        let Some(reading) = &mut self.running else {
            let is_long = never_asked > 0 && left > LONG;
            return is_long.then(|| {
                self.running = Some(Reading { machines: never_asked, tenths: 0 });
                ProgressLine::Begin { machines: never_asked }
            });
        };
        // New machines of a later list count too.
        reading.machines = reading.machines.max(never_asked);
        let Reading { machines, tenths } = *reading;
        if never_asked == 0 {
            self.running = None;
            return Some(ProgressLine::End { machines });
        }
        reading.tenths = tenths.max((machines - never_asked) * 10 / machines);
        let percent = reading.tenths * 10;
        (reading.tenths > tenths).then_some(ProgressLine::Tenth { machines, percent })
    }
}

/// Whole minutes, as text.
pub(super) fn rounded(left: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(left.as_secs().div_ceil(60) * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn long_reading_is_logged_at_each_tenth() {
        let mut reading = FirstReading::default();
        let lines: Vec<_> =
            (0..=1_000).rev().filter_map(|left| reading.next_line(left, MINUTE * 300)).collect();
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[0], ProgressLine::Begin { machines: 1_000 });
        assert_eq!(lines[1], ProgressLine::Tenth { machines: 1_000, percent: 10 });
        assert_eq!(lines[9], ProgressLine::Tenth { machines: 1_000, percent: 90 });
        assert_eq!(lines[10], ProgressLine::End { machines: 1_000 });
        assert_eq!(reading.next_line(0, MINUTE * 300), None);
    }

    #[test]
    fn short_reading_is_not_logged() {
        let mut reading = FirstReading::default();
        assert!((0..60).rev().all(|left| reading.next_line(left, MINUTE * 5).is_none()));
    }
}
