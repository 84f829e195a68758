//! Policies and exceptions as text of the configuration file, for `check-config --expand` and reports.

use std::fmt::Write as _;
use std::time::Duration;

use crate::model::{
    Condition, Exception, MachineCondition, Policy, PolicyRule, RuleDeadline, TextPattern, UpdateCondition,
};

const DAY: u64 = 24 * 3600;
const HOUR: u64 = 3600;

/// Returns the section `policies` with each of `policies` as rules. Those of a preset have comments with its source
/// and its differences from it.
#[must_use]
pub fn expand<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> String {
    let mut text = "policies:\n".to_owned();
    let mut policies = policies.into_iter().peekable();
    if policies.peek().is_none() {
        return "policies: []\n".to_owned();
    }
    for policy in policies {
        text.push_str(&comments(policy));
        let from = policy.from.as_str();
        _ = write!(text, "  - name: {}\n    from: {from}\n    rules:\n", quoted(&policy.name));
        for rule in &policy.rules {
            _ = writeln!(text, "      - {{ {} }}", keys(rule).join(", "));
        }
    }
    text
}

/// Returns the section `exceptions` with `exceptions`.
#[must_use]
pub fn exceptions_section(exceptions: &[Exception]) -> String {
    if exceptions.is_empty() {
        return "exceptions: []\n".to_owned();
    }
    let mut text = "exceptions:\n".to_owned();
    for exception in exceptions {
        let Exception { name, reason, until, tenants, conditions, not } = exception;
        let (name, reason) = (quoted(name), quoted(reason));
        _ = write!(text, "  - name: {name}\n    reason: {reason}\n    until: {until}\n");
        let mut keys = Vec::new();
        if !tenants.is_empty() {
            keys.push(format!("tenants: {}", list(tenants, |tenant| quoted(tenant))));
        }
        // Of two conditions of one kind on machines, one belongs to `machines`; ids exist only there.
        let is_of_machines = |(index, condition): &(usize, &Condition)| {
            let later = &conditions[index + 1..];
            matches!(condition, Condition::Machine(_))
                && !later.iter().any(|other| other.key() == condition.key())
        };
        let (machines, others): (Vec<_>, Vec<_>) = conditions.iter().enumerate().partition(is_of_machines);
        keys.extend(others.into_iter().map(|(_, other)| condition(other)));
        if !machines.is_empty() {
            let inner: Vec<_> = machines.into_iter().map(|(_, machine)| condition(machine)).collect();
            keys.push(format!("machines: {{ {} }}", inner.join(", ")));
        }
        keys.extend(negated(not));
        text.extend(keys.iter().flat_map(|key| ["    ", key, "\n"]));
    }
    text
}

fn comments(policy: &Policy) -> String {
    let Some(preset) = policy.preset else { return String::new() };
    let source = format!("preset {preset}, an approximation of: {}", preset.source());
    let lines = [source].into_iter().chain(preset.differences().iter().map(|line| format!("- {line}")));
    lines.flat_map(|line| ["  # ".to_owned(), line, "\n".to_owned()]).collect()
}

/// The keys of a rule with their values.
fn keys(rule: &PolicyRule) -> Vec<String> {
    let mut keys: Vec<_> = rule.conditions.iter().map(condition).collect();
    keys.extend(negated(&rule.not));
    if rule.or_unknown {
        keys.push("or_unknown: true".to_owned());
    }
    match rule.deadline {
        RuleDeadline::Unlimited => keys.push("deadline: none".to_owned()),
        RuleDeadline::Within { time, from } => {
            keys.extend([format!("deadline: {}", duration(time)), format!("from: {}", from.as_str())]);
        }
        RuleDeadline::KnownExploitedDue => keys.push("from: known_exploited_due".to_owned()),
    }
    keys
}

/// The key `not`, if there are conditions in it.
fn negated(not: &[Condition]) -> Option<String> {
    let inner: Vec<_> = not.iter().map(condition).collect();
    (!inner.is_empty()).then(|| format!("not: {{ {} }}", inner.join(", ")))
}

fn condition(condition: &Condition) -> String {
    let patterns = |patterns: &[TextPattern]| list(patterns, |pattern| quoted(pattern.as_str()));
    let value = match condition {
        Condition::Update(condition) => match condition {
            UpdateCondition::Exploited(value) | UpdateCondition::KnownExploited(value) => value.to_string(),
            UpdateCondition::VendorSeverity(severities) => list(severities, ToString::to_string),
            UpdateCondition::Severity(severities) => list(severities, ToString::to_string),
            UpdateCondition::CvssAtLeast(score) => score.to_string(),
            UpdateCondition::EpssAtLeast(probability) => probability.to_string(),
            UpdateCondition::Products(products) => patterns(products),
            UpdateCondition::Kbs(kbs) => list(kbs, |kb| quoted(&kb.to_string())),
        },
        Condition::Machine(
            MachineCondition::Platforms(values)
            | MachineCondition::DeviceGroups(values)
            | MachineCondition::Names(values)
            | MachineCondition::Tags(values),
        ) => patterns(values),
        Condition::Machine(MachineCondition::Ids(ids)) => list(ids, |id| quoted(id.as_str())),
    };
    format!("{}: {value}", condition.key())
}

fn list<T>(values: &[T], text: impl Fn(&T) -> String) -> String {
    let values: Vec<_> = values.iter().map(text).collect();
    format!("[{}]", values.join(", "))
}

/// Days from three days up, as deadlines are usually written.
fn duration(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_nanos()) {
        (seconds, 0) if seconds >= 3 * DAY && seconds.is_multiple_of(DAY) => format!("{}d", seconds / DAY),
        (seconds, 0) if seconds >= HOUR && seconds.is_multiple_of(HOUR) => format!("{}h", seconds / HOUR),
        _ => humantime::format_duration(duration).to_string(),
    }
}

/// The text in double quotes, in which YAML reads the escapes of JSON.
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ if character.is_alphanumeric() => quoted.push(character),
            _ => _ = write!(quoted, "\\U{:08x}", u32::from(character)),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;
    use crate::model::PolicyPreset;

    const TENANT: &str = "\
tenants:
  - tenant_id: 11111111-2222-3333-4444-555555555555
    client_id: 66666666-7777-8888-9999-000000000000
    auth: { client_secret_file: secret.txt }
    machines: { all: true }
";

    fn policies(text: &str) -> Vec<Policy> {
        parse(Path::new("f.yml"), format!("{TENANT}{text}").as_bytes()).unwrap().config.policies
    }

    #[test]
    fn printed_preset_is_read_as_the_same_rules() {
        for preset in PolicyPreset::ALL {
            let given = policies(&format!("policies: [{{ name: p, preset: {preset} }}]\n"));
            let text = expand(&given);
            assert_eq!(policies(&text), [Policy { preset: None, ..preset.policy("p".into()) }], "{text}");
            assert!(text.contains(preset.source()), "{text}");
        }
    }

    #[test]
    fn printed_rules_are_read_as_the_same_rules() {
        let given = policies(
            "policies:
  - name: \"a 'b' \\\"c\\\" \\\\ d\u{2028}é: #\"
    from: known_exploited_due
    rules:
      - { names: ['srv-*', '\"'], device_groups: ['a, b'], not: { tags: [\"{x}\"], cvss_at_least: 0 }, deadline: 90s, from: first_seen }
      - { epss_at_least: 0.1, severity: [HIGH, low], exploited: false, or_unknown: true, deadline: 1h 1s, from: released }
      - { known_exploited: true }
      - { deadline: none }
",
        );
        let text = expand(&given);
        assert_eq!(policies(&text), given, "{text}");
    }

    #[test]
    fn printed_exceptions_are_read_as_the_same_exceptions() {
        let parse = |text: &str| {
            parse(Path::new("f.yml"), format!("{TENANT}{text}").as_bytes()).unwrap().config.exceptions
        };
        let given = parse(
            "exceptions:
  - { name: kb, reason: \"a 'b' #\", until: 2027-01-31, kbs: ['5094041', KB5000001] }
  - name: \"lab: \\\"x\\\"\"
    reason: isolated
    until: 2027-02-28
    tenants: [11111111-2222-3333-4444-555555555555]
    tags: [a]
    cvss_at_least: 7
    not: { names: ['plc-*'] }
    machines: { tags: [b], ids: [AB], platforms: ['Windows1*'], device_groups: [g] }
",
        );
        let text = exceptions_section(&given);
        assert_eq!(parse(&text), given, "{text}");
        assert_eq!(parse(&exceptions_section(&[])), []);
        assert_eq!(policies(&expand([])), []);
    }
}
