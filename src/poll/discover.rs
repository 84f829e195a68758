//! Resolves the selectors of the configuration to the machines in scope.
//!
//! [`discover`] fetches the lists that the selectors need, and [`MachineLists::select`] chooses from them. If
//! one list cannot be fetched, there is no result: in a part of the scope, machines would seem to have left.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::config::Selectors;
use crate::defender::{ApiError, Client, ListQuery, ListedMachine};
use crate::fleet::MachineFacts;
use crate::model::{MachineId, wildcard_matches};

/// The machine lists that the selectors need.
#[derive(Debug, Default)]
pub struct MachineLists {
    /// Every machine, if `all`, `ids` or `names` need it.
    pub all: Vec<ListedMachine>,
    /// The machines that match `filter`.
    pub filtered: Vec<ListedMachine>,
    /// The machines of each of `tags`.
    pub tagged: Vec<(String, Vec<ListedMachine>)>,
}

/// The machines that the selectors choose.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The machines in scope, each once.
    pub machines: Vec<MachineFacts>,
    /// The selectors that match no machine, in the form `names: srv-db-01`.
    pub unmatched: Vec<String>,
}

/// Fetches the machine lists and resolves the selectors.
pub(super) async fn discover(client: &Client, selectors: &Selectors) -> Result<Scope, ApiError> {
    let mut lists = MachineLists::default();
    if MachineLists::need_all(selectors) {
        lists.all = client.machines(ListQuery::All).await?;
    }
    if let Some(filter) = &selectors.filter {
        lists.filtered = client.machines(ListQuery::Filter(filter)).await?;
    }
    for tag in &selectors.tags {
        lists.tagged.push((tag.clone(), client.machines(ListQuery::Tag(tag)).await?));
    }
    let selectors = selectors.clone();
    // Thousands of patterns and machines take a while, during which the thread must serve scrapes.
    let selecting = tokio::task::spawn_blocking(move || lists.select(&selectors));
    Ok(selecting.await.expect("Safe: the selection does not panic and is never aborted"))
}

/// The scope without a machine list: the configured ids, or none if another selector needs the list.
#[must_use]
pub fn scope_without_list(selectors: &Selectors) -> Option<Scope> {
    let needs_list = selectors.all
        || selectors.filter.is_some()
        || !selectors.names.is_empty()
        || !selectors.tags.is_empty();
    let ids = || selectors.ids.iter().filter(|id| !selectors.exclude_ids.contains(id));
    let machines = || ids().filter_map(|id| MachineId::parse(id)).map(MachineFacts::unlisted).collect();
    (!needs_list).then(|| Scope { machines: machines(), unmatched: Vec::new() })
}

impl MachineLists {
    /// Returns whether one of `selectors` needs the list of every machine.
    #[must_use]
    pub fn need_all(selectors: &Selectors) -> bool {
        selectors.all || !selectors.ids.is_empty() || !selectors.names.is_empty()
    }

    /// The machines that `selectors` choose from these lists.
    #[must_use]
    pub fn select<'a>(&'a self, selectors: &Selectors) -> Scope {
        let mut chosen = BTreeMap::new();
        let mut unmatched = Vec::new();
        let mut add = |machines: Vec<&'a ListedMachine>, selector: String| {
            let usable: Vec<_> =
                machines.into_iter().filter(|machine| !machine.excluded_by_defender).collect();
            if usable.is_empty() {
                unmatched.push(selector);
            }
            chosen.extend(usable.into_iter().map(|machine| (machine.facts.id.clone(), machine)));
        };
        if selectors.all {
            add(self.all.iter().collect(), "all".to_owned());
        }
        let by_id = self.by_id(&selectors.ids);
        for id in &selectors.ids {
            add(by_id.get(id.as_str()).copied().into_iter().collect(), format!("ids: {id}"));
        }
        let by_name = self.by_name(&selectors.names);
        for name in &selectors.names {
            add(by_name.get(name.as_str()).copied().into_iter().collect(), format!("names: {name}"));
        }
        if let Some(filter) = &selectors.filter {
            add(self.filtered.iter().collect(), format!("filter: {filter}"));
        }
        for (tag, machines) in &self.tagged {
            add(machines.iter().collect(), format!("tags: {tag}"));
        }
        let excluded_ids: HashSet<_> = selectors.exclude_ids.iter().map(String::as_str).collect();
        let excluded_names = NamePatterns::new(&selectors.exclude_names);
        let is_excluded = |facts: &MachineFacts| {
            excluded_ids.contains(facts.id.as_str()) || excluded_names.match_name(&facts.name.to_lowercase())
        };
        let machines = chosen.into_values().map(|machine| &machine.facts).filter(|facts| !is_excluded(facts));
        Scope { machines: machines.cloned().collect(), unmatched }
    }

    /// The machines with one of `ids`.
    fn by_id<'a>(&'a self, ids: &[String]) -> HashMap<&'a str, &'a ListedMachine> {
        let wanted: HashSet<_> = ids.iter().map(String::as_str).collect();
        let machines = self.all.iter().map(|machine| (machine.facts.id.as_str(), machine));
        machines.filter(|(id, _)| wanted.contains(id)).collect()
    }

    /// The machine that is in use for each of `names`: one DNS name can have several ids.
    fn by_name<'s>(&self, names: &'s [String]) -> HashMap<&'s str, &ListedMachine> {
        let wanted: HashSet<_> = names.iter().map(String::as_str).collect();
        let mut found: HashMap<&str, &ListedMachine> = HashMap::new();
        if wanted.is_empty() {
            return found;
        }
        let use_of = |machine: &ListedMachine| (machine.active, machine.facts.last_seen);
        for machine in self.all.iter().filter(|machine| !machine.excluded_by_defender) {
            if let Some(&name) = wanted.get(machine.facts.name.to_lowercase().as_str()) {
                let best = found.entry(name).or_insert(machine);
                if use_of(machine) >= use_of(best) {
                    *best = machine;
                }
            }
        }
        found
    }
}

/// Patterns of names, indexed so that a name is compared with few of thousands.
#[derive(Debug, Default)]
struct NamePatterns<'a> {
    /// Patterns without a wildcard.
    whole: HashSet<&'a str>,
    /// Patterns with text before the first wildcard, by this text, for each length of it.
    by_start: BTreeMap<usize, HashMap<&'a str, Vec<&'a str>>>,
    /// Other patterns with text after the last wildcard, by this text, for each length of it.
    by_end: BTreeMap<usize, HashMap<&'a str, Vec<&'a str>>>,
    /// Patterns that start and end with a wildcard.
    others: Vec<&'a str>,
}

impl<'a> NamePatterns<'a> {
    fn new(patterns: &'a [String]) -> Self {
        let mut index = Self::default();
        for pattern in patterns.iter().map(String::as_str) {
            let (Some((start, _)), Some((_, end))) = (pattern.split_once('*'), pattern.rsplit_once('*'))
            else {
                index.whole.insert(pattern);
                continue;
            };
            let (lengths, text) = match (start, end) {
                ("", "") => {
                    index.others.push(pattern);
                    continue;
                }
                ("", end) => (&mut index.by_end, end),
                (start, _) => (&mut index.by_start, start),
            };
            lengths.entry(text.len()).or_default().entry(text).or_default().push(pattern);
        }
        index
    }

    /// Returns whether one of the patterns matches the whole of `name`.
    fn match_name(&self, name: &str) -> bool {
        let starts = self.by_start.iter().filter_map(|(&length, texts)| texts.get(name.get(..length)?));
        let ends = self
            .by_end
            .iter()
            .filter_map(|(&length, texts)| texts.get(name.get(name.len().checked_sub(length)?..)?));
        let mut candidates = starts.chain(ends).flatten().chain(&self.others);
        self.whole.contains(name) || candidates.any(|pattern| wildcard_matches(pattern, name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn machine(id: &str, name: &str) -> ListedMachine {
        let facts =
            MachineFacts { name: name.to_owned(), ..MachineFacts::unlisted(MachineId::parse(id).unwrap()) };
        ListedMachine { facts, active: true, excluded_by_defender: false }
    }

    fn all(machines: Vec<ListedMachine>) -> MachineLists {
        MachineLists { all: machines, ..MachineLists::default() }
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn ids(scope: &Scope) -> Vec<&str> {
        scope.machines.iter().map(|facts| facts.id.as_str()).collect()
    }

    #[test]
    fn selectors_add_up_and_each_machine_counts_once() {
        let selectors = Selectors {
            ids: texts(&["a1"]),
            names: texts(&["srv-b"]),
            tags: texts(&["production"]),
            filter: Some("x".to_owned()),
            ..Selectors::default()
        };
        let lists = MachineLists {
            all: vec![machine("a1", "srv-a"), machine("b1", "SRV-B"), machine("z1", "srv-z")],
            filtered: vec![machine("a1", "srv-a"), machine("c1", "srv-c")],
            tagged: vec![("production".to_owned(), vec![machine("d1", "srv-d"), machine("a1", "srv-a")])],
        };
        assert_eq!(ids(&lists.select(&selectors)), ["a1", "b1", "c1", "d1"]);
    }

    #[test]
    fn a_name_chooses_the_active_machine_that_was_seen_last() {
        let seen = |id: &str, at: i64, active| {
            let mut machine = machine(id, "Srv.Example");
            machine.facts.last_seen = Some(jiff::Timestamp::from_second(at).unwrap());
            ListedMachine { active, ..machine }
        };
        let lists = all(vec![seen("a", 900, false), seen("b", 100, true), seen("c", 200, true)]);
        let selectors = Selectors { names: texts(&["srv.example"]), ..Selectors::default() };
        assert_eq!(ids(&lists.select(&selectors)), ["c"]);
    }

    #[test]
    fn merged_and_excluded_machines_are_never_in_scope() {
        let merged = ListedMachine { excluded_by_defender: true, ..machine("a1", "srv-a") };
        let selectors =
            Selectors { all: true, ids: texts(&["a1"]), names: texts(&["srv-a"]), ..Selectors::default() };
        let scope = all(vec![merged, machine("b1", "srv-b")]).select(&selectors);
        assert_eq!(ids(&scope), ["b1"]);
        assert_eq!(scope.unmatched, ["ids: a1", "names: srv-a"]);
    }

    #[test]
    fn exclusions_win_over_every_selector() {
        let lists = all(vec![machine("a1", "srv-a"), machine("b1", "LAB-7.Example"), machine("c1", "x")]);
        let selectors = Selectors {
            all: true,
            exclude_ids: texts(&["c1"]),
            exclude_names: texts(&["lab-*"]),
            ..Selectors::default()
        };
        assert_eq!(ids(&lists.select(&selectors)), ["a1"]);
    }

    #[test]
    fn ids_alone_need_no_list() {
        let selectors =
            Selectors { ids: texts(&["a1", "b1"]), exclude_ids: texts(&["b1"]), ..Selectors::default() };
        assert_eq!(ids(&scope_without_list(&selectors).unwrap()), ["a1"]);
        assert_eq!(scope_without_list(&Selectors { tags: texts(&["x"]), ..selectors }), None);
    }

    fn is_match(pattern: &str, name: &str) -> bool {
        NamePatterns::new(&[pattern.to_owned()]).match_name(name)
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in
            [("*", ""), ("a*", "a"), ("*a", "aba"), ("a*b*c", "axxbxbc"), ("*.lab.*", "x.lab.y")]
        {
            assert!(is_match(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("a*a", "a"), ("*b", "abc"), ("a*b*c", "acb"), ("", "a")] {
            assert!(!is_match(pattern, name), "{pattern} {name}");
        }
    }

    proptest! {
        /// Few letters, so that many of the patterns match.
        #[test]
        fn indexed_patterns_match_as_each_pattern_does(
            patterns in proptest::collection::vec("[aé*]{0,5}", 0..6),
            name in "[aé]{0,5}",
        ) {
            let expected = patterns.iter().any(|pattern| wildcard_matches(pattern, &name));
            prop_assert_eq!(NamePatterns::new(&patterns).match_name(&name), expected);
        }
    }
}
