//! The variables of a dashboard, shown as menus at its top.

use serde_json::{Value, json};

use super::data_source;
use crate::dashboards::expression::{INSTANCE, JOB, expand};

/// A variable.
#[derive(Clone)]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    /// The name shown on the dashboard.
    pub(super) label: &'static str,
    kind: VariableKind,
}

#[derive(Clone)]
enum VariableKind {
    DataSource,
    /// One or more values of a label; `all` is the regular expression for all of them.
    Several {
        query: String,
        all: &'static str,
    },
    /// One value of a label.
    One {
        query: String,
        regex: &'static str,
    },
}

impl Variable {
    /// The Prometheus data source.
    fn data_source() -> Self {
        Self { name: "datasource", label: "Data source", kind: VariableKind::DataSource }
    }

    /// The first variables of every dashboard: data source, the targets that have `series`, and their tenants.
    pub(crate) fn common(series: &str) -> Vec<Self> {
        vec![
            Self::data_source(),
            Self::several("job", "Job", series),
            Self::several("instance", "Instance", &expand(&format!("@{series}"), &[JOB])),
            Self::several("tenant", "Tenant", &expand("@mde_up", &[JOB, INSTANCE])),
        ]
    }

    /// One or more values of the label `name` on `series`. "All" selects the series with a value.
    fn several(name: &'static str, label: &'static str, series: &str) -> Self {
        let kind = VariableKind::Several { query: format!("label_values({series}, {name})"), all: ".+" };
        Self { name, label, kind }
    }

    /// Like [`several`](Self::several), for a label that can be empty: "All" also selects the series without a
    /// value.
    pub(crate) fn several_or_none(name: &'static str, label: &'static str, series: &str) -> Self {
        let kind = VariableKind::Several { query: format!("label_values({series}, {name})"), all: ".*" };
        Self { name, label, kind }
    }

    /// One value of the label `name` on `series`.
    pub(crate) fn one(name: &'static str, label: &'static str, series: &str) -> Self {
        let query = format!("label_values({series}, {name})");
        Self { name, label, kind: VariableKind::One { query, regex: "" } }
    }

    /// One of the series of a query; `regex` extracts its text and value.
    pub(crate) fn one_of(name: &'static str, label: &'static str, query: &str, regex: &'static str) -> Self {
        Self { name, label, kind: VariableKind::One { query: format!("query_result({query})"), regex } }
    }

    /// Returns whether the variable may have several values.
    #[cfg(test)]
    pub(crate) fn is_several(&self) -> bool {
        matches!(self.kind, VariableKind::Several { .. })
    }

    pub(crate) fn json(&self) -> Value {
        match &self.kind {
            VariableKind::DataSource => json!({
                "allowCustomValue": false,
                "current": {},
                "hide": 0,
                "includeAll": false,
                "label": self.label,
                "multi": false,
                "name": self.name,
                "options": [],
                "query": "prometheus",
                "refresh": 1,
                "regex": "",
                "skipUrlSync": false,
                "type": "datasource",
            }),
            VariableKind::Several { query, all } => {
                let mut variable = self.query(query, "");
                variable["multi"] = true.into();
                variable["includeAll"] = true.into();
                variable["allValue"] = (*all).into();
                variable["current"] = json!({ "selected": true, "text": ["All"], "value": ["$__all"] });
                variable
            }
            VariableKind::One { query, regex } => self.query(query, regex),
        }
    }

    fn query(&self, query: &str, regex: &str) -> Value {
        json!({
            "allowCustomValue": true,
            "current": {},
            "datasource": data_source(),
            "definition": query,
            "hide": 0,
            "includeAll": false,
            "label": self.label,
            "multi": false,
            "name": self.name,
            "options": [],
            "query": { "query": query, "refId": self.name },
            // On a change of the time range.
            "refresh": 2,
            "regex": regex,
            "skipUrlSync": false,
            // Alphabetical.
            "sort": 1,
            "type": "query",
        })
    }
}
