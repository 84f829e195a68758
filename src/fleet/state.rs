//! Applies machine lists, replies and exports to the fleet of one tenant.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::totals::Totals;
use super::{DatedUpdate, MachineFacts, MissingUpdate, Onboarding, ReportedUpdate};
use crate::model::{Freshness, KbId, MachineId, Source};

/// The state of a machine, by the age of its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MachineState {
    /// Read within `stale_after`.
    Fresh,
    /// Read longer ago than `stale_after`, but within `expire_after`; still served.
    Stale,
    /// Not seen by Defender for `inactive_after`: replies about it are not trusted.
    Inactive,
    /// Never read, or so long ago that the data expired.
    Unknown,
    /// Not a Windows machine, or not onboarded: Defender lists no missing updates of it, and it is not asked.
    Unsupported,
}

impl MachineState {
    /// Every state, in the order of exposition.
    pub const ALL: [Self; 5] = [Self::Fresh, Self::Stale, Self::Inactive, Self::Unknown, Self::Unsupported];

    /// The value of the label `state`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Inactive => "inactive",
            Self::Unknown => "unknown",
            Self::Unsupported => "unsupported",
        }
    }

    /// Returns whether the missing updates of the machine are served and counted.
    #[must_use]
    pub fn is_assessed(self) -> bool {
        matches!(self, Self::Fresh | Self::Stale)
    }

    /// Returns whether an answer about the machine is trusted, so that it is worth a call.
    #[must_use]
    pub fn is_asked(self) -> bool {
        !matches!(self, Self::Inactive | Self::Unsupported)
    }
}

/// The last good data of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// The time at which it was fetched.
    pub fetched_at: Timestamp,
    /// The time that it describes, from which its age is counted. With an export this is the generation time
    /// of the export version, which is earlier than `fetched_at`.
    pub as_of: Timestamp,
    /// The source that delivered it.
    pub source: Source,
    /// The missing updates, sorted by KB, each KB once.
    pub missing_updates: Vec<MissingUpdate>,
}

impl Assessment {
    /// The assessment from a call for one machine, which describes the time of the call.
    #[must_use]
    pub fn of_now(now: Timestamp, missing_updates: Vec<MissingUpdate>) -> Self {
        Self { fetched_at: now, as_of: now, source: Source::Machines, missing_updates }
    }
}

/// The newest attempt to read a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The time at which it ended.
    pub at: Timestamp,
    /// True if it returned data.
    pub succeeded: bool,
}

/// A machine in scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The facts from the machine list.
    pub facts: MachineFacts,
    /// The last good data.
    pub assessment: Option<Assessment>,
    /// The newest attempt, successful or not.
    pub attempt: Option<Attempt>,
}

impl Machine {
    /// The state of the machine at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp, freshness: &Freshness) -> MachineState {
        let older = |at, limit| is_older(at, limit, now);
        if !self.facts.is_supported() {
            return MachineState::Unsupported;
        }
        if self.facts.last_seen.is_some_and(|at| older(at, freshness.inactive_after)) {
            return MachineState::Inactive;
        }
        match &self.assessment {
            None => MachineState::Unknown,
            Some(assessment) if older(assessment.as_of, freshness.expire_after) => MachineState::Unknown,
            Some(assessment) if older(assessment.as_of, freshness.stale_after) => MachineState::Stale,
            Some(_) => MachineState::Fresh,
        }
    }

    /// The missing updates of the last assessment, whether they are served or not.
    #[must_use]
    pub fn missing_updates(&self) -> &[MissingUpdate] {
        self.assessment.as_ref().map_or(&[], |assessment| &assessment.missing_updates)
    }

    /// The missing updates that are served and counted at `now`. None while the machine is not assessed,
    /// which differs from a machine without missing updates.
    #[must_use]
    pub fn assessed_updates(&self, now: Timestamp, freshness: &Freshness) -> Option<&[MissingUpdate]> {
        let assessment = self.assessment.as_ref()?;
        self.state(now, freshness).is_assessed().then_some(&assessment.missing_updates)
    }
}

/// The age of `at` at `now`; zero for a time in the future, as after a clock was set back.
fn age(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or_default()
}

fn is_older(at: Timestamp, limit: Duration, now: Timestamp) -> bool {
    age(at, now) > limit
}

/// A machine that left the scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfScope {
    /// The machine with its last data.
    pub machine: Arc<Machine>,
    /// The time at which it left.
    pub since: Timestamp,
}

/// The export version from which data comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportVersion {
    /// The time at which Defender generated it.
    pub generated_at: Timestamp,
    /// The time of the last check that found it to be the newest version.
    pub checked_at: Timestamp,
}

/// The results of the polls of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PollStatus {
    /// True if the API was usable in the newest poll; false before the first.
    pub up: bool,
    /// The time at which the newest poll ended.
    pub last_poll: Option<Timestamp>,
    /// The time at which the newest successful poll ended.
    pub last_success: Option<Timestamp>,
    /// The time at which the next poll is due.
    pub next_poll: Option<Timestamp>,
    /// The failure of the newest poll as text for an operator; none after a successful poll.
    pub last_error: Option<String>,
}

/// The data of one tenant. Cheap to clone: the machines are shared.
#[derive(Clone, Debug)]
pub struct TenantFleet {
    /// The value of the label `tenant`.
    pub tenant: Arc<str>,
    /// The configured source. Assessments from before a change of it have the other one.
    pub source: Source,
    /// The machines in scope.
    pub machines: BTreeMap<MachineId, Arc<Machine>>,
    /// The machines that left the scope less than `expire_after` ago. They may come back, and their missing
    /// updates have their first-seen times again then.
    pub out_of_scope: BTreeMap<MachineId, OutOfScope>,
    /// Counts of missing updates; they survive restarts.
    pub totals: Totals,
    /// The time of the machine list from which the scope was resolved.
    pub listed_at: Option<Timestamp>,
    /// The digest of the selectors from which the scope was resolved; empty before the first list. After the
    /// read of a state file of schema 1 or 2 it is another text, until the poller replaces it. A scope that
    /// shrinks under changed selectors is accepted at once.
    pub selectors: Arc<str>,
    /// The newest export version that was applied; none with [`Source::Machines`].
    pub export_version: Option<ExportVersion>,
    /// The results of the polls.
    pub status: PollStatus,
}

impl TenantFleet {
    /// The fleet of a tenant without any data yet.
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
            export_version: None,
            status: PollStatus::default(),
        }
    }

    /// The machines in scope of which Defender can list missing updates.
    pub fn supported_machines(&self) -> impl Iterator<Item = &Arc<Machine>> + Clone {
        self.machines.values().filter(|machine| machine.facts.is_supported())
    }

    /// Makes the machines `listed` at `now` the scope. Machines that stay keep their data, and machines that
    /// come back get theirs again. Machines that are not listed leave, which fixes nothing; those that left
    /// more than `expire_after` ago are dropped. Of a machine that is listed twice, the first record counts.
    pub fn apply_list(&mut self, listed: Vec<MachineFacts>, now: Timestamp, freshness: &Freshness) {
        self.drop_expired(now, freshness);
        let mut previous = std::mem::take(&mut self.machines);
        for facts in listed {
            let Entry::Vacant(slot) = self.machines.entry(facts.id.clone()) else {
                continue;
            };
            let returned = || self.out_of_scope.remove(&facts.id).map(|out_of_scope| out_of_scope.machine);
            slot.insert(match previous.remove(&facts.id).or_else(returned) {
                Some(machine) if machine.facts == facts => machine,
                Some(machine) => Arc::new(Machine { facts, ..Arc::unwrap_or_clone(machine) }),
                None => Arc::new(Machine { facts, assessment: None, attempt: None }),
            });
        }
        let left = previous.into_iter().filter(|(_, machine)| machine.assessment.is_some());
        self.out_of_scope.extend(left.map(|(id, machine)| (id, OutOfScope { machine, since: now })));
        self.listed_at = Some(now);
    }

    /// Drops the machines that left more than `expire_after` ago.
    fn drop_expired(&mut self, now: Timestamp, freshness: &Freshness) {
        let totals = &mut self.totals;
        self.out_of_scope.retain(|_, out_of_scope| {
            let kept = !is_older(out_of_scope.since, freshness.expire_after, now);
            if !kept {
                totals.dropped += out_of_scope.machine.missing_updates().len() as u64;
            }
            kept
        });
    }

    /// Applies a reply about a machine: updates that stay missing keep their first-seen time, and those that
    /// are not in the reply are fixed. A machine that has left the scope meanwhile is ignored.
    ///
    /// A reply about an inactive machine is not trusted, because Defender drops the missing updates of
    /// machines that it no longer sees: the previous data stays, and nothing is fixed. The same applies to an
    /// unsupported machine, of which Defender lists no missing updates at all.
    pub fn apply_answer(
        &mut self,
        id: &MachineId,
        at: Timestamp,
        reported: Vec<ReportedUpdate>,
        freshness: &Freshness,
    ) {
        let updates = reported.into_iter().map(|update| DatedUpdate { update, first_seen: None }).collect();
        let reply = SourceReply { fetched_at: at, as_of: at, source: Source::Machines, updates };
        if let Some(machine) = self.machines.get_mut(id) {
            reply.apply(machine, &mut self.totals, freshness);
        }
    }

    /// Applies an export version. `take_updates` returns the updates of a machine, or none if the export has
    /// no row of it. A machine without a row misses nothing only if it is known to be onboarded and
    /// Defender has seen it since the version was generated; otherwise its previous data stays, and the attempt
    /// counts as failed. Unsupported machines stay as they are. Returns the number of machines that have data from this version.
    pub fn apply_export(
        &mut self,
        version: ExportVersion,
        mut take_updates: impl FnMut(&MachineId) -> Option<Vec<DatedUpdate>>,
        freshness: &Freshness,
    ) -> u64 {
        let ExportVersion { generated_at: as_of, checked_at: fetched_at } = version;
        let mut applied = 0;
        let supported = self.machines.iter_mut().filter(|(_, machine)| machine.facts.is_supported());
        for (id, machine) in supported {
            let seen_since = || machine.facts.last_seen.is_some_and(|seen| seen >= as_of);
            let misses_nothing =
                || (machine.facts.onboarding == Onboarding::Onboarded && seen_since()).then(Vec::new);
            if let Some(updates) = take_updates(id).or_else(misses_nothing) {
                let reply = SourceReply { fetched_at, as_of, source: Source::Export, updates };
                reply.apply(machine, &mut self.totals, freshness);
                applied += 1;
            } else {
                Arc::make_mut(machine).attempt = Some(Attempt { at: fetched_at, succeeded: false });
            }
        }
        self.export_version = Some(version);
        applied
    }

    /// Drops the missing updates of `ignored` KBs. They do not count as fixed.
    pub fn drop_updates(&mut self, ignored: &BTreeSet<KbId>) {
        let is_ignored = |missing: &MissingUpdate| ignored.contains(&missing.update.kb);
        let out_of_scope = self.out_of_scope.values_mut().map(|out_of_scope| &mut out_of_scope.machine);
        for machine in self.machines.values_mut().chain(out_of_scope) {
            if !machine.missing_updates().iter().any(is_ignored) {
                continue;
            }
            if let Some(assessment) = &mut Arc::make_mut(machine).assessment {
                let before = assessment.missing_updates.len();
                assessment.missing_updates.retain(|missing| !is_ignored(missing));
                self.totals.dropped += (before - assessment.missing_updates.len()) as u64;
            }
        }
    }

    /// Records a failed attempt to read a machine. Its data stays as it is.
    pub fn apply_failure(&mut self, id: &MachineId, at: Timestamp) {
        if let Some(machine) = self.machines.get_mut(id) {
            Arc::make_mut(machine).attempt = Some(Attempt { at, succeeded: false });
        }
    }
}

/// The data of one machine from a source.
struct SourceReply {
    fetched_at: Timestamp,
    as_of: Timestamp,
    source: Source,
    updates: Vec<DatedUpdate>,
}

impl SourceReply {
    fn apply(self, machine: &mut Arc<Machine>, totals: &mut Totals, freshness: &Freshness) {
        let Self { fetched_at, as_of, source, mut updates } = self;
        let attempt = Some(Attempt { at: fetched_at, succeeded: true });
        if !machine.state(fetched_at, freshness).is_asked() {
            Arc::make_mut(machine).attempt = attempt;
            return;
        }
        updates.sort_by_key(|dated| dated.update.kb);
        updates.dedup_by_key(|dated| dated.update.kb);
        let previous = machine.missing_updates();
        let missing = |DatedUpdate { update, first_seen }: DatedUpdate| {
            let earlier = find(previous, update.kb).map(|missing| missing.first_seen);
            totals.detected += u64::from(earlier.is_none());
            let ours = earlier.unwrap_or(as_of);
            MissingUpdate { first_seen: first_seen.map_or(ours, |theirs| theirs.min(ours)), update }
        };
        let missing_updates: Vec<MissingUpdate> = updates.into_iter().map(missing).collect();
        let same_source = machine.assessment.as_ref().is_none_or(|assessment| assessment.source == source);
        let is_gone = |missing: &&MissingUpdate| find(&missing_updates, missing.update.kb).is_none();
        for missing in previous.iter().filter(is_gone) {
            if same_source {
                totals.resolved += 1;
                totals.resolution.observe(age(missing.first_seen, as_of));
            } else {
                totals.dropped += 1;
            }
        }
        *machine = Arc::new(Machine {
            facts: machine.facts.clone(),
            assessment: Some(Assessment { fetched_at, as_of, source, missing_updates }),
            attempt,
        });
    }
}

/// The missing update of `kb` in a list that is sorted by KB.
fn find(missing_updates: &[MissingUpdate], kb: KbId) -> Option<&MissingUpdate> {
    let index = missing_updates.binary_search_by_key(&kb, |missing| missing.update.kb).ok()?;
    Some(&missing_updates[index])
}

#[cfg(test)]
mod tests;
