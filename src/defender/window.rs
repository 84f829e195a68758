//! One quota: the calls that count in it, and how many its windows allow now. Pure.
//!
//! A window holds what it is configured to hold until the API says that this is too much. Then its
//! allowance is halved, and grows back by a tenth of the configured number in each of its steps: the
//! API has another user, or a lower limit, and asking for less at once and for more with care finds
//! the pace that is left.
//!
//! Nobody knows when a call arrives at the API, where it is counted. It is between the moment it is
//! let through and its reply, so it counts from the reply on, or from [`TRANSIT`] later when that
//! is sooner: no request is under way to the API for longer.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The longest time that a request is taken to need to the API.
pub(super) const TRANSIT: Duration = Duration::from_secs(1);

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// The windows of every quota of the API, a minute and an hour: how long a call counts, which is a
/// little longer than the API's own clock should say, and the step in which an allowance grows back.
const LENGTHS: [(Duration, Duration); 2] = [
    (Duration::from_millis(60_100), Duration::from_mins(10)),
    (Duration::from_secs(3_602), Duration::from_hours(1)),
];

/// The calls of one quota and its two windows, the minute first.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) windows: [Window; 2],
    /// From when on each call counts, in order; up to [`TRANSIT`] from now while it is under way.
    counted: VecDeque<Instant>,
}

/// A window of a quota.
#[derive(Debug)]
pub(super) struct Window {
    length: Duration,
    step: Duration,
    /// Calls allowed while the API does not object.
    pub(super) configured: usize,
    lowered: Option<Lowered>,
}

#[derive(Clone, Copy, Debug)]
struct Lowered {
    to: usize,
    at: Instant,
}

/// An allowance was lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Ledger {
    /// A quota of so many calls a minute and an hour, of which none was made.
    pub(super) fn new(allowed: [usize; 2]) -> Self {
        let windows = [0, 1].map(|index| {
            let ((length, step), configured) = (LENGTHS[index], allowed[index]);
            Window { length, step, configured, lowered: None }
        });
        Self { windows, counted: VecDeque::new() }
    }

    /// Allows another number of calls a minute and an hour. What the API objected to stays lowered.
    pub(super) fn allow(&mut self, allowed: [usize; 2]) {
        for (window, allowed) in self.windows.iter_mut().zip(allowed) {
            window.configured = allowed;
        }
    }

    /// Counts a call that is let through at `at`, of an earlier run when that is past.
    pub(super) fn add(&mut self, at: Instant) {
        let from = at + TRANSIT;
        let place = self.counted.partition_point(|counted| *counted <= from);
        self.counted.insert(place, from);
    }

    /// The call that was let through at `at` is over at `now`, whatever came of it.
    pub(super) fn settle(&mut self, at: Instant, now: Instant) {
        let from = at + TRANSIT;
        if now < from
            && let Ok(place) = self.counted.binary_search(&from)
        {
            self.counted.remove(place);
            let place = self.counted.partition_point(|counted| *counted <= now);
            self.counted.insert(place, now);
        }
    }

    /// When to ask again for room for one more call; none when there is room now.
    pub(super) fn busy_until(&mut self, now: Instant) -> Option<Instant> {
        let longest = self.windows.iter().map(|window| window.length).max().unwrap_or_default();
        while self.counted.front().is_some_and(|from| *from + longest <= now) {
            self.counted.pop_front();
        }
        let windows = self.windows.iter();
        windows.filter_map(|window| window.busy_until(&self.counted, now)).max()
    }

    /// Calls in each window.
    pub(super) fn used(&self, now: Instant) -> [usize; 2] {
        self.windows.each_ref().map(|window| {
            self.counted.len() - self.counted.partition_point(|from| *from + window.length <= now)
        })
    }
}

impl Window {
    /// Calls allowed at `now`, at least one.
    pub(super) fn allowed(&self, now: Instant) -> usize {
        self.lowered.map_or(self.configured, |lowered| {
            let grown = self.configured.div_ceil(10).saturating_mul(self.steps(lowered, now));
            lowered.to.saturating_add(grown).min(self.configured)
        })
    }

    /// Halves what is allowed, because of a call that was let through at `made`. Not for a call of
    /// before the last cut: it says nothing of the pace since.
    pub(super) fn cut(&mut self, made: Instant, now: Instant) -> Option<Cut> {
        let from = self.allowed(now);
        let is_news = self.lowered.is_none_or(|lowered| made > lowered.at);
        let to = (from / 2).max(1);
        is_news.then(|| self.lowered = Some(Lowered { to, at: now }))?;
        (to < from).then_some(Cut { from, to })
    }

    /// Whether the allowance has just grown back in full.
    pub(super) fn has_recovered(&mut self, now: Instant) -> bool {
        let recovered = self.lowered.is_some() && self.allowed(now) == self.configured;
        if recovered {
            self.lowered = None;
        }
        recovered
    }

    fn busy_until(&self, counted: &VecDeque<Instant>, now: Instant) -> Option<Instant> {
        let blocking = counted[counted.len().checked_sub(self.allowed(now))?];
        if blocking + self.length <= now {
            return None;
        }
        // The reply may still come and set the call back, at most to when it was let through.
        let first = if blocking > now { blocking - TRANSIT } else { blocking };
        let free = first + self.length;
        Some(self.next_step(now).map_or(free, |step| step.min(free)))
    }

    /// When the allowance grows next.
    fn next_step(&self, now: Instant) -> Option<Instant> {
        self.lowered.map(|lowered| {
            let steps = u32::try_from(self.steps(lowered, now)).unwrap_or(u32::MAX);
            lowered.at + self.step.saturating_mul(steps.saturating_add(1))
        })
    }

    fn steps(&self, lowered: Lowered, now: Instant) -> usize {
        let elapsed = now.saturating_duration_since(lowered.at).as_secs();
        usize::try_from(elapsed / self.step.as_secs()).unwrap_or(usize::MAX)
    }
}

/// The shortest interval in which `calls` are within `allowed` a minute and an hour, again and again.
pub(super) fn sustainable_interval(calls: u64, allowed: [usize; 2]) -> Duration {
    let [minutes, hours] = [(MINUTE, allowed[0]), (HOUR, allowed[1])].map(|(window, allowed)| {
        let nanos = window.as_nanos() * u128::from(calls);
        let nanos = nanos.div_ceil(u128::try_from(allowed).unwrap_or(u128::MAX).max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    });
    minutes.max(hours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// A window of a hundred calls an hour and its start.
    fn hour() -> (Window, Instant) {
        let [_, window] = Ledger::new([10, 100]).windows;
        (window, Instant::now())
    }

    #[test]
    fn a_cut_halves_the_allowance_down_to_one_call() {
        let (mut window, start) = hour();
        let cuts: Vec<_> =
            (1..10).map(|second| window.cut(start + secs(second), start + secs(second))).collect();
        let lowered: Vec<_> = cuts.iter().map_while(|cut| cut.map(|cut| (cut.from, cut.to))).collect();
        assert_eq!(lowered, [(100, 50), (50, 25), (25, 12), (12, 6), (6, 3), (3, 1)]);
        assert!(cuts[6..].iter().all(Option::is_none), "there is nothing left to take");
        assert_eq!(window.allowed(start + secs(9)), 1);
    }

    #[test]
    fn refusals_of_calls_that_were_under_way_together_cut_once() {
        let (mut window, start) = hour();
        assert!(window.cut(start, start + secs(5)).is_some());
        assert_eq!(window.cut(start + secs(1), start + secs(6)), None);
        assert_eq!(window.cut(start + secs(5), start + secs(7)), None);
        assert_eq!(window.allowed(start + secs(7)), 50);
        assert!(window.cut(start + secs(6), start + secs(8)).is_some());
    }

    #[test]
    fn an_allowance_grows_back_by_a_tenth_in_each_step() {
        let (mut window, start) = hour();
        window.cut(start, start);
        let allowed =
            [0, 3599, 3600, 7200, 4 * 3600, 5 * 3600, 500 * 3600].map(|at| window.allowed(start + secs(at)));
        assert_eq!(allowed, [50, 50, 60, 70, 90, 100, 100]);
        assert!(!window.has_recovered(start + secs(5 * 3600 - 1)));
        assert!(window.has_recovered(start + secs(5 * 3600)));
        assert!(!window.has_recovered(start + secs(5 * 3600)), "it is said once");
    }

    #[test]
    fn a_call_without_a_reply_counts_as_arrived_a_second_later() {
        let (mut ledger, start) = (Ledger::new([1, 10]), Instant::now());
        ledger.add(start);
        assert_eq!(ledger.used(start), [1, 1]);
        let minute = LENGTHS[0].0;
        assert_eq!(ledger.busy_until(start), Some(start + minute), "the reply may come at once");
        assert!(ledger.busy_until(start + minute).is_some_and(|until| until <= start + minute + TRANSIT));
        assert_eq!(ledger.busy_until(start + minute + TRANSIT), None);
    }

    #[test]
    fn a_call_with_a_reply_counts_from_then_on() {
        let (mut ledger, start) = (Ledger::new([2, 10]), Instant::now());
        ledger.add(start);
        ledger.add(start);
        ledger.settle(start, start + secs(30));
        ledger.settle(start, start + Duration::from_millis(300));
        let minute = LENGTHS[0].0;
        assert_eq!(ledger.used(start + minute), [2, 2]);
        assert_eq!(ledger.used(start + minute + Duration::from_millis(300)), [1, 2]);
        assert_eq!(ledger.used(start + minute + TRANSIT), [0, 2]);
    }

    #[test]
    fn an_interval_is_sustainable_when_both_windows_are() {
        assert_eq!(sustainable_interval(7_201, [40, 1200]), Duration::from_hours(6) + secs(3));
        assert_eq!(sustainable_interval(100, [10, 6000]), Duration::from_mins(10));
        assert_eq!(sustainable_interval(0, [1, 1]), Duration::ZERO);
    }
}
