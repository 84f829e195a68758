//! The ids of answers that cannot be read, and the missing updates that they hold.
//!
//! An id that is no KB may stand for a KB in another spelling. So a missing update that is absent from an answer
//! with such an id is not fixed: it may be that id. Only an id that once appeared together with the update is
//! another one. Therefore each id keeps the list of the missing updates that it never appeared with, which is
//! empty for an id that is in every answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::MissingUpdate;
use crate::model::{IgnoredUpdates, KbId, Source};

/// The number of ids that are kept of one machine. Of those that are left out it is not known with which
/// missing updates they appeared.
const MOST_IDS: usize = 100;

/// The unreadable ids in the answers about one machine, and the missing updates that they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnreadableIds {
    /// The ids in the order of their text, each once.
    pub ids: Box<[UnreadableId]>,
    /// The missing updates that are absent from the newest answer and not fixed, sorted by KB.
    pub held: Box<[HeldUpdate]>,
}

/// An id that is no KB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableId {
    /// The id, as the source spells it.
    pub text: Arc<str>,
    /// True if the newest answer contains it.
    pub is_newest: bool,
    /// The missing updates that never appeared in an answer together with it, sorted.
    pub apart_from: Box<[KbId]>,
}

/// A missing update that is absent from the newest answer and not fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldUpdate {
    /// The KB.
    pub kb: KbId,
    /// The time of the first answer that lacks it.
    pub since: Timestamp,
    /// The source of the last answer that contains it.
    pub source: Source,
}

impl UnreadableIds {
    /// Returns whether the newest answer contains an unreadable id.
    #[must_use]
    pub fn is_in_newest_answer(&self) -> bool {
        self.ids.iter().any(|id| id.is_newest)
    }

    /// Returns whether [`without`](Self::without) would change something.
    pub(super) fn is_concerned_by(&self, ignored: &IgnoredUpdates) -> bool {
        self.ids.iter().any(|id| ignored.contains_id(&id.text))
            || self.held.iter().any(|held| ignored.kbs.contains(&held.kb))
    }

    /// The rest without the ids and KBs that the configuration ignores; none if nothing is left.
    pub(super) fn without(self, ignored: &IgnoredUpdates) -> Option<Box<Self>> {
        let is_kept = |kb: &KbId| !ignored.kbs.contains(kb);
        let keep = |id: UnreadableId| {
            let apart_from = id.apart_from.into_iter().filter(is_kept).collect();
            (!ignored.contains_id(&id.text)).then_some(UnreadableId { apart_from, ..id })
        };
        let Self { ids, held } = self;
        let ids = ids.into_iter().filter_map(keep).collect();
        let rest = Self { ids, held: held.into_iter().filter(|held| is_kept(&held.kb)).collect() };
        (rest != Self::default()).then(|| Box::new(rest))
    }

    fn held(&self, kb: KbId) -> Option<&HeldUpdate> {
        let index = self.held.binary_search_by_key(&kb, |held| held.kb).ok()?;
        Some(&self.held[index])
    }

    fn id(&self, text: &str) -> Option<&UnreadableId> {
        let index = self.ids.binary_search_by_key(&text, |id| &*id.text).ok()?;
        Some(&self.ids[index])
    }
}

/// The doubt that one answer leaves about the missing updates that are absent from it.
pub(super) struct Doubt<'a> {
    /// The knowledge from earlier answers.
    pub(super) earlier: Option<&'a UnreadableIds>,
    /// The unreadable ids of the answer, sorted, each once.
    pub(super) ids: &'a [Arc<str>],
    /// True if any absent update may be part of the answer, whatever its ids.
    pub(super) about_all: bool,
    /// The time that the answer describes.
    pub(super) at: Timestamp,
    /// The longest time for which an update is held.
    pub(super) longest: Duration,
    /// The source of the newest earlier answer.
    pub(super) earlier_source: Source,
}

/// The fate of a missing update that is absent from an answer.
pub(super) enum Absence {
    /// It is not fixed for now.
    Held(HeldUpdate),
    /// It is gone. Names the source that listed it last.
    Gone(Source),
}

impl Doubt<'_> {
    /// Decides about the missing update of `kb`, which is absent from the answer.
    pub(super) fn absence(&self, kb: KbId) -> Absence {
        let held = self.earlier.and_then(|earlier| earlier.held(kb));
        // A time in the future comes from a clock that was wrong.
        let since = held.map_or(self.at, |held| held.since.min(self.at));
        let source = held.map_or(self.earlier_source, |held| held.source);
        let longest = SignedDuration::try_from(self.longest).unwrap_or(SignedDuration::MAX);
        let is_over = self.at.duration_since(since) >= longest;
        let is_doubtful = self.about_all || self.ids.iter().any(|id| self.may_be(id, kb));
        if is_doubtful && !is_over {
            Absence::Held(HeldUpdate { kb, since, source })
        } else {
            Absence::Gone(source)
        }
    }

    /// Returns whether an unreadable id may stand for `kb`: no earlier answer contains both.
    fn may_be(&self, id: &str, kb: KbId) -> bool {
        let known = self.earlier.and_then(|earlier| earlier.id(id));
        known.is_none_or(|known| known.apart_from.binary_search(&kb).is_ok())
    }

    /// The knowledge after the answer; none if nothing is unreadable or held. `missing` are the missing updates
    /// after the answer, `held` those of them that are absent from it, and `previous` those before it; all are
    /// sorted.
    pub(super) fn knowledge(
        &self,
        missing: &[MissingUpdate],
        held: Vec<HeldUpdate>,
        previous: &[MissingUpdate],
    ) -> Option<Box<UnreadableIds>> {
        if self.ids.is_empty() && self.earlier.is_none() && held.is_empty() {
            return None;
        }
        let is_held = |kb: KbId| held.binary_search_by_key(&kb, |held| held.kb).is_ok();
        let is_new = |kb: KbId| previous.binary_search_by_key(&kb, |missing| missing.update.kb).is_err();
        let earlier_ids: &[UnreadableId] = match self.earlier {
            Some(earlier) => &earlier.ids,
            None => &[],
        };
        let texts: BTreeSet<&Arc<str>> =
            self.ids.iter().chain(earlier_ids.iter().map(|id| &id.text)).collect();
        let mut ids: Vec<_> = texts
            .into_iter()
            .map(|text| {
                let is_newest = self.ids.binary_search(text).is_ok();
                let is_apart = |kb: &KbId| {
                    if is_newest {
                        is_held(*kb) && self.may_be(text, *kb)
                    } else {
                        is_new(*kb) || self.may_be(text, *kb)
                    }
                };
                let apart_from: Box<[_]> =
                    missing.iter().map(|missing| missing.update.kb).filter(is_apart).collect();
                UnreadableId { text: Arc::clone(text), is_newest, apart_from }
            })
            // An id that appeared with no missing update says nothing about the next answer.
            .filter(|id| id.is_newest || id.apart_from.len() < missing.len())
            .collect();
        if ids.len() > MOST_IDS {
            ids.sort_by_key(|id| !id.is_newest);
            ids.truncate(MOST_IDS);
            ids.sort_by(|a, b| a.text.cmp(&b.text));
        }
        let knowledge = UnreadableIds { ids: ids.into(), held: held.into() };
        (knowledge != UnreadableIds::default()).then(|| Box::new(knowledge))
    }
}
