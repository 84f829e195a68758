//! The presentation of values: units, colours, bounds, and the columns of a table.

use serde_json::{Value, json};

/// The unit of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A number of objects.
    Count,
    /// A ratio from 0 to 1.
    Share,
    /// Seconds, shown in a suitable unit of time.
    Seconds,
    /// Bytes.
    Bytes,
    /// Requests per second.
    Rate,
    /// Milliseconds since 1970, shown as a date.
    Date,
    /// Text without a unit.
    Text,
}

/// Colours by meaning.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Color {
    /// The desired state.
    Good,
    /// The state should be checked.
    Warning,
    /// The state requires an action.
    Bad,
    /// Between a warning and a value without a rating.
    Minor,
    /// A value without a rating.
    Neutral,
    /// An unknown state; never good.
    Unknown,
    /// A known state that does not matter.
    Inactive,
}

/// Colours by value: a base colour, and another colour from each step on.
#[derive(Clone)]
pub(crate) struct Bounds {
    base: Color,
    steps: Vec<(f64, Color)>,
}

/// A column of a table: its field and presentation.
pub(crate) struct Column {
    pub(super) field: &'static str,
    pub(super) title: &'static str,
    unit: Unit,
    bounds: Option<Bounds>,
    bar: bool,
    link: Option<(&'static str, &'static str)>,
}

impl Unit {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Count => "short",
            Self::Share => "percentunit",
            Self::Seconds => "s",
            Self::Bytes => "bytes",
            Self::Rate => "reqps",
            Self::Date => "time:YYYY-MM-DD",
            Self::Text => "string",
        }
    }
}

impl Color {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Good => "green",
            Self::Warning => "orange",
            Self::Bad => "red",
            Self::Minor => "yellow",
            Self::Neutral => "blue",
            Self::Unknown => "#8e8e8e",
            Self::Inactive => "#5a5a5a",
        }
    }
}

impl Bounds {
    /// The neutral colour for all values.
    pub(crate) fn none() -> Self {
        Self { base: Color::Neutral, steps: Vec::new() }
    }

    /// Bad; a warning from `low`; good from `good`.
    pub(crate) fn rising(low: f64, good: f64) -> Self {
        Self { base: Color::Bad, steps: vec![(low, Color::Warning), (good, Color::Good)] }
    }

    /// Good; a warning above 0; bad from `bad`.
    pub(crate) fn falling(bad: f64) -> Self {
        Self { base: Color::Good, steps: vec![(f64::MIN_POSITIVE, Color::Warning), (bad, Color::Bad)] }
    }

    /// Good; a warning from `warning`; bad from `bad`.
    pub(crate) fn falling_from(warning: f64, bad: f64) -> Self {
        Self { base: Color::Good, steps: vec![(warning, Color::Warning), (bad, Color::Bad)] }
    }

    /// Bad; good from `good`.
    pub(crate) fn good_from(good: f64) -> Self {
        Self { base: Color::Bad, steps: vec![(good, Color::Good)] }
    }

    /// Bad; good above `bad`.
    pub(crate) fn good_above(bad: f64) -> Self {
        Self::good_from(bad + f64::MIN_POSITIVE)
    }

    /// Good; bad from `bad`.
    pub(crate) fn bad_from(bad: f64) -> Self {
        Self { base: Color::Good, steps: vec![(bad, Color::Bad)] }
    }

    /// Good; bad above `good`.
    pub(crate) fn bad_above(good: f64) -> Self {
        Self::bad_from(good + f64::MIN_POSITIVE)
    }

    /// A warning up to `low`; good above it.
    pub(crate) fn warning_up_to(low: f64) -> Self {
        Self { base: Color::Warning, steps: vec![(low + f64::MIN_POSITIVE, Color::Good)] }
    }

    /// Good; a warning from `warning`.
    pub(crate) fn warning_from(warning: f64) -> Self {
        Self { base: Color::Good, steps: vec![(warning, Color::Warning)] }
    }

    pub(super) fn json(&self) -> Value {
        let first = json!({ "color": self.base.as_str(), "value": null });
        let others =
            self.steps.iter().map(|(value, color)| json!({ "color": color.as_str(), "value": value }));
        json!({ "mode": "absolute", "steps": std::iter::once(first).chain(others).collect::<Vec<_>>() })
    }
}

impl Column {
    /// A column with the value of a label.
    pub(crate) fn label(label: &'static str, title: &'static str) -> Self {
        Self { field: label, title, unit: Unit::Text, bounds: None, bar: false, link: None }
    }

    /// A column with the value of a query.
    pub(crate) fn value(field: &'static str, title: &'static str, unit: Unit) -> Self {
        Self { field, title, unit, bounds: None, bar: false, link: None }
    }

    /// Colours the cells by value.
    pub(crate) fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = Some(bounds);
        self
    }

    /// Shows the cells as bars.
    pub(crate) fn bar(mut self) -> Self {
        self.bar = true;
        self
    }

    /// Links the cells to a URL.
    pub(crate) fn link(mut self, title: &'static str, url: &'static str) -> Self {
        self.link = Some((title, url));
        self
    }

    pub(super) fn json(&self) -> Value {
        let mut properties = vec![json!({ "id": "unit", "value": self.unit.as_str() })];
        if let Some(bounds) = &self.bounds {
            properties.push(json!({ "id": "color", "value": { "mode": "thresholds" } }));
            properties.push(json!({ "id": "thresholds", "value": bounds.json() }));
        }
        let cell = match (self.bar, &self.bounds) {
            (true, _) => Some(json!({ "mode": "basic", "type": "gauge", "valueDisplayMode": "text" })),
            (false, Some(_)) => Some(json!({ "type": "color-text" })),
            (false, None) => None,
        };
        properties.extend(cell.map(|cell| json!({ "id": "custom.cellOptions", "value": cell })));
        if self.unit == Unit::Share {
            properties.push(json!({ "id": "min", "value": 0 }));
            properties.push(json!({ "id": "max", "value": 1 }));
            properties.push(json!({ "id": "decimals", "value": 1 }));
        }
        properties.extend(self.link.map(|link| json!({ "id": "links", "value": [link_json(link)] })));
        json!({ "matcher": { "id": "byName", "options": self.title }, "properties": properties })
    }
}

pub(super) fn link_json((title, url): (&'static str, &'static str)) -> Value {
    json!({ "targetBlank": url.starts_with("https://"), "title": title, "url": url })
}
