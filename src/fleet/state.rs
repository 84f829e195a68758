//! The state machine of one tenant: machine lists and answers go in, the known fleet comes out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Finding, MachineFacts, MissingUpdate, ReportedUpdate};
use crate::model::{Freshness, KbId, MachineId, Source};

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
    pub fn is_assessed(self) -> bool {
        matches!(self, Self::Current | Self::Stale)
    }
}

/// One good answer of the source about a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// When it was read.
    pub at: Timestamp,
    /// The time of which it speaks, by which its age is judged: earlier than `at` when the source
    /// keeps a snapshot.
    pub as_of: Timestamp,
    /// Where it comes from.
    pub source: Source,
    /// The open gaps, sorted by KB, each KB once.
    pub missing_updates: Vec<MissingUpdate>,
}

impl Assessment {
    /// An answer of the API about this moment.
    #[must_use]
    pub fn of_now(at: Timestamp, missing_updates: Vec<MissingUpdate>) -> Self {
        Self { at, as_of: at, source: Source::Machines, missing_updates }
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
    pub assessment: Option<Assessment>,
    /// The newest attempt, good or not.
    pub attempt: Option<Attempt>,
}

impl Machine {
    /// How far its data may be believed at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp, freshness: &Freshness) -> MachineState {
        let older = |at, limit| is_older(at, limit, now);
        if self.facts.last_seen.is_some_and(|at| older(at, freshness.inactive_after)) {
            return MachineState::Inactive;
        }
        match &self.assessment {
            None => MachineState::Unknown,
            Some(assessment) if older(assessment.as_of, freshness.expire_after) => MachineState::Unknown,
            Some(assessment) if older(assessment.as_of, freshness.stale_after) => MachineState::Stale,
            Some(_) => MachineState::Current,
        }
    }

    /// The gaps that are known, whether they are believed or not.
    #[must_use]
    pub fn missing_updates(&self) -> &[MissingUpdate] {
        self.assessment.as_ref().map_or(&[], |assessment| &assessment.missing_updates)
    }

    /// The gaps that are served and counted at `now`; none while the machine is not judged, which is
    /// not the same as no gap.
    #[must_use]
    pub fn assessed_updates(&self, now: Timestamp, freshness: &Freshness) -> Option<&[MissingUpdate]> {
        let assessment = self.assessment.as_ref()?;
        self.state(now, freshness).is_assessed().then_some(&assessment.missing_updates)
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
pub struct OutOfScope {
    /// What was known of it.
    pub machine: Arc<Machine>,
    /// When it left.
    pub since: Timestamp,
}

/// The bulk export that the data comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportVersion {
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
    pub resolution: ResolutionHistogram,
}

/// A histogram of the times from first seen to fixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResolutionHistogram {
    /// Fixed pairs by the first bound that holds them; the last slot is beyond every bound.
    pub slots: [u64; Self::BOUNDS_DAYS.len() + 1],
    /// Sum of the times, in milliseconds.
    pub sum_millis: u64,
}

impl ResolutionHistogram {
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
    pub out_of_scope: BTreeMap<MachineId, OutOfScope>,
    /// What happened to pairs; survives restarts.
    pub totals: Totals,
    /// When the scope was last found out.
    pub listed_at: Option<Timestamp>,
    /// Digest of the selectors with which the scope was fetched; empty before the first list. A state
    /// file of schema 1 or 2 has another text here until the poller replaces it. A scope that shrinks
    /// under other selectors is no surprise.
    pub selectors: Arc<str>,
    /// The newest export that was taken over; none with [`Source::Machines`].
    pub snapshot: Option<ExportVersion>,
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
            out_of_scope: BTreeMap::new(),
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
    pub fn apply_list(&mut self, listed: Vec<MachineFacts>, now: Timestamp, freshness: &Freshness) {
        self.forget_departed(now, freshness);
        let mut old = std::mem::take(&mut self.machines);
        for facts in listed {
            let Entry::Vacant(slot) = self.machines.entry(facts.id.clone()) else {
                continue;
            };
            let returned = || self.out_of_scope.remove(&facts.id).map(|out_of_scope| out_of_scope.machine);
            slot.insert(match old.remove(&facts.id).or_else(returned) {
                Some(known) if known.facts == facts => known,
                Some(known) => Arc::new(Machine { facts, ..Arc::unwrap_or_clone(known) }),
                None => Arc::new(Machine { facts, assessment: None, attempt: None }),
            });
        }
        let left = old.into_iter().filter(|(_, machine)| machine.assessment.is_some());
        self.out_of_scope.extend(left.map(|(id, machine)| (id, OutOfScope { machine, since: now })));
        self.listed_at = Some(now);
    }

    fn forget_departed(&mut self, now: Timestamp, freshness: &Freshness) {
        let totals = &mut self.totals;
        self.out_of_scope.retain(|_, out_of_scope| {
            let kept = !is_older(out_of_scope.since, freshness.expire_after, now);
            if !kept {
                totals.dropped += out_of_scope.machine.missing_updates().len() as u64;
            }
            kept
        });
    }

    /// Takes a good answer about a machine: gaps that stay keep their first seen time, gaps that
    /// are gone are fixed. Ignored for a machine that has left the scope meanwhile.
    ///
    /// The answer about an inactive machine is not believed, since Defender drops the findings of
    /// machines that it no longer sees: what was known stays, and nothing is fixed.
    pub fn apply_answer(
        &mut self,
        id: &MachineId,
        at: Timestamp,
        missing: Vec<ReportedUpdate>,
        freshness: &Freshness,
    ) {
        let findings = missing.into_iter().map(|update| Finding { update, first_seen: None }).collect();
        let answer = Answer { at, as_of: at, source: Source::Machines, findings };
        if let Some(slot) = self.machines.get_mut(id) {
            answer.apply(slot, &mut self.totals, freshness);
        }
    }

    /// Takes an export: `findings_of` answers what it says of a machine, none when it has no row of
    /// it. A machine without rows is known to miss nothing only if Defender has its sensor there and
    /// has seen it since the export was made; else what was known stays, and the attempt has failed.
    /// Returns how many machines have data from it.
    pub fn apply_snapshot(
        &mut self,
        snapshot: ExportVersion,
        mut findings_of: impl FnMut(&MachineId) -> Option<Vec<Finding>>,
        freshness: &Freshness,
    ) -> u64 {
        let ExportVersion { generated_at: as_of, checked_at: at } = snapshot;
        let mut known = 0;
        for (id, slot) in &mut self.machines {
            let seen_since = || slot.facts.last_seen.is_some_and(|seen| seen >= as_of);
            let nothing = || (slot.facts.onboarded && seen_since()).then(Vec::new);
            if let Some(findings) = findings_of(id).or_else(nothing) {
                Answer { at, as_of, source: Source::Export, findings }.apply(
                    slot,
                    &mut self.totals,
                    freshness,
                );
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
        let is_ignored = |missing: &MissingUpdate| ignored.contains(&missing.update.kb);
        let out_of_scope = self.out_of_scope.values_mut().map(|out_of_scope| &mut out_of_scope.machine);
        for slot in self.machines.values_mut().chain(out_of_scope) {
            if !slot.missing_updates().iter().any(is_ignored) {
                continue;
            }
            if let Some(assessment) = &mut Arc::make_mut(slot).assessment {
                let before = assessment.missing_updates.len();
                assessment.missing_updates.retain(|missing| !is_ignored(missing));
                self.totals.dropped += (before - assessment.missing_updates.len()) as u64;
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
    fn apply(self, slot: &mut Arc<Machine>, totals: &mut Totals, freshness: &Freshness) {
        let Self { at, as_of, source, mut findings } = self;
        let attempt = Some(Attempt { at, succeeded: true });
        if slot.state(at, freshness) == MachineState::Inactive {
            Arc::make_mut(slot).attempt = attempt;
            return;
        }
        findings.sort_by_key(|finding| finding.update.kb);
        findings.dedup_by_key(|finding| finding.update.kb);
        let known = slot.missing_updates();
        let open = |kb| known.binary_search_by_key(&kb, |missing| missing.update.kb).ok();
        let missing = |Finding { update, first_seen }: Finding| {
            let before = open(update.kb).map(|index| known[index].first_seen);
            totals.detected += u64::from(before.is_none());
            let ours = before.unwrap_or(as_of);
            MissingUpdate { first_seen: first_seen.map_or(ours, |theirs| theirs.min(ours)), update }
        };
        let missing_updates: Vec<MissingUpdate> = findings.into_iter().map(missing).collect();
        let is_gone = |missing: &&MissingUpdate| {
            missing_updates.binary_search_by_key(&missing.update.kb, |missing| missing.update.kb).is_err()
        };
        let same_source = slot.assessment.as_ref().is_none_or(|assessment| assessment.source == source);
        for missing in known.iter().filter(is_gone) {
            if same_source {
                totals.resolved += 1;
                totals.resolution.observe(age(missing.first_seen, as_of));
            } else {
                totals.dropped += 1;
            }
        }
        let facts = slot.facts.clone();
        *slot = Arc::new(Machine {
            facts,
            assessment: Some(Assessment { at, as_of, source, missing_updates }),
            attempt,
        });
    }
}

#[cfg(test)]
mod tests;
