//! JSON of which the known parts are taken where they have the expected type. Everything else is skipped: a value of
//! another type reads as the default.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

/// The largest number of items of one list that is kept. A longer list is an error.
const MAX_ITEMS: usize = 100_000;

/// A type that is read from JSON of any type.
pub(super) trait Shape: Default {
    /// The value for a text.
    fn of_text(_: &str) -> Self {
        Self::default()
    }

    /// The value for a number.
    fn of_number(_: f64) -> Self {
        Self::default()
    }

    /// The value for `true` or `false`.
    fn of_flag(_: bool) -> Self {
        Self::default()
    }

    /// The value for a list.
    fn of_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }

    /// The value for an object.
    fn of_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

/// Reads a [`Shape`] with serde.
pub(super) struct Lenient<T>(pub(super) T);

impl<'de, T: Shape> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor(PhantomData)).map(Self)
    }
}

struct ShapeVisitor<T>(PhantomData<T>);

impl<'de, T: Shape> Visitor<'de> for ShapeVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(T::of_text(text))
    }

    #[expect(clippy::cast_precision_loss, reason = "the numbers that are used are small")]
    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Ok(T::of_number(number as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "the numbers that are used are small")]
    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        Ok(T::of_number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        Ok(T::of_number(number))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<T, E> {
        Ok(T::of_flag(flag))
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        T::of_list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<T, A::Error> {
        T::of_object(object)
    }
}

/// A text; a number reads as its digits.
impl Shape for Option<Box<str>> {
    fn of_text(text: &str) -> Self {
        Some(text.into())
    }

    fn of_number(number: f64) -> Self {
        Some(number.to_string().into())
    }
}

/// A number, or a text with a number.
impl Shape for Option<f64> {
    fn of_text(text: &str) -> Self {
        text.trim().parse().ok().filter(|number: &f64| number.is_finite())
    }

    fn of_number(number: f64) -> Self {
        Some(number)
    }
}

impl Shape for Option<bool> {
    fn of_flag(flag: bool) -> Self {
        Some(flag)
    }
}

/// A list; a value that is no list reads as a list of that value.
impl<T: Shape> Shape for Vec<T> {
    fn of_text(text: &str) -> Self {
        vec![T::of_text(text)]
    }

    fn of_number(number: f64) -> Self {
        vec![T::of_number(number)]
    }

    fn of_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut items = Vec::new();
        while let Some(Lenient(item)) = list.next_element()? {
            if items.len() == MAX_ITEMS {
                return Err(A::Error::custom("a list has too many items"));
            }
            items.push(item);
        }
        Ok(items)
    }

    fn of_object<'de, A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        Ok(vec![T::of_object(object)?])
    }
}

/// An object of which only the member `Value` is of interest; a text reads as that member.
#[derive(Default)]
pub(super) struct Valued(pub(super) Option<Box<str>>);

impl Valued {
    /// The text, empty if there is none.
    pub(super) fn text(&self) -> &str {
        self.0.as_deref().unwrap_or_default().trim()
    }
}

impl Shape for Valued {
    fn of_text(text: &str) -> Self {
        Self(Some(text.into()))
    }

    fn of_number(number: f64) -> Self {
        Self(Shape::of_number(number))
    }

    fn of_object<'de, A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        let mut value = None;
        members(object, &["Value"], |_, object| {
            value = member(object)?;
            Ok(())
        })?;
        Ok(Self(value))
    }
}

/// Calls `take` for each member of `object` whose name is in `names`, and skips the others.
pub(super) fn members<'de, A: MapAccess<'de>>(
    mut object: A,
    names: &'static [&'static str],
    mut take: impl FnMut(&'static str, &mut A) -> Result<(), A::Error>,
) -> Result<(), A::Error> {
    while let Some(name) = object.next_key_seed(OneOf(names))? {
        match name {
            Some(name) => take(name, &mut object)?,
            None => drop(object.next_value::<IgnoredAny>()?),
        }
    }
    Ok(())
}

/// The value of the member whose name was read last.
pub(super) fn member<'de, T: Shape, A: MapAccess<'de>>(object: &mut A) -> Result<T, A::Error> {
    object.next_value().map(|Lenient(value)| value)
}

/// Reads a name and returns the equal one of the known names.
struct OneOf(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for OneOf {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for OneOf {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|known| **known == name).copied())
    }
}

/// Defines a struct that is read from an object, each field from the member with the given name.
macro_rules! object {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident { $( $field:ident: $type:ty = $member:literal, )+ }
    ) => {
        $(#[$attribute])*
        #[derive(Default)]
        $visibility struct $name { $( $visibility $field: $type, )+ }

        impl $crate::facts::lenient::Shape for $name {
            fn of_object<'de, A: serde::de::MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
                let mut this = Self::default();
                $crate::facts::lenient::members(object, &[$($member),+], |name, object| {
                    match name {
                        $( $member => this.$field = $crate::facts::lenient::member(object)?, )+
                        _ => {}
                    }
                    Ok(())
                })?;
                Ok(this)
            }
        }
    };
}
pub(super) use object;

#[cfg(test)]
mod tests {
    use super::*;

    object! {
        struct Sample {
            text: Option<Box<str>> = "text",
            number: Option<f64> = "number",
            flag: Option<bool> = "flag",
            list: Vec<Option<f64>> = "list",
            valued: Valued = "valued",
        }
    }

    fn read(json: &str) -> Sample {
        serde_json::from_str::<Lenient<Sample>>(json).unwrap().0
    }

    #[test]
    fn members_are_read_in_any_order_and_others_skipped() {
        let sample = read(
            r#"{"x": [{"text": 1}], "valued": {"Value": " v ", "Value2": 1}, "list": [1, "2"], "flag": true,
                "number": "7.5", "text": "t"}"#,
        );
        assert_eq!(sample.text.as_deref(), Some("t"));
        assert_eq!(sample.number, Some(7.5));
        assert_eq!(sample.flag, Some(true));
        assert_eq!(sample.list, [Some(1.0), Some(2.0)]);
        assert_eq!(sample.valued.text(), "v");
    }

    #[test]
    fn value_of_a_wrong_type_reads_as_absent() {
        let values =
            ["null", "true", "-1", "1.5", "\"\"", "\"NaN\"", "[[1], {}]", "{\"Value\": {\"a\": []}}"];
        for value in values {
            let members =
                ["text", "number", "flag", "list", "valued"].map(|name| format!("\"{name}\": {value}"));
            let sample = read(&format!("{{{}}}", members.join(",")));
            assert_eq!(sample.flag, (value == "true").then_some(true), "{value}");
            assert_eq!(
                sample.number,
                value.parse().ok().filter(|number: &f64| number.is_finite()),
                "{value}"
            );
            assert!(read(value).text.is_none(), "{value}");
        }
    }

    #[test]
    fn single_value_reads_as_a_list() {
        assert_eq!(read(r#"{"list": "3"}"#).list, [Some(3.0)]);
        assert_eq!(read(r#"{"list": 4}"#).list, [Some(4.0)]);
        assert!(read(r#"{"list": null}"#).list.is_empty());
    }

    #[test]
    fn list_without_end_is_an_error() {
        let json = format!("{{\"list\": [{}1]}}", "1,".repeat(MAX_ITEMS));
        assert!(serde_json::from_str::<Lenient<Sample>>(&json).is_err());
    }
}
