//! The labels of the results of rules: a label that a metric gets later changes no sum and no comparison.

use std::collections::BTreeSet;

use promql_parser::label::Labels;
use promql_parser::parser::token::{T_LAND, T_LOR, T_LUNLESS};
use promql_parser::parser::{self, AggregateExpr, BinaryExpr, Expr, LabelModifier, VectorMatchCardinality};

use crate::support::rules::{FILES, rules};

/// The labels that the series of an expression have.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kept {
    /// No series: a number.
    Nothing,
    /// All labels of a metric, also those that it gets later.
    All,
    Exactly(BTreeSet<String>),
}

/// The labels by which every rule about a tenant keeps its results apart.
fn of_a_tenant() -> BTreeSet<String> {
    ["job", "instance", "tenant"].map(str::to_owned).into()
}

/// The labels by which a rule about an exception keeps its results apart. An exception is the same for each of its
/// tenants.
fn of_an_exception() -> BTreeSet<String> {
    ["job", "instance", "exception"].map(str::to_owned).into()
}

/// The labels of a rule about the exporters of a job, which share tenants.
fn of_shards() -> BTreeSet<String> {
    ["job"].map(str::to_owned).into()
}

/// The labels of a recorded series, by its name: `tenant:…` or `tenant_policy:…`; none for a metric.
fn of_a_record(name: &str) -> Option<BTreeSet<String>> {
    let (level, _) = name.split_once(':')?;
    let further = level.strip_prefix("tenant").map(|rest| rest.trim_start_matches('_'));
    let further = further.unwrap_or_else(|| panic!("{name} is not about a tenant"));
    let further = Some(further).filter(|label| !label.is_empty()).map(str::to_owned);
    Some(of_a_tenant().into_iter().chain(further).collect())
}

fn owned(labels: &Labels) -> BTreeSet<String> {
    labels.labels.iter().cloned().collect()
}

/// The labels that the result of `expr` keeps.
///
/// # Errors
/// When a further label of a metric could change the result.
fn kept(expr: &Expr) -> Result<Kept, String> {
    match expr {
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(Kept::Nothing),
        Expr::Paren(inner) => kept(&inner.expr),
        Expr::Unary(inner) => kept(&inner.expr),
        Expr::Subquery(inner) => kept(&inner.expr),
        Expr::VectorSelector(selector) => Ok(of_selector(selector.name.as_deref())),
        Expr::MatrixSelector(selector) => Ok(of_selector(selector.vs.name.as_deref())),
        Expr::Call(call) => {
            let arguments: Result<Vec<_>, _> = call.args.args.iter().map(|argument| kept(argument)).collect();
            Ok(arguments?.into_iter().find(|labels| *labels != Kept::Nothing).unwrap_or(Kept::Nothing))
        }
        Expr::Aggregate(aggregate) => of_aggregate(aggregate),
        Expr::Binary(binary) => of_binary(binary),
        Expr::Extension(_) => Err("an extension".to_owned()),
    }
}

fn of_selector(name: Option<&str>) -> Kept {
    name.and_then(of_a_record).map_or(Kept::All, Kept::Exactly)
}

fn of_aggregate(aggregate: &AggregateExpr) -> Result<Kept, String> {
    kept(&aggregate.expr)?;
    match &aggregate.modifier {
        Some(LabelModifier::Include(labels)) => Ok(Kept::Exactly(owned(labels))),
        Some(LabelModifier::Exclude(_)) => Err("`without` keeps every further label".to_owned()),
        None => Err("an aggregation over tenants".to_owned()),
    }
}

fn of_binary(binary: &BinaryExpr) -> Result<Kept, String> {
    let (left, right) = match (kept(&binary.lhs)?, kept(&binary.rhs)?) {
        (labels, Kept::Nothing) | (Kept::Nothing, labels) => return Ok(labels),
        both => both,
    };
    let modifier = binary.modifier.as_ref();
    let on = match modifier.and_then(|modifier| modifier.matching.as_ref()) {
        Some(LabelModifier::Include(labels)) => owned(labels),
        Some(LabelModifier::Exclude(_)) => return Err("`ignoring` compares every further label".to_owned()),
        None if left == right && left != Kept::All => return Ok(left),
        None => return Err(format!("`{binary}` compares every further label")),
    };
    if binary.op.id() == T_LOR {
        return Ok(if left == right { left } else { Kept::All });
    }
    if [T_LAND, T_LUNLESS].contains(&binary.op.id()) {
        return Ok(left);
    }
    let (many, copied) = match modifier.map(|modifier| &modifier.card) {
        Some(VectorMatchCardinality::ManyToOne(copied)) => (left, copied),
        Some(VectorMatchCardinality::OneToMany(copied)) => (right, copied),
        _ => return Ok(Kept::Exactly(on)),
    };
    Ok(match many {
        Kept::Exactly(labels) => Kept::Exactly(labels.into_iter().chain(owned(copied)).collect()),
        open => open,
    })
}

fn kept_by(query: &str) -> Result<Kept, String> {
    kept(&parser::parse(query)?)
}

#[test]
fn recording_rules_name_the_labels_that_they_keep() {
    for file in FILES {
        for rule in rules(file) {
            let Some(name) = rule.record else { continue };
            assert!(!rule.expr.contains("without"), "{name} uses `without`");
            let labels = kept_by(&rule.expr).unwrap_or_else(|problem| panic!("{name}: {problem}"));
            assert_eq!(labels, Kept::Exactly(of_a_record(&name).unwrap()), "{name}");
        }
    }
}

#[test]
fn alerts_match_by_named_labels_and_keep_the_tenant() {
    for file in FILES {
        for rule in rules(file) {
            let Some(name) = rule.alert else { continue };
            let labels = kept_by(&rule.expr).unwrap_or_else(|problem| panic!("{name}: {problem}"));
            if let Kept::Exactly(labels) = labels {
                let apart = match name.as_str() {
                    "MdeShardMissing" => of_shards(),
                    _ if labels.contains("exception") => of_an_exception(),
                    _ => of_a_tenant(),
                };
                assert!(labels.is_superset(&apart), "{name} keeps only {labels:?}");
            }
            // Alerts that come and go with the order of values.
            assert!(!rule.expr.contains("topk") && !rule.expr.contains("bottomk"), "{name}");
        }
    }
}

#[test]
fn every_way_to_depend_on_a_further_label_is_found() {
    for query in [
        "sum without (state) (mde_assessed_machines)",
        "sum(mde_assessed_machines)",
        "tenant:mde_machines:sum == 0 and sum without (state) (mde_assessed_machines)",
        "mde_compliant_machines / mde_assessed_machines",
        "mde_compliant_machines / ignoring (state) mde_assessed_machines",
        "sum by (job, instance, tenant) (mde_assessed_machines) or 0 * mde_up",
        "sum by (tenant) (mde_assessed_machines) / tenant:mde_machines:sum",
        "mde_up == 0 unless mde_exporter_due_machines",
    ] {
        assert!(kept_by(query).is_err(), "{query}");
    }
}

#[test]
fn kept_labels_follow_the_operators() {
    let exactly = |labels: &[&str]| Kept::Exactly(labels.iter().map(|&label| label.to_owned()).collect());
    for (query, labels) in [
        ("time()", Kept::Nothing),
        ("time() - mde_up > 3", Kept::All),
        ("mde_up > on (tenant) 2 * mde_up", exactly(&["tenant"])),
        ("sum by (kb) (mde_up) / on () group_left () mde_up", exactly(&["kb"])),
        ("tenant_policy:a:b offset 1d > 1", exactly(&["job", "instance", "tenant", "policy"])),
        ("mde_up * on (tenant) group_left (kb) mde_up", Kept::All),
        ("sum by (kb) (mde_up) unless on (kb) mde_up", exactly(&["kb"])),
    ] {
        assert_eq!(kept_by(query), Ok(labels), "{query}");
    }
}
