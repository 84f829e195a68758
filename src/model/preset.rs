//! The policies that published rules for patching stand for.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Condition, CvssScore, DeadlineStart, MachineCondition, Policy, PolicyPreset, PolicyRule, RuleDeadline,
    TextPattern, UpdateCondition, VendorSeverity,
};

/// The tag of machines that can be reached from the internet.
pub const INTERNET_FACING: &str = "internet-facing";

impl PolicyPreset {
    /// The policy that the preset stands for.
    #[must_use]
    pub fn policy(self, name: Arc<str>) -> Policy {
        Policy { name, from: DeadlineStart::Released, rules: self.rules(), preset: Some(self) }
    }

    fn rules(self) -> Vec<PolicyRule> {
        let critical = || UpdateCondition::VendorSeverity(vec![VendorSeverity::Critical]);
        match self {
            Self::CyberEssentials => {
                let severities = vec![VendorSeverity::Critical, VendorSeverity::Important];
                let score = CvssScore::from_tenths(70).expect("Safe: 7.0 is a score");
                vec![
                    update_rule(UpdateCondition::VendorSeverity(severities), days(14)).or_unknown(),
                    update_rule(UpdateCondition::CvssAtLeast(score), days(14)).or_unknown(),
                    PolicyRule::unconditional(RuleDeadline::Unlimited),
                ]
            }
            Self::PciDss => {
                vec![update_rule(critical(), days(30)).or_unknown(), PolicyRule::unconditional(days(90))]
            }
            Self::EssentialEightMl1 | Self::EssentialEightMl2 => vec![
                update_rule(UpdateCondition::Exploited(true), hours(48)).on_internet_facing_servers(),
                update_rule(critical(), hours(48)).or_unknown().on_internet_facing_servers(),
                PolicyRule::unconditional(days(14)).on_internet_facing_servers(),
                office(),
                PolicyRule::unconditional(days(30)),
            ],
            Self::EssentialEightMl3 => vec![
                update_rule(UpdateCondition::Exploited(true), hours(48)),
                update_rule(critical(), hours(48)).or_unknown(),
                PolicyRule::unconditional(days(14)).on_internet_facing_servers(),
                office(),
                PolicyRule::unconditional(days(30)),
            ],
            Self::CisaBod2604 => vec![
                update_rule(UpdateCondition::KnownExploited(true), RuleDeadline::KnownExploitedDue),
                PolicyRule::unconditional(days(14)).on_internet_facing(),
                PolicyRule::unconditional(RuleDeadline::Unlimited),
            ],
        }
    }

    /// The name and the date of the published rules.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self {
            Self::CyberEssentials => {
                "Cyber Essentials: Requirements for IT Infrastructure v3.3 (A6.4, A6.5), 27 April 2026"
            }
            Self::PciDss => "PCI DSS v4.0.1, requirement 6.3.3, June 2024",
            Self::EssentialEightMl1 => {
                "Essential Eight, maturity level one (ISM-1877, ISM-1694, ISM-1695, ISM-1691), June 2025"
            }
            Self::EssentialEightMl2 => {
                "Essential Eight, maturity level two (ISM-1877, ISM-1694, ISM-1695, ISM-1691), June 2025"
            }
            Self::EssentialEightMl3 => {
                "Essential Eight, maturity level three (ISM-1877, ISM-1694, ISM-1696, ISM-1902, ISM-1692, \
                 ISM-1901), June 2025"
            }
            Self::CisaBod2604 => "CISA Binding Operational Directive 26-04, 10 June 2026",
        }
    }

    /// The differences between the rules here and the published ones, one line each.
    #[must_use]
    pub fn differences(self) -> &'static [&'static str] {
        match self {
            Self::CyberEssentials => &[
                "\"critical\" and \"high risk\" of the vendor are Microsoft's critical and important.",
                "It covers the updates that Defender lists as missing, not fixes by configuration, and not \
                 software without a KB.",
            ],
            Self::PciDss => &[
                "Critical is Microsoft's rating; the standard uses the ranking of the entity (6.3.1).",
                "One month is 30 days. The standard lets the entity set the time for all other updates: 90 days \
                 here.",
            ],
            Self::EssentialEightMl1 | Self::EssentialEightMl2 => &[
                "\"Working exploits exist\" is wider than exploited: it includes published exploits that no \
                 attack has used.",
                "The tag internet-facing tells which servers can be reached from the internet.",
                "One month is 30 days. Browsers, mail clients and PDF software are covered only as far as Defender \
                 lists a KB for them.",
            ],
            Self::EssentialEightMl3 => &[
                "\"Working exploits exist\" is wider than exploited: it includes published exploits that no \
                 attack has used.",
                "The tag internet-facing tells which servers can be reached from the internet.",
                "One month is 30 days. Drivers, firmware, and software without a KB are not covered.",
            ],
            Self::CisaBod2604 => &[
                "timelines without SSVC; exposure by tag; an approximation, no proof of compliance",
                "The decisions by automatable and technical impact, the deadline of 3 days outside of the \
                 catalogue, the one of 60 days, and forensic triage are left out.",
            ],
        }
    }
}

impl PolicyRule {
    fn or_unknown(self) -> Self {
        Self { or_unknown: true, ..self }
    }

    fn on_internet_facing(mut self) -> Self {
        let tags = MachineCondition::Tags(vec![TextPattern::new(INTERNET_FACING)]);
        self.conditions.push(Condition::Machine(tags));
        self
    }

    fn on_internet_facing_servers(mut self) -> Self {
        let platforms = MachineCondition::Platforms(vec![TextPattern::new("WindowsServer*")]);
        self.conditions.push(Condition::Machine(platforms));
        self.on_internet_facing()
    }
}

fn update_rule(condition: UpdateCondition, deadline: RuleDeadline) -> PolicyRule {
    PolicyRule { conditions: vec![Condition::Update(condition)], ..PolicyRule::unconditional(deadline) }
}

/// The rule for Office. An update that also belongs to Windows is one of the operating system.
fn office() -> PolicyRule {
    let products = |pattern| UpdateCondition::Products(vec![TextPattern::new(pattern)]);
    let not = vec![Condition::Update(products("windows*"))];
    PolicyRule { not, ..update_rule(products("office*"), days(14)) }
}

fn days(days: u64) -> RuleDeadline {
    hours(24 * days)
}

fn hours(hours: u64) -> RuleDeadline {
    RuleDeadline::Within { time: Duration::from_hours(hours), from: DeadlineStart::Released }
}
