//! The filters that can be added: only values that machines of the list have, the most frequent first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::fleet::MachineState;
use crate::model::{FactsSource, OwnLabel, ServicingState};
use crate::web::pages::chips::{exploited_words, label_words, servicing_words};
use crate::web::pages::context::PageContext;
use crate::web::pages::list::FilterValue;
use crate::web::pages::query::PageQuery;
use crate::web::pages::text::{ShortText, counted, grouped};

/// The most values of one filter.
const VALUES: usize = 40;

/// The values of the filter by exploited missing updates.
const EXPLOITED: [bool; 2] = [true, false];

/// The values of one filter.
pub(super) struct FilterValues {
    pub(super) name: String,
    pub(super) values: Vec<FilterValue>,
    /// The number of values that are left out, in words; empty without one.
    pub(super) more: String,
}

/// The machines of a list by what filters look at.
struct ListCounts {
    tenants: Vec<u64>,
    states: [u64; MachineState::ALL.len()],
    servicing: [u64; ServicingState::ALL.len()],
    /// In the order of [`EXPLOITED`].
    exploited: [u64; EXPLOITED.len()],
    /// By tenant and group of its summary.
    groups: Vec<Vec<u64>>,
    /// By the index of the set of tags.
    tag_sets: Vec<u64>,
    /// By the index of the values of own labels.
    owners: Vec<u64>,
}

impl ListCounts {
    fn of(context: &PageContext, places: &[usize]) -> Self {
        let overview = context.snapshot.overview();
        let tenants = &overview.tenants;
        let mut counts = Self {
            tenants: vec![0; tenants.len()],
            states: Default::default(),
            servicing: Default::default(),
            exploited: Default::default(),
            groups: tenants.iter().map(|tenant| vec![0; tenant.summary.groups.len()]).collect(),
            tag_sets: vec![0; overview.tag_sets.len()],
            owners: vec![0; overview.owners.len()],
        };
        for &place in places {
            let summary = &overview.machines[place];
            let tenant = &tenants[summary.tenant];
            counts.tenants[summary.tenant] += 1;
            counts.states[summary.state as usize] += 1;
            if summary.state != MachineState::Unsupported {
                counts.servicing[summary.servicing.state as usize] += 1;
            }
            if let Some(missing) = summary.missing {
                counts.exploited[usize::from(missing.exploited == 0)] += 1;
            }
            let group = tenant.summary.group_of_machine(place - tenant.machines.start);
            counts.groups[summary.tenant][group] += 1;
            counts.tag_sets[summary.tag_set as usize] += 1;
            counts.owners[summary.owner as usize] += 1;
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
    let counts = ListCounts::of(context, places);
    let mut filters = of_words(context, &counts);
    filters.extend(of_texts(context, &counts));
    filters.extend(of_labels(context, &counts));
    filters.retain(|filter| !filter.values.is_empty());
    filters
}

/// The filters by closed lists that the query does not have yet.
fn of_words(context: &PageContext, counts: &ListCounts) -> Vec<FilterValues> {
    let PageContext { snapshot, query, .. } = context;
    let mut filters = Vec::new();
    let mut add = |name: &str, counts: &[u64], value: &dyn Fn(usize, &mut PageQuery) -> String| {
        let occurring = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let value = |(index, count): (usize, &u64)| {
            let mut narrowed = query.with(|_| {});
            let value = value(index, &mut narrowed);
            FilterValue {
                value: ShortText::of(&value),
                count: grouped(*count),
                link: context.link_to_self(&narrowed),
            }
        };
        let values = occurring.map(value).collect();
        filters.push(FilterValues { name: name.to_owned(), values, more: String::new() });
    };
    if query.tenant.is_none() && snapshot.fleets.len() > 1 {
        add("tenant", &counts.tenants, &|tenant, query| {
            query.tenant = Some(tenant);
            snapshot.fleets[tenant].tenant.to_string()
        });
    }
    // Without policies, the chips of the page are the states of the data.
    if query.state.is_none() && context.policy_name().is_some() {
        add("data", &counts.states, &|index, query| {
            query.state = Some(MachineState::ALL[index]);
            MachineState::ALL[index].as_str().to_owned()
        });
    }
    if query.exploited.is_none() && snapshot.facts.has(FactsSource::Msrc) {
        add("exploited", &counts.exploited, &|index, query| {
            query.exploited = Some(EXPLOITED[index]);
            exploited_words(EXPLOITED[index])
        });
    }
    if query.servicing.is_none() {
        add("servicing", &counts.servicing, &|index, query| {
            query.servicing = Some(ServicingState::ALL[index]);
            servicing_words(ServicingState::ALL[index]).to_owned()
        });
    }
    filters
}

/// The filters by platform, group and tag that the query does not have yet.
fn of_texts(context: &PageContext, counts: &ListCounts) -> Vec<FilterValues> {
    let query = &context.query;
    let [platforms, groups, tags] = text_counts(context, counts);
    let mut filters = Vec::new();
    if query.platform.is_none() {
        filters.push(texts(context, "platform", platforms, |query, text| query.platform = Some(text)));
    }
    if query.group.is_none() {
        filters.push(texts(context, "group", groups, |query, text| query.group = Some(text)));
    }
    if query.tag.is_none() {
        filters.push(texts(context, "tag", tags, |query, text| query.tag = Some(text)));
    }
    filters
}

/// The filters by own labels that the query does not have yet.
fn of_labels(context: &PageContext, counts: &ListCounts) -> Vec<FilterValues> {
    let PageContext { snapshot, query, .. } = context;
    let owners = &snapshot.overview().owners;
    let labels = snapshot.labels.iter().enumerate().filter(|(index, _)| query.labels[*index].is_none());
    let filter = |(index, label): (usize, &OwnLabel)| {
        let mut by_value: HashMap<&str, u64> = HashMap::new();
        for (values, &count) in owners.iter().zip(&counts.owners).filter(|(_, count)| **count > 0) {
            *by_value.entry(&values[index]).or_default() += count;
        }
        let counts = by_value.into_iter().collect();
        texts(context, &label.name, counts, |query, text| query.labels[index] = Some(text))
    };
    labels.map(filter).collect()
}

/// The machines by platform, by group and by tag.
fn text_counts<'a>(context: &'a PageContext, counts: &ListCounts) -> [Vec<(&'a str, u64)>; 3] {
    let overview = context.snapshot.overview();
    let [mut platforms, mut groups, mut tags] = [(); 3].map(|()| TextCounts::default());
    for (tenant, of_groups) in overview.tenants.iter().zip(&counts.groups) {
        for (group, &count) in tenant.summary.groups.keys().zip(of_groups) {
            platforms.add(&group.os_platform, count);
            groups.add(&group.device_group, count);
        }
    }
    for (set, &count) in overview.tag_sets.iter().zip(&counts.tag_sets) {
        for (place, tag) in set.iter().enumerate() {
            // A machine whose tags differ only in case has the tag once.
            if !set[..place].iter().any(|other| other.eq_ignore_ascii_case(tag)) {
                tags.add(tag, count);
            }
        }
    }
    [platforms, groups, tags].map(TextCounts::into_counts)
}

/// The filter `name` with the most frequent values.
fn texts(
    context: &PageContext,
    name: &str,
    mut counts: Vec<(&str, u64)>,
    set: impl Fn(&mut PageQuery, String),
) -> FilterValues {
    let others = counts.len().saturating_sub(VALUES) as u64;
    let order = |(one, of_one): &(&str, u64), (two, of_two): &(&str, u64)| {
        of_two.cmp(of_one).then_with(|| one.cmp(two))
    };
    if others > 0 {
        counts.select_nth_unstable_by(VALUES, order);
        counts.truncate(VALUES);
    }
    counts.sort_unstable_by(order);
    let value = |(text, count): (&str, u64)| FilterValue {
        value: ShortText::of(&label_words(text.to_owned())),
        count: grouped(count),
        link: context.link_to_self(&context.query.with(|query| set(query, text.to_owned()))),
    };
    FilterValues {
        name: name.to_owned(),
        values: counts.into_iter().map(value).collect(),
        more: if others == 0 {
            String::new()
        } else {
            format!("and {}: search for them", counted(others, "other"))
        },
    }
}
