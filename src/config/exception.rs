//! The section `exceptions`: accepted risks with a reason and an end.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;

use super::condition::{conditions, kbs, machines, negated_conditions};
use super::problem::{NamedEnd, ProblemCollector};
use super::reader::{MapReader, ValueReader};
use super::tenant::TenantNames;
use super::values::label;
use super::{Config, FactsConfig, Tenant};
use crate::model::{Condition, Exception, FactsSource, UpdateCondition};

/// Names of exceptions, each with the path of the first exception of that name.
type ExceptionNames = HashMap<Arc<str>, String>;

const SELECTION_ALLOWED: &str = "at least one of kbs, machines or the conditions of a rule is allowed";

/// Reads the list. `tenants` are the names of the tenants of the file; none if a name could not be read.
pub(super) fn read(field: &ValueReader<'_>, tenants: Option<&TenantNames>) -> Option<Vec<Exception>> {
    let items = field.list("a mapping with the keys of an exception is allowed")?;
    let mut names = ExceptionNames::default();
    // Collected first, so that the problems of every exception are reported.
    let exceptions: Vec<_> = items.iter().map(|item| exception(item, &mut names, tenants)).collect();
    exceptions.into_iter().collect()
}

fn exception(
    field: &ValueReader<'_>,
    names: &mut ExceptionNames,
    tenants: Option<&TenantNames>,
) -> Option<Exception> {
    let section = field.section()?;
    let name = name(&section, names);
    let reason_allowed = "text that says why the risk is accepted, such as a change number, is allowed";
    let reason = section.required("reason", reason_allowed).and_then(|field| field.text(reason));
    let until = section.required("until", "the last day, such as 2027-01-31, is allowed").and_then(|field| {
        let until = field.text(day)?;
        Some((field, until))
    });
    let tenants =
        section.optional_or("tenants", "a list of at least one tenant is allowed", Vec::new(), |field| {
            field.values("the name of a tenant of this file is allowed", |name| tenant(name, tenants))
        });
    let kbs = kbs(&section);
    let conditions = conditions(&section);
    let not = negated_conditions(&section);
    let machines = machines(&section);
    if !["kbs", "machines", "not"].iter().any(|key| section.has(key))
        && conditions.as_ref().is_some_and(Vec::is_empty)
    {
        section.problem("selects nothing", SELECTION_ALLOWED);
    }
    section.finish();
    let (until_field, until) = until?;
    let exception = Exception {
        name: name?,
        reason: reason?,
        until,
        tenants: tenants?,
        conditions: [kbs?, conditions?, machines?].concat(),
        not: not?,
    };
    until_field.names_end(exception.ends_at());
    Some(exception)
}

fn name(section: &MapReader<'_>, names: &mut ExceptionNames) -> Option<Arc<str>> {
    let allowed = "text without control characters, of its own for each exception, is allowed";
    let field = section.required("name", allowed)?;
    let name = field.text(label)?;
    if let Some(first) = names.get(&name) {
        field.problem(format!("is the same as that of {first}"));
        return None;
    }
    names.insert(Arc::clone(&name), section.path().to_owned());
    Some(name)
}

/// Parses a reason. Line breaks become spaces, so that it stays in one line of a report.
fn reason(text: &str) -> Result<String, &'static str> {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.join(" ") {
        reason if reason.is_empty() => Err("is blank"),
        reason if reason.contains(char::is_control) => Err("holds a control character"),
        reason => Ok(reason),
    }
}

/// Parses a day in the form `2027-01-31` alone: other forms of ISO 8601 are rare, and mistakes in most cases.
fn day(text: &str) -> Result<Date, &'static str> {
    let is_separator = |(place, byte): (usize, u8)| match place {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    if text.len() != 10 || !text.bytes().enumerate().all(is_separator) {
        return Err("is not a day");
    }
    text.parse().map_err(|_| "is a day that does not exist")
}

fn tenant(name: &str, tenants: Option<&TenantNames>) -> Result<Arc<str>, &'static str> {
    match tenants {
        Some(tenants) => match tenants.get_key_value(name) {
            Some((name, _)) => Ok(Arc::clone(name)),
            None => Err("is not the name of a tenant of this file"),
        },
        // The problem with the name of a tenant is reported there.
        None => Ok(name.into()),
    }
}

/// Warns at each exception that can cover nothing, or less than it says, under the other settings of the file.
pub(super) fn warn_of_other_settings(field: &ValueReader<'_>, config: &Config) {
    let Config { tenants, metrics, facts, exceptions, .. } = config;
    let Some(items) = field.list("") else { return };
    for (item, exception) in items.iter().zip(exceptions) {
        let named = || tenants.iter().filter(|tenant| exception.names_tenant(&tenant.name));
        let needs = |tenant: &Tenant, source: &FactsSource| {
            exception.needed_facts(tenant.source).any(|needed| needed == *source)
        };
        let is_needed = |source: &FactsSource| named().any(|tenant| needs(tenant, source));
        if let Some(what) = FactsConfig::left_out(facts.as_ref(), is_needed) {
            let is_needed_everywhere = |source: &FactsSource| named().all(|tenant| needs(tenant, source));
            // Only tenants with the export can do without a source that others need.
            let place = match FactsConfig::left_out(facts.as_ref(), is_needed_everywhere) {
                Some(_) => "",
                None => " in tenants with source: machines",
            };
            item.warning(format!("{what}: it covers nothing{place}"), "facts: {} turns every source on");
        }
        let is_ignored = |condition: &Condition| match condition {
            Condition::Update(UpdateCondition::Kbs(kbs)) => {
                kbs.iter().all(|kb| metrics.ignore_kbs.contains(kb))
            }
            _ => false,
        };
        if exception.conditions.iter().any(is_ignored) {
            let what = "covers nothing, because metrics.ignore_kbs names all of its kbs";
            item.warning(what, "ignored KBs need no exception");
        }
    }
}

/// Warns about every end that has passed at `now`.
pub(super) fn warn_of_ended(ends: &[NamedEnd], now: Timestamp, warnings: &ProblemCollector) {
    for end in ends.iter().filter(|end| end.ends_at <= now) {
        let what = "is in the past, so the exception covers nothing";
        warnings.add_warning(
            &end.key,
            end.location,
            what,
            "a later day extends it; otherwise it can be removed",
        );
    }
}
