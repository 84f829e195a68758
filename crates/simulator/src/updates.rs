//! Operating systems of the simulated fleet, and the KBs that exist for them.
//!
//! Numbers are invented but plausible: seven digits, growing month by month. Each system has a cumulative
//! update per batch, and a .NET update every other month, so that two KBs share a title. Windows 11 24H2 and
//! Windows Server 2025 share their KBs, as in reality.

use super::calendar::Batch;
use super::random::mix;

/// Number of systems with an update line of their own.
pub(super) const LINES: u64 = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum UpdateKind {
    System,
    DotNet,
}

/// A sequence of updates, each superseding the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct UpdateLine {
    system: u64,
    part: UpdateKind,
}

impl UpdateLine {
    /// The cumulative updates of the system with this number.
    pub(super) fn of_system(system: u64) -> Self {
        Self { system, part: UpdateKind::System }
    }

    /// The .NET updates of the system with this number.
    pub(super) fn of_dot_net(system: u64) -> Self {
        Self { system, part: UpdateKind::DotNet }
    }

    /// The update of this line before that of `batch`.
    pub(super) fn update_before(self, batch: Batch) -> Option<Update> {
        (1..=2).find_map(|months| self.update_in(batch.plus(-months)))
    }

    /// The update of this line in `batch`, if the line has one in that month.
    pub(super) fn update_in(self, batch: Batch) -> Option<Update> {
        let months = batch.months_since(Batch::JANUARY_2024);
        (self.part == UpdateKind::System || months.rem_euclid(2) == 0).then_some(Update { batch, line: self })
    }

    /// A number that is different for each line.
    pub(super) fn number(self) -> u64 {
        match self.part {
            UpdateKind::System => self.system,
            UpdateKind::DotNet => self.system + LINES,
        }
    }
}

/// An update, named by one KB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Update {
    pub(super) batch: Batch,
    line: UpdateLine,
}

impl Update {
    /// The KB number, digits only.
    pub(super) fn kb(self) -> String {
        let months = i64::from(self.batch.months_since(Batch::JANUARY_2024));
        let offset = self.line.number() * 100 + self.spread() % 90;
        // Microsoft used about 1,565 numbers per month from January 2024 (5034123) to September 2025
        // (5065429).
        format!("{}", 5_034_000 + months * 1_565 + i64::try_from(offset).unwrap_or(0))
    }

    pub(super) fn cves(self) -> u64 {
        match self.line.part {
            UpdateKind::System => 45 + self.spread() % 70,
            UpdateKind::DotNet => self.spread() % 4,
        }
    }

    pub(super) fn is_dot_net(self) -> bool {
        self.line.part == UpdateKind::DotNet
    }

    fn spread(self) -> u64 {
        mix(0, u64::from(self.batch.months_since(Batch::JANUARY_2024).unsigned_abs()), self.line.number())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use jiff::civil::date;

    use super::super::calendar::Day;
    use super::*;

    #[test]
    fn kb_numbers_are_distinct_and_have_seven_digits() {
        let mut seen = HashSet::new();
        for batch in Batch::listed_on(Day::of(date(2026, 2, 20))) {
            for system in [0, 1, 2, 3, 4, 5] {
                for part in [UpdateKind::System, UpdateKind::DotNet] {
                    let Some(update) = (UpdateLine { system, part }).update_in(batch) else {
                        continue;
                    };
                    assert_eq!(update.kb().len(), 7, "{}", update.kb());
                    assert!(seen.insert(update.kb()), "{} twice", update.kb());
                }
            }
        }
    }
}
