//! A report of fleets with every special case, in each format.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::date;
use mde_exporter::fleet::{Machine, TenantFleet};
use mde_exporter::model::{
    Condition, DeadlineStart, Exception, KbId, MachineCondition, MachineId, OwnLabel, Policy, PolicyRule,
    ReportFormat, RuleDeadline, TextPattern, UpdateCondition,
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
    let contoso = fleets.iter_mut().find(|fleet| &*fleet.tenant == "contoso").unwrap();
    add_old_versions(Arc::make_mut(contoso));
    fleets
}

/// Adds machines like others of the fleet, with other versions of Windows: past end of servicing and without a missing
/// update, never read, under an exception, and inactive; and one that may be past end of servicing.
fn add_old_versions(fleet: &mut TenantFleet) {
    for (like, new_id, name, platform, version, build) in [
        ("a3", "e1", "ended", "Windows10", "2004", 19_041),
        ("a7", "e2", "never read", "WindowsServer2008R2", "6.1", 7_601),
        ("a4", "e3", "lab", "Windows10", "1909", 18_363),
        ("a6", "e4", "inactive and ended", "Windows7", "", 7_601),
        ("a3", "e5", "uncertain", "Windows10", "21H2", 19_044),
    ] {
        let mut machine = Machine::clone(&fleet.machines[&MachineId::parse(like).unwrap()]);
        let facts = &mut machine.facts;
        facts.id = MachineId::parse(new_id).unwrap();
        (facts.name, facts.os_platform) = (name.to_owned(), platform.to_owned());
        (facts.os_version, facts.os_build) = (version.to_owned(), Some(build));
        fleet.machines.insert(facts.id.clone(), Arc::new(machine));
    }
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
    let lab = MachineCondition::Names(vec![TextPattern::new("lab")]);
    let ended = Exception {
        until: date(2024, 6, 19),
        ..exception("ended", "is over", vec![Condition::Machine(MachineCondition::Ids(Vec::new()))])
    };
    ReportSettings {
        policies: vec![risk, policy("8h", 8, DeadlineStart::FirstSeen)],
        labels: vec![OwnLabel::new("team".into(), "team:"), OwnLabel::new("site".into(), "site:")],
        exceptions: vec![
            ended,
            exception("legacy", "CHG0012345, isolated network", accepted),
            exception("lab", "CHG0054321", vec![Condition::Machine(lab)]),
        ],
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
    assert_eq!((rows.len(), accepted), (18, 1), "{text}");
    let ended = rows.iter().filter(|row| row["title"].ends_with(" ended"));
    let ended: Vec<_> = ended.map(|row| (&*row["title"], &*row["exception"])).collect();
    assert_eq!(
        ended,
        [
            ("servicing of Windows10 2004 ended", ""),
            ("servicing of Windows10 1909 ended", "lab"),
            ("servicing of WindowsServer2008R2 6.1 ended", ""),
        ]
    );
    let html = report_text(&fleets(), &settings, ReportFormat::Html);
    assert!(!html.contains("Within deadline") && html.contains("legacy"), "{html}");
}
