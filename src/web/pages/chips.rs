//! Links that select rows: states, policies, and the filters in effect.

use super::context::PageContext;
use super::query::PageQuery;
use super::reason::reason_words;
use super::text::{ShortText, visible};
use crate::model::ServicingState;

/// The chip that selects everything.
pub(super) const ALL: &str = "all";

/// A link that selects something.
pub(super) struct Chip {
    pub(super) text: String,
    /// True if the text is a state with a mark.
    pub(super) is_state: bool,
    /// The number behind it; empty without one.
    pub(super) count: String,
    pub(super) link: String,
    pub(super) is_current: bool,
}

/// A filter in effect.
pub(super) struct FilterChip {
    pub(super) name: String,
    pub(super) value: ShortText,
    /// The link to the list without it.
    pub(super) link: String,
}

/// The policies; one of them is in effect.
pub(super) fn policies(context: &PageContext) -> Vec<Chip> {
    let policies = context.snapshot.policies.iter().enumerate();
    let chip = |(index, policy): (usize, &crate::model::Policy)| Chip {
        text: visible(&policy.name),
        is_state: false,
        count: String::new(),
        link: context.link_to_self(&context.query.with(|query| query.policy = index)),
        is_current: index == context.query.policy,
    };
    policies.map(chip).collect()
}

/// The filters in effect, each with the link that removes it.
pub(super) fn filters(context: &PageContext) -> Vec<FilterChip> {
    let PageContext { snapshot, query, .. } = context;
    let mut chips = Vec::new();
    let mut add = |name: &str, value: Option<String>, remove: &dyn Fn(&mut PageQuery)| {
        chips.extend(value.map(|value| FilterChip {
            name: name.to_owned(),
            value: ShortText::of(&value),
            link: context.link_to_self(&query.with(remove)),
        }));
    };
    let search = Some(query.search.clone()).filter(|search| !search.is_empty());
    add("search", search, &|query| query.search.clear());
    let tenant = query.tenant.map(|tenant| snapshot.fleets[tenant].tenant.to_string());
    add("tenant", tenant, &|query| query.tenant = None);
    if context.policy_name().is_none() {
        let state = query.policy_state.map(|state| state.as_str().to_owned());
        add("policy", state, &|query| query.policy_state = None);
    } else {
        let state = query.state.map(|state| state.as_str().to_owned());
        add("data", state, &|query| query.state = None);
    }
    add("reason", query.reason.map(|reason| reason_words(context, reason)), &|query| query.reason = None);
    let servicing = query.servicing.map(|state| servicing_words(state).to_owned());
    add("servicing", servicing, &|query| query.servicing = None);
    add("exploited", query.exploited.map(exploited_words), &|query| query.exploited = None);
    let exception = query.exception.map(|exception| snapshot.exceptions[exception].name.to_string());
    add("exception", exception, &|query| query.exception = None);
    add("next deadline", query.deadline.map(|day| day.to_string()), &|query| query.deadline = None);
    add("platform", query.platform.clone(), &|query| query.platform = None);
    add("group", query.group.clone(), &|query| query.group = None);
    add("tag", query.tag.clone(), &|query| query.tag = None);
    add("KB", query.kb.as_ref().map(|kb| kb.text.clone()), &|query| query.kb = None);
    for (index, (label, value)) in snapshot.labels.iter().zip(&query.labels).enumerate() {
        let value = value.clone().map(label_words);
        add(&label.name, value, &|query| query.labels[index] = None);
    }
    chips
}

/// The servicing of a machine in words.
pub(super) fn servicing_words(state: ServicingState) -> &'static str {
    match state {
        ServicingState::InService => "in service",
        ServicingState::Ended => "ended",
        ServicingState::Uncertain => "uncertain",
        ServicingState::Unknown => "unknown",
    }
}

/// A value of the parameter `exploited` in words.
pub(super) fn exploited_words(is_missing: bool) -> String {
    if is_missing { "missing" } else { "none missing" }.to_owned()
}

/// The value of an own label in words.
pub(super) fn label_words(value: String) -> String {
    if value.is_empty() { "none".to_owned() } else { value }
}
