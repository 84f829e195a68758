//! The Grafana dashboards: what generates them, and what must hold of them.
//!
//! `fleet`, `machine` and `exporter` describe a dashboard each, in the words of `grafana`; `expression`
//! writes their queries with the labels of the exporter's own metric tables, so that a panel cannot
//! name a metric or a label that is not there. `committed` compares the files in `dashboards/` with what
//! is generated here, and writes them anew on request:
//!
//! ```text
//! UPDATE_FILES=1 cargo test --test dashboards
//! ```
//!
//! `invariants` holds what a reader of any panel relies on, `thresholds` that a colour changes where an
//! alert fires; `queries` takes queries apart for them. What the queries answer is seen by `.ci/dashboards`, with a real Prometheus.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

mod bounds;
mod committed;
mod exporter;
mod expression;
mod fleet;
mod fleets;
mod grafana;
mod invariants;
mod kubernetes;
mod machine;
mod queries;
mod thresholds;

use grafana::Dashboard;

/// Every dashboard, by the name of its file.
fn all() -> [(&'static str, Dashboard); 3] {
    [
        ("fleet.json", fleet::dashboard()),
        ("machine.json", machine::dashboard()),
        ("exporter.json", exporter::dashboard()),
    ]
}
