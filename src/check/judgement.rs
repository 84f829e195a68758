//! The number of machines in scope whose missing updates Defender lists, and the reasons of the others.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::messages::count;
use super::report::StepOutcome;
use crate::fleet::{MachineFacts, Onboarding};
use crate::model::{Freshness, INTERNET_FACING, Policy};

/// The number of platforms that are named.
const SHOWN: usize = 5;

/// Returns whether the missing updates of a machine are read.
pub(super) fn is_asked(facts: &MachineFacts, now: Timestamp, freshness: &Freshness) -> bool {
    facts.is_supported() && !facts.is_inactive(now, freshness)
}

/// Returns the text about policies with a preset that uses a tag that none of `machines` has; none without such a
/// policy, and as long as no tags are known.
pub(super) fn unused_presets(machines: &[MachineFacts], policies: &[Policy]) -> Option<String> {
    let uses_tag = |policy: &&Policy| policy.preset.is_some() && policy.uses_tag(INTERNET_FACING);
    let names: Vec<_> = policies.iter().filter(uses_tag).map(|policy| format!("`{}`", policy.name)).collect();
    let known: Vec<_> = machines.iter().filter_map(|facts| facts.has_tag(INTERNET_FACING)).collect();
    if names.is_empty() || known.is_empty() || known.contains(&true) {
        return None;
    }
    Some(format!(
        "no machine in scope has the tag {INTERNET_FACING}, which the preset of {} uses [add the tag in Defender to the \
         machines that can be reached from the internet]",
        names.join(", ")
    ))
}

/// Returns the outcome and the text about `machines`; none if all of them can be judged.
pub(super) fn judgement(
    machines: &[MachineFacts],
    now: Timestamp,
    freshness: &Freshness,
) -> Option<(StepOutcome, String)> {
    let (mut not_onboarded, mut inactive, mut judged) = (0, 0, 0);
    let mut other_platforms = Vec::new();
    for facts in machines {
        if facts.onboarding == Onboarding::NotOnboarded {
            not_onboarded += 1;
        } else if !facts.is_supported() {
            other_platforms.push(facts.os_platform.as_str());
        } else if facts.is_inactive(now, freshness) {
            inactive += 1;
        } else {
            judged += 1;
        }
    }
    if judged == machines.len() {
        return None;
    }
    let mut reasons = Vec::new();
    if !other_platforms.is_empty() {
        let platforms: BTreeSet<_> = other_platforms.iter().copied().collect();
        let more = if platforms.len() > SHOWN { ", ..." } else { "" };
        let shown: Vec<_> = platforms.into_iter().take(SHOWN).collect();
        reasons.push(format!("{} not Windows ({}{more})", other_platforms.len(), shown.join(", ")));
    }
    if not_onboarded > 0 {
        reasons.push(format!("{not_onboarded} not onboarded"));
    }
    if inactive > 0 {
        let limit = humantime::format_duration(freshness.inactive_after);
        reasons.push(format!("{inactive} not seen by Defender for {limit}"));
    }
    let outcome = if judged == 0 { StepOutcome::Warning } else { StepOutcome::Ok };
    let machines = count(machines.len(), "machine");
    Some((
        outcome,
        format!("{judged} of {machines} can be judged; the others cannot: {}", reasons.join(", ")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MachineId;

    #[test]
    fn reasons_name_the_machines_that_cannot_be_judged() {
        let now: Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
        let unlisted =
            |number: usize| MachineFacts::unlisted(MachineId::parse(&format!("a{number}")).unwrap());
        let of = |number: usize, platform: &str| MachineFacts {
            os_platform: platform.to_owned(),
            ..unlisted(number)
        };
        let text =
            |machines: &[MachineFacts]| judgement(machines, now, &Freshness::DEFAULT).map(|(_, text)| text);
        assert_eq!(text(&[of(0, "Windows11")]), None);
        let mut machines = vec![of(0, "Windows11"), of(1, "iOS"), of(2, "iOS"), of(3, "Ubuntu")];
        machines.push(MachineFacts { onboarding: Onboarding::NotOnboarded, ..of(4, "") });
        let long_ago = "2026-01-10T12:00:00Z".parse().ok();
        machines.push(MachineFacts { last_seen: long_ago, ..of(5, "Windows10") });
        machines.push(MachineFacts { last_seen: long_ago, ..of(6, "iOS") });
        assert_eq!(
            text(&machines).unwrap(),
            "1 of 7 machines can be judged; the others cannot: 4 not Windows (Ubuntu, iOS), 1 not onboarded, 1 not \
             seen by Defender for 30days"
        );
        assert_eq!(judgement(&machines[1..], now, &Freshness::DEFAULT).unwrap().0, StepOutcome::Warning);
        let platforms: Vec<_> =
            ["a", "b", "c", "d", "e", "f"].iter().map(|platform| of(0, platform)).collect();
        assert!(text(&platforms).unwrap().contains("6 not Windows (a, b, c, d, e, ...)"));
    }
}
