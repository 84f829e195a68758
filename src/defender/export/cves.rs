//! Compact sets of CVEs, because there may be a million of them.
//!
//! A CVE id becomes a number ([`packed`]), the CVEs of one KB are numbered consecutively, and the set of a
//! machine has one bit for each ([`CveSet`]): a monthly update fixes about a hundred. Adding a CVE twice has
//! no effect, so a file that was interrupted can be read again.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Marks ids that are hashed because they do not have the usual form.
const HASHED: u64 = 1 << 63;

/// The id as a number, without regard to case: year, count of digits and number of `CVE-2024-12345`; any other
/// form is hashed. Two ids with the same hash would count as one.
pub(super) fn packed(id: &str) -> u64 {
    usual(id).unwrap_or_else(|| {
        let mut hasher = DefaultHasher::new();
        id.to_ascii_uppercase().hash(&mut hasher);
        hasher.finish() | HASHED
    })
}

fn usual(id: &str) -> Option<u64> {
    let (head, number) = id.as_bytes().split_at_checked(9)?;
    let digits = |text: &[u8]| {
        text.iter()
            .try_fold(0, |sum: u64, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
    };
    let fits = head[..4].eq_ignore_ascii_case(b"CVE-") && head[8] == b'-' && (1..=12).contains(&number.len());
    let year = digits(&head[4..8]).filter(|_| fits)?;
    Some(year << 48 | (number.len() as u64) << 44 | digits(number)?)
}

/// A subset of the CVEs of a KB: one bit for each number. 24 bytes for the first 128 of them.
#[derive(Clone, Debug)]
pub(super) enum CveSet {
    /// Numbers up to 127.
    Few([u64; 2]),
    /// As many words as the highest number requires.
    Many(Box<[u64]>),
}

impl Default for CveSet {
    fn default() -> Self {
        Self::Few([0; 2])
    }
}

impl CveSet {
    /// Adds the CVE with this number. Returns the bytes allocated.
    pub(super) fn insert(&mut self, number: u32) -> usize {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        let had = self.words().len();
        let grown = word >= had;
        if grown {
            let mut words = Vec::with_capacity(word + 1);
            words.extend_from_slice(self.words());
            words.resize(word + 1, 0);
            *self = Self::Many(words.into_boxed_slice());
        }
        match self {
            Self::Few(words) => words[word] |= bit,
            Self::Many(words) => words[word] |= bit,
        }
        if grown { (word + 1 - had) * size_of::<u64>() } else { 0 }
    }

    /// The number of CVEs.
    pub(super) fn len(&self) -> u32 {
        self.words().iter().map(|word| word.count_ones()).sum()
    }

    fn words(&self) -> &[u64] {
        match self {
            Self::Few(words) => words,
            Self::Many(words) => words,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn different_ids_have_different_numbers() {
        let ids = [
            "CVE-2024-12345",
            "CVE-2024-012345",
            "CVE-2023-12345",
            "CVE-2024-1234",
            "CVE-2024-123456789012",
            "CVE-2024-1234567890123",
            "CVE-2024-",
            "CVE-2024-12a45",
            "TVM-2020-0002",
            "CVE",
            "",
        ];
        let numbers: BTreeSet<_> = ids.iter().map(|id| packed(id)).collect();
        assert_eq!(numbers.len(), ids.len());
        assert_eq!(packed("cve-2024-12345"), packed("CVE-2024-12345"));
        assert_eq!(packed("tvm-2020-0002"), packed("TVM-2020-0002"));
    }

    proptest! {
        #[test]
        fn a_set_counts_as_a_set_does(numbers in prop::collection::vec(0..700u32, 0..200)) {
            let mut set = CveSet::default();
            let mut bytes = 0;
            for number in &numbers {
                bytes += set.insert(*number);
            }
            let expected: BTreeSet<_> = numbers.iter().collect();
            prop_assert_eq!(set.len() as usize, expected.len());
            prop_assert_eq!(bytes, (set.words().len() - 2) * 8);
        }

        #[test]
        fn any_id_can_be_packed(id in ".*") {
            packed(&id);
        }
    }
}
