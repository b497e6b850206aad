//! What the client says about its crash.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The value of an annotation: text, or the bytes that came when they are not UTF-8.
///
/// In JSON text is a string and bytes are `{"b64": "..."}` (standard base64, padded).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnnotationValue {
    /// UTF-8, whatever its content: NUL and control characters are the client's right.
    Text(String),
    /// Bytes that are not UTF-8, kept as they came.
    Bytes(Vec<u8>),
}

impl AnnotationValue {
    /// Takes what a client sent.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(|error| Self::Bytes(error.into_bytes()), Self::Text)
    }

    /// The text, if it is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bytes(_) => None,
        }
    }

    /// The bytes as the client sent them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl From<&str> for AnnotationValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for AnnotationValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Base64 {
    b64: String,
}

impl Serialize for AnnotationValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => Base64 { b64: STANDARD.encode(bytes) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for AnnotationValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Base64(Base64),
        }
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(Self::Text(text)),
            Form::Base64(Base64 { b64 }) => {
                STANDARD.decode(b64).map(Self::Bytes).map_err(|_| de::Error::custom("b64 is not base64"))
            }
        }
    }
}

/// The annotations of a crash by their names, in the order of the names. Untrusted: any client can send anything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Annotations(BTreeMap<String, AnnotationValue>);

impl Annotations {
    /// The text of an annotation; nothing when it is absent or is no text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(AnnotationValue::as_text)
    }

    /// The value of an annotation.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&AnnotationValue> {
        self.0.get(name)
    }

    /// Sets an annotation and returns the value that it had before.
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        value: impl Into<AnnotationValue>,
    ) -> Option<AnnotationValue> {
        self.0.insert(name.into(), value.into())
    }

    /// Takes an annotation out.
    pub fn remove(&mut self, name: &str) -> Option<AnnotationValue> {
        self.0.remove(name)
    }

    /// All names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AnnotationValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out those whose names are listed: the ones that can identify a person.
    #[must_use]
    pub fn split_off(&mut self, names: &[String]) -> Self {
        Self(names.iter().filter_map(|name| self.0.remove_entry(name.as_str())).collect())
    }
}

impl<N: Into<String>, V: Into<AnnotationValue>> FromIterator<(N, V)> for Annotations {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn annotations_keep_every_byte_through_json(entries: std::collections::BTreeMap<String, Vec<u8>>) {
            let annotations: Annotations =
                entries.iter().map(|(name, bytes)| (name.clone(), AnnotationValue::from_bytes(bytes.clone()))).collect();
            let json = serde_json::to_vec(&annotations).unwrap();
            let back: Annotations = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(&back, &annotations);
            for (name, bytes) in &entries {
                prop_assert_eq!(back.value(name).unwrap().as_bytes(), &bytes[..]);
            }
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_written_as_base64() {
        let annotations: Annotations =
            [("Name", AnnotationValue::from_bytes(vec![0xff, 0x00]))].into_iter().collect();
        assert_eq!(serde_json::to_string(&annotations).unwrap(), r#"{"Name":{"b64":"/wA="}}"#);
        assert_eq!(annotations.get("Name"), None);
    }

    #[test]
    fn the_listed_names_are_split_off() {
        let mut annotations: Annotations =
            [("Email", "a@b.example"), ("Version", "1.0")].into_iter().collect();
        let private = annotations.split_off(&["Email".to_owned(), "URL".to_owned()]);
        assert_eq!(private.get("Email"), Some("a@b.example"));
        assert_eq!((private.len(), annotations.len(), annotations.get("Email")), (1, 1, None));
    }
}
