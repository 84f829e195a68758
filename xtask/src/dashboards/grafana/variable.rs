//! The choices at the top of a dashboard.

use serde_json::{Value, json};

use super::data_source;

/// A choice.
#[derive(Clone)]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    /// What it is called on the page.
    pub(super) label: &'static str,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    DataSource,
    /// Values of a label, of which several can be chosen; the text is what stands for all of them.
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
    /// The Prometheus to ask.
    fn data_source() -> Self {
        Self { name: "datasource", label: "Data source", kind: Kind::DataSource }
    }

    /// What every dashboard starts with: the Prometheus, the targets that have `series`, and their tenants.
    pub(crate) fn common(series: &str) -> Vec<Self> {
        vec![
            Self::data_source(),
            Self::several("job", "Job", series),
            Self::several("instance", "Instance", &format!("{series}{{job=~\"$job\"}}")),
            Self::several("tenant", "Tenant", "mde_up{job=~\"$job\", instance=~\"$instance\"}"),
        ]
    }

    /// Any of the values that `label` has on `series`. All of them stand for series that have a value.
    fn several(name: &'static str, label: &'static str, series: &str) -> Self {
        let kind = Kind::Several { query: format!("label_values({series}, {name})"), all: ".+" };
        Self { name, label, kind }
    }

    /// As [`several`](Self::several), for a label that can be empty: all of them stand for series without
    /// a value too, which must not get lost.
    pub(crate) fn several_or_none(name: &'static str, label: &'static str, series: &str) -> Self {
        let kind = Kind::Several { query: format!("label_values({series}, {name})"), all: ".*" };
        Self { name, label, kind }
    }

    /// One value of the label `name` on `series`.
    pub(crate) fn one(name: &'static str, label: &'static str, series: &str) -> Self {
        let query = format!("label_values({series}, {name})");
        Self { name, label, kind: Kind::One { query, regex: "" } }
    }

    /// One of the series that a query gives, of which `regex` takes a text and a value.
    pub(crate) fn one_of(name: &'static str, label: &'static str, query: &str, regex: &'static str) -> Self {
        Self { name, label, kind: Kind::One { query: format!("query_result({query})"), regex } }
    }

    pub(crate) fn json(&self) -> Value {
        match &self.kind {
            Kind::DataSource => json!({
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
            Kind::Several { query, all } => {
                let mut variable = self.query(query, "");
                variable["multi"] = true.into();
                variable["includeAll"] = true.into();
                variable["allValue"] = (*all).into();
                variable["current"] = json!({ "selected": true, "text": ["All"], "value": ["$__all"] });
                variable
            }
            Kind::One { query, regex } => self.query(query, regex),
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
            // When the time range changes.
            "refresh": 2,
            "regex": regex,
            "skipUrlSync": false,
            // By alphabet.
            "sort": 1,
            "type": "query",
        })
    }
}
