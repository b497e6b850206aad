use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// By this name the reader knows that a secret is wanted, and looks at where the value came from.
pub(crate) const SECRET: &str = "$settings::Secret";

/// What stands in place of a secret wherever it is shown.
pub(crate) const REDACTED: &str = "<redacted>";

/// A password, a key, a token: anything that must not be seen in a file under version control, a log or a dump.
///
/// A field `password: Secret` is filled from the environment (`CRASHMILL__FACTS__PASSWORD`), or from a file of
/// its own that the configuration names (`password_file = "/run/secrets/facts"`, of which a trailing line break
/// is dropped). In the configuration file itself it is refused, unless it is empty.
///
/// It works in any struct that serde reads field by field. Below `#[serde(flatten)]`, `untagged` or an enum with
/// an inner tag serde hides where a value came from, and a secret is refused.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret that did not come from the configuration.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True when none was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn shown(&self) -> &'static str {
        if self.is_empty() { "" } else { REDACTED }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.shown(), f)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(SECRET, SecretVisitor)
    }
}

struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }

    /// Only the reader of this crate hands over a bare string, and only after it has looked at its origin.
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret(text.to_owned()))
    }

    /// Every other deserializer lands here, with a value of unknown origin.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Secret, D::Error> {
        if String::deserialize(deserializer)?.is_empty() {
            return Ok(Secret::default());
        }
        Err(de::Error::custom(
            "a secret is only read by settings::load, from the environment or a file of its own",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_redacted_and_an_empty_one_as_empty() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "\"<redacted>\"");
        assert_eq!(format!("{:?}", Secret::default()), "\"\"");
        assert_eq!(toml::Value::try_from(Secret::new("hunter2")).unwrap().as_str(), Some("<redacted>"));
        assert_eq!(Secret::new("hunter2").expose(), "hunter2");
    }

    #[test]
    fn other_deserializers_cannot_smuggle_a_secret_in() {
        #[derive(serde::Deserialize, Debug)]
        struct Section {
            password: Secret,
        }
        let refused = toml::from_str::<Section>("password = 'hunter2'").unwrap_err();
        assert!(refused.message().contains("only read by settings::load"), "{refused}");
        assert!(toml::from_str::<Section>("password = ''").unwrap().password.is_empty());
    }
}
