//! The end of servicing of Windows releases, as endoflife.date writes it.

use jiff::civil::Date;
use serde_json::{Value, json};

use crate::calendar::Day;

/// The products with a document.
pub(super) const PRODUCTS: [&str; 2] = ["windows", "windows-server"];

/// The time since the last change of a document, in days.
const UNCHANGED: i32 = 3;

/// The releases of Windows: name, day of the release, version, last day of servicing, and last day of Extended Security
/// Updates.
const WINDOWS: &str = "\
11-26h1-e 2026-02-10 10.0.28000 2029-03-13
11-26h1-w 2026-02-10 10.0.28000 2028-03-14
11-25h2-e 2025-09-30 10.0.26200 2028-10-10
11-25h2-w 2025-09-30 10.0.26200 2027-10-12
11-24h2-iot-lts 2024-10-01 10.0.26100 2034-10-10
11-24h2-e-lts 2024-10-01 10.0.26100 2029-10-09
11-24h2-e 2024-10-01 10.0.26100 2027-10-12
11-24h2-w 2024-10-01 10.0.26100 2026-10-13
11-23h2-e 2023-10-31 10.0.22631 2026-11-10
11-23h2-w 2023-10-31 10.0.22631 2025-11-11
10-22h2 2022-10-18 10.0.19045 2025-10-14 2028-10-10
11-22h2-e 2022-09-20 10.0.22621 2025-10-14
11-22h2-w 2022-09-20 10.0.22621 2024-10-08
10-21h2-iot-lts 2021-11-16 10.0.19044 2032-01-13
10-21h2-e-lts 2021-11-16 10.0.19044 2027-01-12
10-21h2-e 2021-11-16 10.0.19044 2024-06-11
10-21h2-w 2021-11-16 10.0.19044 2023-06-13
11-21h2-e 2021-10-04 10.0.22000 2024-10-08
11-21h2-w 2021-10-04 10.0.22000 2023-10-10
10-21h1 2021-05-18 10.0.19043 2022-12-13
10-20h2-e 2020-10-20 10.0.19042 2023-05-09
10-20h2-w 2020-10-20 10.0.19042 2022-05-10
10-2004 2020-05-27 10.0.19041 2021-12-14
10-1909-e 2019-11-12 10.0.18363 2022-05-10
10-1909-w 2019-11-12 10.0.18363 2021-05-11
10-1903 2019-05-21 10.0.18362 2020-12-08
10-1809-e-lts 2018-11-13 10.0.17763 2029-01-09
10-1809-e 2018-11-13 10.0.17763 2021-05-11
10-1809-w 2018-11-13 10.0.17763 2020-11-10
10-1803-e 2018-04-30 10.0.17134 2021-05-11
10-1803-w 2018-04-30 10.0.17134 2019-11-12
10-1709-e 2017-10-17 10.0.16299 2020-10-13
10-1709-w 2017-10-17 10.0.16299 2019-04-09
10-1703-e 2017-04-11 10.0.15063 2019-10-08
10-1703-w 2017-04-11 10.0.15063 2018-10-09
10-1607-e-lts 2016-08-02 10.0.14393 2026-10-13
10-1607-e 2016-08-02 10.0.14393 2019-04-09
10-1607-w 2016-08-02 10.0.14393 2018-04-10
10-1511 2015-11-10 10.0.10586 2017-10-10
10-1507-e-lts 2015-07-29 10.0.10240 2025-10-14
10-1507 2015-07-29 10.0.10240 2017-05-09
10-1507-iot 2015-04-29 10.0.10240 2020-11-10
8.1 2013-11-13 6.3.9600 2023-01-10
8 2012-10-30 6.2.9200 2016-01-12
7-sp1 2011-02-22 6.1.7601 2020-01-14
6-sp2 2009-04-29 6.0.6200 2017-04-11
5-sp3 2008-04-21 5.1.2600 2014-04-08";

/// The releases of Windows Server, in the same form.
const WINDOWS_SERVER: &str = "\
2025 2024-11-01 10.0.26100 2034-11-14
23h2-ac 2023-10-24 10.0.25398 2026-05-12
2022 2021-08-18 10.0.20348 2031-10-14
20h2-sac 2020-10-20 10.0.19042 2022-08-09
2004-sac 2020-05-27 10.0.19041 2021-12-14
1909-sac 2019-11-12 10.0.18363 2021-05-11
1903-sac 2019-05-21 10.0.18362 2020-12-08
1809-sac 2018-11-13 10.0.17763 2020-11-10
2019 2018-11-13 10.0.17763 2029-01-09
1803-sac 2018-04-30 10.0.17134 2019-11-12
1709-sac 2017-10-17 10.0.16299 2019-04-09
2016 2016-10-15 10.0.14393 2027-01-12 2030-01-12
2012-r2 2013-11-25 6.3.9600 2023-10-10 2026-10-13
2012 2012-10-30 6.2.9200 2023-10-10 2026-10-13
2008-r2-sp1 2011-02-22 6.1.7601 2020-01-14 2023-01-10
2008-sp2 2009-04-29 6.0.6003 2020-01-14 2023-01-10
2003-sp2 2007-03-13 5.2.3790 2015-07-14
2003-sp1 2005-03-30 5.2.3790 2009-04-14
2003 2003-04-24 5.2.3790 2007-04-10
2000 2000-02-17 5.0.2195 2010-07-13";

/// The document of a product on a day, if there is one. A shrunken one has only a quarter of the releases.
pub(super) fn product(name: &str, today: Day, shrunken: bool) -> Option<String> {
    let (label, lines) = match name {
        "windows" => ("Microsoft Windows", WINDOWS),
        "windows-server" => ("Microsoft Windows Server", WINDOWS_SERVER),
        _ => return None,
    };
    let mut releases: Vec<Value> = lines.lines().filter_map(|line| release(line, today)).collect();
    if shrunken {
        releases.truncate(releases.len() / 4);
    } else {
        releases.extend(oddities());
    }
    let modified = format!("{}T08:52:34+00:00", today.plus(-UNCHANGED).date());
    let document = json!({
        "schema_version": "1.2.0",
        "generated_at": modified,
        "last_modified": modified,
        "result": {
            "name": name,
            "aliases": [],
            "label": label,
            "category": "os",
            "tags": ["microsoft", "os", "windows"],
            "versionCommand": "winver",
            "identifiers": [],
            "labels": {"eoas": "Active Support", "discontinued": null, "eol": "Security Support",
                "eoes": "Extended Security Updates"},
            "links": {"icon": null, "html": format!("https://endoflife.date/{name}"), "releasePolicy": null},
            "releases": releases,
        },
    });
    Some(document.to_string())
}

/// A release, once it is out.
fn release(line: &str, today: Day) -> Option<Value> {
    let mut words = line.split(' ');
    let [name, released, version, end] = [(); 4].map(|()| words.next().unwrap_or_default());
    let is_before_today = |day: &str| day.parse::<Date>().is_ok_and(|day| day < today.date());
    if !is_before_today(released) {
        return None;
    }
    // Releases of the semi-annual and the annual channel of Windows Server are named `-sac` and `-ac`.
    let is_lts = name.ends_with("-lts") || (name.starts_with("20") && !name.ends_with("ac"));
    let mut release = json!({
        "name": name,
        "codename": null,
        "label": name.to_uppercase(),
        "releaseDate": released,
        "isLts": is_lts,
        "ltsFrom": null,
        "isEoas": is_before_today(end),
        "eoasFrom": end,
        "isEol": is_before_today(end),
        "eolFrom": end,
        "isMaintained": !is_before_today(end),
        "latest": {"name": version, "date": null, "link": null},
        "custom": null,
    });
    if let Some(extended) = words.next() {
        release["isEoes"] = json!(is_before_today(extended));
        release["eoesFrom"] = json!(extended);
        release["isMaintained"] = json!(!is_before_today(extended));
    }
    Some(release)
}

/// Releases in the forms that endoflife.date allows and these products do not use.
fn oddities() -> [Value; 3] {
    [
        json!({"name": "99-announced", "isLts": false, "isEol": false, "eolFrom": false, "latest": null}),
        json!({"name": "NT-4", "isEol": true, "eolFrom": true, "eoesFrom": false, "latest": {"name": "4.0"}}),
        json!({"label": "without a name", "isEol": true, "eolFrom": null, "releasedBy": {"name": "Microsoft"}}),
    ]
}
