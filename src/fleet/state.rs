//! The state machine of one tenant: machine lists and answers go in, the known fleet comes out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Finding, Gap, KbId, MachineFacts, MachineId, ReportedUpdate, Source};

/// Ages at which data changes its meaning; from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// Older data is stale.
    pub stale_after: Duration,
    /// Older data is no longer served.
    pub expire_after: Duration,
    /// Machines not seen by Defender for so long are not judged.
    pub inactive_after: Duration,
}

/// How far the data of a machine may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MachineState {
    /// Read lately.
    Current,
    /// Read, but longer ago than `stale_after`; still served.
    Stale,
    /// Not seen by Defender for `inactive_after`: its answers are not believed.
    Inactive,
    /// Never read, or so long ago that the data expired.
    Unknown,
}

impl MachineState {
    /// Every state, in the order of exposition.
    pub const ALL: [Self; 4] = [Self::Current, Self::Stale, Self::Inactive, Self::Unknown];

    /// Value of the label `state`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Stale => "stale",
            Self::Inactive => "inactive",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the machine's gaps are served and counted.
    #[must_use]
    pub fn is_judged(self) -> bool {
        matches!(self, Self::Current | Self::Stale)
    }
}

/// One good answer of the source about a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When it was read.
    pub at: Timestamp,
    /// The time of which it speaks, by which its age is judged: earlier than `at` when the source
    /// keeps a snapshot.
    pub as_of: Timestamp,
    /// Where it comes from.
    pub source: Source,
    /// The open gaps, sorted by KB, each KB once.
    pub gaps: Vec<Gap>,
}

impl Reading {
    /// An answer of the API about this moment.
    #[must_use]
    pub fn of_now(at: Timestamp, gaps: Vec<Gap>) -> Self {
        Self { at, as_of: at, source: Source::Machines, gaps }
    }
}

/// The newest attempt to read a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it ended.
    pub at: Timestamp,
    /// Whether it brought data.
    pub succeeded: bool,
}

/// A machine in scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// What the machine list says.
    pub facts: MachineFacts,
    /// The newest good answer.
    pub reading: Option<Reading>,
    /// The newest attempt, good or not.
    pub attempt: Option<Attempt>,
}

impl Machine {
    /// How far its data may be believed at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp, ages: &Ages) -> MachineState {
        let older = |at, limit| is_older(at, limit, now);
        if self.facts.last_seen.is_some_and(|at| older(at, ages.inactive_after)) {
            return MachineState::Inactive;
        }
        match &self.reading {
            None => MachineState::Unknown,
            Some(reading) if older(reading.as_of, ages.expire_after) => MachineState::Unknown,
            Some(reading) if older(reading.as_of, ages.stale_after) => MachineState::Stale,
            Some(_) => MachineState::Current,
        }
    }

    /// The gaps that are known, whether they are believed or not.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        self.reading.as_ref().map_or(&[], |reading| &reading.gaps)
    }

    /// The gaps that are served and counted at `now`; none while the machine is not judged, which is
    /// not the same as no gap.
    #[must_use]
    pub fn judged_gaps(&self, now: Timestamp, ages: &Ages) -> Option<&[Gap]> {
        let reading = self.reading.as_ref()?;
        self.state(now, ages).is_judged().then_some(&reading.gaps)
    }
}

/// How long ago `at` was at `now`; nothing for a time to come, as after a clock was set back.
fn age(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or_default()
}

fn is_older(at: Timestamp, limit: Duration, now: Timestamp) -> bool {
    age(at, now) > limit
}

/// A machine that left the scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// What was known of it.
    pub machine: Arc<Machine>,
    /// When it left.
    pub since: Timestamp,
}

/// The bulk export that the data comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// When the source made it.
    pub generated_at: Timestamp,
    /// When it was last found to be the newest one.
    pub checked_at: Timestamp,
}

/// How the polls of a tenant go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PollStatus {
    /// Whether the API could be used in the newest attempt; false before the first.
    pub up: bool,
    /// When the newest poll ended.
    pub last_poll: Option<Timestamp>,
    /// When the newest poll without a failure ended.
    pub last_success: Option<Timestamp>,
    /// When the next poll is due.
    pub next_poll: Option<Timestamp>,
    /// The newest poll's failure, in words fit for an operator; none after a good poll.
    pub last_error: Option<String>,
}

/// What happened to pairs of machine and missing update. Nothing here ever falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Pairs that became missing, the first reading included.
    pub detected: u64,
    /// Pairs that were fixed.
    pub resolved: u64,
    /// Pairs that were forgotten, with their machine or because the source of the data was changed or
    /// the KB is ignored; neither open nor fixed.
    pub dropped: u64,
    /// How long the fixed pairs were open.
    pub resolution: Resolution,
}

/// A histogram of the times from first seen to fixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// Fixed pairs by the first bound that holds them; the last slot is beyond every bound.
    pub slots: [u64; Self::BOUNDS_DAYS.len() + 1],
    /// Sum of the times, in milliseconds.
    pub sum_millis: u64,
}

impl Resolution {
    /// Upper bounds in days.
    pub const BOUNDS_DAYS: [u32; 8] = [1, 3, 7, 14, 30, 60, 90, 180];

    /// Counts a pair that was open for `open`.
    pub fn observe(&mut self, open: Duration) {
        let within = |days: &u32| open <= Duration::from_hours(24 * u64::from(*days));
        let slot = Self::BOUNDS_DAYS.iter().position(within).unwrap_or(Self::BOUNDS_DAYS.len());
        self.slots[slot] += 1;
        self.sum_millis = self.sum_millis.saturating_add(u64::try_from(open.as_millis()).unwrap_or(u64::MAX));
    }
}

/// Everything known of one tenant. Cheap to clone: machines are shared.
#[derive(Clone, Debug)]
pub struct TenantFleet {
    /// Value of the label `tenant`.
    pub tenant: Arc<str>,
    /// Where its data is to come from, which what is known may not do yet.
    pub source: Source,
    /// Machines in scope.
    pub machines: BTreeMap<MachineId, Arc<Machine>>,
    /// Machines that left the scope and may come back: their gaps keep their first seen times until
    /// they were away for `expire_after`.
    pub departed: BTreeMap<MachineId, Departed>,
    /// What happened to pairs; survives restarts.
    pub totals: Totals,
    /// When the scope was last found out.
    pub listed_at: Option<Timestamp>,
    /// The selectors that it was found with, as text; empty before the first list. A scope that
    /// shrinks under other selectors is no surprise.
    pub selectors: Arc<str>,
    /// The newest export that was taken over; none with [`Source::Machines`].
    pub snapshot: Option<Snapshot>,
    /// How the polls go.
    pub status: PollStatus,
}

impl TenantFleet {
    /// A tenant of which nothing is known yet.
    #[must_use]
    pub fn new(tenant: Arc<str>) -> Self {
        Self {
            tenant,
            source: Source::default(),
            machines: BTreeMap::new(),
            departed: BTreeMap::new(),
            totals: Totals::default(),
            listed_at: None,
            selectors: "".into(),
            snapshot: None,
            status: PollStatus::default(),
        }
    }

    /// Makes `listed`, as it was at `now`, the scope. Machines that stay keep their data, and those
    /// that come back have theirs again. Machines that are not listed leave, which resolves nothing;
    /// those that were away for `expire_after` are forgotten. Of a machine listed twice the first
    /// record counts.
    pub fn apply_list(&mut self, listed: Vec<MachineFacts>, now: Timestamp, ages: &Ages) {
        self.forget_departed(now, ages);
        let mut old = std::mem::take(&mut self.machines);
        for facts in listed {
            let Entry::Vacant(slot) = self.machines.entry(facts.id.clone()) else {
                continue;
            };
            let returned = || self.departed.remove(&facts.id).map(|departed| departed.machine);
            slot.insert(match old.remove(&facts.id).or_else(returned) {
                Some(known) if known.facts == facts => known,
                Some(known) => Arc::new(Machine { facts, ..Arc::unwrap_or_clone(known) }),
                None => Arc::new(Machine { facts, reading: None, attempt: None }),
            });
        }
        let left = old.into_iter().filter(|(_, machine)| machine.reading.is_some());
        self.departed.extend(left.map(|(id, machine)| (id, Departed { machine, since: now })));
        self.listed_at = Some(now);
    }

    fn forget_departed(&mut self, now: Timestamp, ages: &Ages) {
        let totals = &mut self.totals;
        self.departed.retain(|_, departed| {
            let kept = !is_older(departed.since, ages.expire_after, now);
            if !kept {
                totals.dropped += departed.machine.gaps().len() as u64;
            }
            kept
        });
    }

    /// Takes a good answer about a machine: gaps that stay keep their first seen time, gaps that
    /// are gone are fixed. Ignored for a machine that has left the scope meanwhile.
    ///
    /// The answer about an inactive machine is not believed, since Defender drops the findings of
    /// machines that it no longer sees: what was known stays, and nothing is fixed.
    pub fn apply_answer(&mut self, id: &MachineId, at: Timestamp, missing: Vec<ReportedUpdate>, ages: &Ages) {
        let findings = missing.into_iter().map(|update| Finding { update, first_seen: None }).collect();
        let answer = Answer { at, as_of: at, source: Source::Machines, findings };
        if let Some(slot) = self.machines.get_mut(id) {
            answer.apply(slot, &mut self.totals, ages);
        }
    }

    /// Takes an export: `findings_of` answers what it says of a machine, none when it has no row of
    /// it. A machine without rows is known to miss nothing only if Defender has its sensor there and
    /// has seen it since the export was made; else what was known stays, and the attempt has failed.
    /// Returns how many machines have data from it.
    pub fn apply_snapshot(
        &mut self,
        snapshot: Snapshot,
        mut findings_of: impl FnMut(&MachineId) -> Option<Vec<Finding>>,
        ages: &Ages,
    ) -> u64 {
        let Snapshot { generated_at: as_of, checked_at: at } = snapshot;
        let mut known = 0;
        for (id, slot) in &mut self.machines {
            let seen_since = || slot.facts.last_seen.is_some_and(|seen| seen >= as_of);
            let nothing = || (slot.facts.onboarded && seen_since()).then(Vec::new);
            if let Some(findings) = findings_of(id).or_else(nothing) {
                Answer { at, as_of, source: Source::Export, findings }.apply(slot, &mut self.totals, ages);
                known += 1;
            } else {
                Arc::make_mut(slot).attempt = Some(Attempt { at, succeeded: false });
            }
        }
        self.snapshot = Some(snapshot);
        known
    }

    /// Forgets the gaps of `ignored` KBs, which is not fixing them.
    pub fn forget_updates(&mut self, ignored: &BTreeSet<KbId>) {
        let is_ignored = |gap: &Gap| ignored.contains(&gap.update.kb);
        let departed = self.departed.values_mut().map(|departed| &mut departed.machine);
        for slot in self.machines.values_mut().chain(departed) {
            if !slot.gaps().iter().any(is_ignored) {
                continue;
            }
            if let Some(reading) = &mut Arc::make_mut(slot).reading {
                let before = reading.gaps.len();
                reading.gaps.retain(|gap| !is_ignored(gap));
                self.totals.dropped += (before - reading.gaps.len()) as u64;
            }
        }
    }

    /// Notes that an attempt to read a machine failed. Its data stays as it is.
    pub fn apply_failure(&mut self, id: &MachineId, at: Timestamp) {
        if let Some(slot) = self.machines.get_mut(id) {
            Arc::make_mut(slot).attempt = Some(Attempt { at, succeeded: false });
        }
    }
}

/// What a source says of one machine.
struct Answer {
    at: Timestamp,
    as_of: Timestamp,
    source: Source,
    findings: Vec<Finding>,
}

impl Answer {
    fn apply(self, slot: &mut Arc<Machine>, totals: &mut Totals, ages: &Ages) {
        let Self { at, as_of, source, mut findings } = self;
        let attempt = Some(Attempt { at, succeeded: true });
        if slot.state(at, ages) == MachineState::Inactive {
            Arc::make_mut(slot).attempt = attempt;
            return;
        }
        findings.sort_by_key(|finding| finding.update.kb);
        findings.dedup_by_key(|finding| finding.update.kb);
        let known = slot.gaps();
        let open = |kb| known.binary_search_by_key(&kb, |gap| gap.update.kb).ok();
        let gap = |Finding { update, first_seen }: Finding| {
            let before = open(update.kb).map(|index| known[index].first_seen);
            totals.detected += u64::from(before.is_none());
            let ours = before.unwrap_or(as_of);
            Gap { first_seen: first_seen.map_or(ours, |theirs| theirs.min(ours)), update }
        };
        let gaps: Vec<Gap> = findings.into_iter().map(gap).collect();
        let is_gone = |gap: &&Gap| gaps.binary_search_by_key(&gap.update.kb, |gap| gap.update.kb).is_err();
        let same_source = slot.reading.as_ref().is_none_or(|reading| reading.source == source);
        for gap in known.iter().filter(is_gone) {
            if same_source {
                totals.resolved += 1;
                totals.resolution.observe(age(gap.first_seen, as_of));
            } else {
                totals.dropped += 1;
            }
        }
        let facts = slot.facts.clone();
        *slot = Arc::new(Machine { facts, reading: Some(Reading { at, as_of, source, gaps }), attempt });
    }
}

#[cfg(test)]
mod tests;
