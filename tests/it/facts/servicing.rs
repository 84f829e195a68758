//! The built-in table of the ends of servicing: every version, around each of its ends.

use std::sync::Arc;

use ServicingState::{Ended, InService, Uncertain, Unknown};
use mde_simulator::{Options, Realism, Simulator};
use tempfile::TempDir;

use crate::support::api::options;
use crate::support::tenant::write_file;
use jiff::civil::{Date, date};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use mde_exporter::facts::folder::from_folder;
use mde_exporter::facts::{Facts, FactsFile};
use mde_exporter::fleet::MachineFacts;
use mde_exporter::fleet::servicing::{CompiledServicing, MachineServicing, TenantServicing};
use mde_exporter::model::{MachineId, ServicingEdition, ServicingRule, ServicingSettings, ServicingState};

/// The last day of servicing for each edition of each version, by Microsoft's lifecycle pages: platform, build, and
/// edition and day.
const VERSIONS: &str = "\
Windows11 28000 pro 2028-03-14 enterprise 2029-03-13
Windows11 26200 pro 2027-10-12 enterprise 2028-10-10
Windows11 26100 pro 2026-10-13 enterprise 2027-10-12 ltsc 2029-10-09 iot_ltsc 2034-10-10
Windows11 22631 pro 2025-11-11 enterprise 2026-11-10
Windows11 22621 pro 2024-10-08 enterprise 2025-10-14
Windows11 22000 pro 2023-10-10 enterprise 2024-10-08
Windows10 19045 pro 2025-10-14 enterprise 2025-10-14 extended 2028-10-10
Windows10 19044 pro 2023-06-13 enterprise 2024-06-11 ltsc 2027-01-12 iot_ltsc 2032-01-13
Windows10 19043 pro 2022-12-13 enterprise 2022-12-13
Windows10 19042 pro 2022-05-10 enterprise 2023-05-09
Windows10 19041 pro 2021-12-14 enterprise 2021-12-14
Windows10 18363 pro 2021-05-11 enterprise 2022-05-10
Windows10 18362 pro 2020-12-08 enterprise 2020-12-08
Windows10 17763 pro 2020-11-10 enterprise 2021-05-11 ltsc 2029-01-09
Windows10 17134 pro 2019-11-12 enterprise 2021-05-11
Windows10 16299 pro 2019-04-09 enterprise 2020-10-13
Windows10 15063 pro 2018-10-09 enterprise 2019-10-08
Windows10 14393 pro 2018-04-10 enterprise 2019-04-09 ltsc 2026-10-13
Windows10 10586 pro 2017-10-10 enterprise 2017-10-10
Windows10 10240 pro 2017-05-09 enterprise 2017-05-09 ltsc 2025-10-14
Windows8.1 9600 pro 2023-01-10 enterprise 2023-01-10
Windows7 7601 pro 2020-01-14 enterprise 2020-01-14
WindowsServer2025 26100 server 2034-11-14
WindowsServer2022 20348 server 2031-10-14
WindowsServer2019 17763 server 2029-01-09
WindowsServer2016 14393 server 2027-01-12 extended 2030-01-12
WindowsServer2012R2 9600 server 2023-10-10 extended 2026-10-13
WindowsServer2012 9200 server 2023-10-10 extended 2026-10-13
WindowsServer2008R2 7601 server 2020-01-14 extended 2023-01-10
WindowsServer2008 6003 server 2020-01-14 extended 2023-01-10
WindowsServer 25398 server 2026-05-12
WindowsServer 19042 server 2022-08-09
WindowsServer 19041 server 2021-12-14
WindowsServer 18363 server 2021-05-11
WindowsServer 18362 server 2020-12-08
";

/// A version with its ends.
struct Version {
    platform: &'static str,
    build: u32,
    editions: Vec<(ServicingEdition, Date)>,
    extended: Option<Date>,
}

fn versions() -> Vec<Version> {
    let version = |line: &'static str| {
        let words: Vec<_> = line.split(' ').collect();
        let end = |pair: &[&str]| (ServicingEdition::from_word(pair[0]).unwrap(), pair[1].parse().unwrap());
        let mut editions: Vec<_> = words[2..].chunks(2).map(end).collect();
        let extended = editions.pop_if(|(edition, _)| *edition == ServicingEdition::Extended);
        let extended = extended.map(|(_, day)| day);
        Version { platform: words[0], build: words[1].parse().unwrap(), editions, extended }
    };
    VERSIONS.lines().map(version).collect()
}

fn for_all<T>(value: T) -> Vec<ServicingRule<T>> {
    vec![ServicingRule { value, tenants: Vec::new(), conditions: Vec::new(), place: Arc::default() }]
}

/// The servicing of a machine with the built-in table.
fn servicing(
    platform: &str,
    build: Option<u32>,
    edition: Option<ServicingEdition>,
    has_extended: Option<bool>,
    now: Timestamp,
) -> MachineServicing {
    let settings = ServicingSettings {
        editions: edition.map(for_all).unwrap_or_default(),
        extended: has_extended.map(for_all).unwrap_or_default(),
        ..ServicingSettings::default()
    };
    let facts = MachineFacts {
        os_platform: platform.to_owned(),
        os_build: build,
        ..MachineFacts::unlisted(MachineId::parse("a").unwrap())
    };
    let table = Facts::default();
    let compiled = CompiledServicing::new(&settings, table.servicing(), now);
    TenantServicing::new(&compiled, "contoso").of_machine(&facts)
}

fn midnight(day: Date) -> Timestamp {
    Offset::UTC.to_timestamp(day.at(0, 0, 0, 0)).unwrap()
}

/// The start and the end of the day before `day`, of the day, and of the day after it, with whether the day has passed.
fn around(day: Date) -> [(Timestamp, bool); 6] {
    let start = midnight(day);
    let nearly_a_day = SignedDuration::from_millis(86_399_999);
    let hours = SignedDuration::from_hours;
    [
        (start - hours(24), false),
        (start - SignedDuration::from_millis(1), false),
        (start, false),
        (start + nearly_a_day, false),
        (start + hours(24), true),
        (start + hours(24) + nearly_a_day, true),
    ]
}

#[test]
fn every_version_ends_after_its_last_day() {
    let versions = versions();
    assert_eq!(versions.len(), 35);
    let mut checked = 0;
    for Version { platform, build, editions, extended } in versions {
        for (edition, last_day) in editions {
            for (now, is_over) in around(last_day) {
                let of = |has_extended| servicing(platform, Some(build), Some(edition), has_extended, now);
                let text = format!("{platform} {build} {edition} at {now}");
                let expected = (is_over, extended.is_some());
                let without = of(Some(false));
                assert_eq!(without.state, if is_over { Ended } else { InService }, "{text}, none extended");
                let ended_at = is_over.then(|| midnight(last_day.tomorrow().unwrap()));
                assert_eq!(without.ended_at, ended_at, "{text}");
                let unknown = match expected {
                    (false, _) => InService,
                    (true, false) => Ended,
                    (true, true) => Uncertain,
                };
                assert_eq!(of(None).state, unknown, "{text}");
                let with = if is_over && extended.is_none() { Ended } else { InService };
                assert_eq!(of(Some(true)).state, with, "{text}, extended");
                checked += 1;
            }
            for (now, is_over) in extended.map(around).into_iter().flatten() {
                let of =
                    |has_extended| servicing(platform, Some(build), Some(edition), has_extended, now).state;
                let text = format!("{platform} {build} {edition}, extended, at {now}");
                assert_eq!(of(Some(true)), if is_over { Ended } else { InService }, "{text}");
                assert_eq!(of(None), if is_over { Ended } else { Uncertain }, "{text}");
                assert_eq!(of(Some(false)), Ended, "{text}");
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 6 * (64 + 7), "around each end");
}

#[test]
fn machine_of_unknown_edition_is_judged_by_all() {
    for Version { platform, build, editions, extended } in versions() {
        for (_, day) in editions.iter().copied().chain(extended.map(|day| (ServicingEdition::Extended, day)))
        {
            for (now, _) in around(day) {
                let is_over = |day: Date| midnight(day.tomorrow().unwrap()) <= now;
                let over = editions.iter().filter(|(_, day)| is_over(*day)).count();
                let is_extended = extended.is_some_and(|day| !is_over(day));
                let expected = match over {
                    0 => InService,
                    _ if over == editions.len() && !is_extended => Ended,
                    _ => Uncertain,
                };
                let found = servicing(platform, Some(build), None, None, now);
                assert_eq!(found.state, expected, "{platform} {build} at {now}");
                let needs_edition = expected == Uncertain && over < editions.len();
                let needs_extended = expected == Uncertain && is_extended;
                assert_eq!((found.needs_edition, found.needs_extended), (needs_edition, needs_extended));
            }
        }
    }
}

#[test]
fn other_builds_are_unknown_for_ever() {
    let far = "2099-01-01T00:00:00Z".parse().unwrap();
    for (platform, build) in [
        ("Windows11", None),
        ("Windows11", Some(26_220)),
        ("Windows11", Some(29_500)),
        ("Windows11", Some(20_348)),
        ("WindowsServer2025", Some(22_631)),
        ("WindowsServer2025", Some(26_300)),
        ("", Some(22_631)),
    ] {
        for has_extended in [None, Some(false), Some(true)] {
            let found = servicing(platform, build, None, has_extended, far);
            assert_eq!((found.state, found.ended_at), (Unknown, None), "{platform} {build:?}");
        }
    }
}

#[tokio::test]
async fn documents_of_the_simulator_give_the_same_table() {
    let start = date(2026, 12, 1);
    let sim = Simulator::start(Options { start, ..options(1, Realism::Plain) }).await.unwrap();
    let folder = TempDir::new().unwrap();
    for (name, bytes) in sim.control().catalogue_files(0) {
        write_file(&folder.path().join(name), bytes);
    }
    let mut file = FactsFile::default();
    from_folder(folder.path(), &mut file, midnight(start)).unwrap();
    let mut written = Vec::new();
    file.write(&mut written).unwrap();
    let file = FactsFile::read(&written[..]).unwrap();
    for fetched in file.servicing.values() {
        assert!(
            fetched.data.modified.unwrap() > midnight(date(2026, 11, 1)),
            "newer than the built-in table"
        );
        let without_build = fetched.data.releases.iter().filter(|release| release.build.is_none()).count();
        assert_eq!(without_build, 2, "releases that give no version");
    }
    assert_eq!(file.facts().servicing(), Facts::default().servicing());
}
