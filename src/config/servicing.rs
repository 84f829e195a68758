//! The section `servicing`: what Defender does not report about the servicing of machines.

mod shadow;
#[cfg(test)]
mod tests;
mod warnings;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::condition;
use super::reader::{MapReader, ValueReader};
use super::tenant::TenantNames;
use super::values::label;
use crate::model::{ServicingEdition, ServicingRule, ServicingSettings};

const HAS_ALLOWED: &str = "true or false is allowed; true is the default";

/// Reads the section. `tenants` are the names of the tenants of the file; none if a name could not be read.
pub(super) fn read(field: &ValueReader<'_>, tenants: Option<&TenantNames>) -> Option<ServicingSettings> {
    let section = field.section()?;
    let allowed = "a list of rules with edition and machines is allowed";
    let editions = section.optional_or("editions", allowed, Vec::new(), |field| {
        let rules = rules(field, tenants, edition)?;
        warnings::of_editions(field);
        Some(rules)
    });
    let allowed = "a list of rules with machines, and with has: false for machines without, is allowed";
    let extended = section.optional_or("extended", allowed, Vec::new(), |field| {
        let has =
            |section: &MapReader<'_>| section.optional_or("has", HAS_ALLOWED, true, ValueReader::boolean);
        let rules = rules(field, tenants, has)?;
        warnings::of_extended(field);
        Some(rules)
    });
    section.finish();
    Some(ServicingSettings { editions: editions?, extended: extended?, other_tenants: BTreeSet::new() })
}

fn edition(section: &MapReader<'_>) -> Option<ServicingEdition> {
    let words = ServicingEdition::CLIENTS.map(ServicingEdition::as_str);
    let allowed = format!("one of {} is allowed", words.join(", "));
    section.required("edition", &allowed)?.text(|word| {
        let edition = ServicingEdition::CLIENTS.into_iter().find(|edition| edition.as_str() == word);
        edition.ok_or(match word {
            "server" => "is not needed: a server has one end of servicing, whatever its edition",
            "extended" => "is not an edition: the key servicing.extended is about Extended Security Updates",
            _ => "is not a known edition",
        })
    })
}

/// Reads a list of rules, whose values `value` reads.
fn rules<T: PartialEq>(
    field: &ValueReader<'_>,
    tenants: Option<&TenantNames>,
    value: impl Fn(&MapReader<'_>) -> Option<T>,
) -> Option<Vec<ServicingRule<T>>> {
    let items = field.list("a mapping with the keys of a rule is allowed")?;
    // Collected first, so that the problems of every rule are reported.
    let rules: Vec<_> = items.iter().map(|item| rule(item, tenants, &value)).collect();
    let rules: Vec<_> = rules.into_iter().collect::<Option<_>>()?;
    for (item, earlier) in items.iter().zip(shadow::earlier_rules(&rules)) {
        if let Some(earlier) = earlier {
            let what = format!("is never used, because {} selects all of its machines", earlier.place);
            item.warning(
                what,
                "the first rule that selects a machine applies; the narrower one belongs before it",
            );
        }
    }
    Some(rules)
}

fn rule<T>(
    field: &ValueReader<'_>,
    tenants: Option<&TenantNames>,
    value: impl Fn(&MapReader<'_>) -> Option<T>,
) -> Option<ServicingRule<T>> {
    let section = field.section()?;
    if section.is_empty() {
        field.problem("is empty");
        return None;
    }
    let value = value(&section);
    let allowed = "a list of at least one tenant is allowed";
    let tenants = section.optional_or("tenants", allowed, Vec::new(), |field| {
        let names = field.values("the name of a tenant of this file is allowed", label)?;
        warnings::of_unknown_tenants(field, &names, tenants);
        Some(names)
    });
    let conditions = condition::machines(&section);
    section.finish();
    Some(ServicingRule {
        value: value?,
        tenants: tenants?,
        conditions: conditions?,
        place: Arc::from(field.place()),
    })
}
