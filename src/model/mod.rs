//! The domain types that every other module may import: ids, label values, policies, freshness.
//!
//! A leaf: pure data, no clock, no network, no disk, and no import from another module of this crate.
//! [`config`](crate::config) produces these types directly, so no stage converts between two forms of
//! one idea. Every closed list of label values is an enum here, with `ALL` and `as_str`, so a metric
//! cannot get a label value that the documentation does not list.

mod condition;
mod cve_id;
mod cvss_score;
mod day;
mod exception;
mod fixed_build;
mod freshness;
mod ids;
mod ignored;
mod label_value;
mod labels;
mod monthly_batch;
mod months;
mod own_label;
mod policy;
mod preset;
mod report;
mod servicing;
mod shard;
mod text_pattern;

pub use condition::{Condition, MachineCondition, UpdateCondition};
pub use cve_id::CveId;
pub use cvss_score::CvssScore;
pub use day::end_of_day;
pub use exception::Exception;
pub use fixed_build::FixedBuild;
pub use freshness::Freshness;
pub use ids::{KbId, MachineId};
pub use ignored::IgnoredUpdates;
pub use label_value::{MAX_LABEL_BYTES, bounded_label};
pub use labels::{
    ApiOperation, ContentEncoding, DetailLevel, ExpositionFormat, FactsFailure, FactsOrigin, FactsSource,
    FailureReason, HttpPath, LogLevel, PolicyPreset, RejectReason, Restart, Severity, SnapshotRejectReason,
    Source, VendorSeverity,
};
pub use monthly_batch::MonthlyBatch;
pub use months::Months;
pub use own_label::OwnLabel;
pub use policy::{DeadlineStart, Policy, PolicyRule, RuleDeadline};
pub use preset::INTERNET_FACING;
pub use report::{ReportFormat, ReportState};
pub use servicing::{ServicingEdition, ServicingRule, ServicingSettings, ServicingState};
pub use shard::Shard;
pub use text_pattern::{TextPattern, wildcard_matches};
