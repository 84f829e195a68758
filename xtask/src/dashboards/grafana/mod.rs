//! The used parts of Grafana's classic JSON model for dashboards, schema version 42.
//!
//! A [`Dashboard`] consists of rows of [`Panel`]s. Panels get their position, id and filters when the dashboard
//! is converted to JSON. `.ci/dashboards` checks that the models of Grafana's foundation SDK return the JSON
//! unchanged, which detects misspelt keys. Every query uses the data source variable, so that a dashboard works
//! in any installation.

mod panel;
mod query;
mod style;
mod transformations;
mod variable;

pub(crate) use panel::Panel;
#[cfg(test)]
pub(crate) use style::width_of_text;
pub(crate) use style::{Bounds, Color, Column, Unit};
pub(crate) use variable::Variable;

use serde_json::{Value, json};

use crate::dashboards::expression::{Filter, Filters, Picks, expand};

/// Number of columns in the grid.
const WIDTH: u32 = 24;

/// The tag by which the dashboards link to each other.
const TAG: &str = "mde";

/// A dashboard.
pub(crate) struct Dashboard {
    pub(crate) uid: &'static str,
    pub(crate) title: &'static str,
    pub(crate) description: &'static str,
    /// The initial start of the time range, such as `now-30d`.
    pub(crate) from: &'static str,
    pub(crate) variables: Vec<Variable>,
    /// The filters of every selector.
    pub(crate) filters: Filters,
    pub(crate) marks: Marks,
    pub(crate) rows: Vec<Row>,
}

/// The events shown in time series.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marks {
    /// The days on which Microsoft releases updates.
    PatchTuesday,
    /// None.
    None,
}

/// A row of panels with a heading.
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) shown: Shown,
    /// Width, height and panel, placed from left to right.
    pub(crate) panels: Vec<(u32, u32, Panel)>,
}

/// The initial visibility of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The queries run when the dashboard is opened.
    Open,
    /// The queries run when a user opens the row.
    Folded,
}

/// The data source reference of every query, variable and annotation.
fn data_source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

impl Dashboard {
    /// The text of the dashboard's file.
    pub(crate) fn text(&self) -> String {
        format!("{:#}\n", self.json())
    }

    /// The classic JSON model.
    pub(crate) fn json(&self) -> Value {
        json!({
            "annotations": { "list": self.marks.json() },
            "description": self.description,
            "editable": false,
            "fiscalYearStartMonth": 0,
            "graphTooltip": 1,
            "links": [links()],
            "panels": self.panels(),
            "refresh": "15m",
            "schemaVersion": 42,
            "tags": [TAG],
            "templating": { "list": self.variables.iter().map(Variable::json).collect::<Vec<_>>() },
            "time": { "from": self.from, "to": "now" },
            "timepicker": {},
            "timezone": "browser",
            "title": self.title,
            "uid": self.uid,
        })
    }

    /// The JSON of a panel with expanded queries. If no query can apply a filter that selects machines, the
    /// description says that the filter has no effect.
    fn panel(&self, panel: &Panel, id: u32, place: &Value) -> Value {
        let mut json = panel.json(id, place, |query| expand(query, self.filters));
        let queries = json["targets"].to_string();
        let of_machines = self.filters.iter().filter(|filter| filter.picks == Picks::Machines);
        let unused = of_machines.filter(|filter| !queries.contains(&filter.value()));
        let named = |filter: &Filter| {
            let variable = self.variables.iter().find(|variable| variable.name == filter.variable);
            variable.unwrap_or_else(|| panic!("no variable `{}`", filter.variable)).label
        };
        let unused: Vec<&str> = unused.map(named).collect();
        if !unused.is_empty() && json["targets"].is_array() {
            let description = json["description"].as_str().unwrap_or_default();
            json["description"] =
                format!("{description} Counts whole tenants: {} makes no difference.", unused.join(" or "))
                    .into();
        }
        json
    }

    fn panels(&self) -> Vec<Value> {
        let mut placed = Vec::new();
        let (mut id, mut top) = (0, 0);
        let mut next_id = || {
            id += 1;
            id
        };
        for row in &self.rows {
            let heading_id = next_id();
            let heading_top = top;
            top += 1;
            let (mut inside, mut left, mut height_of_line) = (Vec::new(), 0, 0);
            for (width, height, panel) in &row.panels {
                if left + width > WIDTH {
                    (left, top) = (0, top + height_of_line);
                    height_of_line = 0;
                }
                let place = json!({ "h": height, "w": width, "x": left, "y": top });
                inside.push(self.panel(panel, next_id(), &place));
                left += width;
                height_of_line = height_of_line.max(*height);
            }
            top += height_of_line;
            let folded = row.shown == Shown::Folded;
            let (nested, following) = if folded { (inside, Vec::new()) } else { (Vec::new(), inside) };
            placed.push(json!({
                "collapsed": folded,
                "gridPos": { "h": 1, "w": WIDTH, "x": 0, "y": heading_top },
                "id": heading_id,
                "panels": nested,
                "title": row.title,
                "type": "row",
            }));
            placed.extend(following);
            if folded {
                // A folded row takes one line of the grid.
                top = heading_top + 1;
            }
        }
        placed
    }
}

impl Marks {
    /// The second Tuesday of the month at midnight UTC, computed without data.
    fn json(self) -> Vec<Value> {
        if self == Self::None {
            return Vec::new();
        }
        vec![json!({
            "datasource": data_source(),
            "enable": true,
            "expr": "vector(1) and on () (day_of_week() == 2) and on () (day_of_month() >= 8) \
                     and on () (day_of_month() <= 14)",
            "hide": false,
            "iconColor": "purple",
            "name": "Patch Tuesday",
            "step": "1d",
            "titleFormat": "Patch Tuesday: Microsoft releases this month's security updates",
        })]
    }
}

/// Links to the other dashboards, which keep the selected variables and the time range.
fn links() -> Value {
    json!({
        "asDropdown": false,
        "icon": "external link",
        "includeVars": true,
        "keepTime": true,
        "tags": [TAG],
        "targetBlank": false,
        "title": "Defender missing updates",
        "tooltip": "The other dashboards of the exporter",
        "type": "dashboards",
        "url": "",
    })
}
