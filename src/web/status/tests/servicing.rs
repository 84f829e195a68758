//! Machines past end of servicing on the page.

use jiff::civil::date;

use super::deadlines::{exception, words};
use super::*;
use crate::metrics::RenderOptions;
use crate::model::{MachineCondition, ServicingRule, ServicingSettings, TextPattern};
use crate::web::tests::rendered;

/// A machine with a version of Windows. `missing` is as in [`machine`].
fn versioned(
    id: &str,
    name: &str,
    missing: Option<(u32, i64)>,
    (platform, version, build): (&str, &str, u64),
) -> Arc<Machine> {
    let mut machine = machine(id, name, missing);
    let facts = &mut Arc::make_mut(&mut machine).facts;
    (facts.os_platform, facts.os_version) = (platform.to_owned(), version.to_owned());
    facts.os_build = Some(build.try_into().unwrap());
    machine
}

/// Machines with every servicing state, on a day on which Windows 11 22H2 has ended and 23H2 has for some editions.
fn fleets() -> Vec<TenantFleet> {
    let mut unsupported = versioned("9", "linux", None, ("Windows7", "", 7_601));
    Arc::make_mut(&mut unsupported).facts.os_platform = "Ubuntu".to_owned();
    let mut inactive = versioned("a", "inactive", None, ("Windows7", "", 7_601));
    Arc::make_mut(&mut inactive).facts.last_seen = Some(ago(40 * 86_400));
    let windows_11 = ("Windows11", "22H2", 22_621);
    let machines = [
        versioned("1", "patched", Some((0, 0)), windows_11),
        versioned("2", "late", Some((2, 3)), windows_11),
        versioned("3", "lab", Some((0, 0)), ("Windows8.1", "6.3", 9_600)),
        versioned("4", "unread", None, ("WindowsServer2012R2", "6.3", 9_600)),
        versioned("5", "edition", Some((0, 0)), ("Windows11", "23H2", 22_631)),
        versioned("6", "extended", Some((1, 3)), ("Windows10", "22H2", 19_045)),
        versioned("7", "new", Some((0, 0)), ("Windows11", "25H2", 26_200)),
        versioned("8", "preview", Some((0, 0)), ("Windows11", "Other", 27_965)),
        unsupported,
        inactive,
    ];
    vec![fleet("contoso", machines)]
}

async fn page() -> String {
    let servers = MachineCondition::Platforms(vec![TextPattern::new("WindowsServer2012*")]);
    let without_extended = ServicingRule {
        value: false,
        tenants: Vec::new(),
        conditions: vec![servers.into()],
        place: "servicing.extended[0] (line 1)".into(),
    };
    let options = RenderOptions {
        policies: [Policy::single("14d", Duration::from_hours(14 * 24), DeadlineStart::FirstSeen)].into(),
        exceptions: [exception("lab", date(2026, 12, 31), "lab")].into(),
        servicing: Arc::new(ServicingSettings {
            extended: vec![without_extended],
            ..ServicingSettings::default()
        }),
        ..RenderOptions::default()
    };
    let mut state = state(vec![]);
    state.published = rendered(fleets(), &options, Vec::new());
    get(&state, "/").await.text().to_owned()
}

#[tokio::test]
async fn page_shows_machines_past_end_of_servicing() {
    insta::assert_snapshot!(body(&page().await));
}

#[tokio::test]
async fn machines_past_end_of_servicing_are_counted_and_marked() {
    let page = page().await;
    assert_eq!(
        between(&page, "<strong>Servicing</strong> ", "</p>"),
        [
            "5 machines run a Windows version past end of servicing, which gets no updates: Windows11 22H2 (2), \
             Windows7 (1), Windows8.1 6.3 (1), WindowsServer2012R2 6.3 (1)."
        ]
    );
    assert!(page.contains(
        "2 machines may be past end of servicing. Set servicing.editions for 1 machine and servicing.extended for 1 \
         machine to settle it."
    ));
    let names = ids(&page).into_iter();
    let platforms = between(&page, "<td data-label=\"Platform\">", "</td>").into_iter().map(words);
    let mut marks: Vec<_> = names.zip(platforms).collect();
    marks.sort();
    let expected = [
        "Windows11 22H2 servicing ended 2025-10-14",
        "Windows11 22H2 servicing ended 2025-10-14",
        "Windows8.1 6.3 accepted, servicing ended 2023-01-10",
        "WindowsServer2012R2 6.3 servicing ended 2023-10-10",
        "Windows11 23H2 servicing uncertain: set servicing.editions",
        "Windows10 22H2 servicing uncertain: set servicing.extended",
        "Windows11 25H2",
        "Windows11 Other",
        "Ubuntu",
        "Windows7 servicing ended 2020-01-14",
    ];
    assert_eq!(marks.iter().map(|(_, platform)| platform.as_str()).collect::<Vec<_>>(), expected);
    let exceptions = between(&page, "<td data-label=\"Missing updates\" class=\"number\">", "</td>");
    assert_eq!(exceptions.into_iter().map(words).collect::<Vec<_>>(), ["0 1 machine past end of servicing"]);
}
