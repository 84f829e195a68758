//! Applies machine lists, replies and exports to the fleet of one tenant.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use jiff::Timestamp;

use super::machine::{age, is_older};
use super::poll_status::PollStatus;
use super::supersedence::Appeared;
use super::totals::Totals;
use super::unreadable::{Absence, Doubt};
use super::{
    Assessment, Attempt, DatedUpdate, Machine, MachineAnswer, MachineFacts, MissingUpdate, Onboarding,
};
use crate::facts::Facts;
use crate::model::{Freshness, IgnoredUpdates, KbId, MachineId, Source};

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
    /// True if it has lines of which not even the machine can be read.
    pub has_unreadable_lines: bool,
    /// True if the version that was applied before it has such lines.
    pub follows_unreadable_lines: bool,
}

impl ExportVersion {
    /// The version that replaces `previous`, or `previous` itself when it is read again.
    #[must_use]
    pub fn new(
        generated_at: Timestamp,
        checked_at: Timestamp,
        has_unreadable_lines: bool,
        previous: Option<&Self>,
    ) -> Self {
        let follows_unreadable_lines = previous.is_some_and(|previous| {
            if previous.generated_at == generated_at {
                previous.follows_unreadable_lines
            } else {
                previous.has_unreadable_lines
            }
        });
        Self { generated_at, checked_at, has_unreadable_lines, follows_unreadable_lines }
    }
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
    /// are not in the reply are fixed or, if an unreadable id may stand for them, held. One that disappears while a
    /// newer update of its chain appears (`facts`) is superseded: it becomes a link of that one, and is not fixed.
    /// A machine that has left the scope meanwhile is ignored.
    ///
    /// A reply about an inactive machine is not trusted, because Defender drops the missing updates of
    /// machines that it no longer sees: the previous data stays, and nothing is fixed. The same applies to an
    /// unsupported machine, of which Defender lists no missing updates at all.
    pub fn apply_answer(
        &mut self,
        id: &MachineId,
        at: Timestamp,
        answer: impl Into<MachineAnswer>,
        freshness: &Freshness,
        facts: &Facts,
    ) {
        let (source, answer) = (Source::Machines, answer.into());
        let reply = SourceReply { fetched_at: at, as_of: at, source, answer, is_incomplete: false };
        if let Some(machine) = self.machines.get_mut(id) {
            reply.apply(machine, &mut self.totals, freshness, facts);
        }
    }

    /// Applies an export version. `take_answer` returns the rows of a machine, or none if the export has no row
    /// of it. A machine without a row misses nothing only if it is known to be onboarded and Defender has seen
    /// it since the version was generated; otherwise its previous data stays, and the attempt counts as failed.
    /// Unsupported machines stay as they are. Returns the number of machines that have data from this version.
    ///
    /// A line without a readable machine may be about any missing update. So a version with such lines fixes
    /// nothing, unless the version before it has such lines too, which therefore are something else.
    pub fn apply_export(
        &mut self,
        version: ExportVersion,
        mut take_answer: impl FnMut(&MachineId) -> Option<MachineAnswer>,
        freshness: &Freshness,
        facts: &Facts,
    ) -> u64 {
        let ExportVersion { generated_at: as_of, checked_at: fetched_at, .. } = version;
        let is_incomplete = version.has_unreadable_lines && !version.follows_unreadable_lines;
        let mut applied = 0;
        let supported = self.machines.iter_mut().filter(|(_, machine)| machine.facts.is_supported());
        for (id, machine) in supported {
            let is_onboarded = machine.facts.onboarding == Onboarding::Onboarded;
            let seen_since = || machine.facts.last_seen.is_some_and(|seen| seen >= as_of);
            let misses_nothing = || (is_onboarded && seen_since()).then(MachineAnswer::default);
            if let Some(answer) = take_answer(id).or_else(misses_nothing) {
                let reply = SourceReply { fetched_at, as_of, source: Source::Export, answer, is_incomplete };
                reply.apply(machine, &mut self.totals, freshness, facts);
                applied += 1;
            } else {
                Arc::make_mut(machine).attempt = Some(Attempt::ended(fetched_at, false));
            }
        }
        self.export_version = Some(version);
        applied
    }

    /// Drops the missing updates of `ignored` KBs, which do not count as fixed, and the `ignored` ids.
    pub fn ignore(&mut self, ignored: &IgnoredUpdates) {
        let out_of_scope = self.out_of_scope.values_mut().map(|out_of_scope| &mut out_of_scope.machine);
        for machine in self.machines.values_mut().chain(out_of_scope) {
            if machine.is_concerned_by(ignored) {
                self.totals.dropped += Arc::make_mut(machine).ignore(ignored);
            }
        }
    }

    /// Records a failed attempt to read a machine. Its data stays as it is.
    pub fn apply_failure(&mut self, id: &MachineId, at: Timestamp) {
        self.apply_attempt(id, Attempt::ended(at, false));
    }

    /// Records that the API did not find a machine in several calls. Its data stays as it is.
    pub fn apply_not_found(&mut self, id: &MachineId, at: Timestamp) {
        self.apply_attempt(id, Attempt { at, succeeded: false, not_found: true });
    }

    fn apply_attempt(&mut self, id: &MachineId, attempt: Attempt) {
        if let Some(machine) = self.machines.get_mut(id) {
            Arc::make_mut(machine).attempt = Some(attempt);
        }
    }
}

/// The data of one machine from a source.
struct SourceReply {
    fetched_at: Timestamp,
    as_of: Timestamp,
    source: Source,
    answer: MachineAnswer,
    /// True if the source has data that may be about this machine and cannot be read.
    is_incomplete: bool,
}

impl SourceReply {
    fn apply(self, machine: &mut Arc<Machine>, totals: &mut Totals, freshness: &Freshness, facts: &Facts) {
        let Self { fetched_at, as_of, source, answer, is_incomplete } = self;
        let attempt = Some(Attempt::ended(fetched_at, true));
        if !machine.state(fetched_at, freshness).is_asked() {
            Arc::make_mut(machine).attempt = attempt;
            return;
        }
        let MachineAnswer { mut updates, mut unreadable, build } = answer;
        updates.sort_by_key(|dated| dated.update.kb);
        updates.dedup_by_key(|dated| dated.update.kb);
        unreadable.sort_unstable();
        unreadable.dedup();
        let previous = machine.missing_updates();
        let mut appeared = Appeared::new(facts, build);
        let missing = |DatedUpdate { update, first_seen }: DatedUpdate| {
            let earlier = find(previous, update.kb).map(|missing| missing.first_seen);
            if earlier.is_none() {
                totals.detected += 1;
                appeared.add(update.kb);
            }
            let ours = earlier.or_else(|| first_seen_of_link(previous, update.kb)).unwrap_or(as_of);
            MissingUpdate {
                first_seen: first_seen.map_or(ours, |theirs| theirs.min(ours)),
                update,
                chain: None,
            }
        };
        let mut missing_updates: Vec<MissingUpdate> = updates.into_iter().map(missing).collect();
        let doubt = Doubt {
            earlier: machine.assessment.as_ref().and_then(|assessment| assessment.unreadable.as_deref()),
            ids: &unreadable,
            about_all: is_incomplete,
            at: as_of,
            longest: freshness.inactive_after,
            earlier_source: machine.assessment.as_ref().map_or(source, |assessment| assessment.source),
        };
        let (mut kept, mut held) = (Vec::new(), Vec::new());
        let is_gone = |missing: &&MissingUpdate| find(&missing_updates, missing.update.kb).is_none();
        for missing in previous.iter().filter(is_gone) {
            // Whatever an unreadable id stands for: a link is lost no more than a held update.
            if appeared.take_place_of(missing) {
                totals.superseded += 1;
                continue;
            }
            match doubt.absence(missing.update.kb) {
                Absence::Held(since) => {
                    kept.push(missing.clone());
                    held.push(since);
                }
                Absence::Gone(listed_by) if listed_by == source => {
                    appeared.give_back_links_of(missing);
                    totals.resolved += 1;
                    totals.resolution.observe(age(missing.oldest_first_seen(), as_of));
                }
                Absence::Gone(_) => {
                    appeared.give_back_links_of(missing);
                    totals.dropped += 1;
                }
            }
        }
        link(&mut missing_updates, &mut appeared, previous);
        if !kept.is_empty() {
            missing_updates.extend(kept);
            missing_updates.sort_by_key(|missing| missing.update.kb);
        }
        let unreadable = doubt.knowledge(&missing_updates, held, previous);
        *machine = Arc::new(Machine {
            facts: machine.facts.clone(),
            assessment: Some(Assessment { fetched_at, as_of, source, missing_updates, unreadable }),
            attempt,
        });
    }
}

/// Gives the listed updates their links: those that they had in `previous`, and the updates that they superseded.
fn link(listed: &mut [MissingUpdate], appeared: &mut Appeared<'_>, previous: &[MissingUpdate]) {
    for index in 0..listed.len() {
        let kb = listed[index].update.kb;
        let before = find(previous, kb).map_or(&[][..], MissingUpdate::links);
        let chain = appeared.chain(kb, before, |link| find(listed, link).is_some());
        listed[index].chain = chain;
    }
}

/// The time at which `kb`, a link of another update until now, was first seen missing.
fn first_seen_of_link(previous: &[MissingUpdate], kb: KbId) -> Option<Timestamp> {
    let links = previous.iter().flat_map(MissingUpdate::links);
    links.filter(|link| link.kb == kb).map(|link| link.first_seen).min()
}

/// The missing update of `kb` in a list that is sorted by KB.
fn find(missing_updates: &[MissingUpdate], kb: KbId) -> Option<&MissingUpdate> {
    let index = missing_updates.binary_search_by_key(&kb, |missing| missing.update.kb).ok()?;
    Some(&missing_updates[index])
}

#[cfg(test)]
mod tests;
