//! The rows of a report, compared with the exposition of the same fleets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::date;
use mde_exporter::facts::Facts;
use mde_exporter::fleet::TenantFleet;
use mde_exporter::metrics::{RenderOptions, Renderer};
use mde_exporter::model::{
    Condition, DetailLevel, Exception, ExpositionFormat, KbId, MachineCondition, Policy, PolicyPreset,
    ReportFormat, TextPattern, UpdateCondition,
};
use proptest::prelude::*;

use crate::support::exposition::{Exposition, parse};
use crate::support::fleets::{
    FIRST_SEEN, answer, any_fleets, now, special_case_facts, special_case_fleets, special_case_policies,
};
use crate::support::report::{ReportSettings, csv_rows, report_text};

type Row = BTreeMap<String, String>;

/// The exposition with the same settings.
fn exposition(fleets: &[Arc<TenantFleet>], settings: &ReportSettings) -> Exposition {
    let options = RenderOptions {
        policies: settings.policies.as_slice().into(),
        exceptions: settings.exceptions.as_slice().into(),
        labels: settings.labels.as_slice().into(),
        ..RenderOptions::default()
    };
    let body = Renderer::default().render(fleets, now(), &options, &settings.facts);
    parse(&answer(&body, DetailLevel::Update, ExpositionFormat::Text)).unwrap()
}

fn exception(name: &str, day: i8, condition: Condition) -> Exception {
    Exception {
        name: name.into(),
        reason: "accepted".to_owned(),
        until: date(2024, 6, day),
        tenants: Vec::new(),
        conditions: vec![condition],
        not: Vec::new(),
    }
}

fn kbs(numbers: &[u32]) -> Condition {
    let kbs = numbers.iter().map(|number| KbId::new(*number).unwrap());
    Condition::Update(UpdateCondition::Kbs(kbs.collect()))
}

/// Two exceptions in effect that overlap, and one that has ended.
fn exceptions() -> Vec<Exception> {
    let windows = MachineCondition::Platforms(vec![TextPattern::new("windows*")]);
    vec![
        exception("ended", 19, kbs(&[1, 2, 3])),
        exception("some", 20, kbs(&[2, 4, 6])),
        exception("windows", 30, Condition::Machine(windows)),
    ]
}

/// Policies that judge by age, by facts that are there, and by facts that may lack.
fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let preset = PolicyPreset::CyberEssentials.policy("preset".into());
    let [release, first_seen] = special_case_policies();
    prop_oneof![Just(vec![release]), Just(vec![first_seen]), Just(vec![preset]), Just(Vec::new())]
}

fn seconds(time: &str) -> f64 {
    let time: Timestamp = time.parse().unwrap();
    time.as_duration().as_secs_f64()
}

proptest! {
    #[test]
    fn rows_are_the_update_series_and_the_other_machines(
        fleets in any_fleets(),
        policies in policies(),
        has_facts: bool,
        has_exceptions: bool,
    ) {
        let settings = ReportSettings {
            policies,
            exceptions: if has_exceptions { exceptions() } else { Vec::new() },
            facts: if has_facts { special_case_facts() } else { Facts::default() },
            labels: Vec::new(),
        };
        let exposed = exposition(&fleets, &settings);
        let rows = csv_rows(&report_text(&fleets, &settings, ReportFormat::Csv));
        let (machines, updates): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row["kb"].is_empty());

        let listed: BTreeSet<_> = updates.iter().map(|row| (row["machine_id"].as_str(), row["kb"].as_str())).collect();
        let series: BTreeSet<_> =
            exposed.samples(FIRST_SEEN).map(|sample| (sample.label("machine_id"), sample.label("kb"))).collect();
        prop_assert_eq!(listed, series);
        prop_assert_eq!(updates.len() as f64, exposed.count(FIRST_SEEN));
        let sum = |values: Vec<f64>| values.iter().sum::<f64>();
        prop_assert_eq!(
            sum(updates.iter().map(|row| seconds(&row["first_seen"])).collect()),
            sum(exposed.samples(FIRST_SEEN).map(|sample| sample.value).collect())
        );

        let in_state = |name: &str, state: &str| {
            sum(exposed.samples(name).filter(|sample| sample.label("state") == state).map(|sample| sample.value).collect())
        };
        let others = if settings.policies.is_empty() {
            let in_scope = exposed.sum("mde_assessed_machines");
            let with_updates: BTreeSet<_> =
                exposed.samples(FIRST_SEEN).map(|sample| (sample.label("tenant"), sample.label("machine_id"))).collect();
            in_scope - with_updates.len() as f64
        } else {
            let not_judged = ["unknown", "unsupported"].map(|state| in_state("mde_policy_machines", state));
            not_judged[0] + not_judged[1] + exposed.sum("mde_compliant_machines")
        };
        prop_assert_eq!(machines.len() as f64, others);
        for state in ["overdue", "accepted", "due", "none", "unknown"] {
            let count = updates.iter().filter(|row| row["state"] == state).count();
            prop_assert!(count == 0 || !settings.policies.is_empty(), "{}", state);
        }
    }
}

#[test]
fn rows_are_in_the_order_of_tenant_name_id_and_kb() {
    let settings = ReportSettings { policies: special_case_policies().into(), ..ReportSettings::default() };
    let rows = csv_rows(&report_text(&special_case_fleets(), &settings, ReportFormat::Csv));
    let key = |row: &Row| {
        let kb = row["kb"].parse::<u32>().ok();
        (row["tenant"].clone(), row["machine"].to_lowercase(), row["machine_id"].clone(), kb)
    };
    let keys: Vec<_> = rows.iter().map(key).collect();
    assert!(keys.is_sorted_by(|a, b| a < b), "{keys:#?}");
}
