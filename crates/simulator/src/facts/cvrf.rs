//! A CVRF document: the vulnerabilities of a month and the KBs that fix them.
//!
//! A document lists only some of the CVEs that getmissingkbs counts: it has the shape of a real one and not
//! its size, unless a fault pads it.

use serde_json::{Value, json};

use super::exploitation::{EXPLOITED, ReportedBy};
use super::fixes::{self, ADDED_LATER_SYSTEM, Fix, systems};
use super::msrc_index::{MonthDocument, midnight_in_redmond};
use super::products::{DOT_NET, HOTPATCHED, LINUX, OFFICE, PRODUCTS};
use super::vulnerability::Vulnerability;
use super::{Catalogues, Variant};
use crate::calendar::{Batch, Day};
use crate::export::update_catalog::{CveSeverity, cve};

/// CVEs of a month that concern the systems, and those that concern .NET.
pub(super) const SYSTEM_CVES: usize = 12;
pub(super) const DOT_NET_CVES: usize = 3;

/// Minimum size of a padded document.
const PADDED_BYTES: usize = 4 << 20;

/// The document as JSON.
pub(super) fn document(catalogues: &Catalogues, id: MonthDocument, variant: Variant) -> String {
    let today =
        if variant == Variant::OlderRevision { id.initial(catalogues.today) } else { catalogues.today };
    let mut vulnerabilities = if id.is_early(today) {
        vec![browser(id)]
    } else if id.is_out_of_band {
        vec![out_of_band(id)]
    } else {
        of_month(catalogues, id.batch, today)
    };
    if variant == Variant::Shrunken {
        shrink(&mut vulnerabilities);
    }
    let entries: Vec<Value> =
        vulnerabilities.iter().enumerate().map(|(place, one)| one.to_json(place)).collect();
    let mut document = frame(id, today, variant);
    document["Vulnerability"] = Value::Array(entries);
    let text = document.to_string();
    if variant == Variant::Padded { padded(&text, id) } else { text }
}

/// The document without its vulnerabilities.
fn frame(id: MonthDocument, today: Day, variant: Variant) -> Value {
    let title = id.title(today);
    let current = id.current(today);
    let days = current.midnight().duration_since(id.initial(today).midnight()).as_hours() / 24;
    let number = if variant == Variant::OlderRevision { 1 } else { 100 + days };
    json!({
        "DocumentTitle": {"Value": title},
        "DocumentType": {"Value": "Security Update"},
        "DocumentPublisher": {"ContactDetails": {"Value": "secure@microsoft.com"}, "Type": 0},
        "DocumentTracking": {
            "Identification": {"ID": {"Value": id.to_string()}, "Alias": {"Value": id.to_string()}},
            "Status": 2,
            "Version": "1.0",
            "RevisionHistory": [
                {"Number": number.to_string(), "Date": midnight_in_redmond(current), "Description": {"Value": title}},
            ],
            "InitialReleaseDate": midnight_in_redmond(id.initial(today)),
            "CurrentReleaseDate": midnight_in_redmond(current),
        },
        "DocumentNotes": [],
        "ProductTree": product_tree(),
    })
}

fn product_tree() -> Value {
    let product = |id: &str, name: &str| json!({"ProductID": id, "Value": name});
    let windows: Vec<Value> = PRODUCTS.iter().map(|one| product(one.id, one.name)).collect();
    let dot_net: Vec<Value> = PRODUCTS
        .iter()
        .map(|one| product(&format!("{}-{}", DOT_NET.0, one.id), &format!("{} on {}", DOT_NET.1, one.name)))
        .collect();
    let office: Vec<Value> = OFFICE.iter().map(|(id, name)| product(id, name)).collect();
    let mut all = [windows.clone(), dot_net.clone(), office.clone()].concat();
    all.push(product(HOTPATCHED.0, HOTPATCHED.1));
    all.push(product(LINUX.0, LINUX.1));
    let family = |name: &str, items: Vec<Value>| json!({"Items": items, "Type": 0, "Name": name});
    let families = [
        family("Windows", windows),
        family("ESU", vec![product(HOTPATCHED.0, HOTPATCHED.1)]),
        family("Developer Tools", dot_net),
        family("Microsoft Office", office),
        family("Open Source Software", vec![product(LINUX.0, LINUX.1)]),
    ];
    json!({"Branch": [{"Items": families, "Type": 1, "Name": "Microsoft"}], "FullProductName": all})
}

/// The vulnerabilities of Update Tuesday.
fn of_month(catalogues: &Catalogues, batch: Batch, today: Day) -> Vec<Vulnerability> {
    let published = batch.released();
    let reported = ReportedBy::of(batch);
    let mut vulnerabilities = Vec::new();
    for index in 0..SYSTEM_CVES {
        let mut fixes: Vec<Fix> = systems()
            .filter(|&system| concerns(index, system, reported))
            .flat_map(|system| fixes::of_system(batch, system))
            .collect();
        fixes.extend(set_fixes(catalogues, batch, index));
        if index == 0 {
            fixes.extend(fixes::hotpatch(batch));
            // Microsoft adds new KBs to old CVEs.
            let next = batch.plus(1);
            if next.released() <= today {
                fixes.extend(fixes::of_system(next, ADDED_LATER_SYSTEM));
            }
        }
        let mut vulnerability = Vulnerability::of(cve(batch, index, false), fixes, published);
        vulnerability.is_exploited = index == EXPLOITED && reported.is_in_msrc();
        vulnerabilities.push(vulnerability);
    }
    for index in 0..DOT_NET_CVES {
        let fixes: Vec<Fix> = systems().filter_map(|system| fixes::of_dot_net(batch, system)).collect();
        if !fixes.is_empty() {
            vulnerabilities.push(Vulnerability::of(cve(batch, index, true), fixes, published));
        }
    }
    vulnerabilities.extend(oddities(batch, published));
    vulnerabilities
}

/// Returns whether the CVE at this place concerns a system. The first one concerns all.
fn concerns(index: usize, system: u64, reported: ReportedBy) -> bool {
    match index {
        0 => true,
        EXPLOITED => reported.systems().contains(&system),
        _ => (index as u64 + system) % 4 != 3,
    }
}

/// The updates that a test set and whose title names this month. They fix as many CVEs as they address.
fn set_fixes(catalogues: &Catalogues, batch: Batch, index: usize) -> Vec<Fix> {
    let set = catalogues.set.iter().filter(|kb| Batch::of_title(&kb.title) == Some(batch));
    set.filter(|kb| usize::try_from(kb.cves).is_ok_and(|cves| index < cves))
        .map(|kb| fixes::set(kb.id.trim_start_matches(['K', 'B', 'k', 'b'])))
        .collect()
}

/// Entries that are not about a KB, or not about a CVE.
fn oddities(batch: Batch, published: Day) -> Vec<Vulnerability> {
    let fix = |text: &str, build: &str, products: &[&str]| {
        json!({"Description": {"Value": text}, "URL": "https://aka.ms/OfficeSecurityReleases",
            "ProductID": products, "Type": 2, "Date": "0001-01-01T00:00:00", "DateSpecified": false,
            "AffectedFiles": [], "RestartRequired": {"Value": "No"}, "SubType": "Security Update",
            "FixedBuild": build})
    };
    let id = |number: u64| {
        let months = u64::from(batch.months_since(Batch::JANUARY_2024).unsigned_abs());
        format!("CVE-{}-{}", batch.first_day().year(), 60_000 + (months % 12) * 100 + number)
    };
    let office = Vulnerability {
        id: id(1),
        title: "Microsoft Office Remote Code Execution Vulnerability",
        severity: Some(CveSeverity::High),
        is_exploited: false,
        fixes: vec![fixes::office(batch)],
        others: vec![
            fix("Click to Run", "https://aka.ms/OfficeSecurityReleases", &[OFFICE[1].0]),
            fix("Release Notes", "16.110.26061317", &[OFFICE[1].0]),
        ],
        published,
    };
    let linux = Vulnerability {
        id: id(2),
        title: "drm/amd/display: Fix dc_link NULL handling in HPD init",
        severity: None,
        is_exploited: false,
        fixes: Vec::new(),
        others: vec![fix("CBL-Mariner Releases", "5.15.200.1-1", &[LINUX.0])],
        published,
    };
    let advisory = Vulnerability {
        id: "ADV990001".to_owned(),
        title: "Latest Servicing Stack Updates",
        severity: Some(CveSeverity::Critical),
        is_exploited: false,
        fixes: vec![fixes::servicing_stack(batch)],
        others: Vec::new(),
        published,
    };
    let unnamed = Vulnerability {
        id: String::new(),
        title: "",
        severity: None,
        is_exploited: false,
        fixes: Vec::new(),
        others: Vec::new(),
        published,
    };
    vec![office, linux, advisory, unnamed]
}

/// The only content of a document before its Update Tuesday.
fn browser(id: MonthDocument) -> Vulnerability {
    let mut browser = Vulnerability::of(cve(id.batch, 40, false), Vec::new(), id.released());
    browser.title = "Chromium: Use after free in Media";
    browser
}

fn out_of_band(id: MonthDocument) -> Vulnerability {
    let fixes = fixes::out_of_band(id.batch).into_iter().collect();
    Vulnerability::of(cve(id.batch, 0, false), fixes, id.released())
}

/// Keeps the KBs of one system.
fn shrink(vulnerabilities: &mut [Vulnerability]) {
    for vulnerability in vulnerabilities {
        vulnerability.fixes.retain(|fix| fix.products.iter().any(|product| product == PRODUCTS[0].id));
    }
}

/// The document with many more vulnerabilities. They are text, because as JSON values they would need many
/// times the memory.
fn padded(text: &str, id: MonthDocument) -> String {
    let mut padded = String::with_capacity(PADDED_BYTES + (64 << 10));
    padded.push_str(text.strip_suffix("]}").unwrap_or(text));
    let mut number = 0;
    while padded.len() < PADDED_BYTES {
        let mut extra = browser(id);
        extra.id = format!("CVE-{}-{}", id.batch.first_day().year(), 500_000 + number);
        padded.push(',');
        padded.push_str(&extra.to_json(number).to_string());
        number += 1;
    }
    padded.push_str("]}");
    padded
}
