//! The queries of the dashboards, taken apart.

use promql_parser::parser::{Call, Expr, MatrixSelector, VectorSelector, parse};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;

/// A query of a panel.
pub(crate) struct PanelQuery {
    /// `fleet.json / Patch compliance / A`
    pub(crate) name: String,
    pub(crate) expression: String,
    /// Of the panel.
    pub(crate) description: String,
}

/// A selector of a query.
pub(crate) struct Selector {
    pub(crate) metric: String,
    /// Names of the labels that it matches, and with what.
    pub(crate) matchers: Vec<(String, String)>,
    /// The function that a range of it goes into.
    pub(crate) function: Option<&'static str>,
}

/// Panels of a dashboard, those of folded rows too, each with the title of its row.
pub(crate) fn panels(dashboard: &Value) -> Vec<(String, Value)> {
    let (mut found, mut row) = (Vec::new(), String::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        if panel["type"] == "row" {
            panel["title"].as_str().unwrap().clone_into(&mut row);
            let nested = panel["panels"].as_array().unwrap();
            found.extend(nested.iter().map(|panel| (row.clone(), panel.clone())));
        } else {
            found.push((row.clone(), panel.clone()));
        }
    }
    found
}

/// Every query of every dashboard.
pub(crate) fn all() -> Vec<PanelQuery> {
    let mut found = Vec::new();
    for (file, dashboard) in crate::dashboards::all() {
        for (_, panel) in panels(&dashboard.json()) {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let name = format!("{file} / {} / {}", text(&panel["title"]), text(&target["refId"]));
                found.push(PanelQuery {
                    name,
                    expression: text(&target["expr"]),
                    description: text(&panel["description"]),
                });
            }
        }
    }
    found
}

/// The selectors of a query; `$name` in a string stays, elsewhere it is a duration.
pub(crate) fn selectors(query: &str) -> Result<Vec<Selector>, String> {
    let expression = parse(&query.replace("$__rate_interval", "5m"))?;
    let mut visitor = Selectors::default();
    walk_expr(&mut visitor, &expression)?;
    Ok(visitor.found)
}

#[derive(Default)]
struct Selectors {
    found: Vec<Selector>,
    functions: Vec<&'static str>,
}

impl Selectors {
    fn add(&mut self, selector: &VectorSelector, function: Option<&'static str>) -> Result<(), String> {
        let metric = selector.name.clone().ok_or("a selector without a metric")?;
        let matchers = &selector.matchers.matchers;
        let matchers = matchers.iter().map(|matcher| (matcher.name.clone(), matcher.value.clone())).collect();
        self.found.push(Selector { metric, matchers, function });
        Ok(())
    }
}

impl ExprVisitor for Selectors {
    type Error = String;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, String> {
        match expression {
            Expr::Call(Call { func, .. }) => self.functions.push(func.name),
            Expr::VectorSelector(selector) => self.add(selector, None)?,
            Expr::MatrixSelector(MatrixSelector { vs, .. }) => {
                let function = self.functions.last().copied();
                self.add(vs, function)?;
            }
            _ => {}
        }
        Ok(true)
    }

    fn post_visit(&mut self, expression: &Expr) -> Result<bool, String> {
        if matches!(expression, Expr::Call(_)) {
            self.functions.pop();
        }
        Ok(true)
    }
}

#[test]
fn selectors_are_found_with_matchers_and_functions() {
    let found = selectors("sum(rate(a_total{job=~\"$job\"}[$__rate_interval])) / on () (b > 0)").unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|selector| (selector.metric.as_str(), selector.matchers.len(), selector.function))
        .collect();
    assert_eq!(found, [("a_total", 1, Some("rate")), ("b", 0, None)]);
    assert!(selectors("sum(").is_err());
}
