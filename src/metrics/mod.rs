//! What is exposed of the fleets, and how it is written.
//!
//! [`families`] is the table of families, [`exposition`] the only writer of samples, [`Renderer`] renders
//! what changed, [`Body`] is the ready bytes that are served. Rendering happens once per change of the
//! data, never per scrape, and the same data gives the same bytes. The series limit holds for whatever
//! is rendered, see [`SeriesBudget`].
//!
//! Rules of the names and values, beyond those of Prometheus:
//! - `mde_<noun>[_<unit>][_total|_info|_timestamp_seconds]`; every family here carries `tenant`.
//! - No name segment `kb` (`promtool check metrics` takes it for a unit): families say "update", the
//!   label is `kb`, its value digits only.
//! - A value that is not known has no series; a family without series is left out. No value is ever
//!   NaN, and no sample carries a timestamp: age is a `_timestamp_seconds` of its own.
//! - Times are seconds since the epoch, cut to the millisecond.
//! - Series are a set, because a duplicate makes Prometheus refuse the whole scrape: tenants and the
//!   machines of a tenant are keys, and in the fleet level a row with the labels of an earlier one of its
//!   family is dropped.

mod blocks;
mod body;
mod chunk;
pub mod exposition;
pub mod families;
mod limit;
mod renderer;

use std::sync::Arc;

use crate::config::Config;
use crate::model::{DetailLevel, Freshness, Policy};

pub use body::{Body, ExpositionBody};
pub use limit::SeriesBudget;
pub use renderer::Renderer;

/// How much is exposed and by what it is judged; from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderOptions {
    /// When data changes its meaning.
    pub freshness: Freshness,
    /// The deadlines by which machines are judged.
    pub policies: Arc<[Policy]>,
    /// The deepest level.
    pub detail: DetailLevel,
    /// Series of all levels together, beside the self metrics; 0 is no limit.
    pub series_limit: u64,
}

impl From<&Config> for RenderOptions {
    fn from(config: &Config) -> Self {
        Self {
            freshness: config.poll.freshness,
            policies: config.policies.as_slice().into(),
            detail: config.metrics.detail,
            series_limit: config.metrics.series_limit,
        }
    }
}
