//! The data of one event: its personal fields sealed, or opened; every other byte stays as it is.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of a JSON object, as they stand in its text.
pub(super) struct Fields<'a> {
    text: &'a [u8],
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// What is wrong with data that has personal fields.
pub(super) const NO_OBJECT: &str = "it is not a JSON object";
const TWICE: &str = "a field is in it twice";

/// A value that is sealed; without any bytes, one that was never kept.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed<'a> {
    #[serde(rename = "$sealed", borrow)]
    bytes: Cow<'a, str>,
}

impl<'a> Fields<'a> {
    /// Reads the data; none when it is no JSON object.
    pub(super) fn of(text: &'a [u8]) -> Option<Self> {
        let Object(fields) = serde_json::from_slice(text).ok()?;
        Some(Self { text, fields })
    }

    /// The text of the value with this name.
    ///
    /// # Errors
    /// When there are two: readers differ in which of them they take.
    pub(super) fn value(&self, name: &str) -> Result<Option<&'a str>, &'static str> {
        let mut values = self.fields.iter().filter(|(key, _)| key == name);
        match (values.next(), values.next()) {
            (Some(_), Some(_)) => Err(TWICE),
            (value, _) => Ok(value.map(|(_, value)| value.get())),
        }
    }

    /// The text of the value with this name, where it is one.
    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, &'static str> {
        let value = self.value(name)?;
        Ok(value.and_then(|value| serde_json::from_str::<Text<'_>>(value).ok()).map(|text| text.0))
    }

    /// The data with other values in the place of some, which are of it.
    pub(super) fn replaced(&self, mut values: Vec<(&'a str, String)>) -> Vec<u8> {
        values.sort_unstable_by_key(|(value, _)| value.as_ptr());
        let longer: usize = values.iter().map(|(_, new)| new.len()).sum();
        let mut bytes = Vec::with_capacity(self.text.len() + longer);
        let mut at = 0;
        for (value, new) in values {
            let Range { start, end } = self.range(value);
            bytes.extend_from_slice(&self.text[at..start]);
            bytes.extend_from_slice(new.as_bytes());
            at = end;
        }
        bytes.extend_from_slice(&self.text[at..]);
        bytes
    }

    fn range(&self, value: &str) -> Range<usize> {
        let start = value.as_ptr() as usize - self.text.as_ptr() as usize;
        start..start + value.len()
    }
}

/// The text of a JSON value that holds sealed bytes.
pub(super) fn sealed_value(bytes: &[u8]) -> String {
    format!("{{\"$sealed\":\"{}\"}}", URL_SAFE_NO_PAD.encode(bytes))
}

impl<'a> Sealed<'a> {
    /// Reads a value; none when it is none that is sealed.
    pub(super) fn of(value: &'a str) -> Option<Self> {
        // Most are texts.
        if !value.starts_with('{') {
            return None;
        }
        serde_json::from_str(value).ok()
    }

    /// The sealed bytes; none when its text holds none.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        URL_SAFE_NO_PAD.decode(&*self.bytes).ok()
    }
}

#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Object<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((Text(key), value)) = map.next_entry()? {
                    fields.push((key, value));
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_replaced_changes() {
        let text = br#" { "a" : "x\"y" ,"b":1e400, "c": {"d": [1]} } "#;
        let fields = Fields::of(text).unwrap();
        let value = |name| fields.value(name).unwrap().unwrap();
        assert_eq!(value("a"), r#""x\"y""#);
        assert_eq!(fields.text("a").unwrap().unwrap(), "x\"y");
        assert_eq!(fields.text("b"), Ok(None));
        let replaced = fields.replaced(vec![(value("c"), "2".into()), (value("a"), "null".into())]);
        assert_eq!(replaced, br#" { "a" : null ,"b":1e400, "c": 2 } "#);
        assert_eq!(fields.replaced(vec![]), text);
    }

    #[test]
    fn what_is_no_object_or_has_a_field_twice_is_told() {
        for text in [&b""[..], b"1", b"[1]", b"\"a\"", b"{\"a\":}", b"{} {}", b"\xff"] {
            assert!(Fields::of(text).is_none());
        }
        let twice = Fields::of(br#"{"a":1,"\u0061":2}"#).unwrap();
        assert_eq!(twice.value("a"), Err(TWICE));
    }

    #[test]
    fn a_sealed_value_is_told_from_others() {
        let value = sealed_value(&[1, 2, 255]);
        assert_eq!(Sealed::of(&value).unwrap().bytes(), Some(vec![1, 2, 255]));
        assert_eq!(Sealed::of(&sealed_value(&[])).unwrap().bytes(), Some(vec![]));
        assert_eq!(Sealed::of(r#"{"$sealed":"="}"#).unwrap().bytes(), None);
        for other in [r#""$sealed""#, r#"{"$sealed":1}"#, r#"{"$sealed":"","a":1}"#, "{}", "1"] {
            assert!(Sealed::of(other).is_none(), "{other}");
        }
    }
}
