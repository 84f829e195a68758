//! A query of a panel.

use serde_json::{Value, json};

use super::data_source;

/// What a panel asks Prometheus.
pub(super) struct Query {
    /// With `@metric` for a metric with its filters.
    pub(super) expression: String,
    /// Name of its series; `{{label}}` stands for the value of a label.
    pub(super) legend: String,
}

/// Over which time a panel asks, and what it gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The newest value of each series.
    Now,
    /// The newest value of each series, a row each.
    FamilyWriter,
    /// Every value in the range of the dashboard.
    Range,
}

impl Query {
    pub(super) fn json(&self, id: &str, shape: Shape, write_out: impl Fn(&str) -> String) -> Value {
        json!({
            "datasource": data_source(),
            "editorMode": "code",
            "expr": write_out(&self.expression),
            "format": if shape == Shape::FamilyWriter { "table" } else { "time_series" },
            "instant": shape != Shape::Range,
            "legendFormat": self.legend,
            "range": shape == Shape::Range,
            "refId": id,
        })
    }
}

/// `A`, `B`, and so on.
pub(super) fn id(number: usize) -> String {
    let letter = u8::try_from(number).ok().and_then(|number| b'A'.checked_add(number));
    let letter = letter.filter(u8::is_ascii_uppercase).unwrap_or_else(|| panic!("too many queries"));
    char::from(letter).to_string()
}
