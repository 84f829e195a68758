//! Own labels: names that are refused, and why.

use std::path::Path;

use super::*;
use crate::config::parse;

/// Returns the labels of a file with `labels` in line 6, or its problems without the name of the file.
fn read(labels: &str) -> Result<Vec<OwnLabel>, String> {
    let text = format!(
        "\
tenants:
  - tenant_id: 11111111-2222-3333-4444-555555555555
    client_id: 66666666-7777-8888-9999-000000000000
    auth: {{ client_secret_file: secret.txt }}
    machines: {{ all: true }}
metrics: {{ labels: {labels} }}
"
    );
    match parse(Path::new("f.yml"), text.as_bytes()) {
        Ok(loaded) => Ok(loaded.config.metrics.labels),
        Err(error) => Err(error.to_string().replace("f.yml: ", "")),
    }
}

#[test]
fn labels_keep_the_order_of_the_file() {
    let labels =
        read("{ team: { tag_prefix: 'team:' }, _cost_2: { tag_prefix: 'KST ' }, Tenant: { tag_prefix: t } }");
    let expected = [("team", "team:"), ("_cost_2", "KST "), ("Tenant", "t")];
    assert_eq!(labels.unwrap(), expected.map(|(name, prefix)| OwnLabel::new(name.into(), prefix)));
    for none in ["{}", ""] {
        assert_eq!(read(none).unwrap(), []);
    }
}

#[test]
fn refused_names_are_named_with_the_reason() {
    for (names, reason) in [
        (&FAMILY_LABELS[..], "is taken: the metrics have a label of this name"),
        (
            &["q", "policy_state", "platform", "group", "tag", "sort", "page", "refresh"],
            "the pages have a parameter",
        ),
        (
            &["title", "severity", "rule", "exception_until", "last_seen", "servicing"],
            "the report has a column",
        ),
        (&["job", "instance", "le", "quantile", "__name__", "__x"], "is reserved by Prometheus"),
        (&["my-team", "2nd", "team name", "équipe", "a:b"], "is not a legal name of a label"),
    ] {
        for name in names {
            let problem = read(&format!("{{ '{name}': {{ tag_prefix: a }} }}")).unwrap_err();
            let start = format!("metrics.labels.{name} (line 6, column 22): ");
            assert!(problem.starts_with(&start) && problem.contains(reason), "{name}: {problem}");
            assert!(problem.ends_with("; a name of letters, digits and _ with a mapping such as { tag_prefix: \"team:\" } is allowed"), "{problem}");
        }
    }
}

#[test]
fn wrong_settings_of_labels_are_problems() {
    for (labels, expected) in [
        ("[team]", "metrics.labels (line 6, column 12): is a list"),
        ("{ team: 'team:' }", "metrics.labels.team (line 6, column 28): is a single value"),
        ("{ team: }", "metrics.labels.team.tag_prefix (line 6, column 22): is missing"),
        (
            "{ team: { prefix: a, tag_prefix: b } }",
            "metrics.labels.team.prefix (line 6, column 30): the key is unknown",
        ),
        ("{ team: { tag_prefix: '' } }", "metrics.labels.team.tag_prefix (line 6, column 42): is empty"),
        ("{ team: { tag_prefix: ' ' } }", "metrics.labels.team.tag_prefix (line 6, column 42): is blank"),
        ("{ team: { tag_prefix: [a] } }", "metrics.labels.team.tag_prefix (line 6, column 30): is a list"),
        (
            "{ a: { tag_prefix: a }, a: { tag_prefix: a } }",
            "metrics.labels.a (line 6, column 44): the key is given a second time",
        ),
    ] {
        let problem = read(labels).unwrap_err();
        assert!(problem.starts_with(expected) && problem.lines().count() == 1, "{labels}: {problem}");
    }
    let four = ["a", "b", "c", "d"].map(|name| format!("{name}: {{ tag_prefix: x }}")).join(", ");
    assert_eq!(
        read(&format!("{{ {four} }}")).unwrap_err(),
        "metrics.labels (line 6, column 12): holds 4 labels; a mapping of at most 3 names to settings is allowed"
    );
}

#[test]
fn problem_of_a_name_shows_no_control_character() {
    let problem = read("{ \"a\\eb\": { tag_prefix: a } }").unwrap_err();
    assert!(problem.starts_with("metrics.labels.a\\u{1b}b (line 6"), "{problem}");
    let long = read(&format!("{{ {}: {{ tag_prefix: a }} }}", "-".repeat(200))).unwrap_err();
    assert!(long.len() < 300, "{long}");
}
