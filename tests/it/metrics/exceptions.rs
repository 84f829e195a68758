//! Exceptions in the exposition.

use std::sync::Arc;

use mde_exporter::fleet::TenantFleet;
use mde_exporter::metrics::RenderOptions;
use mde_exporter::model::{DeadlineStart, DetailLevel, Exception, ExpositionFormat, Freshness};

use crate::support::exposition::{Exposition, parse};
use crate::support::fleets::{answer, body_with, exception, policy, special_case_fleets};

fn parsed(fleets: &[Arc<TenantFleet>], exceptions: &[Exception]) -> Exposition {
    let options = RenderOptions {
        freshness: Freshness::DEFAULT,
        policies: [policy("8h", 8, DeadlineStart::FirstSeen)].into(),
        exceptions: exceptions.into(),
        ..RenderOptions::default()
    };
    parse(&answer(&body_with(fleets, &options), DetailLevel::Update, ExpositionFormat::Text)).unwrap()
}

fn updates(parsed: &Exposition, name: &str) -> Vec<(String, f64)> {
    let of_exception =
        parsed.samples("mde_exception_updates").filter(|sample| sample.label("exception") == name);
    of_exception.map(|sample| (sample.label("tenant").to_owned(), sample.value)).collect()
}

#[test]
fn exception_is_counted_in_each_tenant_that_it_names() {
    let april = [5_036_893];
    let exceptions = [
        exception("everywhere", "2024-06-20", &[], &april),
        exception("contoso", "2030-01-31", &["contoso"], &april),
        exception("ended", "2024-06-19", &["contoso"], &april),
        exception("unused", "2024-07-01", &["contoso"], &[5_000_000]),
    ];
    let parsed = parsed(&special_case_fleets(), &exceptions);
    let text = |tenant: &str, value| (tenant.to_owned(), value);
    assert_eq!(
        updates(&parsed, "everywhere"),
        [text("a-tenant-not-yet-read", 0.0), text("contoso", 2.0), text("fabrikam \"west\"\\\n", 1.0)]
    );
    assert_eq!(updates(&parsed, "contoso"), [text("contoso", 2.0)]);
    assert_eq!(updates(&parsed, "ended"), [text("contoso", 0.0)]);
    assert_eq!(updates(&parsed, "unused"), [text("contoso", 0.0)]);
    let ends = parsed.samples("mde_exception_end_timestamp_seconds");
    let ends: Vec<_> = ends.map(|sample| (sample.label("exception"), sample.value)).collect();
    let end = |day: &str| format!("{day}T00:00:00Z").parse::<jiff::Timestamp>().unwrap().as_second() as f64;
    assert_eq!(
        ends,
        [
            ("everywhere", end("2024-06-21")),
            ("contoso", end("2030-02-01")),
            ("ended", end("2024-06-20")),
            ("unused", end("2024-07-02")),
        ]
    );
}

#[test]
fn accepted_update_stays_missing_and_is_not_overdue() {
    let fleets = special_case_fleets();
    let of = |exceptions: &[Exception]| {
        let parsed = parsed(&fleets, exceptions);
        let state = |state| {
            let labels = [("tenant", "contoso"), ("policy", "8h"), ("state", state)];
            parsed.value("mde_policy_machines", &labels).unwrap()
        };
        let states = ["compliant", "due", "overdue", "accepted", "unknown"].map(state);
        let contoso = [("tenant", "contoso")];
        let missing = parsed.sum_by("mde_missing_updates", "tenant")["contoso"];
        (states, missing, parsed.sum("mde_machine_overdue_updates"), {
            parsed.value("mde_missing_exploited_updates", &contoso).unwrap()
        })
    };
    // Of the updates that three machines miss, one was first seen 9 hours ago and one 20.
    assert_eq!(of(&[]), ([1.0, 1.0, 2.0, 0.0, 4.0], 5.0, 2.0, 3.0));
    let june = exception("june", "2024-06-20", &["contoso"], &[5_039_212]);
    assert_eq!(of(&[june]), ([1.0, 0.0, 0.0, 3.0, 4.0], 5.0, 0.0, 3.0));
}
