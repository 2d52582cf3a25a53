//! JSON as feeds and lists have it: an object with texts, whatever else may be in it.

use serde_json::{Map, Value};

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object(Map<String, Value>);

impl Object {
    /// Reads an object with nothing but space around it; the error says what is wrong, and where.
    pub fn read(text: &str) -> Result<Self, String> {
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err("expected an object".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether it has a field of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether the field of this name is `null`.
    pub fn is_null(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(Value::is_null)
    }

    /// The text in the field of this name, if it has one there.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_beside_anything_else() {
        let text = r#" {"a":1,"b":[-1,0.5,[],{"a":"inner"}],"c":true,"d":null,"a":"last"} "#;
        let object = Object::read(text).unwrap();
        assert_eq!((object.text("a"), object.text("b"), object.text("e")), (Some("last"), None, None));
        assert!(object.has("d") && object.is_null("d"));
        assert!(object.has("b") && !object.is_null("b") && !object.has("e") && !object.is_null("e"));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let refusal = |text| Object::read(text).unwrap_err();
        assert_eq!(refusal("[]"), "expected an object");
        assert_eq!(refusal("{\"a\":"), "EOF while parsing a value at line 1 column 5");
        assert!(refusal("{} x").starts_with("trailing characters"));
    }
}
