//! Records of every shape, and the types that they become.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[expect(clippy::needless_pass_by_value, reason = "a record is written where it is read")]
fn machine(record: Value) -> Result<ListedMachine, RejectReason> {
    super::machine(serde_json::from_str(&record.to_string()).unwrap())
}

#[expect(clippy::needless_pass_by_value, reason = "a record is written where it is read")]
fn missing_kb(record: Value) -> KbRecord {
    super::missing_kb(serde_json::from_str(&record.to_string()).unwrap()).unwrap()
}

fn update(record: Value) -> ReportedUpdate {
    match missing_kb(record) {
        KbRecord::Update(update) => update,
        unreadable @ KbRecord::Unreadable { .. } => panic!("{unreadable:?}"),
    }
}

#[test]
fn documented_machine_is_decoded() {
    let listed = machine(json!({
        "id": "1E5BC9D7E413DDD7902C2932E418702B84D0CC07", "computerDnsName": "mymachine1.contoso.com",
        "lastSeen": "2018-08-02T14:55:03.7791856Z", "osPlatform": "Windows10", "version": "1709",
        "osBuild": 18209, "healthStatus": "active", "rbacGroupId": 140, "rbacGroupName": "The-A-Team",
    }))
    .unwrap();
    assert_eq!(listed.facts.id.as_str(), "1e5bc9d7e413ddd7902c2932e418702b84d0cc07");
    assert_eq!(listed.facts.name, "mymachine1.contoso.com");
    assert_eq!(listed.facts.device_group, "The-A-Team");
    assert_eq!(listed.facts.last_seen.unwrap().to_string(), "2018-08-02T14:55:03.7791856Z");
    assert!(listed.active && !listed.excluded_by_defender);
}

#[test]
fn null_wrong_type_and_unusual_case_lose_only_the_field() {
    let listed = machine(json!({
        "ID": "ab12", "ComputerDnsName": null, "osPlatform": ["x"], "version": 22, "rbacGroupName": {},
        "lastSeen": "0001-01-01T00:00:00", "isExcluded": "TRUE", "surprise": [[[]]],
    }))
    .unwrap();
    assert_eq!(listed.facts.os_version, "22");
    assert_eq!(listed.facts.name, "");
    assert_eq!(listed.facts.last_seen, None);
    assert!(listed.excluded_by_defender && !listed.active);
}

#[test]
fn tags_and_build_are_read_in_every_shape() {
    let tags = |value: Value| machine(json!({"id": "a", "machineTags": value})).unwrap().facts.tags;
    for (value, expected) in [
        (json!(["b", " a ", "b", "", null, 7, ["x"], {}]), Some(vec!["7", "a", "b"])),
        (json!("team: sales, north"), Some(vec!["team: sales, north"])),
        (json!([]), Some(vec![])),
        (json!(""), Some(vec![])),
        (json!(null), Some(vec![])),
        (json!({"a": 1}), None),
        (json!(true), None),
    ] {
        assert_eq!(
            tags(value.clone()),
            expected.map(|tags| tags.into_iter().map(str::to_owned).collect()),
            "{value}"
        );
    }
    assert_eq!(machine(json!({"id": "a"})).unwrap().facts.tags, Some(Arc::default()));
    let shouted = machine(json!({"id": "a", "MACHINETAGS": ["x"]})).unwrap().facts.tags;
    assert_eq!(shouted.unwrap().len(), 1);
    let build = |value: Value| machine(json!({"id": "a", "osBuild": value})).unwrap().facts.os_build;
    for (value, expected) in [
        (json!(26100), Some(26_100)),
        (json!("26100"), Some(26_100)),
        (json!(" 26100.0"), Some(26_100)),
        (json!(0), None),
        (json!(null), None),
        (json!("unknown"), None),
        (json!(-1), None),
        (json!([26100]), None),
    ] {
        assert_eq!(build(value.clone()), expected, "{value}");
    }
}

#[test]
fn onboarding_is_the_status_or_unreported() {
    let onboarding = |record| machine(record).unwrap().facts.onboarding;
    for status in ["Onboarded", "onboarded", " ONBOARDED "] {
        assert_eq!(onboarding(json!({"id": "a", "onboardingStatus": status})), Onboarding::Onboarded);
    }
    for status in ["CanBeOnboarded", "InsufficientInfo", "Unsupported", "?"] {
        let record = json!({"id": "a", "onboardingStatus": status, "healthStatus": "Active"});
        assert_eq!(onboarding(record), Onboarding::NotOnboarded, "{status}");
    }
    for status in [json!(null), json!(""), json!(["x"])] {
        let record = |health| json!({"id": "a", "onboardingStatus": status, "healthStatus": health});
        assert_eq!(onboarding(record("Active")), Onboarding::Onboarded);
        assert_eq!(onboarding(record("Inactive")), Onboarding::Unreported);
    }
}

#[test]
fn merged_and_excluded_machines_are_marked() {
    let excluded_by_defender = |record| machine(record).unwrap().excluded_by_defender;
    assert!(excluded_by_defender(json!({"id": "a", "mergedIntoMachineId": "b"})));
    assert!(excluded_by_defender(json!({"id": "a", "isExcluded": true})));
    assert!(!excluded_by_defender(json!({"id": "a", "isExcluded": false, "mergedIntoMachineId": null})));
}

#[test]
fn machines_without_a_usable_id_are_rejected_by_reason() {
    assert_eq!(machine(json!({"computerDnsName": "x"})), Err(RejectReason::NoId));
    assert_eq!(machine(json!({"id": null})), Err(RejectReason::NoId));
    assert_eq!(machine(json!({"id": " "})), Err(RejectReason::NoId));
    assert_eq!(machine(json!({"id": "../etc"})), Err(RejectReason::BadId));
    assert_eq!(machine(json!({"id": 7})), Err(RejectReason::WrongType));
    assert_eq!(machine(json!(null)), Err(RejectReason::WrongType));
}

#[test]
fn kb_records_are_decoded_in_every_observed_spelling() {
    let read = update(json!({
        "id": "KB5001234", "name": "March 2020 Security Updates", "osBuild": "19041",
        "productsNames": ["windows_10", null, "edge", "edge"], "machineMissedOn": "5", "cveAddressed": 97,
    }));
    assert_eq!(read.kb, KbId::parse("5001234").unwrap());
    assert_eq!(read.facts.products, ["edge", "windows_10"]);
    assert_eq!((read.cves, read.reported_machines), (Some(97), Some(5)));
    let bare = update(json!({"id": 5_001_234, "productsNames": null, "cveAddressed": -1}));
    assert_eq!((bare.kb, bare.cves), (read.kb, None));
}

#[test]
fn kb_records_without_a_kb_number_are_unreadable() {
    for (record, expected, expected_reason) in [
        (json!({"name": "x"}), "(no id)", RejectReason::NoId),
        (json!({"id": " "}), "(no id)", RejectReason::NoId),
        (json!({"id": " ADV200002 "}), "ADV200002", RejectReason::BadKb),
        (json!({"id": "Click to Run"}), "Click to Run", RejectReason::BadKb),
        (json!({"id": "5036892;5036893"}), "5036892;5036893", RejectReason::BadKb),
        (json!({"id": 12_345}), "12345", RejectReason::BadKb),
        (json!({"id": ["5001234"]}), "(id of a wrong type)", RejectReason::WrongType),
        (json!("5001234"), "(no record)", RejectReason::WrongType),
    ] {
        let read = missing_kb(record);
        let KbRecord::Unreadable { id, reason } = &read else { panic!("{read:?}") };
        assert_eq!((id.as_str(), *reason), (expected, expected_reason));
        assert_eq!(read.has_id(), expected_reason == RejectReason::BadKb);
    }
}

fn decoded(body: &[u8]) -> serde_json::Result<Page<KbRecord>> {
    Page::decode(&mut body.to_vec(), super::missing_kb)
}

#[test]
fn reply_without_a_value_array_is_an_error() {
    for body in ["{}", r#"{"value":null}"#, r#"{"value":{}}"#, "[]", "null", "", "<html>", r#"{"value":["#] {
        assert!(decoded(body.as_bytes()).is_err(), "{body}");
    }
    let page = decoded(br#"{"value":[],"@odata.nextLink":""}"#).unwrap();
    assert!(page.records.is_empty() && page.next_link.is_none());
}

#[test]
fn bad_record_is_skipped_alone() {
    let body = br#"{"Value":[{"id":"a1"},7,{"id":"a2"},{"id":""}],"@odata.NextLink":"https://x/"}"#;
    let page = Page::decode(&mut body.to_vec(), super::machine).unwrap();
    assert_eq!(page.records.len(), 2);
    assert_eq!(page.rejected, [RejectReason::WrongType, RejectReason::NoId]);
    assert_eq!(page.next_link.as_deref(), Some("https://x/"));
}

proptest! {
    #[test]
    fn decoders_do_not_panic_on_any_bytes(body: Vec<u8>) {
        drop(Page::decode(&mut body.clone(), super::missing_kb));
        drop(Page::decode(&mut body.clone(), super::machine));
    }

    #[test]
    fn decoders_do_not_panic_on_any_record(id in ".*", name in ".*", number: f64, deep: Option<bool>) {
        let record = json!({"id": id, "name": name, "cveAddressed": number, "machineMissedOn": deep,
            "lastSeen": name, "computerDnsName": number, "isExcluded": deep, "productsNames": [name, number]});
        drop(missing_kb(record.clone()));
        drop(machine(record));
    }
}
