//! The monthly batch of updates that a title names.

use std::fmt;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// A month in which Microsoft released updates, as the title of an update names it. It displays as the id of the
/// month's release document, such as `2026-Jun`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonthlyBatch {
    /// The year, four digits.
    pub year: i16,
    /// The month from 1 to 12.
    pub month: i8,
}

impl MonthlyBatch {
    /// The batch that a title `<Month> <Year> Security Updates` names, in any case, optionally with `Microsoft` in
    /// front; none for any other title.
    #[must_use]
    pub fn of_title(title: &str) -> Option<Self> {
        let title = title.to_ascii_lowercase();
        let mut words: Vec<&str> = title.split_whitespace().collect();
        if words.first() == Some(&"microsoft") {
            words.remove(0);
        }
        let [month, year, "security", "updates"] = words[..] else {
            return None;
        };
        let month = (1..).zip(MONTHS).find_map(|(number, name)| (name == month).then_some(number))?;
        let is_year = year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self { year: is_year.then(|| year.parse().ok()).flatten()?, month })
    }
}

impl fmt::Display for MonthlyBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = usize::try_from(self.month - 1).ok().and_then(|index| MONTHS.get(index)).unwrap_or(&"???");
        write!(f, "{:04}-{}{}", self.year, name[..1].to_ascii_uppercase(), &name[1..3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_displays_as_the_id_of_its_document() {
        let id = |title: &str| MonthlyBatch::of_title(title).map(|batch| batch.to_string());
        assert_eq!(id("June 2026 Security Updates").as_deref(), Some("2026-Jun"));
        assert_eq!(id("Microsoft MAY 0999 security updates").as_deref(), Some("0999-May"));
        assert_eq!(id("June 2026 Early Security Updates"), None);
        for month in MONTHS {
            assert_eq!(id(&format!("{month} 2026 Security Updates")).unwrap().len(), 8);
        }
    }
}
