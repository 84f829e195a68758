//! Arbitrary policies, compared with an evaluation of one rule after another.

use proptest::prelude::*;

use super::*;

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

    fn update(&self, condition: &UpdateCondition) -> Outcome {
        let any = |patterns: &[TextPattern], text: &str| {
            let fits = |pattern: &TextPattern| match pattern.as_str().to_lowercase().strip_suffix('*') {
                Some(start) => text.to_lowercase().starts_with(start),
                None => text.eq_ignore_ascii_case(pattern.as_str()),
            };
            patterns.iter().any(fits)
        };
        match condition {
            UpdateCondition::Exploited(wanted) => {
                let each: Vec<_> =
                    self.each().iter().map(|facts| facts.and_then(|facts| facts.exploited)).collect();
                let exploited = match (each.contains(&Some(true)), each.contains(&None)) {
                    (true, _) => Some(true),
                    (false, true) => None,
                    (false, false) => Some(false),
                };
                exploited.map(|exploited| exploited == *wanted)
            }
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

fn any_patterns() -> impl Strategy<Value = Vec<TextPattern>> {
    let texts = prop::sample::subsequence(vec!["a", "A*", "b", "ab", "*"], 1..3);
    texts.prop_map(|texts| texts.iter().map(|text| TextPattern::new(text)).collect())
}

fn any_text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "AB", "b", "c"]).prop_map(str::to_owned)
}

fn any_condition() -> impl Strategy<Value = Condition> {
    use crate::model::VendorSeverity as Vendor;
    let vendor = prop::sample::subsequence(Vendor::ALL.to_vec(), 1..3);
    let severity = prop::sample::subsequence(Severity::ALL.to_vec(), 1..3);
    prop_oneof![
        any::<bool>().prop_map(|value| UpdateCondition::Exploited(value).into()),
        any::<bool>().prop_map(|value| UpdateCondition::KnownExploited(value).into()),
        vendor.prop_map(|values| UpdateCondition::VendorSeverity(values).into()),
        severity.prop_map(|values| UpdateCondition::Severity(values).into()),
        (1_u8..=100).prop_map(|tenths| {
            UpdateCondition::CvssAtLeast(CvssScore::from_tenths(tenths).unwrap()).into()
        }),
        (0_u8..=4).prop_map(|quarters| UpdateCondition::EpssAtLeast(f64::from(quarters) / 4.0).into()),
        any_patterns().prop_map(|patterns| UpdateCondition::Products(patterns).into()),
        any_patterns().prop_map(|patterns| MachineCondition::Platforms(patterns).into()),
        any_patterns().prop_map(|patterns| MachineCondition::DeviceGroups(patterns).into()),
        any_patterns().prop_map(|patterns| MachineCondition::Names(patterns).into()),
        any_patterns().prop_map(|patterns| MachineCondition::Tags(patterns).into()),
    ]
}

fn any_rule() -> impl Strategy<Value = PolicyRule> {
    let from = prop::sample::select(DeadlineStart::ALL.to_vec());
    let within = (1_u64..40, from).prop_map(|(age, from)| RuleDeadline::Within { time: days(age), from });
    let deadline = prop_oneof![8 => within, 1 => Just(RuleDeadline::Unlimited), 1 => Just(RuleDeadline::KnownExploitedDue)];
    let conditions = || prop::collection::vec(any_condition(), 0..3);
    (conditions(), conditions(), any::<bool>(), deadline).prop_map(
        |(conditions, not, or_unknown, deadline)| PolicyRule { conditions, not, or_unknown, deadline },
    )
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let rules = prop_oneof![9 => prop::collection::vec(any_rule(), 1..6), 1 => prop::collection::vec(any_rule(), 60..70)];
    rules.prop_map(|rules| Policy { name: "p".into(), from: DeadlineStart::FirstSeen, rules, preset: None })
}

fn any_facts() -> impl Strategy<Value = KbFacts> {
    let age = || (0_u64..60).prop_map(|age| ago(days(age)));
    let listing = (age(), prop::option::of(age()));
    let listing = prop::option::of(listing.prop_map(|(since, due)| KnownExploited {
        cves: 1,
        since,
        due,
        ransomware: false,
    }));
    let rating = prop::option::of(prop::sample::select(crate::model::VendorSeverity::ALL.to_vec()));
    let score = prop::option::of((1_u8..=100).prop_map(|tenths| CvssScore::from_tenths(tenths).unwrap()));
    let epss = prop::option::of((0_u8..=4).prop_map(|quarters| f64::from(quarters) / 4.0));
    (any::<Option<bool>>(), listing, rating, score, epss, prop::option::of(age())).prop_map(
        |(exploited, known_exploited, vendor_severity, cvss, epss, released)| KbFacts {
            vendor_severity,
            cvss,
            exploited,
            known_exploited,
            epss,
            released,
            ..KbFacts::default()
        },
    )
}

prop_compose! {
    fn any_missing()(
        products in prop::collection::vec(prop::sample::select(vec!["a", "AB", "c"]), 0..3),
        severity in prop::option::of(prop::sample::select(Severity::ALL.to_vec())),
        score in prop::option::of(1_u8..=100),
        age in 0_u64..60,
        links in prop::collection::vec((1_u32..8, (0_u64..60).prop_map(days)), 0..3),
    ) -> MissingUpdate {
        let mut missing = replacing(&links, missing(0, "", days(age)));
        let products = products.into_iter().map(str::to_owned).collect();
        missing.update.facts = Arc::new(UpdateFacts { title: String::new(), products });
        missing.update.severity = severity;
        missing.update.cvss = score.and_then(CvssScore::from_tenths);
        missing
    }
}

prop_compose! {
    fn any_machine()(
        os_platform in any_text(),
        device_group in any_text(),
        name in any_text(),
        tags in prop::option::of(prop::collection::vec(any_text(), 0..3)),
        // Each update once: all machines of a tenant share its products and its release.
        missing in prop::collection::vec(any_missing(), 0..4),
    ) -> (MachineFacts, Vec<MissingUpdate>) {
        let facts = MachineFacts {
            os_platform: if os_platform.is_empty() { os_platform } else { format!("Windows{os_platform}") },
            device_group,
            name,
            tags: tags.map(Into::into),
            ..MachineFacts::unlisted(MachineId::parse("0").unwrap())
        };
        (facts, missing)
    }
}

/// A fleet of these machines, in which every machine misses other KBs, and facts about half of the KBs.
fn scenes() -> impl Strategy<Value = (TenantFleet, Facts)> {
    let machines = prop::collection::vec(any_machine(), 1..4);
    (machines, prop::collection::vec(prop::option::of(any_facts()), 20)).prop_map(|(machines, kbs)| {
        let mut fleet = fleet(vec![None; machines.len()]);
        let mut number = 7;
        for (index, (facts, mut missing)) in machines.into_iter().enumerate() {
            for missing in &mut missing {
                number += 1;
                missing.update.kb = kb(number);
            }
            change(&mut fleet, u8::try_from(index).unwrap(), |machine| {
                machine.facts = MachineFacts { id: machine.facts.id.clone(), ..facts };
                machine.assessment = Some(Assessment::of_now(now(), missing));
            });
        }
        let known = (1..).zip(kbs).filter_map(|(number, facts)| facts.map(|facts| (number, facts)));
        (fleet, facts(known))
    })
}

proptest! {
    #[test]
    fn policies_give_the_result_of_one_rule_after_another(
        (mut fleet, facts) in scenes(),
        policies in prop::collection::vec(any_policy(), 1..4),
    ) {
        fleet.source = Source::Export;
        let updates = Summary::of(&fleet, now(), &FRESHNESS, &facts).updates;
        let compiled = CompiledPolicies::new(&policies, now());
        let mut tenant = TenantPolicies::new(&compiled, &fleet, &updates, &facts);
        let counts = PolicyCounts::of(&compiled, &fleet, &updates, &facts, &FRESHNESS);
        let mut by_state = vec![[0; 5]; policies.len()];
        for (machine, overdue) in fleet.machines.values().zip(&counts.overdue_updates) {
            let mut states = vec![Vec::new(); policies.len()];
            for (index, policy) in policies.iter().enumerate() {
                let verdicts = tenant.verdicts(index, machine, machine.missing_updates());
                for (missing, verdict) in machine.missing_updates().iter().zip(verdicts) {
                    let expected = Scene { facts: &facts, machine: &machine.facts, missing }.verdict(policy);
                    prop_assert_eq!((verdict.rule, verdict.deadline, verdict.state), expected);
                    states[index].push(verdict.state);
                }
                let state = match states[index].iter().min() {
                    Some(UpdateState::Overdue) => PolicyState::Overdue,
                    Some(UpdateState::Due) => PolicyState::Due,
                    _ => PolicyState::Compliant,
                };
                by_state[index][state as usize] += 1;
            }
            let is_overdue = |place: &usize| states.iter().any(|states| states[*place] == UpdateState::Overdue);
            let expected = (0..machine.missing_updates().len()).filter(is_overdue).count();
            prop_assert_eq!(*overdue, Some(expected as u64));
        }
        let shown = counts.summaries.iter().map(|summary| PolicyState::ALL.map(|state| summary.machines(state)));
        prop_assert_eq!(shown.collect::<Vec<_>>(), by_state);
    }
}
