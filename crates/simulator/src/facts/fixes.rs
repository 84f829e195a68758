//! The remediations of a vulnerability: KBs with the products that they are for, and other fixes.

use serde_json::{Value, json};

use super::products::{DOT_NET, HOTPATCHED, PRODUCTS, Product, of_line};
use crate::calendar::Batch;
use crate::updates::{LINES, Update, UpdateLine};

/// The number of the system whose .NET updates are in no document.
const UNDOCUMENTED_DOT_NET: u64 = 1;

/// The system that gets hotpatches, and the one that gets updates outside Update Tuesday.
const HOTPATCHED_SYSTEM: u64 = 5;
const OUT_OF_BAND_SYSTEM: u64 = 4;

/// The system whose documents do not always name the predecessor.
const UNCHAINED_SYSTEM: u64 = 2;

/// The system whose KBs are added to the previous month's document.
pub(super) const ADDED_LATER_SYSTEM: u64 = 3;

/// A KB that fixes a vulnerability on some products.
#[derive(Debug, Clone)]
pub(super) struct Fix {
    pub(super) kb: String,
    pub(super) products: Vec<String>,
    pub(super) is_server: bool,
    supersedes: Option<String>,
    build: String,
    kind: &'static str,
    restart: &'static str,
}

impl Fix {
    /// The entries of `Remediations`: the fix, its release notes and, for some, a known issue.
    pub(super) fn entries(&self) -> Vec<Value> {
        let mut fix = json!({
            "Description": {"Value": self.kb},
            "URL": format!("https://catalog.update.microsoft.com/v7/site/Search.aspx?q=KB{}", self.kb),
            "Supercedence": self.supersedes,
            "ProductID": self.products,
            "Type": 2,
            "Date": "0001-01-01T00:00:00",
            "DateSpecified": false,
            "AffectedFiles": [],
            "RestartRequired": {"Value": self.restart},
            "SubType": self.kind,
            "FixedBuild": self.build,
        });
        if self.supersedes.is_none()
            && let Some(fields) = fix.as_object_mut()
        {
            fields.remove("Supercedence");
        }
        let support = format!("https://support.microsoft.com/help/{}", self.kb);
        let other = |kind: u8| {
            json!({"URL": support, "ProductID": self.products, "Type": kind, "Date": "0001-01-01T00:00:00",
                "DateSpecified": false, "AffectedFiles": [], "SubType": self.kb})
        };
        let mut known_issue = other(6);
        known_issue["Description"] = json!({"Value": self.kb});
        if self.is_server { vec![fix, other(3), known_issue] } else { vec![fix, other(3)] }
    }
}

/// The cumulative updates of a system in a month, one fix per build.
pub(super) fn of_system(batch: Batch, system: u64) -> Vec<Fix> {
    let line = UpdateLine::of_system(system);
    let Some(kb) = line.update_in(batch).map(Update::kb) else {
        return Vec::new();
    };
    let months = batch.months_since(Batch::JANUARY_2024);
    let mut fixes: Vec<Fix> = Vec::new();
    for product in of_line(system) {
        let build = fixed_build(product, batch);
        match fixes.iter_mut().find(|fix| fix.build == build) {
            Some(fix) => fix.products.push(product.id.to_owned()),
            None => fixes.push(Fix {
                kb: kb.clone(),
                products: vec![product.id.to_owned()],
                is_server: product.is_server,
                supersedes: supersedes(batch, system),
                build,
                kind: "Security Update",
                restart: if months % 5 == 0 { "" } else { "Yes" },
            }),
        }
    }
    fixes
}

/// The build of a product that contains the update. It grows from month to month.
fn fixed_build(product: &Product, batch: Batch) -> String {
    let revision = 20_000 + 150 * batch.months_since(Batch::JANUARY_2024);
    format!("10.0.{}.{revision}", product.build)
}

/// The value of `Supercedence`, in one of the forms of the real documents.
fn supersedes(batch: Batch, system: u64) -> Option<String> {
    let months = batch.months_since(Batch::JANUARY_2024);
    let line = UpdateLine::of_system(system);
    let before = line.update_before(batch)?.kb();
    let previous = batch.plus(-1);
    if system == OUT_OF_BAND_SYSTEM
        && let Some(fix) = out_of_band(previous)
    {
        return Some(format!("{before}; {}", fix.kb));
    }
    if system == UNCHAINED_SYSTEM && months.rem_euclid(3) == 1 {
        return None;
    }
    let older = line.update_before(previous)?.kb();
    Some(match (months + i32::try_from(system).unwrap_or(0)).rem_euclid(6) {
        0 => format!("{before}<br><br>{older}"),
        1 => format!("MS16-016, {older}; MS16-097, {before}"),
        2 => format!("{before}, {older}"),
        3 => format!("{before}; 50185"),
        _ => before,
    })
}

/// The .NET update of a system in a month.
pub(super) fn of_dot_net(batch: Batch, system: u64) -> Option<Fix> {
    let line = UpdateLine::of_dot_net(system);
    let update = line.update_in(batch).filter(|_| system != UNDOCUMENTED_DOT_NET)?;
    let months = batch.months_since(Batch::JANUARY_2024);
    Some(Fix {
        kb: update.kb(),
        products: of_line(system).map(|product| format!("{}-{}", DOT_NET.0, product.id)).collect(),
        is_server: of_line(system).all(|product| product.is_server),
        supersedes: line.update_before(batch).map(Update::kb),
        build: format!("2.0.50727.{0} & 3.0.30729.{0} & 4.8.4{0}.0", 9_000 + months),
        kind: if months % 4 == 0 { "Monthly Rollup" } else { "Security Only" },
        restart: "Maybe",
    })
}

/// The hotpatch of a month: an alternative to the cumulative update, with a KB that no machine misses.
pub(super) fn hotpatch(batch: Batch) -> Option<Fix> {
    let months = batch.months_since(Batch::JANUARY_2024);
    // In the first month of a quarter there is only the cumulative update.
    if months.rem_euclid(3) == 0 {
        return None;
    }
    let spellings = ["Security Hotpatch Update", "SecurityHotpatchUpdate", "AzureHotpatch", "Azure Hotpatch"];
    let spelling = usize::try_from(months.rem_euclid(4)).unwrap_or(0);
    Some(Fix {
        kb: extra_kb(batch, 1_290),
        products: vec![HOTPATCHED.0.to_owned()],
        is_server: true,
        supersedes: Some(UpdateLine::of_system(HOTPATCHED_SYSTEM).update_before(batch)?.kb()),
        build: format!("10.0.20348.{}", 20_000 + 150 * months - 40),
        kind: spellings[spelling],
        restart: "No",
    })
}

/// The update outside Update Tuesday, in the months that have one.
pub(super) fn out_of_band(batch: Batch) -> Option<Fix> {
    super::msrc_index::MonthDocument::out_of_band(batch)?;
    let before = UpdateLine::of_system(OUT_OF_BAND_SYSTEM).update_in(batch)?.kb();
    let months = batch.months_since(Batch::JANUARY_2024);
    Some(Fix {
        kb: extra_kb(batch, 1_310),
        products: of_line(OUT_OF_BAND_SYSTEM).map(|product| product.id.to_owned()).collect(),
        is_server: true,
        supersedes: Some(before),
        build: format!("10.0.17763.{}", 20_000 + 150 * months + 60),
        kind: "Security Update",
        restart: "Yes",
    })
}

/// The servicing stack update of a month, which supersedes nothing.
pub(super) fn servicing_stack(batch: Batch) -> Fix {
    let months = batch.months_since(Batch::JANUARY_2024);
    Fix {
        kb: extra_kb(batch, 1_330),
        products: of_line(3).map(|product| product.id.to_owned()).collect(),
        is_server: true,
        supersedes: (months % 2 == 0).then(|| "None".to_owned()),
        build: format!("10.0.14393.{}", 20_000 + 150 * months - 20),
        kind: if months % 2 == 0 { "ServicingStackUpdate" } else { "Servicing Stack Update" },
        restart: "No",
    }
}

/// An Office update; in some months it names itself as superseded.
pub(super) fn office(batch: Batch) -> Fix {
    let months = batch.months_since(Batch::JANUARY_2024);
    let kb = |months: i32| (5_002_000 + months * 3).to_string();
    Fix {
        kb: kb(months),
        products: vec![super::products::OFFICE[0].0.to_owned()],
        is_server: false,
        supersedes: Some(if months % 5 == 0 { kb(months) } else { kb(months - 1) }),
        build: format!("16.0.{}.1005", 5_500 + months),
        kind: "Security Update",
        restart: "Maybe",
    }
}

/// An update that a test set as missing on a machine.
pub(super) fn set(kb: &str) -> Fix {
    Fix {
        kb: kb.to_owned(),
        products: vec![PRODUCTS[0].id.to_owned()],
        is_server: false,
        supersedes: None,
        build: String::new(),
        kind: "Security Update",
        restart: "Yes",
    }
}

/// A KB number that no update of the fleet has.
fn extra_kb(batch: Batch, offset: i32) -> String {
    (5_034_000 + batch.months_since(Batch::JANUARY_2024) * 1_565 + offset).to_string()
}

/// The numbers of all systems.
pub(super) fn systems() -> std::ops::Range<u64> {
    0..LINES
}
