//! Arbitrary policies and exceptions, compared with an evaluation of one rule after another.

use proptest::prelude::*;

use self::arbitrary::{any_exceptions, any_policy, scenes};
use super::*;

pub(super) mod arbitrary;

/// The outcome of a condition; none if it is unknown.
type Outcome = Option<bool>;

/// The conjunction of outcomes.
fn all(outcomes: &[Outcome]) -> Outcome {
    if outcomes.contains(&Some(false)) {
        return Some(false);
    }
    if outcomes.contains(&None) { None } else { Some(true) }
}

/// Everything about one missing update that a rule may depend on.
struct Scene<'a> {
    facts: &'a Facts,
    machine: &'a MachineFacts,
    missing: &'a MissingUpdate,
}

impl Scene<'_> {
    /// The facts about the update and about its links; none for those without facts.
    fn each(&self) -> Vec<Option<&KbFacts>> {
        let links = self.missing.links().iter().map(|link| link.kb);
        [self.missing.update.kb].into_iter().chain(links).map(|kb| self.facts.kb(kb)).collect()
    }

    fn listings(&self) -> Vec<KnownExploited> {
        self.each().into_iter().flatten().filter_map(|facts| facts.known_exploited).collect()
    }

    fn score(&self) -> Option<CvssScore> {
        let known = self.each().into_iter().flatten().filter_map(|facts| facts.cvss).max();
        known.or(self.missing.update.cvss)
    }

    fn exploited(&self) -> Outcome {
        let each: Vec<_> = self.each().iter().map(|facts| facts.and_then(|facts| facts.exploited)).collect();
        match (each.contains(&Some(true)), each.contains(&None)) {
            (true, _) => Some(true),
            (false, true) => None,
            (false, false) => Some(false),
        }
    }

    fn update(&self, condition: &UpdateCondition) -> Outcome {
        let any = |patterns: &[TextPattern], text: &str| {
            let fits = |pattern: &TextPattern| match pattern.as_str().to_lowercase().strip_suffix('*') {
                Some(start) => text.to_lowercase().starts_with(start),
                None => text.eq_ignore_ascii_case(pattern.as_str()),
            };
            patterns.iter().any(fits)
        };
        match condition {
            UpdateCondition::Exploited(wanted) => self.exploited().map(|exploited| exploited == *wanted),
            UpdateCondition::KnownExploited(wanted) => match self.listings()[..] {
                [] if self.each().contains(&None) => None,
                [] => Some(!wanted),
                [..] => Some(*wanted),
            },
            UpdateCondition::VendorSeverity(wanted) => {
                let worst = self.each().into_iter().flatten().filter_map(|facts| facts.vendor_severity).max();
                worst.map(|severity| wanted.contains(&severity))
            }
            UpdateCondition::Severity(wanted) => {
                let reported = self.missing.update.severity;
                let known = self.each().into_iter().flatten().filter_map(|facts| facts.cvss).max();
                let severity = known.map(CvssScore::severity).or(reported);
                severity.or(self.score().map(CvssScore::severity)).map(|severity| wanted.contains(&severity))
            }
            UpdateCondition::CvssAtLeast(least) => self.score().map(|score| score >= *least),
            UpdateCondition::EpssAtLeast(least) => {
                let highest =
                    self.each().into_iter().flatten().filter_map(|facts| facts.epss).reduce(f64::max);
                highest.map(|probability| probability >= *least)
            }
            UpdateCondition::Kbs(kbs) => Some(kbs.contains(&self.missing.update.kb)),
            UpdateCondition::Products(patterns) => {
                let products = &self.missing.update.facts.products;
                (!products.is_empty()).then(|| products.iter().any(|product| any(patterns, product)))
            }
        }
    }

    fn machine(&self, condition: &MachineCondition) -> Outcome {
        let any = |patterns: &[TextPattern], text: &str| {
            let fits = |pattern: &TextPattern| match pattern.as_str().to_lowercase().strip_suffix('*') {
                Some(start) => text.to_lowercase().starts_with(start),
                None => text.eq_ignore_ascii_case(pattern.as_str()),
            };
            patterns.iter().any(fits)
        };
        let text = |patterns: &[TextPattern], text: &str| (!text.is_empty()).then(|| any(patterns, text));
        match condition {
            MachineCondition::Ids(ids) => Some(ids.contains(&self.machine.id)),
            MachineCondition::Platforms(patterns) => text(patterns, &self.machine.os_platform),
            MachineCondition::Names(patterns) => text(patterns, &self.machine.name),
            MachineCondition::DeviceGroups(patterns) => {
                Some(text(patterns, &self.machine.device_group).unwrap_or(false))
            }
            MachineCondition::Tags(wanted) => self.machine.tags.as_ref().map(|tags| {
                let has =
                    |wanted: &TextPattern| tags.iter().any(|tag| tag.eq_ignore_ascii_case(wanted.as_str()));
                wanted.iter().any(has)
            }),
        }
    }

    fn conditions(&self, conditions: &[Condition]) -> Outcome {
        let outcome = |condition: &Condition| match condition {
            Condition::Update(condition) => self.update(condition),
            Condition::Machine(condition) => self.machine(condition),
        };
        all(&conditions.iter().map(outcome).collect::<Vec<_>>())
    }

    fn due(&self) -> Option<Timestamp> {
        self.listings().iter().filter_map(|listing| listing.due).min()
    }

    fn matches(&self, rule: &PolicyRule) -> bool {
        let mut outcomes = vec![self.conditions(&rule.conditions)];
        if !rule.not.is_empty() {
            outcomes.push(self.conditions(&rule.not).map(|holds| !holds));
        }
        if rule.deadline == RuleDeadline::KnownExploitedDue {
            outcomes.push(Some(self.due().is_some()));
        }
        all(&outcomes).unwrap_or(rule.or_unknown)
    }

    /// The first-seen time and the release of the oldest update, over the update and its links.
    fn starts(&self) -> (Timestamp, Timestamp) {
        let missing = self.missing;
        let links = missing.links().iter().map(|link| (link.kb, link.first_seen));
        let each: Vec<_> = [(missing.update.kb, missing.first_seen)].into_iter().chain(links).collect();
        let released = |kb: KbId| self.facts.kb(kb).and_then(|facts| facts.released);
        let starts = each.iter().map(|&(kb, seen)| released(kb).map_or(seen, |released| released.min(seen)));
        (each.iter().map(|(_, seen)| *seen).min().unwrap(), starts.min().unwrap())
    }

    fn deadline(&self, rule: &PolicyRule) -> Option<Timestamp> {
        let (first_seen, released) = self.starts();
        match rule.deadline {
            RuleDeadline::Unlimited => None,
            RuleDeadline::KnownExploitedDue => self.due(),
            RuleDeadline::Within { time, from } => {
                let start = match from {
                    DeadlineStart::FirstSeen => first_seen,
                    DeadlineStart::Released => released,
                    DeadlineStart::KnownExploited => {
                        self.listings().iter().map(|listing| listing.since).min().unwrap_or(first_seen)
                    }
                };
                Some(start + time)
            }
        }
    }

    fn verdict(&self, policy: &Policy) -> (Option<usize>, Option<Timestamp>, UpdateState) {
        let Some(index) = policy.rules.iter().position(|rule| self.matches(rule)) else {
            return (None, None, UpdateState::Unlimited);
        };
        let deadline = self.deadline(&policy.rules[index]);
        let state = match deadline {
            None => UpdateState::Unlimited,
            Some(deadline) if now() > deadline => UpdateState::Overdue,
            Some(_) => UpdateState::Due,
        };
        (Some(index + 1), deadline, state)
    }
}

/// The tenant of the scenes.
struct Tenant<'a> {
    name: &'a str,
    facts: &'a Facts,
    exceptions: &'a [Exception],
}

/// The expected verdict about a missing update, and every exception that covers it.
fn expected(
    tenant: &Tenant<'_>,
    machine: &MachineFacts,
    missing: &MissingUpdate,
    policy: &Policy,
) -> (UpdateVerdict, Vec<usize>) {
    let facts = tenant.facts;
    let covering = |missing: &MissingUpdate| -> Vec<usize> {
        let scene = Scene { facts, machine, missing };
        let covers = |exception: &Exception| {
            let names = exception.tenants.iter().any(|name| **name == *tenant.name);
            let holds = scene.conditions(&exception.conditions) == Some(true);
            let excluded = !exception.not.is_empty() && scene.conditions(&exception.not) != Some(false);
            (names || exception.tenants.is_empty()) && now() < exception.ends_at() && holds && !excluded
        };
        let numbered = tenant.exceptions.iter().enumerate();
        numbered.filter(|(_, exception)| covers(exception)).map(|(index, _)| index).collect()
    };
    let is_left = |link: &&Link| {
        let mut alone = self::missing(link.kb.number(), "", days(0));
        alone.update.facts = Arc::clone(&missing.update.facts);
        covering(&alone).is_empty()
    };
    let links: Vec<_> = missing.links().iter().filter(is_left).copied().collect();
    let missing = MissingUpdate { chain: Chain::of(links), ..missing.clone() };
    let exceptions = covering(&missing);
    let scene = Scene { facts, machine, missing: &missing };
    let (rule, deadline, state) = scene.verdict(policy);
    let from = match rule.map(|number| policy.rules[number - 1].deadline) {
        None | Some(RuleDeadline::Unlimited) => policy.from,
        Some(RuleDeadline::Within { from, .. }) => from,
        Some(RuleDeadline::KnownExploitedDue) => DeadlineStart::FirstSeen,
    };
    let (first_seen, released) = scene.starts();
    let verdict = UpdateVerdict {
        rule,
        late_since: if from == DeadlineStart::Released { released } else { first_seen },
        deadline,
        state: if exceptions.is_empty() { state } else { UpdateState::Accepted },
        exception: exceptions.first().copied(),
        exploited: scene.exploited(),
    };
    (verdict, exceptions)
}

proptest! {
    #[test]
    fn policies_give_the_result_of_one_rule_after_another(
        (mut fleet, facts) in scenes(),
        policies in prop::collection::vec(any_policy(), 1..4),
        exceptions in any_exceptions(),
    ) {
        fleet.source = Source::Export;
        let summary = Summary::of(&fleet, now(), &FRESHNESS, &facts);
        let compiled = CompiledPolicies::new(&policies, &exceptions, now());
        let mut judged = TenantPolicies::new(&compiled, &fleet, &summary.updates, &facts);
        let counts = PolicyCounts::of(&compiled, &fleet, &summary, &facts, &FRESHNESS);
        let tenant = Tenant { name: &fleet.tenant, facts: &facts, exceptions: &exceptions };
        let mut by_state = vec![[0; 6]; policies.len()];
        let mut covered = vec![0; exceptions.len()];
        let counted = counts.overdue_updates.iter().zip(&counts.exploited_updates);
        for (machine, (overdue, counted)) in fleet.machines.values().zip(counted) {
            let mut states = vec![Vec::new(); policies.len()];
            let mut exploited = 0;
            for (index, policy) in policies.iter().enumerate() {
                let verdicts = judged.verdicts(index, machine, machine.missing_updates());
                for (missing, verdict) in machine.missing_updates().iter().zip(verdicts) {
                    let (expected, exceptions) = expected(&tenant, &machine.facts, missing, policy);
                    prop_assert_eq!(verdict, expected);
                    states[index].push(verdict.state);
                    exploited += u64::from(index == 0 && verdict.exploited == Some(true));
                    exceptions.iter().filter(|_| index == 0).for_each(|exception| covered[*exception] += 1);
                }
                let state = match states[index].iter().min() {
                    Some(UpdateState::Overdue) => PolicyState::Overdue,
                    Some(UpdateState::Accepted) => PolicyState::Accepted,
                    Some(UpdateState::Due) => PolicyState::Due,
                    _ => PolicyState::Compliant,
                };
                by_state[index][state as usize] += 1;
            }
            let is_overdue = |place: &usize| states.iter().any(|states| states[*place] == UpdateState::Overdue);
            let expected = (0..machine.missing_updates().len()).filter(is_overdue).count();
            prop_assert_eq!((*overdue, *counted), (Some(expected as u64), exploited));
        }
        let shown = counts.summaries.iter().map(|summary| PolicyState::ALL.map(|state| summary.machines(state)));
        prop_assert_eq!(shown.collect::<Vec<_>>(), by_state);
        let names = |exception: &Exception| exception.tenants.is_empty() || exception.tenants.contains(&fleet.tenant);
        let expected = exceptions.iter().zip(covered).map(|(exception, count)| names(exception).then_some(count));
        prop_assert_eq!(counts.exception_updates, expected.collect::<Vec<_>>());
    }
}
