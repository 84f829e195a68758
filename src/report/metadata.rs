//! What a report was made with.

use std::collections::BTreeMap;
use std::fmt::Display;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::facts::Facts;
use crate::model::{FactsSource, ReportState};

/// What a report was made with. The names of the fields are the keys of the JSON form.
#[derive(Clone, Debug, Serialize)]
pub struct ReportMetadata {
    /// The time of the report: every state is as of this time.
    #[serde(serialize_with = "text")]
    pub time: Timestamp,
    /// The version of the exporter that made the report.
    pub version: &'static str,
    /// The time at which the state was saved.
    #[serde(serialize_with = "optional_text")]
    pub state_saved_at: Option<Timestamp>,
    /// The dates of the facts; none without facts.
    pub facts: Option<FactsDates>,
    /// The name of the policy of the report; none without policies.
    pub policy: Option<String>,
    /// The tenants of the report.
    pub tenants: Vec<String>,
    /// The states that the rows are limited to; empty for all.
    #[serde(serialize_with = "texts")]
    pub states: Vec<ReportState>,
    /// Sentences about what limits the report.
    pub warnings: Vec<String>,
    /// The policies as text of the configuration file.
    pub policies: String,
    /// The exceptions as text of the configuration file.
    pub exceptions: String,
}

/// The dates of the facts in use.
#[derive(Clone, Debug, Serialize)]
pub struct FactsDates {
    /// The time at which the facts file was made.
    #[serde(serialize_with = "text")]
    pub made_at: Timestamp,
    /// The time of the data of each source that was loaded, as the source states it.
    #[serde(flatten, serialize_with = "times")]
    pub sources: BTreeMap<&'static str, Option<Timestamp>>,
}

impl FactsDates {
    /// The dates of `facts` from a file that was made at `made_at`.
    #[must_use]
    pub fn new(made_at: Timestamp, facts: &Facts) -> Self {
        let loaded = FactsSource::ALL.into_iter().filter(|source| facts.has(*source));
        Self { made_at, sources: loaded.map(|source| (source.as_str(), facts.data_at(source))).collect() }
    }
}

impl ReportMetadata {
    /// The JSON form, with one key on a line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("Safe: every key is text, and no value refuses")
    }
}

fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn optional_text<S: Serializer>(value: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(|time| time.to_string()).serialize(serializer)
}

fn texts<S: Serializer>(values: &[ReportState], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|state| state.as_str()))
}

fn times<S: Serializer>(
    times: &BTreeMap<&'static str, Option<Timestamp>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(times.iter().map(|(source, time)| (source, time.map(|time| time.to_string()))))
}
