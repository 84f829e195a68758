//! A query of a panel.

use serde_json::{Value, json};

use super::data_source;

/// A query of a panel.
pub(super) struct Query {
    /// PromQL, in which `@metric` stands for a metric with its filters.
    pub(super) expression: String,
    /// The name of its series; `{{label}}` stands for the value of a label.
    pub(super) legend: String,
}

/// The time range and the format of the result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ResultShape {
    /// The newest value of each series.
    Now,
    /// The newest value of each series as a row of a table.
    Rows,
    /// All values in the time range of the dashboard.
    Range,
}

impl Query {
    pub(super) fn json(&self, id: &str, shape: ResultShape, expand: impl Fn(&str) -> String) -> Value {
        json!({
            "datasource": data_source(),
            "editorMode": "code",
            "expr": expand(&self.expression),
            "format": if shape == ResultShape::Rows { "table" } else { "time_series" },
            "instant": shape != ResultShape::Range,
            "legendFormat": self.legend,
            "range": shape == ResultShape::Range,
            "refId": id,
        })
    }
}

/// The id of the query with this index: `A`, `B`, and so on.
pub(super) fn id(number: usize) -> String {
    let letter = u8::try_from(number).ok().and_then(|number| b'A'.checked_add(number));
    let letter = letter.filter(u8::is_ascii_uppercase).unwrap_or_else(|| panic!("too many queries"));
    char::from(letter).to_string()
}
