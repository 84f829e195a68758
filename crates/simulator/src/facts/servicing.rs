//! The end of servicing of the simulated Windows releases, as endoflife.date writes it.

use serde_json::{Value, json};

/// The products with a document.
pub(super) const PRODUCTS: [&str; 2] = ["windows", "windows-server"];

/// The document of a product, if there is one.
pub(super) fn product(name: &str) -> Option<String> {
    let releases = match name {
        "windows" => vec![
            release("11-24h2-e-lts", "2024-10-01", "10.0.26100", ["2029-10-09", "2029-10-09"], None),
            release("11-24h2-e", "2024-10-01", "10.0.26100", ["2027-10-12", "2027-10-12"], None),
            release("11-24h2-w", "2024-10-01", "10.0.26100", ["2026-10-13", "2026-10-13"], None),
            release("11-23h2-e", "2023-10-31", "10.0.22631", ["2026-11-10", "2026-11-10"], None),
            release("11-23h2-w", "2023-10-31", "10.0.22631", ["2025-11-11", "2025-11-11"], None),
            release("10-22h2", "2022-10-18", "10.0.19045", ["2025-10-14", "2025-10-14"], Some("2028-10-10")),
        ],
        "windows-server" => vec![
            release("2025", "2024-11-01", "10.0.26100", ["2029-11-13", "2034-11-14"], None),
            release("2022", "2021-08-18", "10.0.20348", ["2026-10-13", "2031-10-14"], None),
            release("2019", "2018-11-13", "10.0.17763", ["2024-01-09", "2029-01-09"], None),
            release("2016", "2016-10-15", "10.0.14393", ["2022-01-11", "2027-01-12"], Some("2030-01-12")),
        ],
        _ => return None,
    };
    let document = json!({
        "schema_version": "1.2.0",
        "generated_at": "2025-08-22T08:52:34+00:00",
        "last_modified": "2025-08-22T08:52:34+00:00",
        "result": {
            "name": name,
            "aliases": [],
            "label": name,
            "category": "os",
            "tags": ["microsoft", "os", "windows"],
            "labels": {"eoas": "Active Support", "discontinued": null, "eol": "Security Support",
                "eoes": "Extended Security Updates"},
            "links": {"icon": null, "html": format!("https://endoflife.date/{name}"), "releasePolicy": null},
            "releases": releases,
        },
    });
    Some(document.to_string())
}

/// A release with the end of active support, of servicing and of extended updates.
fn release(name: &str, released: &str, build: &str, ends: [&str; 2], extended: Option<&str>) -> Value {
    let mut release = json!({
        "name": name,
        "codename": null,
        "label": name,
        "releaseDate": released,
        "isLts": name.ends_with("-lts"),
        "ltsFrom": null,
        "isEoas": false,
        "eoasFrom": ends[0],
        "isEol": false,
        "eolFrom": ends[1],
        "isMaintained": true,
        "latest": {"name": build, "date": null, "link": null},
        "custom": null,
    });
    if let Some(extended) = extended {
        release["isEoes"] = json!(false);
        release["eoesFrom"] = json!(extended);
    }
    release
}
