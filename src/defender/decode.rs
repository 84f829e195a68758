//! Tolerant decoding of API replies into the exporter's types.
//!
//! A reply is `{"value": [...], "@odata.nextLink": "..."}`. Records are decoded one by one, so that a page of
//! many megabytes is never held in memory as a tree. Every field of a record except the id may be absent,
//! null, of another type or in another case: the documentation and the samples contradict each other
//! (`rbacGroupId` is a string in the table and a number in every sample). An unusable record is skipped and
//! counted by reason; it never affects the others.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::json::Json;
use super::json_repair::repair_strings;
use crate::fleet::{MachineFacts, Onboarding, ReportedUpdate, UpdateFacts};
use crate::model::{KbId, MachineId, RejectReason};
use crate::text::without_byte_order_mark;

/// A machine of the machine list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedMachine {
    /// The fields of the list.
    pub facts: MachineFacts,
    /// `healthStatus` is `Active`.
    pub active: bool,
    /// Merged into another machine, or excluded in Defender: never in scope.
    pub excluded_by_defender: bool,
}

/// One page of a reply.
#[derive(Debug)]
pub(super) struct Page<T> {
    /// Usable records in the order of the reply.
    pub records: Vec<T>,
    /// The reasons of the rejected records.
    pub rejected: Vec<RejectReason>,
    /// The link to the next page.
    pub next_link: Option<String>,
}

impl<T> Page<T> {
    /// Decodes a page, each record with `decode`. A broken string in `body` is repaired.
    ///
    /// # Errors
    /// Returns an error if the body is not a JSON object with a `value` array. A null or absent `value` is an
    /// error and not an empty page, which would mean "no missing update".
    pub(super) fn decode(
        body: &mut [u8],
        decode: fn(Json<'_>) -> Result<T, RejectReason>,
    ) -> serde_json::Result<Self> {
        match Self::read(body, decode) {
            Err(_) if repair_strings(body) => Self::read(body, decode),
            page => page,
        }
    }

    fn read(body: &[u8], decode: fn(Json<'_>) -> Result<T, RejectReason>) -> serde_json::Result<Self> {
        let body = without_byte_order_mark(body);
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let page = deserializer.deserialize_map(PageVisitor { decode })?;
        deserializer.end()?;
        Ok(page)
    }
}

struct PageVisitor<T> {
    decode: fn(Json<'_>) -> Result<T, RejectReason>,
}

impl<'de, T> Visitor<'de> for PageVisitor<T> {
    type Value = Page<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a `value` array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Page<T>, A::Error> {
        let mut page = Page { records: Vec::new(), rejected: Vec::new(), next_link: None };
        let mut found = false;
        while let Some(key) = map.next_key::<String>()? {
            if key.eq_ignore_ascii_case("value") {
                map.next_value_seed(Records { decode: self.decode, page: &mut page })?;
                found = true;
            } else if key.eq_ignore_ascii_case("@odata.nextLink") {
                let link = map.next_value::<Json<'_>>()?;
                page.next_link = link.as_str().filter(|link| !link.is_empty()).map(str::to_owned);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if found { Ok(page) } else { Err(de::Error::missing_field("value")) }
    }
}

struct Records<'a, T> {
    decode: fn(Json<'_>) -> Result<T, RejectReason>,
    page: &'a mut Page<T>,
}

impl<'de, T> DeserializeSeed<'de> for Records<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T> Visitor<'de> for Records<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(record) = seq.next_element::<Json<'_>>()? {
            match (self.decode)(record) {
                Ok(record) => self.page.records.push(record),
                Err(reject) => self.page.rejected.push(reject),
            }
        }
        Ok(())
    }
}

/// Decodes a record of the machine list.
///
/// # Errors
/// Returns the reason if there is no usable id.
pub(super) fn machine(record: Json<'_>) -> Result<ListedMachine, RejectReason> {
    let Json::Object(record) = record else { return Err(RejectReason::WrongType) };
    let id = match record.field("id") {
        Json::Null => return Err(RejectReason::NoId),
        Json::Text(id) if id.trim().is_empty() => return Err(RejectReason::NoId),
        Json::Text(id) => MachineId::parse(id).ok_or(RejectReason::BadId)?,
        _ => return Err(RejectReason::WrongType),
    };
    let merged = !record.text("mergedIntoMachineId").is_empty();
    let active = record.text("healthStatus").eq_ignore_ascii_case("Active");
    let onboarding = match record.text("onboardingStatus") {
        // Older replies lack the field. A machine with an active sensor is onboarded.
        status if status.is_empty() && active => Onboarding::Onboarded,
        status if status.is_empty() => Onboarding::Unreported,
        status if status.eq_ignore_ascii_case("Onboarded") => Onboarding::Onboarded,
        _ => Onboarding::NotOnboarded,
    };
    Ok(ListedMachine {
        facts: MachineFacts {
            id,
            name: record.text("computerDnsName"),
            os_platform: record.text("osPlatform"),
            os_version: record.text("version"),
            device_group: record.text("rbacGroupName"),
            last_seen: record.time("lastSeen"),
            onboarding,
            tags: tags(record.field("machineTags")),
            os_build: record.count("osBuild").filter(|build| *build > 0),
        },
        active,
        excluded_by_defender: merged || record.text("isExcluded").eq_ignore_ascii_case("true"),
    })
}

/// The tags in `value`: a list, or a single tag. None if it is of another type. A record without the field belongs
/// to a machine without tags.
fn tags(value: &Json<'_>) -> Option<Arc<[String]>> {
    let values = match value {
        Json::Null => &[],
        Json::List(values) => values.as_slice(),
        Json::Text(_) => std::slice::from_ref(value),
        Json::Bool(_) | Json::Number(_) | Json::Object(_) => return None,
    };
    let tag = |value: &Json<'_>| match value {
        Json::Text(tag) => Some(tag.trim().chars().take(1024).collect()),
        Json::Number(number) => Some(number.to_string()),
        Json::Null | Json::Bool(_) | Json::List(_) | Json::Object(_) => None,
    };
    let mut tags: Vec<String> = values.iter().filter_map(tag).filter(|tag| !tag.is_empty()).collect();
    tags.sort_unstable();
    tags.dedup();
    Some(tags.into())
}

/// A record of `getmissingkbs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KbRecord {
    /// Names a KB.
    Update(ReportedUpdate),
    /// Names no KB, although it may stand for one.
    Unreadable {
        /// The id, or a description of a record without one.
        id: String,
        /// The reason under which it is counted.
        reason: RejectReason,
    },
}

impl KbRecord {
    /// The KB or the unreadable id, which identifies the record.
    pub(super) fn key(&self) -> (Option<KbId>, &str) {
        match self {
            Self::Update(update) => (Some(update.kb), ""),
            Self::Unreadable { id, .. } => (None, id),
        }
    }

    /// Returns whether it has an id, readable or not.
    pub(super) fn has_id(&self) -> bool {
        !matches!(self, Self::Unreadable { reason: RejectReason::NoId | RejectReason::WrongType, .. })
    }
}

/// Decodes a record of `getmissingkbs`. No record is rejected: one that cannot be read proves that the answer
/// is not complete.
pub(super) fn missing_kb(record: Json<'_>) -> Result<KbRecord, RejectReason> {
    let unreadable = |id: &str, reason| Ok(KbRecord::Unreadable { id: id.to_owned(), reason });
    let Json::Object(record) = record else {
        return unreadable("(no record)", RejectReason::WrongType);
    };
    let id = match record.field("id") {
        Json::List(_) | Json::Object(_) | Json::Bool(_) => {
            return unreadable("(id of a wrong type)", RejectReason::WrongType);
        }
        Json::Null | Json::Number(_) | Json::Text(_) => record.text("id"),
    };
    if id.is_empty() {
        return unreadable("(no id)", RejectReason::NoId);
    }
    let Some(kb) = KbId::parse(&id) else {
        return unreadable(&id, RejectReason::BadKb);
    };
    let mut products: Vec<String> = match record.field("productsNames") {
        Json::List(names) => names.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
        _ => Some(record.text("productsNames")).filter(|name| !name.is_empty()).into_iter().collect(),
    };
    products.sort_unstable();
    products.dedup();
    Ok(KbRecord::Update(ReportedUpdate {
        kb,
        facts: Arc::new(UpdateFacts { title: record.text("name"), products }),
        cves: record.count("cveAddressed"),
        reported_machines: record.count("machineMissedOn"),
        severity: None,
        cvss: None,
    }))
}

#[cfg(test)]
mod tests {
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
        for body in
            ["{}", r#"{"value":null}"#, r#"{"value":{}}"#, "[]", "null", "", "<html>", r#"{"value":["#]
        {
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
}
