//! The presentation of values: units, colours, bounds, and the columns of a table.

use serde_json::{Value, json};

/// The unit of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A number of objects, with all digits.
    Count,
    /// A score with one decimal.
    Score,
    /// A ratio from 0 to 1.
    Share,
    /// Seconds, shown in a suitable unit of time, which is weeks from seven days on.
    Seconds,
    /// Hours, for the age of data that is read several times a day.
    Hours,
    /// Days, for all other ages.
    Days,
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
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub(crate) struct Column {
    pub(super) field: &'static str,
    pub(super) title: &'static str,
    unit: Unit,
    bounds: Option<Bounds>,
    bar: bool,
    link: Option<(&'static str, &'static str)>,
    /// The width in pixels; the least width of a column that grows.
    width: u32,
    grows: bool,
    hidden: bool,
    yes_or_no: bool,
    descending: bool,
}

impl Unit {
    /// The number of seconds in one unit of an age.
    pub(super) fn seconds(self) -> f64 {
        match self {
            Self::Hours => 3_600.0,
            Self::Days => 86_400.0,
            _ => 1.0,
        }
    }

    /// The number of decimals shown, where it does not depend on the value.
    pub(super) fn decimals(self) -> Option<u32> {
        matches!(self, Self::Share | Self::Score | Self::Hours | Self::Days).then_some(1)
    }

    /// The width in pixels that the longest usual value needs in a table.
    fn width(self) -> u32 {
        match self {
            Self::Date => 100,
            Self::Text => 150,
            _ => 72,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Count => "locale",
            Self::Score => "none",
            Self::Share => "percentunit",
            Self::Seconds => "s",
            Self::Hours => "suffix:h",
            // Grafana shows seven days and more as weeks with its own unit `d`.
            Self::Days => "suffix:d",
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

    /// Bad up to `bad`; a warning above it.
    pub(crate) fn bad_up_to(bad: f64) -> Self {
        Self { base: Color::Bad, steps: vec![(bad + f64::MIN_POSITIVE, Color::Warning)] }
    }

    /// A warning up to `low`; good above it.
    pub(crate) fn warning_up_to(low: f64) -> Self {
        Self { base: Color::Warning, steps: vec![(low + f64::MIN_POSITIVE, Color::Good)] }
    }

    /// Good; a warning from `warning`.
    pub(crate) fn warning_from(warning: f64) -> Self {
        Self { base: Color::Good, steps: vec![(warning, Color::Warning)] }
    }

    /// The steps for values in `unit`; those of ages are in seconds here.
    pub(super) fn json(&self, unit: Unit) -> Value {
        let first = json!({ "color": self.base.as_str(), "value": null });
        let step = |(value, color): &(f64, Color)| json!({ "color": color.as_str(), "value": (value / unit.seconds()) });
        let others = self.steps.iter().map(step);
        json!({ "mode": "absolute", "steps": std::iter::once(first).chain(others).collect::<Vec<_>>() })
    }
}

impl Column {
    /// A column with the value of a label.
    pub(crate) fn label(label: &'static str, title: &'static str) -> Self {
        Self::new(label, title, Unit::Text, width_of_label(label))
    }

    /// A column with the value of a query.
    pub(crate) fn value(field: &'static str, title: &'static str, unit: Unit) -> Self {
        Self::new(field, title, unit, unit.width())
    }

    fn new(field: &'static str, title: &'static str, unit: Unit, width: u32) -> Self {
        let width = width.max(width_of_text(title) + 20);
        Self {
            field,
            title,
            unit,
            bounds: None,
            bar: false,
            link: None,
            width,
            grows: false,
            hidden: false,
            yes_or_no: false,
            descending: false,
        }
    }

    /// Hides the column, whose values the links of other columns use.
    pub(crate) fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Shows 1 as yes and 0 as no.
    pub(crate) fn yes_or_no(mut self) -> Self {
        self.yes_or_no = true;
        self
    }

    /// Gives the column the rest of the width of the table.
    pub(crate) fn grows(mut self) -> Self {
        self.grows = true;
        self
    }

    /// Sorts the rows by the column, the largest value first.
    pub(crate) fn descending(mut self) -> Self {
        self.descending = true;
        self
    }

    /// The order of the rows by those of `columns` that sort them.
    pub(super) fn order(columns: &[Self]) -> Value {
        let sorting = columns.iter().filter(|column| column.descending);
        sorting.map(|column| json!({ "desc": true, "displayName": column.title })).collect()
    }

    /// Colours the cells by value.
    pub(crate) fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = Some(bounds);
        self
    }

    /// Shows the cells as bars.
    pub(crate) fn bar(mut self) -> Self {
        self.bar = true;
        self.width = self.width.max(150);
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
            properties.push(json!({ "id": "thresholds", "value": bounds.json(self.unit) }));
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
        }
        properties
            .extend(self.unit.decimals().map(|decimals| json!({ "id": "decimals", "value": decimals })));
        if self.bar && self.unit == Unit::Count {
            // The longest bar is the largest value of this column, not of the table.
            properties.push(json!({ "id": "min", "value": 0 }));
            properties.push(json!({ "id": "fieldMinMax", "value": true }));
        }
        let mut mappings = Vec::new();
        if self.yes_or_no {
            let options = json!({ "0": { "index": 0, "text": "no" }, "1": { "index": 1, "text": "yes" } });
            mappings.push(json!({ "options": options, "type": "value" }));
        }
        if self.unit != Unit::Text {
            mappings.push(nothing_json("–"));
        }
        if !mappings.is_empty() {
            properties.push(json!({ "id": "mappings", "value": mappings }));
        }
        if self.hidden {
            // The first is for Grafana 12 and later, the second for the versions before.
            let hidden = json!({ "legend": false, "tooltip": false, "viz": true });
            properties.push(json!({ "id": "custom.hideFrom", "value": hidden }));
            properties.push(json!({ "id": "custom.hidden", "value": true }));
        }
        let width = if self.grows { "custom.minWidth" } else { "custom.width" };
        properties.push(json!({ "id": width, "value": self.width }));
        properties.extend(self.link.map(|link| json!({ "id": "links", "value": [link_json(link)] })));
        json!({ "matcher": { "id": "byName", "options": self.title }, "properties": properties })
    }
}

/// The width in pixels that the usual values of a label need in a table.
fn width_of_label(label: &str) -> u32 {
    match label {
        "kb" | "by" => 85,
        "os_version" | "version" | "edition" | "vendor_severity" => 100,
        "source" => 110,
        "tenant" => 140,
        "os_platform" | "device_group" | "exception" | "instance" => 170,
        "products" => 165,
        "machine" | "title" => 220,
        "machine_id" => 330,
        _ => panic!("no width for `{label}`"),
    }
}

/// The width in pixels of a text, estimated from above.
pub(crate) fn width_of_text(text: &str) -> u32 {
    u32::try_from(text.chars().count()).expect("Safe: a title is short") * 15 / 2
}

/// The text of a value that is not there, without the colour of a threshold.
pub(super) fn nothing_json(text: &str) -> Value {
    let result = json!({ "color": "text", "index": 9, "text": text });
    json!({ "options": { "match": "null+nan", "result": result }, "type": "special" })
}

pub(super) fn link_json((title, url): (&'static str, &'static str)) -> Value {
    json!({ "targetBlank": url.starts_with("https://"), "title": title, "url": url })
}
