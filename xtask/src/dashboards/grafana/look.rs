//! How values look: units, colours, bounds, and the columns of a table.

use serde_json::{Value, json};

/// What a number counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Things.
    Count,
    /// From 0 to 1.
    Share,
    /// Seconds, shown in days, hours and so on.
    Seconds,
    /// Bytes.
    Bytes,
    /// Requests a second.
    Rate,
    /// Nothing: text.
    Text,
}

/// Grafana's palette, as far as it has a meaning here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Color {
    /// As it should be.
    Good,
    /// Somebody should look.
    Warning,
    /// Somebody has to act.
    Bad,
    /// A fact without a judgement.
    Neutral,
    /// Not known; never good.
    Unknown,
    /// Known, and of no account.
    Inactive,
}

/// Colours by value: the first one, then from each value on another.
#[derive(Clone)]
pub(crate) struct Bounds {
    base: Color,
    steps: Vec<(f64, Color)>,
}

/// A column of a table: the field that it shows, and how.
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
            Self::Neutral => "blue",
            Self::Unknown => "#8e8e8e",
            Self::Inactive => "#5a5a5a",
        }
    }
}

impl Bounds {
    /// One colour whatever the value.
    pub(crate) fn none() -> Self {
        Self { base: Color::Neutral, steps: Vec::new() }
    }

    /// Bad, from `low` on a warning, from `good` on good.
    pub(crate) fn rising(low: f64, good: f64) -> Self {
        Self { base: Color::Bad, steps: vec![(low, Color::Warning), (good, Color::Good)] }
    }

    /// Good, above 0 a warning, from `bad` on bad.
    pub(crate) fn falling(bad: f64) -> Self {
        Self { base: Color::Good, steps: vec![(f64::MIN_POSITIVE, Color::Warning), (bad, Color::Bad)] }
    }

    /// Good, from `warning` on a warning, from `bad` on bad.
    pub(crate) fn falling_from(warning: f64, bad: f64) -> Self {
        Self { base: Color::Good, steps: vec![(warning, Color::Warning), (bad, Color::Bad)] }
    }

    /// Bad until `good`.
    pub(crate) fn from_bad(good: f64) -> Self {
        Self { base: Color::Bad, steps: vec![(good, Color::Good)] }
    }

    /// Good until `bad`.
    pub(crate) fn below(bad: f64) -> Self {
        Self { base: Color::Good, steps: vec![(bad, Color::Bad)] }
    }

    /// Good until `warning`.
    pub(crate) fn calm_below(warning: f64) -> Self {
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
    /// A label, as it is.
    pub(crate) fn label(label: &'static str, title: &'static str) -> Self {
        Self { field: label, title, unit: Unit::Text, bounds: None, bar: false, link: None }
    }

    /// The value of a query.
    pub(crate) fn value(field: &'static str, title: &'static str, unit: Unit) -> Self {
        Self { field, title, unit, bounds: None, bar: false, link: None }
    }

    /// Its cells are coloured by value.
    pub(crate) fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = Some(bounds);
        self
    }

    /// Its cells are bars.
    pub(crate) fn bar(mut self) -> Self {
        self.bar = true;
        self
    }

    /// Its cells lead to an address.
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
