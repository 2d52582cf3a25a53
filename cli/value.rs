//! Values between the library's tree and the words and JSON documents of people.

use std::fmt;

use loader::btf::Value;
use loader::{Error, ErrorKind, Result, quote};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// What a word of the command line says: JSON if it looks like a list, fields or a quoted text, otherwise itself, of
/// which its type makes what it can.
pub(crate) fn parse(word: &str) -> Result<Value> {
    if !word.trim_start().starts_with(['{', '[', '"']) {
        return Ok(Value::Text(word.to_owned()));
    }
    let read: serde_json::Result<Json<Value>> = serde_json::from_str(word);
    read.map(|json| json.0)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, format!("{} is no JSON: {error}", quote(word))))
}

/// A value as one word, which [`parse`] reads again: a text is itself, lists and fields are JSON.
pub(crate) fn word(value: &Value) -> String {
    match value {
        Value::Text(text) if !text.starts_with(['{', '[', '"']) => text.clone(),
        Value::Pointer(_) | Value::Bytes(_) => as_text(value),
        // No value of the library fails to be JSON.
        other => serde_json::to_string(&Json(other)).unwrap_or_default(),
    }
}

/// A text as JSON, which [`parse`] reads again.
pub(crate) fn quoted(text: &str) -> String {
    // As above.
    serde_json::to_string(&Json(&Value::Text(text.to_owned()))).unwrap_or_default()
}

/// A value as JSON, fields in the order of the source; pointers and bytes, for which JSON has no words, are texts.
pub(crate) struct Json<T>(pub(crate) T);

impl Serialize for Json<&Value> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(truth) => serializer.serialize_bool(*truth),
            Value::Int(number) => serializer.serialize_i128(*number),
            Value::Float(number) if number.is_finite() => serializer.serialize_f64(*number),
            Value::Float(number) => serializer.serialize_str(&number.to_string()),
            Value::Pointer(_) | Value::Bytes(_) => serializer.serialize_str(&as_text(self.0)),
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(list) => serializer.collect_seq(list.iter().map(Json)),
            Value::Fields(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, &Json(value))?;
                }
                map.end()
            }
        }
    }
}

impl Serialize for Json<Value> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Json(&self.0).serialize(serializer)
    }
}

fn as_text(value: &Value) -> String {
    match value {
        Value::Pointer(number) => format!("{number:#x}"),
        Value::Bytes(bytes) => format!("hex:{}", crate::format::hex(bytes)),
        _ => String::new(),
    }
}

impl<'de> Deserialize<'de> for Json<Value> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Json)
    }
}

/// Reads any JSON but `null`.
struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a boolean, a string, a list or an object of fields")
    }

    fn visit_bool<E>(self, truth: bool) -> std::result::Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E>(self, number: i64) -> std::result::Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> std::result::Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> std::result::Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Json(value)) = seq.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Value, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, Json(value))) = map.next_entry()? {
            fields.push((name, value));
        }
        Ok(Value::Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for text in ["eth0", "-1", "true", "192.0.2.1", "", "hex:00"] {
            assert_eq!(parse(text).unwrap(), Value::Text(text.to_owned()));
        }
        let text = r#"{"z":[1,-2,18446744073709551615],"a":{"on":true,"rate":0.5},"name":"eth0"}"#;
        assert_eq!(word(&parse(text).unwrap()), text);
        for text in ["[not", "{}", "\"quoted\"", "plain"] {
            let value = Value::Text(text.to_owned());
            assert_eq!(parse(&word(&value)).unwrap(), value);
        }
        assert_eq!(word(&Value::Pointer(255)), "0xff");
        assert_eq!(
            word(&Value::List(vec![Value::Bytes(vec![1, 2]), f64::NAN.into()])),
            r#"["hex:0102","NaN"]"#
        );
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let refusal = |text| parse(text).unwrap_err().to_string();
        assert!(refusal("[1,").starts_with("`[1,` is no JSON: EOF while parsing"), "{}", refusal("[1,"));
        assert!(
            refusal("[null]")
                .contains("expected a number, a boolean, a string, a list or an object of fields")
        );
        assert!(refusal("{} x").contains("is no JSON: trailing characters"));
    }
}
