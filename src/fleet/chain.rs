//! The supersedence chain behind a missing update on one machine.

use jiff::Timestamp;

use crate::model::KbId;

/// The updates that one missing update superseded on a machine. It stands for them, because none of them was
/// installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The superseded updates, sorted by KB, each KB once; at least one.
    pub links: Box<[Link]>,
}

/// A superseded update of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The KB.
    pub kb: KbId,
    /// The time at which it was first seen missing on the machine.
    pub first_seen: Timestamp,
}

impl Chain {
    /// The chain of `links`, given in any order; none without a link. Of two links of one KB the earlier one counts.
    #[must_use]
    pub fn of(mut links: Vec<Link>) -> Option<Box<Self>> {
        links.sort_by_key(|link| (link.kb, link.first_seen));
        links.dedup_by_key(|link| link.kb);
        (!links.is_empty()).then(|| Box::new(Self { links: links.into() }))
    }
}
