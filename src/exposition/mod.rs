//! Writer of the exposition formats: text 0.0.4 and `OpenMetrics` 1.0.
//!
//! A leaf, and the only place that writes a label: fleet metrics and self metrics both use it, so
//! escaping and the differences between the formats exist once. `line` writes single lines: the header
//! of a family, a sample, a histogram. `family` writes whole families from a [`FamilyDescriptor`] and
//! checks the number of labels.
//!
//! The formats differ in few places: `OpenMetrics` names a counter's family without `_total`, escapes
//! quotes in help, and writes bucket bounds as floats. A gauge whose help has no quote has the same
//! bytes in both ([`FamilyDescriptor::is_format_independent`]).
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

mod family;
mod line;
#[cfg(test)]
mod tests;
mod value;

pub use family::{FamilyDescriptor, FamilyWriter};
pub use line::{SampleLine, WrittenLabels, write_header, write_histogram};
pub use value::{BucketBound, Histogram, Value};

/// Type of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    /// A value that goes up and down.
    Gauge,
    /// A value that only grows; its name ends in `_total`.
    Counter,
    /// Observations counted by size; see [`Histogram`].
    Histogram,
}

impl MetricType {
    /// The word after `TYPE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}
