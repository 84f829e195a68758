//! Conditions of rules, of exceptions and of rules about servicing.

use std::ops::RangeInclusive;

use super::reader::{MapReader, ValueReader};
use super::values::{kb, pattern};
use crate::model::{
    Condition, CvssScore, MachineCondition, MachineId, Severity, UpdateCondition, VendorSeverity,
};

/// Reads the conditions of one mapping.
pub(super) struct ConditionReader<'a> {
    section: &'a MapReader<'a>,
    conditions: Vec<Condition>,
    has_problem: bool,
}

/// Returns the conditions of a rule or of its `not`, in the order of the documentation, or none after a problem with
/// one of them.
pub(super) fn conditions(section: &MapReader<'_>) -> Option<Vec<Condition>> {
    let mut reader = ConditionReader::of(section);
    reader.add_update_conditions();
    reader.add_machine_conditions();
    reader.finish()
}

/// Returns the condition on the KBs of an exception; empty if the key is not given.
pub(super) fn kbs(section: &MapReader<'_>) -> Option<Vec<Condition>> {
    let mut reader = ConditionReader::of(section);
    reader.add_list("kbs", "the number of a KB, such as 5094041, is allowed", kb, UpdateCondition::Kbs);
    reader.finish()
}

/// Returns the conditions of the key `machines` of an exception or of a rule about servicing; empty if the key is not
/// given.
pub(super) fn machines(section: &MapReader<'_>) -> Option<Vec<Condition>> {
    section.optional_or("machines", "a mapping of at least one selector is allowed", Vec::new(), |field| {
        let section = field.section()?;
        if section.is_empty() {
            field.problem("selects no machine");
        }
        let conditions = machine_conditions(&section);
        section.finish();
        conditions
    })
}

fn machine_conditions(section: &MapReader<'_>) -> Option<Vec<Condition>> {
    let mut reader = ConditionReader::of(section);
    let id = |text: &str| MachineId::parse(text).ok_or("is not a device id");
    let ids = "a device id of 1 to 128 letters, digits, - and _ is allowed";
    reader.add_list("ids", ids, id, MachineCondition::Ids);
    reader.add_machine_conditions();
    reader.finish()
}

/// Returns the conditions of the key `not`; empty if the key is not given.
pub(super) fn negated_conditions(section: &MapReader<'_>) -> Option<Vec<Condition>> {
    let allowed = "a mapping of at least one condition is allowed";
    section.optional_or("not", allowed, Vec::new(), |field| {
        let section = field.section()?;
        let conditions = conditions(&section);
        if section.is_empty() {
            field.problem("holds no condition");
        }
        section.finish();
        conditions
    })
}

impl<'a> ConditionReader<'a> {
    fn of(section: &'a MapReader<'a>) -> Self {
        Self { section, conditions: Vec::new(), has_problem: false }
    }

    fn finish(self) -> Option<Vec<Condition>> {
        (!self.has_problem).then_some(self.conditions)
    }

    fn add_update_conditions(&mut self) {
        let flag = "true or false is allowed";
        self.add_flag("exploited", flag, UpdateCondition::Exploited);
        self.add_flag("known_exploited", flag, UpdateCondition::KnownExploited);
        let severities = "critical, important, moderate or low is allowed";
        let severity = |word: &str| VendorSeverity::parse(word).ok_or("is not a severity of Microsoft");
        self.add_list("vendor_severity", severities, severity, UpdateCondition::VendorSeverity);
        let severities = "critical, high, medium or low is allowed";
        let severity = |word: &str| Severity::parse(word).ok_or("is not a severity of CVSS");
        self.add_list("severity", severities, severity, UpdateCondition::Severity);
        let scores = "a number from 0 to 10 without quotes, such as 7.0, is allowed";
        self.add("cvss_at_least", scores, |field| field.number(score).map(UpdateCondition::CvssAtLeast));
        let probabilities = "a number from 0 to 1 without quotes, such as 0.1, is allowed";
        let probability = |text: &str| within(text, 0.0..=1.0);
        self.add("epss_at_least", probabilities, |field| {
            field.number(probability).map(UpdateCondition::EpssAtLeast)
        });
        let products = "a product, such as windows_11 or office*, is allowed";
        self.add_list("products", products, pattern, UpdateCondition::Products);
    }

    fn add_machine_conditions(&mut self) {
        let platforms = "a platform, such as WindowsServer*, is allowed";
        self.add_list("platforms", platforms, pattern, MachineCondition::Platforms);
        let groups = "the name of a device group is allowed";
        self.add_list("device_groups", groups, pattern, MachineCondition::DeviceGroups);
        let names = "a DNS name, such as srv-*.corp.example, is allowed";
        self.add_list("names", names, pattern, MachineCondition::Names);
        let tags = "a machine tag, such as internet-facing, is allowed";
        self.add_list("tags", tags, pattern, MachineCondition::Tags);
    }

    /// Adds the condition `key`, if it is given.
    fn add<C: Into<Condition>>(
        &mut self,
        key: &'static str,
        allowed: &str,
        read: impl FnOnce(&ValueReader<'a>) -> Option<C>,
    ) {
        let Some(field) = self.section.optional(key, allowed) else { return };
        let condition = read(&field);
        self.has_problem |= condition.is_none();
        self.conditions.extend(condition.map(Into::into));
    }

    fn add_flag(&mut self, key: &'static str, allowed: &str, condition: fn(bool) -> UpdateCondition) {
        self.add(key, allowed, |field| field.boolean().map(condition));
    }

    /// Adds the condition `key`, if it is given: a list of values.
    fn add_list<T, C: Into<Condition>>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Result<T, &'static str>,
        condition: fn(Vec<T>) -> C,
    ) {
        self.add(key, "a list of at least one value is allowed", |field| {
            field.values(allowed, parse).map(condition)
        });
    }
}

fn within(text: &str, range: RangeInclusive<f64>) -> Option<f64> {
    text.parse().ok().filter(|number| range.contains(number))
}

/// Parses a lowest score. Scores have one decimal: 7.05 is reached by 7.1 and above.
fn score(text: &str) -> Option<CvssScore> {
    let score = within(text, 0.0..=10.0)?;
    // The rounding removes the error of the decimal fraction in binary.
    let tenths = ((score * 1e6).round() / 1e5).ceil();
    CvssScore::new(tenths.max(1.0) / 10.0)
}
