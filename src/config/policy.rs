//! The section `policies`: patch deadlines.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::reader::ValueReader;
use super::values::label;
use crate::model::{DeadlineStart, Policy};

/// Ten years; a longer deadline is a mistake.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// Names of policies, each with the path of the first policy of that name.
type PolicyNames = HashMap<Arc<str>, String>;

pub(super) fn read(field: &ValueReader<'_>) -> Option<Vec<Policy>> {
    let items = field.list("a mapping with the keys of a policy is allowed")?;
    let mut names = PolicyNames::default();
    // Collected first, so that the problems of every policy are reported.
    let policies: Vec<_> = items.iter().map(|item| policy(item, &mut names)).collect();
    policies.into_iter().collect()
}

fn policy(field: &ValueReader<'_>, names: &mut PolicyNames) -> Option<Policy> {
    let section = field.section()?;
    let allowed = "text without control characters, of its own for each policy, is allowed";
    let name = section.required("name", allowed).and_then(|field| {
        let name = field.text(label)?;
        if let Some(first) = names.get(&name) {
            field.problem(format!("is the same as that of {first}"));
            return None;
        }
        names.insert(Arc::clone(&name), section.path().to_owned());
        Some(name)
    });
    let deadline = section
        .required("deadline", "a duration from 1s to 3650d, such as 14d, is allowed")
        .and_then(|field| field.duration(Duration::from_secs(1)..=LONGEST));
    let from =
        section.optional_or("from", "first_seen or released is allowed", DeadlineStart::FirstSeen, |field| {
            let start = |word: &str| DeadlineStart::ALL.into_iter().find(|start| start.as_str() == word);
            field.text(|word| start(word).ok_or("is not a known start"))
        });
    section.finish();
    Some(Policy { name: name?, deadline: deadline?, from: from? })
}
