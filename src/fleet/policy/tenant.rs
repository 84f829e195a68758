//! The missing updates of one tenant under the policies of a rendering.

mod profiles;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::UpdateState;
use super::exceptions::TenantExceptions;
use super::kb_lookup::KbLookup;
use super::key_hasher::KeyHashing;
use super::rules::{CompiledPolicies, RulePlan};
use crate::facts::Facts;
use crate::fleet::rules::RuleBits;
use crate::fleet::rules::machines::MachineOutcomes;
use crate::fleet::summary::UpdateSummary;
use crate::fleet::{Link, Machine, MissingUpdate, TenantFleet};
use crate::model::{DeadlineStart, FactsSource, KbId, RuleDeadline};
use profiles::packed_link;

/// Decides the states of missing updates of one tenant.
///
/// Everything that a missing update has in common with others, such as the facts about its KB, is looked up and
/// compared with the rules once.
#[derive(Debug)]
pub struct TenantPolicies<'a> {
    compiled: &'a CompiledPolicies<'a>,
    lookup: KbLookup<'a>,
    /// For each policy, true if facts that it needs were never loaded.
    lacks_facts: Vec<bool>,
    /// The profiles of missing updates that stand for themselves alone, by [`packed`](profiles::packed).
    plain: HashMap<u64, usize, KeyHashing>,
    /// The profiles of the others, by [`packed`](profiles::packed) and the KBs of the links.
    chained: HashMap<Box<[u64]>, usize, KeyHashing>,
    /// The newest key of `chained`, to save allocations.
    key: Vec<u64>,
    profiles: Vec<UpdateProfile>,
    /// The outcomes of the conditions on updates, one section for each profile.
    update_bits: Vec<RuleBits>,
    machines: MachineOutcomes,
    exceptions: TenantExceptions,
    /// The outcomes of the conditions on links, by [`packed_link`].
    links: HashMap<u64, Box<[RuleBits]>, KeyHashing>,
    /// The links of the newest missing update that no exception covers, to save allocations.
    remaining: Vec<Link>,
}

/// What missing updates of one KB with the same links have in common.
#[derive(Debug)]
struct UpdateProfile {
    exploited: Option<bool>,
    released: Option<Timestamp>,
    /// The release of each link.
    links_released: Box<[Option<Timestamp>]>,
    listed_since: Option<Timestamp>,
    due: Option<Timestamp>,
}

/// A missing update under a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateVerdict {
    /// The number of the rule that applies, from 1; none if no rule matches or the state is unknown.
    pub rule: Option<usize>,
    /// The first-seen time of the update or of the oldest one that it stands for; the release, if the rule or, without
    /// a deadline, the policy measures from the release.
    pub late_since: Timestamp,
    /// The time after which the update is overdue; none without a deadline.
    pub deadline: Option<Timestamp>,
    /// The state.
    pub state: UpdateState,
    /// The place in the configuration of the first exception in effect that covers it.
    pub exception: Option<usize>,
    /// True if the update, or one that it stands for, fixes an exploited CVE; none if that is unknown. The same under
    /// every policy.
    pub exploited: Option<bool>,
}

/// A machine whose servicing has ended, under every policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServicingVerdict {
    /// Overdue or accepted.
    pub state: UpdateState,
    /// The place in the configuration of the first exception in effect that covers it.
    pub exception: Option<usize>,
}

/// The rule that applies to a missing update, and its times; as in [`UpdateVerdict`].
#[derive(Clone, Copy, Debug)]
pub(super) struct UpdateTiming {
    rule: Option<usize>,
    pub(super) late_since: Timestamp,
    pub(super) deadline: Option<Timestamp>,
}

/// The times from which the deadlines of one missing update are measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Starts {
    first_seen: Timestamp,
    released: Timestamp,
}

/// The states of the missing updates of one machine under one policy.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MachineStates {
    pub(super) has_accepted: bool,
    pub(super) has_due: bool,
    pub(super) overdue: u64,
    pub(super) overdue_exploited: u64,
}

impl MachineStates {
    /// The worst state under a policy that has the facts that it needs.
    pub(super) fn worst(&self) -> UpdateState {
        match self {
            Self { overdue: 1.., .. } => UpdateState::Overdue,
            Self { has_accepted: true, .. } => UpdateState::Accepted,
            Self { has_due: true, .. } => UpdateState::Due,
            Self { .. } => UpdateState::Unlimited,
        }
    }
}

/// Counts of the missing updates of one machine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MachineCounts {
    /// Overdue under at least one policy.
    pub(super) overdue: u64,
    /// Exploited.
    pub(super) exploited: u64,
}

impl<'a> TenantPolicies<'a> {
    /// The policies for the machines of `fleet`. `updates` must come from the
    /// [`Summary`](crate::fleet::summary::Summary) of the fleet at the same time.
    #[must_use]
    pub fn new(
        compiled: &'a CompiledPolicies<'a>,
        fleet: &TenantFleet,
        updates: &'a BTreeMap<KbId, UpdateSummary>,
        facts: &'a Facts,
    ) -> Self {
        let lacks = |source: FactsSource| !facts.has(source);
        let lacks_facts =
            compiled.policies.iter().map(|policy| policy.needed_facts(fleet.source).any(lacks)).collect();
        Self {
            compiled,
            lookup: KbLookup { updates, facts },
            lacks_facts,
            plain: HashMap::default(),
            chained: HashMap::default(),
            key: Vec::new(),
            profiles: Vec::new(),
            update_bits: Vec::new(),
            machines: MachineOutcomes::default(),
            exceptions: TenantExceptions::new(compiled, fleet, facts),
            links: HashMap::default(),
            remaining: Vec::new(),
        }
    }

    /// Returns whether facts that a policy needs were never loaded, so that no missing update can be judged.
    pub(super) fn lacks_facts(&self, policy: usize) -> bool {
        self.lacks_facts[policy]
    }

    /// The verdicts about `missing_updates` of a machine, in their order, under the policy with this index.
    pub fn verdicts(
        &mut self,
        policy: usize,
        machine: &Machine,
        missing_updates: &[MissingUpdate],
    ) -> Vec<UpdateVerdict> {
        self.read_machine(machine);
        let verdict = |missing: &MissingUpdate| {
            let (profile, starts) = self.read(missing);
            self.verdict(policy, profile, starts)
        };
        missing_updates.iter().map(verdict).collect()
    }

    /// Counts the states of `missing_updates` of a machine, into one element for each policy.
    pub(super) fn count(
        &mut self,
        machine: &Machine,
        missing_updates: &[MissingUpdate],
        states: &mut [MachineStates],
    ) -> MachineCounts {
        self.read_machine(machine);
        states.fill(MachineStates::default());
        let mut counts = MachineCounts::default();
        for missing in missing_updates {
            let (profile, starts) = self.read(missing);
            let is_accepted = self.count_exceptions(profile);
            let exploited = u64::from(self.profiles[profile].exploited == Some(true));
            let mut is_overdue = false;
            for (policy, of_policy) in states.iter_mut().enumerate() {
                match self.state(policy, profile, starts, is_accepted) {
                    UpdateState::Overdue => {
                        of_policy.overdue += 1;
                        of_policy.overdue_exploited += exploited;
                        is_overdue = true;
                    }
                    UpdateState::Accepted => of_policy.has_accepted = true,
                    UpdateState::Due => of_policy.has_due = true,
                    UpdateState::Unlimited | UpdateState::Unknown => {}
                }
            }
            counts.overdue += u64::from(is_overdue);
            counts.exploited += exploited;
        }
        counts
    }

    /// The missing updates and the machines past end of servicing that each exception covers, of all machines that were
    /// counted. None for an exception that does not name the tenant.
    pub(in crate::fleet) fn covered_by_exception(&self, tenant: &str) -> [Vec<Option<u64>>; 2] {
        [&self.exceptions.covered, &self.exceptions.covered_machines].map(|counts| {
            let covered = self.compiled.exceptions.iter().zip(counts);
            covered.map(|(exception, covered)| exception.names_tenant(tenant).then_some(*covered)).collect()
        })
    }

    /// The indexes of the exceptions that cover a missing update or the end of servicing of the machines that were
    /// counted since the last call.
    pub(in crate::fleet) fn newly_covering(&mut self) -> impl Iterator<Item = usize> {
        self.exceptions.newly_covering()
    }

    /// The verdict about a machine whose servicing has ended; the same under every policy.
    pub fn servicing_verdict(&mut self, machine: &Machine) -> ServicingVerdict {
        self.read_machine(machine);
        let exception = self.exceptions.first_of_machine(self.compiled, &self.machines.bits);
        let state = if exception.is_some() { UpdateState::Accepted } else { UpdateState::Overdue };
        ServicingVerdict { state, exception }
    }

    /// Counts a machine whose servicing has ended. Returns its state, which is the same under every policy.
    pub(super) fn count_ended(&mut self, machine: &Machine) -> UpdateState {
        let verdict = self.servicing_verdict(machine);
        self.exceptions.count_machine(self.compiled, &self.machines.bits);
        verdict.state
    }

    pub(super) fn read_machine(&mut self, machine: &Machine) {
        self.machines.read(&self.compiled.rules, &machine.facts);
        self.exceptions.read_machine(&self.machines.bits);
    }

    /// The profile of a missing update of the newest machine, and its starts. Links that an exception covers are left
    /// out: the missing update does not stand for an accepted one.
    pub(super) fn read(&mut self, missing: &MissingUpdate) -> (usize, Starts) {
        let links = missing.links();
        if links.is_empty() || !self.exceptions.may_cover {
            let profile = self.profile(missing, links);
            return (profile, self.starts(profile, missing, links));
        }
        let mut remaining = std::mem::take(&mut self.remaining);
        remaining.clear();
        remaining.extend(links.iter().filter(|link| !self.is_accepted_link(missing, link)));
        let profile = self.profile(missing, &remaining);
        let starts = self.starts(profile, missing, &remaining);
        self.remaining = remaining;
        (profile, starts)
    }

    /// Returns whether an exception covers a link, by the facts of the link alone.
    fn is_accepted_link(&mut self, missing: &MissingUpdate, link: &Link) -> bool {
        let key = packed_link(missing, link);
        if !self.links.contains_key(&key) {
            let bits = self.compiled.rules.update_bits(&self.lookup.traits_of_link(missing, link));
            self.links.insert(key, bits.into());
        }
        self.exceptions.first(&self.links[&key], &self.machines.bits).is_some()
    }

    /// Counts the exceptions that cover a missing update with this profile. Returns whether one does.
    pub(super) fn count_exceptions(&mut self, profile: usize) -> bool {
        if !self.exceptions.may_cover {
            return false;
        }
        let words = self.machines.bits.len();
        let update_bits = &self.update_bits[profile * words..][..words];
        self.exceptions.count(update_bits, &self.machines.bits)
    }

    fn verdict(&self, policy: usize, profile: usize, starts: Starts) -> UpdateVerdict {
        let exception = self.exceptions.first(self.bits_of(profile), &self.machines.bits);
        let state = self.state(policy, profile, starts, exception.is_some());
        let UpdateTiming { rule, late_since, deadline } = self.timing(policy, profile, starts, state);
        UpdateVerdict { rule, late_since, deadline, state, exception, exploited: self.is_exploited(profile) }
    }

    /// The rule, start and deadline of a missing update in `state`.
    pub(super) fn timing(
        &self,
        policy: usize,
        profile: usize,
        starts: Starts,
        state: UpdateState,
    ) -> UpdateTiming {
        let matching = self.first_match(policy, profile).filter(|_| state != UpdateState::Unknown);
        let rule = matching.map(|(index, _)| index + 1);
        let (from, deadline) = match matching.map(|(_, plan)| plan.deadline) {
            None | Some(RuleDeadline::Unlimited) => (self.compiled.policies[policy].from, None),
            Some(RuleDeadline::Within { time, from }) => {
                (from, self.start(profile, starts, from).checked_add(time).ok())
            }
            Some(RuleDeadline::KnownExploitedDue) => {
                (DeadlineStart::KnownExploited, self.profiles[profile].due)
            }
        };
        let late_since = match from {
            DeadlineStart::Released => starts.released,
            DeadlineStart::FirstSeen | DeadlineStart::KnownExploited => starts.first_seen,
        };
        UpdateTiming { rule, late_since, deadline }
    }

    /// True if missing updates with this profile fix an exploited CVE; none if that is unknown.
    pub(super) fn is_exploited(&self, profile: usize) -> Option<bool> {
        self.profiles[profile].exploited
    }

    pub(super) fn state(
        &self,
        policy: usize,
        profile: usize,
        starts: Starts,
        is_accepted: bool,
    ) -> UpdateState {
        if self.lacks_facts[policy] {
            return UpdateState::Unknown;
        }
        if is_accepted {
            return UpdateState::Accepted;
        }
        let Some((_, plan)) = self.first_match(policy, profile) else { return UpdateState::Unlimited };
        let is_overdue = match plan.deadline {
            RuleDeadline::Unlimited => return UpdateState::Unlimited,
            RuleDeadline::Within { from, .. } => {
                let start = self.start(profile, starts, from);
                plan.latest_start.is_some_and(|latest| start < latest)
            }
            RuleDeadline::KnownExploitedDue => {
                self.profiles[profile].due.is_some_and(|due| due < self.compiled.now)
            }
        };
        if is_overdue { UpdateState::Overdue } else { UpdateState::Due }
    }

    fn start(&self, profile: usize, starts: Starts, from: DeadlineStart) -> Timestamp {
        match from {
            DeadlineStart::FirstSeen => starts.first_seen,
            DeadlineStart::Released => starts.released,
            DeadlineStart::KnownExploited => self.profiles[profile].listed_since.unwrap_or(starts.first_seen),
        }
    }

    fn first_match(&self, policy: usize, profile: usize) -> Option<(usize, RulePlan)> {
        self.compiled.first_match(policy, self.bits_of(profile), &self.machines.bits)
    }

    /// The outcomes of the conditions on updates with this profile.
    fn bits_of(&self, profile: usize) -> &[RuleBits] {
        let words = self.machines.bits.len();
        &self.update_bits[profile * words..][..words]
    }

    /// The starts for a missing update that stands for `links`: those of the oldest one.
    fn starts(&self, profile: usize, missing: &MissingUpdate, links: &[Link]) -> Starts {
        let profile = &self.profiles[profile];
        let capped = |released: Option<Timestamp>, first_seen: Timestamp| {
            released.map_or(first_seen, |released| released.min(first_seen))
        };
        let own =
            Starts { first_seen: missing.first_seen, released: capped(profile.released, missing.first_seen) };
        let links = links.iter().zip(&profile.links_released);
        links.fold(own, |starts, (link, &released)| Starts {
            first_seen: starts.first_seen.min(link.first_seen),
            released: starts.released.min(capped(released, link.first_seen)),
        })
    }
}
