//! What is known about one machine.

use jiff::Timestamp;

use crate::fleet::MachineState;
use crate::fleet::overview::MachineSummary;
use crate::fleet::policy::{PolicyState, ServicingVerdict};
use crate::fleet::servicing::version_name;
use crate::model::ServicingState;
use crate::web::pages::chips::servicing_words;
use crate::web::pages::context::PageContext;
use crate::web::pages::machines::last_day;
use crate::web::pages::query::PageQuery;
use crate::web::pages::reason::reason_words;
use crate::web::pages::text::{ShownDay, ShownTime, visible};

/// A line of the list of facts.
#[derive(Default)]
pub(super) struct MachineFact {
    pub(super) label: String,
    /// The word of a state with a mark; empty without one.
    pub(super) mark: &'static str,
    /// The words behind the mark.
    pub(super) text: String,
    /// The class of the words; empty for plain text.
    pub(super) class: &'static str,
    /// Values with the links to the machines that have them.
    pub(super) links: Vec<(String, String)>,
    /// A time behind the words.
    pub(super) time: Option<ShownTime>,
    /// Words behind everything.
    pub(super) note: String,
}

impl MachineFact {
    fn new(label: &str, text: impl Into<String>) -> Self {
        Self { label: label.to_owned(), text: text.into(), ..Self::default() }
    }
}

/// What is known about the machine at `place`. `servicing` is the verdict if the end of servicing decides about it.
pub(super) fn facts(
    context: &PageContext,
    place: usize,
    servicing: Option<ServicingVerdict>,
) -> Vec<MachineFact> {
    let overview = context.snapshot.overview();
    let summary = &overview.machines[place];
    let machine = &summary.machine.facts;
    let mut facts: Vec<MachineFact> = policy(context, place).into_iter().collect();
    if let Some(reason) = overview.not_judged(place, context.query.policy) {
        facts.push(MachineFact::new("Not judged", reason_words(context, reason)));
    }
    facts.extend(data(context, summary));
    let last_seen = machine.last_seen.map(|at| ShownTime::dated(at, context.now));
    let unknown = if last_seen.is_some() { "" } else { "unknown" };
    facts.push(MachineFact { time: last_seen, ..MachineFact::new("Last seen by Defender", unknown) });
    facts.extend(inventory(context, summary));
    facts.push(servicing_fact(context, summary, servicing));
    facts.push(MachineFact { class: "id", ..MachineFact::new("Id", machine.id.as_str()) });
    facts
}

/// The state under the policy; none without policies.
fn policy(context: &PageContext, place: usize) -> Option<MachineFact> {
    let name = context.policy_name()?;
    let judgement = &context.snapshot.overview().policies[context.query.policy].machines[place];
    let shown = |at: Timestamp| ShownDay::deadline(at, context.now);
    let since = |at: Timestamp| {
        let ShownDay { exact, day, .. } = shown(at);
        let age = ShownTime::since(at, context.now).words;
        ShownTime { exact, words: format!("since {day}, {age}") }
    };
    let until = |at: Timestamp| {
        let ShownDay { exact, day, age } = shown(at);
        ShownTime { exact, words: format!("{day}, {age}") }
    };
    let mut fact = MachineFact {
        mark: judgement.state.as_str(),
        ..MachineFact::new(&format!("Policy {}", visible(name)), "")
    };
    match (judgement.state, judgement.overdue_since, judgement.next_deadline) {
        (PolicyState::Overdue, Some(at), _) => fact.time = Some(since(at)),
        (PolicyState::Due | PolicyState::Accepted, _, Some(at)) => {
            "next deadline".clone_into(&mut fact.text);
            fact.time = Some(until(at));
        }
        _ => {}
    }
    Some(fact)
}

/// The state and the age of the data, and the last attempt if it failed.
fn data(context: &PageContext, summary: &MachineSummary) -> Vec<MachineFact> {
    let machine = &summary.machine;
    let read = machine.assessment.as_ref().map(|assessment| assessment.as_of);
    let word = summary.state.as_str();
    let mut facts = vec![MachineFact {
        class: if summary.state == MachineState::Stale { "stale" } else { "" },
        time: read.map(|at| ShownTime::dated(at, context.now)),
        ..MachineFact::new("Data", if read.is_some() { format!("{word}, read") } else { word.to_owned() })
    }];
    if let Some(attempt) = machine.attempt.filter(|attempt| !attempt.succeeded) {
        let words = if attempt.not_found { "machine not found" } else { "failed" };
        facts.push(MachineFact {
            class: "warn",
            time: Some(ShownTime::dated(attempt.at, context.now)),
            ..MachineFact::new("Last attempt", words)
        });
    }
    let unreadable = machine.assessment.as_ref().and_then(|assessment| assessment.unreadable.as_deref());
    if let Some(unreadable) = unreadable.filter(|_| machine.has_unreadable_ids()) {
        let ids = unreadable.ids.iter().filter(|id| id.is_newest).map(|id| visible(&id.text));
        facts.push(MachineFact {
            class: "warn",
            ..MachineFact::new("Unreadable update ids", ids.collect::<Vec<_>>().join(", "))
        });
    }
    facts
}

/// Platform, group, own labels and tags, each with the link to the machines that have it.
fn inventory(context: &PageContext, summary: &MachineSummary) -> Vec<MachineFact> {
    let snapshot = &context.snapshot;
    let machine = &summary.machine.facts;
    let linked = |label: &str, value: &str, change: &dyn Fn(&mut PageQuery)| MachineFact {
        links: vec![(visible(value), context.machines(change))],
        ..MachineFact::new(label, "")
    };
    let mut facts = Vec::new();
    if machine.os_platform.is_empty() {
        facts.push(MachineFact::new("Platform", "unknown"));
    } else {
        let build = machine.os_build.map(|build| format!(", build {build}")).unwrap_or_default();
        let platform = linked("Platform", &machine.os_platform, &|query| {
            query.platform = Some(machine.os_platform.clone());
        });
        facts.push(MachineFact { note: format!("{}{build}", visible(&machine.os_version)), ..platform });
    }
    if machine.device_group.is_empty() {
        facts.push(MachineFact::new("Group", "none"));
    } else {
        let change = |query: &mut PageQuery| query.group = Some(machine.device_group.clone());
        facts.push(linked("Group", &machine.device_group, &change));
    }
    let values = &snapshot.overview().owners[summary.owner as usize];
    for (index, (label, value)) in snapshot.labels.iter().zip(values).enumerate() {
        let word = if value.is_empty() { "none" } else { value };
        let change = |query: &mut PageQuery| query.labels[index] = Some(value.to_string());
        facts.push(linked(&label.name, word, &change));
    }
    let tags = machine.tags.as_deref().unwrap_or_default();
    let links = tags.iter().map(|tag| {
        let link = context.machines(|query| query.tag = Some(tag.clone()));
        (visible(tag), link)
    });
    let none = if tags.is_empty() { "none" } else { "" };
    facts.push(MachineFact { links: links.collect(), ..MachineFact::new("Tags", none) });
    facts
}

/// The servicing of the version of Windows, with the exception that covers its end.
fn servicing_fact(
    context: &PageContext,
    summary: &MachineSummary,
    verdict: Option<ServicingVerdict>,
) -> MachineFact {
    let servicing = &summary.servicing;
    let mut fact = MachineFact::new("Servicing", servicing_words(servicing.state));
    match servicing.state {
        _ if summary.state == MachineState::Unsupported => "unknown".clone_into(&mut fact.text),
        ServicingState::Ended => {
            let version = visible(&version_name(&summary.machine.facts));
            fact.text = format!("{version} ended");
            fact.class = "warn";
            fact.time = servicing.ended_at.map(|end| {
                let ShownDay { day, age, .. } = ShownDay::past(last_day(end), context.now);
                ShownTime { exact: ShownDay::past(end, context.now).exact, words: format!("{day}, {age}") }
            });
        }
        ServicingState::Uncertain => {
            let edition = servicing.needs_edition.then_some("servicing.editions");
            let extended = servicing.needs_extended.then_some("servicing.extended");
            let settings: Vec<_> = edition.into_iter().chain(extended).collect();
            fact.text = format!("uncertain: set {}", settings.join(" and "));
        }
        ServicingState::InService | ServicingState::Unknown => {}
    }
    if let Some(index) = verdict.and_then(|verdict| verdict.exception) {
        let exception = &context.snapshot.exceptions[index];
        let (name, reason) = (visible(&exception.name), visible(&exception.reason));
        fact.note = format!("accepted by {name} until {}: {reason}", exception.until);
    }
    fact
}
