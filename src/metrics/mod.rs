//! Fleet metrics: from fleets to the bytes of an exposition.
//!
//! [`families`] is the table of families, [`Renderer`] renders what changed, [`Body`] holds the bytes that
//! are served. Rendering happens once per change of the data, never per scrape, and the same data gives
//! the same bytes. The series limit applies to every rendering, see [`SeriesBudget`].
//!
//! Rules of names and values, in addition to those of Prometheus:
//! - `mde_<noun>[_<unit>][_total|_info|_timestamp_seconds]`; every family here has the label `tenant`.
//! - No name segment `kb` (`promtool check metrics` takes it for a unit): families use "update", the
//!   label is `kb`, and its value has only digits.
//! - An unknown value has no series; a family without series is left out. No value is ever NaN, and no
//!   sample carries a timestamp: an age is a `_timestamp_seconds` family.
//! - Times are seconds since the epoch, truncated to the millisecond.
//! - Series are unique, because Prometheus rejects a scrape with a duplicate: tenants and the machines of
//!   a tenant are keys, and in the fleet level a sample with the labels of an earlier one of its family is
//!   dropped.

mod blocks;
mod body;
mod chunk;
pub mod families;
mod limit;
mod renderer;

use std::sync::Arc;

use crate::config::Config;
use crate::model::{DetailLevel, Exception, Freshness, OwnLabel, Policy, ServicingSettings};

pub use body::{Body, ExpositionBody};
pub use limit::SeriesBudget;
pub use renderer::Renderer;

/// Options of rendering, from the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderOptions {
    /// Limits that decide the state of a machine.
    pub freshness: Freshness,
    /// Policies that decide which updates are overdue.
    pub policies: Arc<[Policy]>,
    /// Missing updates that users accept.
    pub exceptions: Arc<[Exception]>,
    /// What Defender does not report about the servicing of machines.
    pub servicing: Arc<ServicingSettings>,
    /// Labels of machines from their tags.
    pub labels: Arc<[OwnLabel]>,
    /// The deepest level.
    pub detail: DetailLevel,
    /// Largest number of series of all levels together, without the self metrics; 0 is no limit.
    pub series_limit: u64,
}

impl Default for RenderOptions {
    /// The defaults of the configuration, without policies and without a series limit.
    fn default() -> Self {
        Self {
            freshness: Freshness::default(),
            policies: Arc::default(),
            exceptions: Arc::default(),
            servicing: Arc::default(),
            labels: Arc::default(),
            detail: DetailLevel::Update,
            series_limit: 0,
        }
    }
}

impl From<&Config> for RenderOptions {
    fn from(config: &Config) -> Self {
        Self {
            freshness: config.poll.freshness,
            policies: config.policies.as_slice().into(),
            exceptions: config.exceptions.as_slice().into(),
            servicing: Arc::new(config.servicing.clone()),
            labels: config.metrics.labels.as_slice().into(),
            detail: config.metrics.detail,
            series_limit: config.metrics.series_limit,
        }
    }
}
