//! What an update is: its products, release, severity and chain.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::ShownUpdate;
use super::cves::percent;
use crate::model::{FactsSource, KbId, Restart};
use crate::web::pages::context::PageContext;
use crate::web::pages::machines::last_day;
use crate::web::pages::text::{ShownDay, counted, grouped, visible};

/// One property of the update.
pub(super) struct UpdateProperty {
    pub(super) label: &'static str,
    pub(super) value: PropertyText,
}

/// The value of a property.
pub(super) enum PropertyText {
    Words(String),
    /// Words that are a reason to hurry.
    Alarm(String),
    Day(ShownDay),
    /// KBs, each with the link to its page if a machine misses it.
    Kbs(Vec<(String, Option<String>)>),
}

pub(super) fn facts(context: &PageContext, update: &ShownUpdate<'_>) -> Vec<UpdateProperty> {
    let snapshot = &context.snapshot;
    let of_kb = snapshot.facts.kb(update.kb);
    let effective = update.facts(context);
    let day = |at: Timestamp| PropertyText::Day(ShownDay::past(at, context.now));
    let words = |text: String| PropertyText::Words(text);
    let known_exploited = effective.known_exploited.map(|known| {
        let shown = |at| ShownDay::past(at, context.now).day;
        let due = known.due.map(|due| format!(", due {}", shown(last_day(due)))).unwrap_or_default();
        let ransomware = if known.ransomware { ", used by ransomware" } else { "" };
        format!("in KEV since {}{due}{ransomware}", shown(known.since))
    });
    let exploited = match (known_exploited, effective.exploited) {
        (Some(listed), _) => Some(PropertyText::Alarm(listed)),
        (None, Some(true)) => Some(PropertyText::Alarm("yes, Microsoft reports it".to_owned())),
        (None, Some(false)) => Some(words("no report".to_owned())),
        (None, None) => None,
    };
    let restart = of_kb.and_then(|facts| facts.restart).map(|restart| match restart {
        Restart::No => "not needed",
        Restart::Maybe => "may be needed",
        Restart::Yes => "needed",
    });
    let is_hotpatch = of_kb.is_some_and(|facts| facts.is_hotpatch);
    let reported = update.summaries().filter_map(|summary| summary.reported_machines).map(u64::from);
    let addressed = update.summaries().filter_map(|summary| summary.addressed_cves).max();
    let supersedes = of_kb.map(|facts| facts.supersedes.to_vec()).unwrap_or_default();
    [
        ("Released", update.released().map(day)),
        ("First seen", update.first_seen().map(day)),
        ("Microsoft severity", effective.vendor_severity.map(|severity| words(severity.as_str().to_owned()))),
        ("Highest CVSS score", effective.cvss.map(|score| words(score.to_string()))),
        ("Highest EPSS", effective.epss.map(|epss| words(percent(epss)))),
        ("Exploited", exploited),
        ("Replaces", kbs(context, supersedes)),
        ("Replaced by", kbs(context, superseded_by(context, update))),
        ("Restart", restart.map(|restart| words(restart.to_owned()))),
        ("Hotpatch", is_hotpatch.then(|| words("yes".to_owned()))),
        ("CVEs, by Defender", addressed.map(|cves| words(grouped(cves.into())))),
        (
            "Machines, by Defender",
            reported.reduce(|sum, machines| sum + machines).map(|machines| words(grouped(machines))),
        ),
    ]
    .into_iter()
    .filter_map(|(label, value)| Some(UpdateProperty { label, value: value? }))
    .collect()
}

/// The products of all machines; none if no machine reports one.
pub(super) fn products(update: &ShownUpdate<'_>) -> Option<String> {
    let products: BTreeSet<&str> =
        update.summaries().flat_map(|summary| &summary.facts.products).map(String::as_str).collect();
    let products: Vec<_> = products.into_iter().map(visible).collect();
    (!products.is_empty()).then(|| products.join(", "))
}

/// The updates that take its place in a selected tenant.
fn superseded_by(context: &PageContext, update: &ShownUpdate<'_>) -> Vec<KbId> {
    let tenants = &context.snapshot.overview().tenants;
    let of_tenant = |tenant: usize| &tenants[tenant].summary.superseded;
    let all = update.tenants.iter().flat_map(|known| of_tenant(known.tenant));
    let by: BTreeSet<KbId> = all.filter(|(kb, _)| *kb == update.kb).map(|(_, by)| *by).collect();
    by.into_iter().collect()
}

fn kbs(context: &PageContext, kbs: Vec<KbId>) -> Option<PropertyText> {
    let tenants = &context.snapshot.overview().tenants;
    let link = |kb: KbId| {
        let is_missing = tenants.iter().any(|tenant| tenant.summary.updates.contains_key(&kb));
        is_missing.then(|| context.link(&format!("updates/{kb}"), &context.query.kept()))
    };
    let named = |kb: KbId| (format!("KB{kb}"), link(kb));
    (!kbs.is_empty()).then(|| PropertyText::Kbs(kbs.into_iter().map(named).collect()))
}

/// Sentences about what limits the answer.
pub(super) fn notes(context: &PageContext, update: &ShownUpdate<'_>) -> Vec<String> {
    let facts = &context.snapshot.facts;
    let mut notes = Vec::new();
    if !facts.has(FactsSource::Msrc) {
        notes.push(
            "Severity, exploitation and CVEs are unknown: turn on `facts` in the configuration.".to_owned(),
        );
    } else if facts.kb(update.kb).is_none() {
        let name = &update.name;
        notes.push(format!("Microsoft's release documents do not list {name}, so its CVEs are unknown."));
    }
    let failing = update.tenants.iter().filter(|known| {
        let status = &known.fleet.status;
        !status.up && status.last_poll.is_some()
    });
    let failing = failing.count() as u64;
    if failing > 0 {
        notes.push(format!("{} cannot be read: the numbers may be old.", counted(failing, "tenant")));
    }
    notes
}
