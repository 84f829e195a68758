//! JSON values that borrow from the bytes of the reply where possible.
//!
//! Replies are decoded tolerantly, so records are read as values and not as structs. A value that owns all
//! its text, in a tree of maps, costs more than the rest of decoding a record.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// The start of the year 2000 in seconds. An earlier time is an unset value (`0001-01-01`).
pub(super) const YEAR_2000: i64 = 946_684_800;

/// Any JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(JsonObject<'a>),
}

/// The fields of an object, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct JsonObject<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl Json<'_> {
    /// The text if the value is a string.
    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

impl<'a> JsonObject<'a> {
    /// The field `name`: an exact match first, then a match without regard to case. The last of several
    /// fields counts. Null if absent.
    pub(super) fn field(&self, name: &str) -> &Json<'a> {
        let last = |is_it: fn(&str, &str) -> bool| {
            self.0.iter().rev().find(|(key, _)| is_it(key, name)).map(|(_, value)| value)
        };
        last(|key, name| key == name).or_else(|| last(str::eq_ignore_ascii_case)).unwrap_or(&Json::Null)
    }

    /// A field as text: trimmed, at most 1,024 characters. Numbers and booleans are formatted; anything else
    /// is empty.
    pub(super) fn text(&self, name: &str) -> String {
        match self.field(name) {
            Json::Text(text) => text.trim().chars().take(1024).collect(),
            Json::Number(number) => number.to_string(),
            Json::Bool(flag) => flag.to_string(),
            Json::Null | Json::List(_) | Json::Object(_) => String::new(),
        }
    }

    /// A field as a count: a whole number, or a string with one.
    pub(super) fn count(&self, name: &str) -> Option<u32> {
        if let Json::Number(number) = self.field(name)
            && let Some(number) = number.as_u64()
        {
            return u32::try_from(number).ok();
        }
        let spelled = self.text(name);
        let whole = spelled.strip_suffix(".0").unwrap_or(&spelled);
        whole.parse().ok()
    }

    /// A field as a time: ISO 8601 with any number of fraction digits, UTC without a zone. Years before 2000
    /// are unset values (`0001-01-01`).
    pub(super) fn time(&self, name: &str) -> Option<Timestamp> {
        let spelled = self.text(name);
        let zoned = || spelled.parse::<Timestamp>();
        let unzoned = |_| format!("{spelled}Z").parse::<Timestamp>();
        let time = zoned().or_else(unzoned).ok()?;
        (time.as_second() >= YEAR_2000).then_some(time)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json<'de>, E> {
        Ok(Number::from_f64(number).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element()? {
            list.push(value);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        // The number of fields of `getmissingkbs`; a record of the machine list grows it twice.
        let mut fields = Vec::with_capacity(8);
        while let Some((ObjectKey(key), value)) = map.next_entry()? {
            fields.push((key, value));
        }
        Ok(Json::Object(JsonObject(fields)))
    }
}

struct ObjectKey<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for ObjectKey<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ObjectKeyVisitor)
    }
}

struct ObjectKeyVisitor;

impl<'de> Visitor<'de> for ObjectKeyVisitor {
    type Value = ObjectKey<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<ObjectKey<'de>, E> {
        Ok(ObjectKey(Cow::Borrowed(key)))
    }

    fn visit_str<E>(self, key: &str) -> Result<ObjectKey<'de>, E> {
        Ok(ObjectKey(Cow::Owned(key.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn record(text: &str) -> JsonObject<'_> {
        match serde_json::from_str(text) {
            Ok(Json::Object(record)) => record,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn text_without_escapes_is_borrowed() {
        let record = record(r#"{"a":"plain","b":"\u0041\n"}"#);
        assert!(matches!(record.field("a"), Json::Text(Cow::Borrowed("plain"))));
        assert_eq!((record.text("b"), record.text("c")), ("A".to_owned(), String::new()));
    }

    #[test]
    fn exact_key_wins_and_the_last_one_counts() {
        let record = record(r#"{"ID":1,"id":2,"Id":3,"id":4}"#);
        assert_eq!((record.count("id"), record.count("Id"), record.count("iD")), (Some(4), Some(3), Some(4)));
    }

    #[test]
    fn counts_are_whole_numbers_in_any_spelling() {
        let text = r#"{"a":7,"b":"7","c":7.0,"d":7.5,"e":-7,"f":4294967296,"g":[7],"h":true,"i":" 7 "}"#;
        let record = record(text);
        let counts = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].map(|name| record.count(name));
        let seven = Some(7);
        assert_eq!(counts, [seven, seven, seven, None, None, None, None, None, seven, None]);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            // Quarters are exact in binary; the parser is not exact to the last digit of every number.
            any::<i32>().prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let object = prop::collection::btree_map(".{0,3}", inner.clone(), 0..4);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::from),
                object.prop_map(|fields| json!(fields)),
            ]
        })
    }

    fn owned(json: &Json<'_>) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(flag) => json!(flag),
            Json::Number(number) => Value::Number(number.clone()),
            Json::Text(text) => json!(text),
            Json::List(list) => list.iter().map(owned).collect(),
            Json::Object(JsonObject(fields)) => {
                fields.iter().map(|(key, value)| (key.clone().into_owned(), owned(value))).collect()
            }
        }
    }

    proptest! {
        #[test]
        fn any_value_is_decoded_unchanged(value in any_json()) {
            let text = value.to_string();
            prop_assert_eq!(owned(&serde_json::from_str(&text).unwrap()), value);
        }
    }
}
