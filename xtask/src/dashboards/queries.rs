//! Parsed queries of the dashboards, for tests.

use promql_parser::parser::{Call, Expr, MatrixSelector, VectorSelector, parse};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;

/// A query of a panel.
pub(crate) struct PanelQuery {
    /// File, panel and query id, such as `fleet.json / Patch compliance / A`.
    pub(crate) name: String,
    pub(crate) expression: String,
    /// The description of the panel.
    pub(crate) description: String,
}

/// A selector in a query.
pub(crate) struct SeriesSelector {
    pub(crate) metric: String,
    /// Names and values of its matchers.
    pub(crate) matchers: Vec<(String, String)>,
    /// The function that is applied to its range.
    pub(crate) function: Option<&'static str>,
}

/// The panels of a dashboard, including those of folded rows, with the title of their row.
pub(crate) fn panels(dashboard: &Value) -> Vec<(String, Value)> {
    let mut listed = Vec::new();
    let mut row = String::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        if panel["type"] == "row" {
            panel["title"].as_str().unwrap().clone_into(&mut row);
            let nested = panel["panels"].as_array().unwrap();
            listed.extend(nested.iter().map(|panel| (row.clone(), panel.clone())));
        } else {
            listed.push((row.clone(), panel.clone()));
        }
    }
    listed
}

/// Every query of every dashboard.
pub(crate) fn all() -> Vec<PanelQuery> {
    let mut queries = Vec::new();
    for (file, dashboard) in crate::dashboards::all() {
        for (_, panel) in panels(&dashboard.json()) {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let name = format!("{file} / {} / {}", text(&panel["title"]), text(&target["refId"]));
                queries.push(PanelQuery {
                    name,
                    expression: text(&target["expr"]),
                    description: text(&panel["description"]),
                });
            }
        }
    }
    queries
}

/// The selectors of a query. `$__rate_interval` is replaced by a duration.
pub(crate) fn selectors(query: &str) -> Result<Vec<SeriesSelector>, String> {
    let expression = parse(&query.replace("$__rate_interval", "5m"))?;
    let mut visitor = SelectorVisitor::default();
    walk_expr(&mut visitor, &expression)?;
    Ok(visitor.selectors)
}

#[derive(Default)]
struct SelectorVisitor {
    selectors: Vec<SeriesSelector>,
    functions: Vec<&'static str>,
}

impl SelectorVisitor {
    fn add(&mut self, selector: &VectorSelector, function: Option<&'static str>) -> Result<(), String> {
        let metric = selector.name.clone().ok_or("a selector without a metric")?;
        let matchers = &selector.matchers.matchers;
        let matchers = matchers.iter().map(|matcher| (matcher.name.clone(), matcher.value.clone())).collect();
        self.selectors.push(SeriesSelector { metric, matchers, function });
        Ok(())
    }
}

impl ExprVisitor for SelectorVisitor {
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
