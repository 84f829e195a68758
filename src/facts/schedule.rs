//! The time at which each source of facts is due.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::FactsSource;

/// The pause after the first failure of a source; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_mins(1);

/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// The share by which a time is moved at random, so that exporters do not fetch at the same time.
const JITTER: f64 = 0.1;

/// The pause after this many failures in a row, at least one.
pub(super) fn pause_after(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_PAUSE)
}

/// The next time of each source. Sources that are off are never due.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    interval: Duration,
    next: [Option<Instant>; FactsSource::ALL.len()],
    failures: [u32; FactsSource::ALL.len()],
}

impl Schedule {
    /// A schedule without any source.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, next: Default::default(), failures: Default::default() }
    }

    /// Schedules a source by the age of its data at `now`; none if there is no data. At a start, a source is due as
    /// soon as its data is older than the interval. `random` is from 0 to 1.
    pub(super) fn start(&mut self, source: FactsSource, age: Option<Duration>, now: Instant, random: f64) {
        self.next[source as usize] = Some(match age {
            Some(age) if age < self.interval => now + self.jittered(random).saturating_sub(age),
            _ => now,
        });
    }

    /// Schedules a source whose data something else has fetched, by the age of the data at `now`. Moves no source
    /// forward, so that data that stays as old does not cause requests.
    pub(super) fn postpone(&mut self, source: FactsSource, age: Duration, now: Instant, random: f64) {
        let next = now + self.jittered(random).saturating_sub(age);
        let planned = &mut self.next[source as usize];
        if planned.is_some_and(|planned| planned < next) && age < self.interval {
            *planned = Some(next);
            self.failures[source as usize] = 0;
        }
    }

    /// Schedules a source that was fetched at `now`.
    pub(super) fn succeeded(&mut self, source: FactsSource, now: Instant, random: f64) {
        self.failures[source as usize] = 0;
        self.next[source as usize] = Some(now + self.jittered(random));
    }

    /// Schedules a source that failed at `now`.
    pub(super) fn failed(&mut self, source: FactsSource, now: Instant) {
        let failures = &mut self.failures[source as usize];
        *failures = failures.saturating_add(1);
        self.next[source as usize] = Some(now + pause_after(*failures));
    }

    /// The sources that are due at `now`.
    pub(super) fn due(&self, now: Instant) -> Vec<FactsSource> {
        let is_due = |source: &FactsSource| self.next[*source as usize].is_some_and(|next| next <= now);
        FactsSource::ALL.into_iter().filter(is_due).collect()
    }

    /// The time at which the next source is due; none if every source is off.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next.into_iter().flatten().min()
    }

    fn jittered(&self, random: f64) -> Duration {
        self.interval.mul_f64(1.0 + JITTER * (2.0 * random.clamp(0.0, 1.0) - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn source_without_data_or_with_old_data_is_due_at_once() {
        let now = Instant::now();
        for (age, expected) in [
            (None, Some(now)),
            (Some(DAY), Some(now)),
            (Some(DAY * 9), Some(now)),
            (Some(HOUR), Some(now + DAY - HOUR)),
            (Some(Duration::ZERO), Some(now + DAY)),
        ] {
            let mut schedule = Schedule::new(DAY);
            assert_eq!((schedule.next(), schedule.due(now)), (None, vec![]));
            schedule.start(FactsSource::Kev, age, now, 0.5);
            assert_eq!(schedule.next(), expected, "{age:?}");
            let is_due = expected == Some(now);
            assert_eq!(schedule.due(now), if is_due { vec![FactsSource::Kev] } else { vec![] }, "{age:?}");
        }
    }

    #[test]
    fn success_is_followed_by_an_interval_with_jitter() {
        let now = Instant::now();
        let mut schedule = Schedule::new(HOUR * 10);
        for (random, expected) in [(0.0, HOUR * 9), (0.5, HOUR * 10), (1.0, HOUR * 11)] {
            schedule.succeeded(FactsSource::Msrc, now, random);
            let wait = schedule.next().unwrap() - now;
            assert!(wait.abs_diff(expected) < Duration::from_secs(1), "{random}: {wait:?}");
        }
    }

    #[test]
    fn pause_doubles_up_to_an_hour_and_ends_with_a_success() {
        let now = Instant::now();
        let mut schedule = Schedule::new(DAY);
        let mut minutes = Vec::new();
        for _ in 0..9 {
            schedule.failed(FactsSource::Epss, now);
            minutes.push((schedule.next().unwrap() - now).as_secs() / 60);
        }
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        schedule.succeeded(FactsSource::Epss, now, 0.5);
        schedule.failed(FactsSource::Epss, now);
        assert_eq!(schedule.next(), Some(now + Duration::from_mins(1)));
        assert_eq!(pause_after(u32::MAX), HOUR);
    }

    #[test]
    fn sources_fail_on_their_own() {
        let now = Instant::now();
        let mut schedule = Schedule::new(DAY);
        for source in FactsSource::ALL {
            schedule.start(source, None, now, 0.5);
        }
        schedule.failed(FactsSource::Kev, now);
        schedule.succeeded(FactsSource::Msrc, now, 0.5);
        assert_eq!(schedule.due(now), [FactsSource::Epss, FactsSource::Servicing]);
        assert_eq!(schedule.due(now + HOUR), [FactsSource::Kev, FactsSource::Epss, FactsSource::Servicing]);
    }

    #[test]
    fn data_that_something_else_fetched_postpones_a_source() {
        let now = Instant::now();
        let mut schedule = Schedule::new(DAY);
        schedule.start(FactsSource::Kev, Some(HOUR * 20), now, 0.5);
        schedule.postpone(FactsSource::Kev, HOUR * 23, now, 0.5);
        assert_eq!(schedule.next(), Some(now + HOUR * 4), "older data changes nothing");
        schedule.postpone(FactsSource::Kev, HOUR, now, 0.5);
        assert_eq!(schedule.next(), Some(now + HOUR * 23));
        schedule.postpone(FactsSource::Epss, HOUR, now, 0.5);
        assert_eq!(schedule.due(now + DAY * 2), [FactsSource::Kev], "a source that is off stays off");
    }
}
