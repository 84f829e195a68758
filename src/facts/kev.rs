//! The catalogue of known exploited vulnerabilities of CISA.

use std::collections::BTreeMap;
use std::io::Read;

use jiff::Timestamp;
use jiff::civil::Date;

use super::lenient::{Lenient, object};
use super::{ParseError, date, input};
use crate::model::CveId;

/// The largest size of the catalogue in bytes. In 2026 it has 1.5 MiB.
const MAX_BYTES: u64 = 64 << 20;

/// The catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kev {
    /// The time of the release of the catalogue.
    pub released: Option<Timestamp>,
    /// The entries by CVE.
    pub entries: BTreeMap<CveId, KevEntry>,
}

/// One entry of the catalogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KevEntry {
    /// The day of the listing.
    pub added: Option<Date>,
    /// The last day for the fix.
    pub due: Option<Date>,
    /// True if ransomware campaigns are known to use it.
    pub ransomware: bool,
}

object! {
    struct KevShape {
        released: Option<Box<str>> = "dateReleased",
        vulnerabilities: Vec<KevEntryShape> = "vulnerabilities",
    }
}

object! {
    struct KevEntryShape {
        cve: Option<Box<str>> = "cveID",
        added: Option<Box<str>> = "dateAdded",
        due: Option<Box<str>> = "dueDate",
        ransomware: Option<Box<str>> = "knownRansomwareCampaignUse",
    }
}

/// Reads the catalogue. An entry without a CVE is skipped. Of several entries for one CVE, the earliest dates count.
///
/// # Errors
/// Returns an error if `input` is no complete catalogue, or has no entry.
pub fn read(input: impl Read) -> Result<Kev, ParseError> {
    let Lenient(catalogue): Lenient<KevShape> = input::json(input, MAX_BYTES)?;
    let released = catalogue.released.and_then(|text| date::time(&text));
    let mut kev = Kev { released, entries: BTreeMap::new() };
    for shape in catalogue.vulnerabilities {
        let Some(cve) = shape.cve.as_deref().and_then(CveId::parse) else { continue };
        let new = shape.entry();
        let entry = kev.entries.entry(cve).or_insert(new);
        entry.added = entry.added.into_iter().chain(new.added).min();
        entry.due = entry.due.into_iter().chain(new.due).min();
        entry.ransomware |= new.ransomware;
    }
    // A catalogue without entries would mark nothing as exploited.
    if kev.entries.is_empty() {
        return Err(ParseError::Shape("is no catalogue: it lists no vulnerability"));
    }
    Ok(kev)
}

impl KevEntryShape {
    fn entry(&self) -> KevEntry {
        let day = |text: &Option<Box<str>>| date::day(text.as_deref()?);
        let ransomware = self.ransomware.as_deref().unwrap_or_default();
        KevEntry {
            added: day(&self.added),
            due: day(&self.due),
            ransomware: ransomware.trim().eq_ignore_ascii_case("known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::model::FactsFailure;

    fn cve(text: &str) -> CveId {
        CveId::parse(text).unwrap()
    }

    #[test]
    fn catalogue_is_read_with_its_oddities() {
        let json = r#"{
            "title": "Catalogue", "catalogVersion": "2026.10.30", "count": 1766,
            "vulnerabilities": [
                {"cveID": "CVE-2026-41108", "vendorProject": "Microsoft", "product": "Windows ",
                 "dateAdded": "2026-06-12", "dueDate": "2026-06-26", "knownRansomwareCampaignUse": "Known",
                 "forensicTriage": "No", "cwes": ["CWE-122"]},
                {"cveID": " CVE-2026-41109 ", "dateAdded": "2026-06-13 ", "knownRansomwareCampaignUse": "Unknown"},
                {"cveID": "CVE-2026-41110", "dateAdded": "June", "dueDate": "2026-02-30"},
                {"cveID": "CVE-2026-41111", "dateAdded": null, "dueDate": 20260626, "knownRansomwareCampaignUse": []},
                {"cveID": "CVE-2026-41108", "dateAdded": "2026-06-11"},
                {"cveID": "", "dateAdded": "2026-06-12"},
                {"vendorProject": "Contoso"},
                {"cveID": 7}, null, [], "CVE-2026-41112"
            ],
            "dateReleased": "2026-10-30T17:02:45.3665Z"
        }"#;
        let kev = read(json.as_bytes()).unwrap();
        assert_eq!(kev.released, "2026-10-30T17:02:45.3665Z".parse().ok());
        let entry = |added, due, ransomware| KevEntry { added, due, ransomware };
        let expected = [
            (cve("CVE-2026-41108"), entry(Some(date(2026, 6, 11)), Some(date(2026, 6, 26)), true)),
            (cve("CVE-2026-41109"), entry(Some(date(2026, 6, 13)), None, false)),
            (cve("CVE-2026-41110"), entry(None, None, false)),
            (cve("CVE-2026-41111"), entry(None, None, false)),
        ];
        assert_eq!(kev.entries, BTreeMap::from(expected));
    }

    #[test]
    fn text_without_entries_is_no_catalogue() {
        for json in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"vulnerabilities": []}"#,
            r#"{"vulnerabilities": {"cveID": "CVE-26-1"}}"#,
            r#"{"vulnerabilities": [{"cveID": "CVE-2026-41108"}]"#,
            "<html>403 Forbidden</html>",
        ] {
            assert_eq!(read(json.as_bytes()).unwrap_err().kind(), FactsFailure::Decode, "{json}");
        }
    }
}
