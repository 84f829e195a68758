//! The column `links` of the table `gap`: the updates that a missing update superseded on its machine, as JSON.

use super::row::at;
use crate::fleet::{Chain, Link};
use crate::model::KbId;

/// The number of the KB, and the time at which it was first seen missing in milliseconds.
type LinkColumns = (u32, i64);

/// The column of a chain.
pub(super) fn encode(chain: &Chain) -> String {
    let link = |link: &Link| (link.kb.number(), link.first_seen.as_millisecond());
    let links: Vec<LinkColumns> = chain.links.iter().map(link).collect();
    serde_json::to_string(&links).expect("Safe: numbers are always JSON")
}

/// The chain of a column; none if the text is no chain of `kb`.
pub(super) fn decode(links: &str, kb: KbId) -> Option<Box<Chain>> {
    let links: Vec<LinkColumns> = serde_json::from_str(links).ok()?;
    let link = |(kb, first_seen): LinkColumns| Some(Link { kb: KbId::new(kb)?, first_seen: at(first_seen)? });
    let links: Box<[_]> = links.into_iter().map(link).collect::<Option<_>>()?;
    // Searches rely on the order.
    let is_sorted = links.is_sorted_by(|a, b| a.kb < b.kb);
    let is_chain = is_sorted && !links.is_empty() && links.iter().all(|link| link.kb != kb);
    is_chain.then(|| Box::new(Chain { links }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sorted_links_of_other_updates_are_a_chain() {
        let kb = KbId::new(9).unwrap();
        let links = "[[7,1700000000000],[8,1700000000001]]";
        assert_eq!(encode(&decode(links, kb).unwrap()), links);
        for text in [
            "",
            "null",
            "[]",
            "[[7]]",
            "[[8,1],[7,1]]",
            "[[7,1],[7,1]]",
            "[[9,1]]",
            "[[7,9223372036854775807]]",
            "[[4294967295,1]]",
        ] {
            assert_eq!(decode(text, kb), None, "{text}");
        }
    }
}
