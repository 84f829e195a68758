//! A panel: its queries and its presentation.

use serde_json::{Map, Value, json};

use super::data_source;
use super::query::{Query, ResultShape, id};
use super::style::{Bounds, Color, Column, Unit, link_json, nothing_json};
use super::transformations::{DAY, to_columns, to_lines};

/// A panel without its position.
pub(crate) struct Panel {
    title: &'static str,
    /// The meaning of the values, what is good, and what to do.
    description: String,
    kind: PanelKind,
    queries: Vec<Query>,
    unit: Unit,
    decimals: Option<u32>,
    bounds: Option<Bounds>,
    range: (Option<f64>, Option<f64>),
    /// Value, text and colour.
    texts: Vec<(f64, &'static str, Color)>,
    /// The name of a series and its colour.
    colors: Vec<(&'static str, Color)>,
    negative: Vec<&'static str>,
    lines: Vec<&'static str>,
    columns: Vec<Column>,
    hidden: &'static [&'static str],
    links: Vec<(&'static str, &'static str)>,
    nothing: &'static str,
    interval: Option<&'static str>,
}

enum PanelKind {
    Stat,
    Lines,
    Bars,
    Steps,
    Stacked,
    BarGauge,
    Table,
    StateTimeline,
    Trend,
    Text { markdown: &'static str },
}

impl Panel {
    fn new(kind: PanelKind, title: &'static str, description: impl Into<String>) -> Self {
        Self {
            title,
            description: description.into(),
            kind,
            queries: Vec::new(),
            unit: Unit::Count,
            decimals: None,
            bounds: None,
            range: (None, None),
            texts: Vec::new(),
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
        Self::new(PanelKind::Stat, title, description)
    }

    /// Lines over time.
    pub(crate) fn lines(title: &'static str, description: impl Into<String>) -> Self {
        Self::new(PanelKind::Lines, title, description)
    }

    /// Bars over time.
    pub(crate) fn bars(title: &'static str, description: impl Into<String>) -> Self {
        Self::new(PanelKind::Bars, title, description)
    }

    /// A line over time that keeps its value until the next.
    pub(crate) fn steps(title: &'static str, description: impl Into<String>) -> Self {
        Self::new(PanelKind::Steps, title, description)
    }

    /// Areas over time, one on top of the other.
    pub(crate) fn stacked(title: &'static str, description: impl Into<String>) -> Self {
        Self::new(PanelKind::Stacked, title, description).above_zero()
    }

    /// One bar for each series.
    pub(crate) fn bar_gauge(title: &'static str, description: impl Into<String>) -> Self {
        Self::new(PanelKind::BarGauge, title, description)
    }

    /// Rows and [`Column`]s.
    pub(crate) fn table(title: &'static str, description: impl Into<String>, columns: Vec<Column>) -> Self {
        Self { columns, ..Self::new(PanelKind::Table, title, description) }
    }

    /// States over time.
    pub(crate) fn state_timeline(title: &'static str, description: impl Into<String>) -> Self {
        Self::new(PanelKind::StateTimeline, title, description)
    }

    /// A line for each `month`, over the number of each `day`. Both are labels of the query.
    pub(crate) fn burn_down(title: &'static str, description: impl Into<String>) -> Self {
        Self::new(PanelKind::Trend, title, description).above_zero()
    }

    /// Markdown text.
    pub(crate) fn text(title: &'static str, markdown: &'static str) -> Self {
        Self::new(PanelKind::Text { markdown }, title, "")
    }

    /// Adds a query, in which `@metric` stands for a metric with its filters; `legend` names the series.
    pub(crate) fn query(mut self, expression: impl Into<String>, legend: impl Into<String>) -> Self {
        self.queries.push(Query { expression: expression.into(), legend: legend.into() });
        self
    }

    pub(crate) fn unit(self, unit: Unit) -> Self {
        let range = if unit == Unit::Share { (Some(0.0), Some(1.0)) } else { self.range };
        let decimals = unit.decimals().or(self.decimals);
        Self { unit, decimals, range, ..self }
    }

    pub(crate) fn decimals(self, decimals: u32) -> Self {
        Self { decimals: Some(decimals), ..self }
    }

    pub(crate) fn bounds(self, bounds: Bounds) -> Self {
        Self { bounds: Some(bounds), ..self }
    }

    /// Sets the range from 0 without an upper limit.
    pub(crate) fn above_zero(self) -> Self {
        Self { range: (Some(0.0), None), ..self }
    }

    /// Shows `text` instead of `value`.
    pub(crate) fn value_text(mut self, value: f64, text: &'static str, color: Color) -> Self {
        self.texts.push((value, text, color));
        self
    }

    /// Sets the colour of the series `name`.
    pub(crate) fn color(mut self, name: &'static str, color: Color) -> Self {
        self.colors.push((name, color));
        self
    }

    /// Draws the series `name` downwards.
    pub(crate) fn downwards(mut self, name: &'static str) -> Self {
        self.negative.push(name);
        self
    }

    /// Draws the series `name` as a line.
    pub(crate) fn line(mut self, name: &'static str) -> Self {
        self.lines.push(name);
        self
    }

    /// Adds a link.
    pub(crate) fn link(mut self, title: &'static str, url: &'static str) -> Self {
        self.links.push((title, url));
        self
    }

    /// Hides these fields of the table.
    pub(crate) fn without(self, hidden: &'static [&'static str]) -> Self {
        Self { hidden, ..self }
    }

    /// Sets the text shown without a value.
    pub(crate) fn nothing(self, nothing: &'static str) -> Self {
        Self { nothing, ..self }
    }

    /// Sets the minimum interval between two values.
    pub(crate) fn every(self, interval: &'static str) -> Self {
        Self { interval: Some(interval), ..self }
    }

    /// The panel's JSON with its `id` and position.
    pub(super) fn json(&self, id: u32, place: &Value, expand: impl Fn(&str) -> String) -> Value {
        if let PanelKind::Text { markdown } = self.kind {
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
            "targets": self.targets(expand),
            "title": self.title,
            "type": self.kind.as_str(),
        });
        if let Some(interval) = self.interval {
            panel["interval"] = interval.into();
        }
        if !self.links.is_empty() {
            panel["links"] = self.links.iter().map(|link| link_json(*link)).collect();
        }
        match self.kind {
            PanelKind::Table => panel["transformations"] = to_columns(&self.columns, self.hidden),
            PanelKind::Trend => panel["transformations"] = to_lines(),
            _ => {}
        }
        panel
    }

    fn targets(&self, expand: impl Fn(&str) -> String) -> Vec<Value> {
        let shape = match self.kind {
            PanelKind::Table | PanelKind::Trend => ResultShape::Rows,
            PanelKind::Stat | PanelKind::BarGauge => ResultShape::Now,
            _ => ResultShape::Range,
        };
        let queries = self.queries.iter().enumerate();
        queries.map(|(number, query)| query.json(&id(number), shape, &expand)).collect()
    }

    fn defaults(&self) -> Value {
        // The palette only tells series apart: the colour of a single value says whether the value is good.
        let of_series = matches!(
            self.kind,
            PanelKind::Lines | PanelKind::Bars | PanelKind::Steps | PanelKind::Stacked | PanelKind::Trend
        );
        let mode = if of_series { "palette-classic" } else { "thresholds" };
        let mut defaults = json!({
            "color": { "mode": mode },
            "mappings": self.mappings(),
            "noValue": self.nothing,
            "thresholds": self.bounds.clone().unwrap_or_else(Bounds::none).json(self.unit),
            // An axis has no room for all digits.
            "unit": if of_series && self.unit == Unit::Count { "short" } else { self.unit.as_str() },
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
        let nothing = matches!(self.kind, PanelKind::Stat).then(|| nothing_json(self.nothing));
        if self.texts.is_empty() {
            return Vec::from_iter(nothing);
        }
        let mapping = |(index, (value, text, color)): (usize, &(f64, &str, Color))| {
            (value.to_string(), json!({ "color": color.as_str(), "index": index, "text": text }))
        };
        let options: Map<String, Value> = self.texts.iter().enumerate().map(mapping).collect();
        [json!({ "options": options, "type": "value" })].into_iter().chain(nothing).collect()
    }

    fn custom(&self) -> Value {
        let stacked = matches!(self.kind, PanelKind::Stacked);
        match self.kind {
            PanelKind::Lines | PanelKind::Bars | PanelKind::Steps | PanelKind::Stacked | PanelKind::Trend => {
                json!({
                    "axisLabel": "",
                    "axisPlacement": "auto",
                    "drawStyle": if matches!(self.kind, PanelKind::Bars) { "bars" } else { "line" },
                    "fillOpacity": match self.kind { PanelKind::Stacked => 60, PanelKind::Bars => 80, _ => 0 },
                    "lineInterpolation": if matches!(self.kind, PanelKind::Steps) { "stepAfter" } else { "linear" },
                    "lineWidth": if stacked { 0 } else { 2 },
                    "showPoints": "never",
                    // Missing data is not bridged by a line.
                    "spanNulls": false,
                    "stacking": { "group": "A", "mode": if stacked { "normal" } else { "none" } },
                    "thresholdsStyle": { "mode": if self.bounds.is_some() { "dashed" } else { "off" } },
                })
            }
            PanelKind::StateTimeline => json!({ "fillOpacity": 80, "lineWidth": 0 }),
            PanelKind::Table => {
                json!({ "align": "auto", "cellOptions": { "type": "auto" }, "filterable": false })
            }
            PanelKind::Stat | PanelKind::BarGauge | PanelKind::Text { .. } => json!({}),
        }
    }

    fn overrides(&self) -> Vec<Value> {
        let with = |name: &str, properties: Value| json!({ "matcher": { "id": "byName", "options": name }, "properties": properties });
        let by_name = |name: &str, property: Value| with(name, json!([property]));
        let color = |(name, color): &(&str, Color)| {
            let fixed = json!({ "fixedColor": color.as_str(), "mode": "fixed" });
            by_name(name, json!({ "id": "color", "value": fixed }))
        };
        let downwards =
            |name: &&str| by_name(name, json!({ "id": "custom.transform", "value": "negative-Y" }));
        let line = |name: &&str| {
            // A line among bars would get their fill.
            let style = [
                ("custom.drawStyle", json!("line")),
                ("custom.fillOpacity", json!(0)),
                ("custom.lineWidth", json!(2)),
            ];
            with(name, style.map(|(id, value)| json!({ "id": id, "value": value })).into())
        };
        let drawn = self.negative.iter().map(downwards).chain(self.lines.iter().map(line));
        let columns = self.columns.iter().map(Column::json);
        self.colors.iter().map(color).chain(drawn).chain(columns).collect()
    }

    fn options(&self) -> Value {
        let newest = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
        match self.kind {
            PanelKind::Stat => json!({
                "colorMode": "value",
                "graphMode": "none",
                "justifyMode": "auto",
                "orientation": "auto",
                "reduceOptions": newest,
                "textMode": "auto",
                "wideLayout": true,
            }),
            PanelKind::BarGauge => json!({
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
            PanelKind::Table => json!({
                "cellHeight": "sm", "sortBy": Column::order(&self.columns),
                "footer": { "countRows": false, "fields": "", "reducer": ["sum"], "show": false },
                "showHeader": true,
            }),
            PanelKind::StateTimeline => json!({
                "alignValue": "left",
                "legend": { "calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": true },
                "mergeValues": true,
                "rowHeight": 0.9,
                "showValue": "auto",
                "tooltip": { "mode": "single", "sort": "none" },
            }),
            PanelKind::Lines | PanelKind::Bars | PanelKind::Steps | PanelKind::Stacked => {
                self.series_options()
            }
            PanelKind::Trend => {
                let mut options = self.series_options();
                options["xField"] = DAY.into();
                options
            }
            PanelKind::Text { .. } => json!({}),
        }
    }

    fn series_options(&self) -> Value {
        // Many series leave no room for their newest values in the legend.
        let is_open = self.queries.iter().any(|query| query.legend.contains("{{"));
        let newest: &[&str] = if is_open { &[] } else { &["lastNotNull"] };
        json!({
            "legend": { "calcs": newest, "displayMode": "list", "placement": "bottom", "showLegend": true },
            "tooltip": { "mode": "multi", "sort": "desc" },
        })
    }
}

impl PanelKind {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Stat => "stat",
            Self::Lines | Self::Bars | Self::Steps | Self::Stacked => "timeseries",
            Self::BarGauge => "bargauge",
            Self::Table => "table",
            Self::StateTimeline => "state-timeline",
            Self::Trend => "trend",
            Self::Text { .. } => "text",
        }
    }
}
