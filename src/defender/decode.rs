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
mod tests;
