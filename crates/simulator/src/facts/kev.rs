//! The KEV catalogue: the exploited CVEs of the simulated updates, among those of other vendors.

use serde_json::{Value, json};

use super::exploitation::{EXPLOITED, ReportedBy};
use crate::calendar::{Batch, Day};
use crate::export::update_catalog::cve;
use crate::random::mix;

/// Entries of other vendors.
const OTHERS: u64 = 60;

/// The month whose Update Tuesday comes before the first entries with `forensicTriage`, as months since
/// January 2024.
const TRIAGE_SINCE: i32 = 29;

/// The catalogue of today, newest first. A shrunken one has only a quarter of the entries.
pub(super) fn catalogue(today: Day, shrunken: bool) -> String {
    let months =
        Batch::released_by(today).take_while(|&batch| batch.months_since(Batch::JANUARY_2024) >= -26);
    let mut entries: Vec<Value> = months.filter_map(|batch| entry(batch, today)).collect();
    entries.extend((0..OTHERS).map(|number| other(number, today)));
    if shrunken {
        entries.truncate(entries.len() / 4);
    }
    let date = today.date();
    json!({
        "title": "CISA Catalog of Known Exploited Vulnerabilities",
        "catalogVersion": date.strftime("%Y.%m.%d").to_string(),
        "dateReleased": format!("{date}T17:04:19.9796Z"),
        "count": entries.len(),
        "vulnerabilities": entries,
    })
    .to_string()
}

/// The entry about the exploited CVE of a month, once it is listed.
fn entry(batch: Batch, today: Day) -> Option<Value> {
    let added = ReportedBy::of(batch).listed(batch).filter(|&day| day <= today)?;
    let months = batch.months_since(Batch::JANUARY_2024);
    let id = cve(batch, EXPLOITED, false).id;
    let newer = months >= TRIAGE_SINCE;
    let days = match (newer, months % 2 == 0) {
        (false, _) => 21,
        (true, true) => 3,
        (true, false) => 14,
    };
    let mut entry = json!({
        "cveID": id,
        "vendorProject": "Microsoft",
        // Blanks at the end occur in real entries.
        "product": if months % 2 == 0 { "Windows " } else { "Windows" },
        "vulnerabilityName": " Microsoft Windows Use-After-Free Vulnerability",
        "dateAdded": added.date().to_string(),
        "shortDescription": "Microsoft Windows contains a use-after-free vulnerability.",
        "requiredAction": "Apply mitigations per vendor instructions.",
        "dueDate": added.plus(days).date().to_string(),
        "knownRansomwareCampaignUse": if months % 4 == 0 { "Known" } else { "Unknown" },
        "notes": format!("https://msrc.microsoft.com/update-guide/en-US/vulnerability/{id} ; https://nvd.nist.gov/vuln/detail/{id}"),
        "cwes": ["CWE-416"],
    });
    if newer {
        entry["forensicTriage"] = json!(if days == 3 { "Yes" } else { "No" });
    }
    // An entry without a due date still says that the CVE is exploited.
    if months.rem_euclid(12) == 9
        && let Some(fields) = entry.as_object_mut()
    {
        fields.remove("dueDate");
    }
    Some(entry)
}

fn other(number: u64, today: Day) -> Value {
    let added = today.plus(-400 - i32::try_from(number * 5).unwrap_or(0));
    json!({
        "cveID": format!("CVE-2023-{}", 10_000 + mix(31, number, 0) % 40_000),
        "vendorProject": "Contoso",
        "product": "Secure Gateway ",
        "vulnerabilityName": "Contoso Secure Gateway Path Traversal Vulnerability",
        "dateAdded": added.date().to_string(),
        "shortDescription": "Contoso Secure Gateway contains a path traversal vulnerability.",
        "requiredAction": "Apply mitigations per vendor instructions.",
        "dueDate": added.plus(21).date().to_string(),
        "knownRansomwareCampaignUse": "Unknown",
        "notes": "",
        "cwes": [],
    })
}
