//! A panel: what it asks and how it shows the answer.

use serde_json::{Map, Value, json};

use super::data_source;
use super::look::{Bounds, Color, Column, Unit, link_json};
use super::query::{Query, Shape, id};

/// A panel before it is placed.
pub(crate) struct Panel {
    title: &'static str,
    /// What good looks like and what to do.
    description: String,
    kind: Kind,
    queries: Vec<Query>,
    unit: Unit,
    decimals: Option<u32>,
    bounds: Option<Bounds>,
    range: (Option<f64>, Option<f64>),
    /// Value, text, colour.
    words: Vec<(f64, &'static str, Color)>,
    /// Name of a series and its colour.
    colors: Vec<(&'static str, Color)>,
    negative: Vec<&'static str>,
    lines: Vec<&'static str>,
    columns: Vec<Column>,
    hidden: &'static [&'static str],
    links: Vec<(&'static str, &'static str)>,
    nothing: &'static str,
    interval: Option<&'static str>,
}

enum Kind {
    Stat,
    Lines,
    Bars,
    Steps,
    Stacked,
    BarGauge,
    Table,
    StateTimeline,
    Text { markdown: &'static str },
}

impl Panel {
    fn new(kind: Kind, title: &'static str, description: impl Into<String>) -> Self {
        Self {
            title,
            description: description.into(),
            kind,
            queries: Vec::new(),
            unit: Unit::Count,
            decimals: None,
            bounds: None,
            range: (None, None),
            words: Vec::new(),
            colors: Vec::new(),
            negative: Vec::new(),
            lines: Vec::new(),
            columns: Vec::new(),
            hidden: &[],
            links: Vec::new(),
            nothing: "unknown",
            interval: None,
        }
    }

    /// One large number.
    pub(crate) fn stat(title: &'static str, description: impl Into<String>) -> Self {
        Self::new(Kind::Stat, title, description)
    }

    /// Lines over time.
    pub(crate) fn lines(title: &'static str, description: impl Into<String>) -> Self {
        Self::new(Kind::Lines, title, description)
    }

    /// Bars over time.
    pub(crate) fn bars(title: &'static str, description: impl Into<String>) -> Self {
        Self::new(Kind::Bars, title, description)
    }

    /// A line over time that keeps its value until the next.
    pub(crate) fn steps(title: &'static str, description: impl Into<String>) -> Self {
        Self::new(Kind::Steps, title, description)
    }

    /// Areas over time, one on top of the other.
    pub(crate) fn stacked(title: &'static str, description: impl Into<String>) -> Self {
        Self::new(Kind::Stacked, title, description)
    }

    /// One bar for each series.
    pub(crate) fn bar_gauge(title: &'static str, description: impl Into<String>) -> Self {
        Self::new(Kind::BarGauge, title, description)
    }

    /// FamilyWriter and [`Column`]s.
    pub(crate) fn table(title: &'static str, description: impl Into<String>, columns: Vec<Column>) -> Self {
        Self { columns, ..Self::new(Kind::Table, title, description) }
    }

    /// States over time.
    pub(crate) fn state_timeline(title: &'static str, description: impl Into<String>) -> Self {
        Self::new(Kind::StateTimeline, title, description)
    }

    /// Words.
    pub(crate) fn text(title: &'static str, markdown: &'static str) -> Self {
        Self::new(Kind::Text { markdown }, title, "")
    }

    /// Asks for `expression`, in which `@metric` is a metric with its filters; `legend` names the series.
    pub(crate) fn query(mut self, expression: impl Into<String>, legend: impl Into<String>) -> Self {
        self.queries.push(Query { expression: expression.into(), legend: legend.into() });
        self
    }

    pub(crate) fn unit(self, unit: Unit) -> Self {
        let range = if unit == Unit::Share { (Some(0.0), Some(1.0)) } else { self.range };
        let decimals = if unit == Unit::Share { Some(1) } else { self.decimals };
        Self { unit, decimals, range, ..self }
    }

    pub(crate) fn decimals(self, decimals: u32) -> Self {
        Self { decimals: Some(decimals), ..self }
    }

    pub(crate) fn bounds(self, bounds: Bounds) -> Self {
        Self { bounds: Some(bounds), ..self }
    }

    /// Starts at 0 and has no upper end.
    pub(crate) fn above_zero(self) -> Self {
        Self { range: (Some(0.0), None), ..self }
    }

    /// Shows `text` instead of `value`.
    pub(crate) fn word(mut self, value: f64, text: &'static str, color: Color) -> Self {
        self.words.push((value, text, color));
        self
    }

    /// Colours the series called `name`.
    pub(crate) fn color(mut self, name: &'static str, color: Color) -> Self {
        self.colors.push((name, color));
        self
    }

    /// Draws the series called `name` downwards.
    pub(crate) fn downwards(mut self, name: &'static str) -> Self {
        self.negative.push(name);
        self
    }

    /// Draws the series called `name` as a line, whatever the others are.
    pub(crate) fn line(mut self, name: &'static str) -> Self {
        self.lines.push(name);
        self
    }

    /// Leads to an address.
    pub(crate) fn link(mut self, title: &'static str, url: &'static str) -> Self {
        self.links.push((title, url));
        self
    }

    /// Leaves these fields out of the table.
    pub(crate) fn without(self, hidden: &'static [&'static str]) -> Self {
        Self { hidden, ..self }
    }

    /// What stands where there is no value.
    pub(crate) fn nothing(self, nothing: &'static str) -> Self {
        Self { nothing, ..self }
    }

    /// Asks for no more than one value in this time.
    pub(crate) fn every(self, interval: &'static str) -> Self {
        Self { interval: Some(interval), ..self }
    }

    /// The panel's JSON, with `id` and at `place`.
    pub(super) fn json(&self, id: u32, place: &Value, write_out: impl Fn(&str) -> String) -> Value {
        if let Kind::Text { markdown } = self.kind {
            return json!({
                "gridPos": place,
                "id": id,
                "options": { "content": markdown, "mode": "markdown" },
                "title": self.title,
                "transparent": true,
                "type": "text",
            });
        }
        let mut panel = json!({
            "datasource": data_source(),
            "description": self.description,
            "fieldConfig": { "defaults": self.defaults(), "overrides": self.overrides() },
            "gridPos": place,
            "id": id,
            "options": self.options(),
            "targets": self.targets(write_out),
            "title": self.title,
            "type": self.kind.as_str(),
        });
        if let Some(interval) = self.interval {
            panel["interval"] = interval.into();
        }
        if !self.links.is_empty() {
            panel["links"] = self.links.iter().map(|link| link_json(*link)).collect();
        }
        if !self.columns.is_empty() {
            panel["transformations"] = self.transformations();
        }
        panel
    }

    fn targets(&self, write_out: impl Fn(&str) -> String) -> Vec<Value> {
        let shape = match self.kind {
            Kind::Table => Shape::FamilyWriter,
            Kind::Stat | Kind::BarGauge => Shape::Now,
            _ => Shape::Range,
        };
        let queries = self.queries.iter().enumerate();
        queries.map(|(number, query)| query.json(&id(number), shape, &write_out)).collect()
    }

    fn defaults(&self) -> Value {
        let by_bounds =
            self.bounds.is_some() && !matches!(self.kind, Kind::Lines | Kind::Bars | Kind::Stacked);
        let mode = if by_bounds || !self.words.is_empty() { "thresholds" } else { "palette-classic" };
        let mut defaults = json!({
            "color": { "mode": mode },
            "mappings": self.mappings(),
            "noValue": self.nothing,
            "thresholds": self.bounds.clone().unwrap_or_else(Bounds::none).json(),
            "unit": self.unit.as_str(),
        });
        let custom = self.custom();
        let optional = [
            ("custom", (custom != json!({})).then_some(custom)),
            ("decimals", self.decimals.map(Value::from)),
            ("min", self.range.0.map(Value::from)),
            ("max", self.range.1.map(Value::from)),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                defaults[key] = value;
            }
        }
        defaults
    }

    fn mappings(&self) -> Vec<Value> {
        if self.words.is_empty() {
            return Vec::new();
        }
        let word = |(index, (value, text, color)): (usize, &(f64, &str, Color))| {
            (value.to_string(), json!({ "color": color.as_str(), "index": index, "text": text }))
        };
        let options: Map<String, Value> = self.words.iter().enumerate().map(word).collect();
        vec![json!({ "options": options, "type": "value" })]
    }

    fn custom(&self) -> Value {
        let stacked = matches!(self.kind, Kind::Stacked);
        match self.kind {
            Kind::Lines | Kind::Bars | Kind::Steps | Kind::Stacked => json!({
                "axisLabel": "",
                "axisPlacement": "auto",
                "drawStyle": if matches!(self.kind, Kind::Bars) { "bars" } else { "line" },
                "fillOpacity": match self.kind { Kind::Stacked => 60, Kind::Bars => 80, _ => 0 },
                "lineInterpolation": if matches!(self.kind, Kind::Steps) { "stepAfter" } else { "linear" },
                "lineWidth": if stacked { 0 } else { 2 },
                "showPoints": "never",
                // A gap in the data stays a gap.
                "spanNulls": false,
                "stacking": { "group": "A", "mode": if stacked { "normal" } else { "none" } },
                "thresholdsStyle": { "mode": if self.bounds.is_some() { "dashed" } else { "off" } },
            }),
            Kind::StateTimeline => json!({ "fillOpacity": 80, "lineWidth": 0 }),
            Kind::Table => json!({ "align": "auto", "cellOptions": { "type": "auto" }, "filterable": false }),
            Kind::Stat | Kind::BarGauge | Kind::Text { .. } => json!({}),
        }
    }

    fn overrides(&self) -> Vec<Value> {
        let by_name = |name: &str, property: Value| json!({ "matcher": { "id": "byName", "options": name }, "properties": [property] });
        let color = |(name, color): &(&str, Color)| {
            let fixed = json!({ "fixedColor": color.as_str(), "mode": "fixed" });
            by_name(name, json!({ "id": "color", "value": fixed }))
        };
        let downwards =
            |name: &&str| by_name(name, json!({ "id": "custom.transform", "value": "negative-Y" }));
        let line = |name: &&str| by_name(name, json!({ "id": "custom.drawStyle", "value": "line" }));
        let drawn = self.negative.iter().map(downwards).chain(self.lines.iter().map(line));
        let columns = self.columns.iter().map(Column::json);
        self.colors.iter().map(color).chain(drawn).chain(columns).collect()
    }

    fn options(&self) -> Value {
        let newest = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
        match self.kind {
            Kind::Stat => json!({
                "colorMode": "value",
                "graphMode": "none",
                "justifyMode": "auto",
                "orientation": "auto",
                "reduceOptions": newest,
                "textMode": "auto",
                "wideLayout": true,
            }),
            Kind::BarGauge => json!({
                "displayMode": "basic",
                "minVizHeight": 16,
                "minVizWidth": 8,
                "namePlacement": "left",
                "orientation": "horizontal",
                "reduceOptions": newest,
                "showUnfilled": true,
                "sizing": "auto",
                "valueMode": "text",
            }),
            Kind::Table => json!({
                "cellHeight": "sm",
                "footer": { "countRows": false, "fields": "", "reducer": ["sum"], "show": false },
                "showHeader": true,
            }),
            Kind::StateTimeline => json!({
                "alignValue": "left",
                "legend": { "calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": true },
                "mergeValues": true,
                "rowHeight": 0.9,
                "showValue": "auto",
                "tooltip": { "mode": "single", "sort": "none" },
            }),
            Kind::Lines | Kind::Bars | Kind::Steps | Kind::Stacked => json!({
                "legend": {
                    "calcs": ["lastNotNull"],
                    "displayMode": "list",
                    "placement": "bottom",
                    "showLegend": true,
                },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Kind::Text { .. } => json!({}),
        }
    }

    /// One row for each set of labels, with the columns in their order and under their titles.
    fn transformations(&self) -> Value {
        let order: Map<String, Value> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| (column.field.to_owned(), at.into()))
            .collect();
        let titles: Map<String, Value> =
            self.columns.iter().map(|column| (column.field.to_owned(), column.title.into())).collect();
        let hidden = self.hidden.iter().chain(&["Time"]);
        let hidden: Map<String, Value> = hidden.map(|field| ((*field).to_owned(), true.into())).collect();
        let organize = json!({
            "id": "organize",
            "options": {
                "excludeByName": hidden,
                "includeByName": {},
                "indexByName": order,
                "renameByName": titles,
            },
        });
        json!([{ "id": "merge", "options": {} }, organize])
    }
}

impl Kind {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Stat => "stat",
            Self::Lines | Self::Bars | Self::Steps | Self::Stacked => "timeseries",
            Self::BarGauge => "bargauge",
            Self::Table => "table",
            Self::StateTimeline => "state-timeline",
            Self::Text { .. } => "text",
        }
    }
}
