//! The missing updates of one tenant under the policies of a rendering.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::UpdateState;
use super::condition::UpdateTraits;
use super::key_hasher::KeyHashing;
use super::machines::MachineOutcomes;
use super::rules::{CompiledPolicies, RuleBits, RulePlan};
use crate::facts::Facts;
use crate::fleet::summary::UpdateSummary;
use crate::fleet::{EffectiveFacts, Machine, MissingUpdate, TenantFleet};
use crate::model::{CvssScore, DeadlineStart, FactsSource, KbId, RuleDeadline};

/// Decides the states of missing updates of one tenant.
///
/// Everything that a missing update has in common with others, such as the facts about its KB, is looked up and
/// compared with the rules once.
#[derive(Debug)]
pub struct TenantPolicies<'a> {
    compiled: &'a CompiledPolicies<'a>,
    updates: &'a BTreeMap<KbId, UpdateSummary>,
    facts: &'a Facts,
    /// For each policy, true if facts that it needs were never loaded.
    lacks_facts: Vec<bool>,
    /// The profiles of missing updates that stand for themselves alone, by [`packed`].
    plain: HashMap<u64, usize, KeyHashing>,
    /// The profiles of the others, by [`packed`] and the KBs of the links.
    chained: HashMap<Box<[u64]>, usize, KeyHashing>,
    /// The newest key of `chained`, to save allocations.
    key: Vec<u64>,
    profiles: Vec<UpdateProfile>,
    /// The outcomes of the conditions on updates, one section for each profile.
    update_bits: Vec<RuleBits>,
    machines: MachineOutcomes,
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
    /// The first-seen time of the update or of the oldest one that it stands for; the release, if the rule measures
    /// from the release.
    pub late_since: Timestamp,
    /// The time after which the update is overdue; none without a deadline.
    pub deadline: Option<Timestamp>,
    /// The state.
    pub state: UpdateState,
    /// True if the update or one that it stands for fixes an exploited CVE; none if that is unknown.
    pub exploited: Option<bool>,
}

/// The times from which the deadlines of one missing update are measured.
#[derive(Clone, Copy, Debug)]
struct Starts {
    first_seen: Timestamp,
    released: Timestamp,
}

/// The states of the missing updates of one machine under one policy.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MachineStates {
    pub(super) has_due: bool,
    pub(super) overdue: u64,
    pub(super) overdue_exploited: u64,
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
            updates,
            facts,
            lacks_facts,
            plain: HashMap::default(),
            chained: HashMap::default(),
            key: Vec::new(),
            profiles: Vec::new(),
            update_bits: Vec::new(),
            machines: MachineOutcomes::default(),
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
        self.machines.read(self.compiled, &machine.facts);
        let verdict = |missing: &MissingUpdate| {
            let profile = self.profile(missing);
            self.verdict(policy, profile, self.starts(profile, missing))
        };
        missing_updates.iter().map(verdict).collect()
    }

    /// Counts the states of `missing_updates` of a machine, into one element for each policy. Returns how many are
    /// overdue under at least one policy.
    pub(super) fn count(
        &mut self,
        machine: &Machine,
        missing_updates: &[MissingUpdate],
        counts: &mut [MachineStates],
    ) -> u64 {
        self.machines.read(self.compiled, &machine.facts);
        counts.fill(MachineStates::default());
        let mut overdue = 0;
        for missing in missing_updates {
            let profile = self.profile(missing);
            let starts = self.starts(profile, missing);
            let exploited = u64::from(self.profiles[profile].exploited == Some(true));
            let mut is_overdue = false;
            for (policy, count) in counts.iter_mut().enumerate() {
                match self.state(policy, profile, starts) {
                    UpdateState::Overdue => {
                        count.overdue += 1;
                        count.overdue_exploited += exploited;
                        is_overdue = true;
                    }
                    UpdateState::Due => count.has_due = true,
                    UpdateState::Unlimited | UpdateState::Unknown => {}
                }
            }
            overdue += u64::from(is_overdue);
        }
        overdue
    }

    fn verdict(&self, policy: usize, profile: usize, starts: Starts) -> UpdateVerdict {
        let state = self.state(policy, profile, starts);
        let matching = self.first_match(policy, profile).filter(|_| state != UpdateState::Unknown);
        let rule = matching.map(|(index, _)| index + 1);
        let (late_since, deadline) = match matching.map(|(_, plan)| plan.deadline) {
            None | Some(RuleDeadline::Unlimited) => (starts.first_seen, None),
            Some(RuleDeadline::Within { time, from }) => {
                let late_since = match from {
                    DeadlineStart::Released => starts.released,
                    DeadlineStart::FirstSeen | DeadlineStart::KnownExploited => starts.first_seen,
                };
                (late_since, self.start(profile, starts, from).checked_add(time).ok())
            }
            Some(RuleDeadline::KnownExploitedDue) => (starts.first_seen, self.profiles[profile].due),
        };
        UpdateVerdict { rule, late_since, deadline, state, exploited: self.profiles[profile].exploited }
    }

    fn state(&self, policy: usize, profile: usize, starts: Starts) -> UpdateState {
        if self.lacks_facts[policy] {
            return UpdateState::Unknown;
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
        let machine_bits = &self.machines.bits;
        let words = machine_bits.len();
        let update_bits = &self.update_bits[profile * words..][..words];
        self.compiled.first_match(policy, update_bits, machine_bits)
    }

    /// The starts for a missing update: those of the oldest one that it stands for.
    fn starts(&self, profile: usize, missing: &MissingUpdate) -> Starts {
        let profile = &self.profiles[profile];
        let capped = |released: Option<Timestamp>, first_seen: Timestamp| {
            released.map_or(first_seen, |released| released.min(first_seen))
        };
        let own =
            Starts { first_seen: missing.first_seen, released: capped(profile.released, missing.first_seen) };
        let links = missing.links().iter().zip(&profile.links_released);
        links.fold(own, |starts, (link, &released)| Starts {
            first_seen: starts.first_seen.min(link.first_seen),
            released: starts.released.min(capped(released, link.first_seen)),
        })
    }

    /// The index of the profile of a missing update.
    fn profile(&mut self, missing: &MissingUpdate) -> usize {
        let links = missing.links();
        let packed = packed(missing);
        if links.is_empty() {
            if let Some(&known) = self.plain.get(&packed) {
                return known;
            }
            let added = self.add_profile(missing);
            self.plain.insert(packed, added);
            return added;
        }
        self.key.clear();
        self.key.push(packed);
        self.key.extend(links.iter().map(|link| u64::from(link.kb.number())));
        if let Some(&known) = self.chained.get(self.key.as_slice()) {
            return known;
        }
        let added = self.add_profile(missing);
        self.chained.insert(self.key.as_slice().into(), added);
        added
    }

    fn add_profile(&mut self, missing: &MissingUpdate) -> usize {
        let kb = missing.update.kb;
        let traits = self.traits(missing);
        let links_released = missing.links().iter().map(|link| self.released(link.kb)).collect();
        self.update_bits.extend(self.compiled.update_bits(&traits));
        self.profiles.push(UpdateProfile {
            exploited: traits.exploited,
            released: self.released(kb),
            links_released,
            listed_since: traits.listed_since,
            due: traits.due,
        });
        self.profiles.len() - 1
    }

    fn traits(&self, missing: &MissingUpdate) -> UpdateTraits {
        let update = &missing.update;
        let kbs = || [update.kb].into_iter().chain(missing.links().iter().map(|link| link.kb));
        let effective = EffectiveFacts::of(self.facts, kbs());
        let is_listed = effective.known_exploited.is_some();
        let is_known = is_listed || kbs().all(|kb| self.facts.kb(kb).is_some());
        let own_products = || update.facts.products.as_slice();
        let products = self.updates.get(&update.kb).map_or_else(own_products, |known| &known.facts.products);
        let rating = || update.severity.or(update.cvss.map(CvssScore::severity));
        UpdateTraits {
            kb: Some(update.kb),
            exploited: effective.exploited,
            is_listed: is_known.then_some(is_listed),
            listed_since: effective.known_exploited.map(|listing| listing.since),
            due: effective.known_exploited.and_then(|listing| listing.due),
            vendor_severity: effective.vendor_severity,
            severity: effective.cvss.map(CvssScore::severity).or_else(rating),
            cvss: effective.cvss.or(update.cvss),
            epss: effective.epss,
            products: products.iter().map(|product| product.to_lowercase()).collect(),
        }
    }

    /// The release of a KB, which is the same for every machine.
    fn released(&self, kb: KbId) -> Option<Timestamp> {
        match self.updates.get(&kb) {
            Some(update) => update.released,
            None => self.facts.released(kb, ""),
        }
    }
}

/// The KB and what Defender reports about it on the machine, in one number.
fn packed(missing: &MissingUpdate) -> u64 {
    let update = &missing.update;
    let severity = update.severity.map_or(0, |severity| severity as u64 + 1);
    let score = update.cvss.map_or(0, |score| u64::from(score.tenths()));
    u64::from(update.kb.number()) << 16 | severity << 8 | score
}
