//! Logic with three values: a condition on a fact that is not known is neither true nor false.

/// The outcome of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    /// It does not hold.
    False,
    /// It depends on a fact that is not known.
    Unknown,
    /// It holds.
    True,
}

impl Truth {
    /// The outcome of a condition on a known fact.
    pub(super) fn known(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }

    /// The outcome of a condition on `fact`: unknown without the fact.
    pub(super) fn of<T>(fact: Option<T>, holds: impl FnOnce(T) -> bool) -> Self {
        fact.map_or(Self::Unknown, |fact| Self::known(holds(fact)))
    }
}

/// The outcomes of up to 64 rules, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TruthBits {
    /// The rules whose outcome is true.
    pub(super) certain: u64,
    /// The rules whose outcome is not false. Includes `certain`.
    pub(super) possible: u64,
}

impl TruthBits {
    /// True for every rule of `mask`, false for the others.
    pub(super) const fn all(mask: u64) -> Self {
        Self { certain: mask, possible: mask }
    }

    /// Combines the rules of `mask` with `truth`, as by "and".
    pub(super) fn restrict(&mut self, mask: u64, truth: Truth) {
        if truth != Truth::True {
            self.certain &= !mask;
        }
        if truth == Truth::False {
            self.possible &= !mask;
        }
    }

    /// The outcome of "and": false if one is false, true if both are true.
    pub(super) fn and(self, other: Self) -> Self {
        Self { certain: self.certain & other.certain, possible: self.possible & other.possible }
    }

    /// The outcome of "not": unknown stays unknown.
    pub(super) fn not(self) -> Self {
        Self { certain: !self.possible, possible: !self.certain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Truth; 3] = [Truth::False, Truth::Unknown, Truth::True];

    fn bits(truth: Truth) -> TruthBits {
        let mut bits = TruthBits::all(1);
        bits.restrict(1, truth);
        bits
    }

    fn truth(bits: TruthBits) -> Truth {
        match (bits.certain & 1, bits.possible & 1) {
            (1, 1) => Truth::True,
            (0, 1) => Truth::Unknown,
            (0, 0) => Truth::False,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn conjunction_and_negation_follow_their_tables() {
        use Truth::{False, True, Unknown};
        let and = [[False, False, False], [False, Unknown, Unknown], [False, Unknown, True]];
        for (one, row) in ALL.into_iter().zip(and) {
            for (other, expected) in ALL.into_iter().zip(row) {
                assert_eq!(truth(bits(one).and(bits(other))), expected, "{one:?} and {other:?}");
                let mut restricted = bits(one);
                restricted.restrict(1, other);
                assert_eq!(truth(restricted), expected, "{one:?} and {other:?}");
            }
        }
        assert_eq!(ALL.map(|value| truth(bits(value).not())), [True, Unknown, False]);
    }

    #[test]
    fn condition_on_an_unknown_fact_is_unknown() {
        assert_eq!(Truth::of(None::<u8>, |_| true), Truth::Unknown);
        assert_eq!(Truth::of(Some(7), |fact| fact == 7), Truth::True);
        assert_eq!(Truth::of(Some(7), |fact| fact == 8), Truth::False);
    }
}
