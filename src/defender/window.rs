//! One quota: the calls that count against it, and the number that its windows allow. Pure.
//!
//! A window allows the configured number of calls until the API answers 429. Then its allowance is halved,
//! and grows back by a tenth of the configured number per step. The API has another user or a lower limit;
//! a fast reduction and a slow increase find the rate that is left.
//!
//! The time at which a call arrives at the API, where it is counted, is not known. It lies between the grant
//! and the reply, so the call counts from its reply on, or from [`TRANSIT`] after the grant if that is
//! earlier: no request takes longer to reach the API.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The assumed maximum time that a request needs to reach the API.
pub(super) const TRANSIT: Duration = Duration::from_secs(1);

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// The windows of every quota, a minute and an hour: the time for which a call counts, slightly longer than
/// the API documents, and the step in which a reduced allowance grows back.
const LENGTHS: [(Duration, Duration); 2] = [
    (Duration::from_millis(60_100), Duration::from_mins(10)),
    (Duration::from_secs(3_602), Duration::from_hours(1)),
];

/// The calls of one quota and its two windows, the minute first.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) windows: [Window; 2],
    /// The time from which each call counts, in order; up to [`TRANSIT`] in the future while it is in flight.
    counted: VecDeque<Instant>,
}

/// A window of a quota.
#[derive(Debug)]
pub(super) struct Window {
    length: Duration,
    step: Duration,
    /// Calls allowed without a reduction.
    pub(super) configured: usize,
    reduced: Option<ReducedAllowance>,
}

#[derive(Clone, Copy, Debug)]
struct ReducedAllowance {
    to: usize,
    at: Instant,
}

/// The reduction of an allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reduction {
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Ledger {
    /// Creates a quota of `allowed` calls per minute and per hour without any call.
    pub(super) fn new(allowed: [usize; 2]) -> Self {
        let windows = [0, 1].map(|index| {
            let ((length, step), configured) = (LENGTHS[index], allowed[index]);
            Window { length, step, configured, reduced: None }
        });
        Self { windows, counted: VecDeque::new() }
    }

    /// Changes the configured calls per minute and per hour. Reductions stay.
    pub(super) fn set_allowance(&mut self, allowed: [usize; 2]) {
        for (window, allowed) in self.windows.iter_mut().zip(allowed) {
            window.configured = allowed;
        }
    }

    /// Counts a call granted at `at`, which is in the past for a call of an earlier run.
    pub(super) fn add(&mut self, at: Instant) {
        let from = at + TRANSIT;
        let place = self.counted.partition_point(|counted| *counted <= from);
        self.counted.insert(place, from);
    }

    /// Counts the calls of `other` too.
    pub(super) fn add_all(&mut self, other: &Self) {
        self.counted.extend(&other.counted);
        self.counted.make_contiguous().sort();
    }

    /// Ends, at `now`, the call that was granted at `at`, successful or not.
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

    /// The time to check again for one more call; `None` if one is allowed now.
    pub(super) fn busy_until(&mut self, now: Instant) -> Option<Instant> {
        let longest = self.windows.iter().map(|window| window.length).max().unwrap_or_default();
        while self.counted.front().is_some_and(|from| *from + longest <= now) {
            self.counted.pop_front();
        }
        let windows = self.windows.iter();
        windows.filter_map(|window| window.busy_until(&self.counted, now)).max()
    }

    /// The number of calls in each window.
    pub(super) fn used(&self, now: Instant) -> [usize; 2] {
        self.windows.each_ref().map(|window| {
            self.counted.len() - self.counted.partition_point(|from| *from + window.length <= now)
        })
    }
}

impl Window {
    /// The number of calls allowed at `now`, at least one.
    pub(super) fn allowed(&self, now: Instant) -> usize {
        self.reduced.map_or(self.configured, |reduced| {
            let grown = self.configured.div_ceil(10).saturating_mul(self.steps(reduced, now));
            reduced.to.saturating_add(grown).min(self.configured)
        })
    }

    /// Halves the allowance after a 429 to a call granted at `made`. A call granted before the last reduction
    /// changes nothing, because it does not reflect the rate since then.
    pub(super) fn reduce(&mut self, made: Instant, now: Instant) -> Option<Reduction> {
        let from = self.allowed(now);
        let is_recent = self.reduced.is_none_or(|reduced| made > reduced.at);
        let to = (from / 2).max(1);
        is_recent.then(|| self.reduced = Some(ReducedAllowance { to, at: now }))?;
        (to < from).then_some(Reduction { from, to })
    }

    /// Returns whether the allowance has grown back in full since the last check.
    pub(super) fn has_recovered(&mut self, now: Instant) -> bool {
        let recovered = self.reduced.is_some() && self.allowed(now) == self.configured;
        if recovered {
            self.reduced = None;
        }
        recovered
    }

    fn busy_until(&self, counted: &VecDeque<Instant>, now: Instant) -> Option<Instant> {
        let blocking = counted[counted.len().checked_sub(self.allowed(now))?];
        if blocking + self.length <= now {
            return None;
        }
        // The reply may still arrive and move the call back, at most to the time of its grant.
        let first = if blocking > now { blocking - TRANSIT } else { blocking };
        let free = first + self.length;
        Some(self.next_step(now).map_or(free, |step| step.min(free)))
    }

    /// The time of the next growth of the allowance.
    fn next_step(&self, now: Instant) -> Option<Instant> {
        self.reduced.map(|reduced| {
            let steps = u32::try_from(self.steps(reduced, now)).unwrap_or(u32::MAX);
            reduced.at + self.step.saturating_mul(steps.saturating_add(1))
        })
    }

    fn steps(&self, reduced: ReducedAllowance, now: Instant) -> usize {
        let elapsed = now.saturating_duration_since(reduced.at).as_secs();
        usize::try_from(elapsed / self.step.as_secs()).unwrap_or(usize::MAX)
    }
}

/// The shortest interval in which `calls` stay within `allowed` per minute and per hour repeatedly.
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

    /// A window of a hundred calls per hour, and its start.
    fn hour() -> (Window, Instant) {
        let [_, window] = Ledger::new([10, 100]).windows;
        (window, Instant::now())
    }

    #[test]
    fn a_reduction_halves_the_allowance_down_to_one_call() {
        let (mut window, start) = hour();
        let reductions: Vec<_> =
            (1..10).map(|second| window.reduce(start + secs(second), start + secs(second))).collect();
        let reduced: Vec<_> = reductions.iter().map_while(|cut| cut.map(|cut| (cut.from, cut.to))).collect();
        assert_eq!(reduced, [(100, 50), (50, 25), (25, 12), (12, 6), (6, 3), (3, 1)]);
        assert!(reductions[6..].iter().all(Option::is_none), "one call is the minimum");
        assert_eq!(window.allowed(start + secs(9)), 1);
    }

    #[test]
    fn calls_in_flight_together_reduce_the_allowance_once() {
        let (mut window, start) = hour();
        assert!(window.reduce(start, start + secs(5)).is_some());
        assert_eq!(window.reduce(start + secs(1), start + secs(6)), None);
        assert_eq!(window.reduce(start + secs(5), start + secs(7)), None);
        assert_eq!(window.allowed(start + secs(7)), 50);
        assert!(window.reduce(start + secs(6), start + secs(8)).is_some());
    }

    #[test]
    fn an_allowance_grows_back_by_a_tenth_in_each_step() {
        let (mut window, start) = hour();
        window.reduce(start, start);
        let allowed =
            [0, 3599, 3600, 7200, 4 * 3600, 5 * 3600, 500 * 3600].map(|at| window.allowed(start + secs(at)));
        assert_eq!(allowed, [50, 50, 60, 70, 90, 100, 100]);
        assert!(!window.has_recovered(start + secs(5 * 3600 - 1)));
        assert!(window.has_recovered(start + secs(5 * 3600)));
        assert!(!window.has_recovered(start + secs(5 * 3600)), "a recovery is reported once");
    }

    #[test]
    fn call_without_reply_counts_from_a_second_after_its_grant() {
        let (mut ledger, start) = (Ledger::new([1, 10]), Instant::now());
        ledger.add(start);
        assert_eq!(ledger.used(start), [1, 1]);
        let minute = LENGTHS[0].0;
        assert_eq!(ledger.busy_until(start), Some(start + minute), "the reply may arrive immediately");
        assert!(ledger.busy_until(start + minute).is_some_and(|until| until <= start + minute + TRANSIT));
        assert_eq!(ledger.busy_until(start + minute + TRANSIT), None);
    }

    #[test]
    fn call_counts_from_its_reply() {
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
    fn sustainable_interval_satisfies_both_windows() {
        assert_eq!(sustainable_interval(7_201, [40, 1200]), Duration::from_hours(6) + secs(3));
        assert_eq!(sustainable_interval(100, [10, 6000]), Duration::from_mins(10));
        assert_eq!(sustainable_interval(0, [1, 1]), Duration::ZERO);
    }
}
