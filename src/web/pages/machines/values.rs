//! The filters that can be added: only values that machines of the list have, the most frequent first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::chips::{exploited_words, label_words, servicing_words};
use crate::fleet::MachineState;
use crate::model::{FactsSource, ServicingState};
use crate::web::pages::context::PageContext;
use crate::web::pages::query::PageQuery;
use crate::web::pages::text::{counted, grouped, visible};

/// The most values of one filter.
const VALUES: usize = 40;

/// The values of one filter.
pub(super) struct FilterValues {
    pub(super) name: String,
    pub(super) values: Vec<FilterValue>,
    /// The number of values that are left out, in words; empty without one.
    pub(super) more: String,
}

/// A value of a filter.
pub(super) struct FilterValue {
    pub(super) value: String,
    /// The number of machines in the list that have it.
    pub(super) count: String,
    /// The link to them.
    pub(super) link: String,
}

/// The machines of a list by what filters look at.
struct ListCounts {
    by_tenant: Vec<u64>,
    by_state: [u64; MachineState::ALL.len()],
    by_servicing: [u64; ServicingState::ALL.len()],
    /// Without and with an exploited missing update.
    by_exploited: [u64; 2],
    /// By tenant and group of its summary.
    by_group: Vec<Vec<u64>>,
    /// By the index of the set of tags.
    by_tags: Vec<u64>,
    /// By the index of the values of own labels.
    by_owner: Vec<u64>,
}

impl ListCounts {
    fn of(context: &PageContext, places: &[usize]) -> Self {
        let overview = context.snapshot.overview();
        let tenants = &overview.tenants;
        let mut counts = Self {
            by_tenant: vec![0; tenants.len()],
            by_state: Default::default(),
            by_servicing: Default::default(),
            by_exploited: Default::default(),
            by_group: tenants.iter().map(|tenant| vec![0; tenant.summary.groups.len()]).collect(),
            by_tags: vec![0; overview.tag_sets.len()],
            by_owner: vec![0; overview.owners.len()],
        };
        for &place in places {
            let summary = &overview.machines[place];
            let tenant = &tenants[summary.tenant];
            counts.by_tenant[summary.tenant] += 1;
            counts.by_state[summary.state as usize] += 1;
            if summary.state != MachineState::Unsupported {
                counts.by_servicing[summary.servicing.state as usize] += 1;
            }
            if let Some(missing) = summary.missing {
                counts.by_exploited[usize::from(missing.exploited > 0)] += 1;
            }
            let group = tenant.summary.group_of_machine(place - tenant.machines.start);
            counts.by_group[summary.tenant][group] += 1;
            counts.by_tags[summary.tag_set as usize] += 1;
            counts.by_owner[summary.owner as usize] += 1;
        }
        counts
    }
}

/// Numbers of machines by a text that is compared without case.
#[derive(Default)]
struct TextCounts<'a>(HashMap<String, (&'a str, u64)>);

impl<'a> TextCounts<'a> {
    fn add(&mut self, text: &'a str, count: u64) {
        if text.is_empty() || count == 0 {
            return;
        }
        match self.0.entry(text.to_ascii_lowercase()) {
            Entry::Occupied(mut entry) => entry.get_mut().1 += count,
            Entry::Vacant(entry) => {
                entry.insert((text, count));
            }
        }
    }

    fn into_counts(self) -> Vec<(&'a str, u64)> {
        self.0.into_values().collect()
    }
}

/// The filters that narrow the list of the machines at `places`.
pub(super) fn values(context: &PageContext, places: &[usize]) -> Vec<FilterValues> {
    let PageContext { snapshot, query, .. } = context;
    let counts = ListCounts::of(context, places);
    let mut filters = Vec::new();
    let mut add = |name: &str, is_set: bool, values: Vec<FilterValue>, left_out: usize| {
        if !is_set && !values.is_empty() {
            let more = match left_out {
                0 => String::new(),
                number => format!("and {}: search for them", counted(number as u64, "other")),
            };
            filters.push(FilterValues { name: name.to_owned(), values, more });
        }
    };
    let tenants = words(counts.by_tenant.iter().enumerate(), |tenant| {
        let name = visible(&snapshot.fleets[tenant].tenant);
        (name, context.link_to_self(&query.with(|query| query.tenant = Some(tenant))))
    });
    add("tenant", query.tenant.is_some() || snapshot.fleets.len() < 2, tenants, 0);
    let states = words(counts.by_state.iter().enumerate(), |index| {
        let state = MachineState::ALL[index];
        let link = context.link_to_self(&query.with(|query| query.state = Some(state)));
        (state.as_str().to_owned(), link)
    });
    add("data", query.state.is_some() || context.policy_name().is_none(), states, 0);
    let exploited = words(counts.by_exploited.iter().enumerate().rev(), |index| {
        let link = context.link_to_self(&query.with(|query| query.exploited = Some(index == 1)));
        (exploited_words(index == 1), link)
    });
    let has_facts = snapshot.facts.has(FactsSource::Msrc);
    add("exploited", query.exploited.is_some() || !has_facts, exploited, 0);
    let servicing = words(counts.by_servicing.iter().enumerate(), |index| {
        let state = ServicingState::ALL[index];
        let link = context.link_to_self(&query.with(|query| query.servicing = Some(state)));
        (servicing_words(state).to_owned(), link)
    });
    add("servicing", query.servicing.is_some(), servicing, 0);
    let [platforms, groups, tags] = text_counts(context, &counts);
    for (name, is_set, counts, set) in [
        (
            "platform",
            query.platform.is_some(),
            platforms,
            (|query, text| query.platform = Some(text)) as fn(&mut PageQuery, String),
        ),
        ("group", query.group.is_some(), groups, |query, text| query.group = Some(text)),
        ("tag", query.tag.is_some(), tags, |query, text| query.tag = Some(text)),
    ] {
        let (values, left_out) = texts(counts, |text| query.with(|query| set(query, text)), context);
        add(name, is_set, values, left_out);
    }
    for (index, label) in snapshot.labels.iter().enumerate() {
        let mut by_value: HashMap<&str, u64> = HashMap::new();
        for (values, &count) in snapshot.overview().owners.iter().zip(&counts.by_owner) {
            if count > 0 {
                *by_value.entry(&values[index]).or_default() += count;
            }
        }
        let change = |text| query.with(|query| query.labels[index] = Some(text));
        let (values, left_out) = texts(by_value.into_iter().collect(), change, context);
        add(&label.name, query.labels[index].is_some(), values, left_out);
    }
    filters
}

/// The machines by platform, by group and by tag.
fn text_counts<'a>(context: &'a PageContext, counts: &ListCounts) -> [Vec<(&'a str, u64)>; 3] {
    let overview = context.snapshot.overview();
    let [mut platforms, mut groups, mut tags] = [(); 3].map(|()| TextCounts::default());
    for (tenant, by_group) in overview.tenants.iter().zip(&counts.by_group) {
        for (group, &count) in tenant.summary.groups.keys().zip(by_group) {
            platforms.add(&group.os_platform, count);
            groups.add(&group.device_group, count);
        }
    }
    for (set, &count) in overview.tag_sets.iter().zip(&counts.by_tags) {
        let mut others = set.iter().enumerate();
        while let Some((place, tag)) = others.next() {
            // A machine whose tags differ only in case has the tag once.
            if !set[..place].iter().any(|other| other.eq_ignore_ascii_case(tag)) {
                tags.add(tag, count);
            }
        }
    }
    [platforms, groups, tags].map(TextCounts::into_counts)
}

/// The values of a closed list that occur, in the order of the list.
fn words<'a>(
    counts: impl Iterator<Item = (usize, &'a u64)>,
    word_and_link: impl Fn(usize) -> (String, String),
) -> Vec<FilterValue> {
    let occurring = counts.filter(|(_, count)| **count > 0);
    let value = |(index, count): (usize, &u64)| {
        let (value, link) = word_and_link(index);
        FilterValue { value, count: grouped(*count), link }
    };
    occurring.map(value).collect()
}

/// The most frequent values, and the number of the other ones.
fn texts(
    mut counts: Vec<(&str, u64)>,
    query: impl Fn(String) -> PageQuery,
    context: &PageContext,
) -> (Vec<FilterValue>, usize) {
    let left_out = counts.len().saturating_sub(VALUES);
    let key = |(text, count): &(&str, u64)| (std::cmp::Reverse(*count), text.to_lowercase());
    if left_out > 0 {
        counts.select_nth_unstable_by_key(VALUES, |(_, count)| std::cmp::Reverse(*count));
        counts.truncate(VALUES);
    }
    counts.sort_by_cached_key(key);
    let value = |(text, count): (&str, u64)| FilterValue {
        value: visible(&label_words(text.to_owned())),
        count: grouped(count),
        link: context.link_to_self(&query(text.to_owned())),
    };
    (counts.into_iter().map(value).collect(), left_out)
}
