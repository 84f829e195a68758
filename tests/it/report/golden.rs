//! A report of fleets with every special case, in each format.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::date;
use mde_exporter::fleet::TenantFleet;
use mde_exporter::model::{
    Condition, DeadlineStart, Exception, KbId, MachineCondition, OwnLabel, Policy, PolicyRule, ReportFormat,
    RuleDeadline, TextPattern, UpdateCondition,
};

use crate::support::fleets::{policy, special_case_facts, special_case_fleets};
use crate::support::golden::assert_golden;
use crate::support::report::{ReportSettings, csv_rows, report_text};

/// The fleets with tags, one of which begins like a formula.
fn fleets() -> Vec<Arc<TenantFleet>> {
    let mut fleets = special_case_fleets();
    for fleet in &mut fleets {
        for machine in Arc::make_mut(fleet).machines.values_mut() {
            let tags: &[&str] = match machine.facts.id.as_str() {
                "a1" => &["Team:=Storage", "lab"],
                "a2" => &["team:apps, \"EU\""],
                _ => &[],
            };
            Arc::make_mut(machine).facts.tags = Some(tags.iter().map(ToString::to_string).collect());
        }
    }
    fleets
}

fn exception(name: &str, reason: &str, conditions: Vec<Condition>) -> Exception {
    Exception {
        name: name.into(),
        reason: reason.to_owned(),
        until: date(2024, 6, 30),
        tenants: Vec::new(),
        conditions,
        not: Vec::new(),
    }
}

fn settings() -> ReportSettings {
    let exploited = PolicyRule {
        conditions: vec![Condition::Update(UpdateCondition::Exploited(true))],
        ..PolicyRule::unconditional(RuleDeadline::Within {
            time: Duration::from_hours(8),
            from: DeadlineStart::FirstSeen,
        })
    };
    let others = PolicyRule::unconditional(RuleDeadline::Within {
        time: Duration::from_hours(90 * 24),
        from: DeadlineStart::Released,
    });
    let risk = Policy {
        name: "risk".into(),
        from: DeadlineStart::Released,
        rules: vec![exploited, others],
        preset: None,
    };
    let april = UpdateCondition::Kbs(vec![KbId::new(5_036_893).unwrap()]);
    let clients = MachineCondition::DeviceGroups(vec![TextPattern::new("clients")]);
    let accepted = vec![Condition::Update(april), Condition::Machine(clients)];
    let ended = Exception {
        until: date(2024, 6, 19),
        ..exception("ended", "is over", vec![Condition::Machine(MachineCondition::Ids(Vec::new()))])
    };
    ReportSettings {
        policies: vec![risk, policy("8h", 8, DeadlineStart::FirstSeen)],
        labels: vec![OwnLabel::new("team".into(), "team:"), OwnLabel::new("site".into(), "site:")],
        exceptions: vec![ended, exception("legacy", "CHG0012345, isolated network", accepted)],
        facts: special_case_facts(),
        ..ReportSettings::default()
    }
}

#[test]
fn golden_report_as_csv() {
    let text = report_text(&fleets(), &settings(), ReportFormat::Csv);
    csv_rows(&text);
    // A snapshot does not keep these line ends.
    assert_golden("report_csv", text.replace("\r\n", "\n"));
}

#[test]
fn golden_report_as_json() {
    assert_golden("report_json", report_text(&fleets(), &settings(), ReportFormat::Json));
}

#[test]
fn golden_report_as_html() {
    assert_golden("report_html", report_text(&fleets(), &settings(), ReportFormat::Html));
}

#[test]
fn report_without_policies_has_exceptions_but_no_states() {
    let settings = ReportSettings { policies: Vec::new(), ..settings() };
    let text = report_text(&fleets(), &settings, ReportFormat::Csv);
    let rows = csv_rows(&text);
    let of_policy = ["late_since", "policy", "rule", "deadline", "state"];
    assert!(rows.iter().all(|row| of_policy.iter().all(|column| row[*column].is_empty())), "{text}");
    let accepted = rows.iter().filter(|row| row["exception"] == "legacy").count();
    assert_eq!((rows.len(), accepted), (12, 1), "{text}");
    let html = report_text(&fleets(), &settings, ReportFormat::Html);
    assert!(!html.contains("Within deadline") && html.contains("legacy"), "{html}");
}
