//! A JSON object of annotations, as Mozilla's clients send it.

use std::fmt;

use crash::AnnotationValue;
use serde::{
    Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{answer::Malformed, kept::Kept};

/// Keeps the entries of a JSON object, one after the other: nothing is built of those that there is no room for.
///
/// Strings are decoded; every other value is kept as its JSON text, as it came.
///
/// # Errors
/// [`Malformed::InvalidJson`], or [`Malformed::InvalidJsonValue`] when it is JSON but no object.
pub(crate) fn add_extra(kept: &mut Kept, json: &[u8]) -> Result<(), Malformed> {
    let whole: &RawValue = serde_json::from_slice(json).map_err(|_| Malformed::InvalidJson)?;
    if !whole.get().starts_with('{') {
        return Err(Malformed::InvalidJsonValue);
    }
    let mut entries = serde_json::Deserializer::from_str(whole.get());
    entries.deserialize_map(Entries(kept)).map_err(|_| Malformed::InvalidJson)
}

struct Entries<'k>(&'k mut Kept);

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of annotations")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some((name, value)) = entries.next_entry::<String, &RawValue>()? {
            let name = self.0.clean(&name);
            self.0.add(name, AnnotationValue::Text(text(value)));
        }
        Ok(())
    }
}

/// A string that is none, because of half a surrogate pair, is kept as its JSON text too.
fn text(value: &RawValue) -> String {
    let json = value.get();
    if json.starts_with('"') { serde_json::from_str(json).ok() } else { None }
        .unwrap_or_else(|| json.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Kept, Malformed, add_extra};
    use crate::config::Config;

    type Entries = Vec<(String, String)>;

    fn read(config: &Config, json: &str) -> Result<(Entries, Vec<String>), Malformed> {
        let mut kept = Kept::new(config);
        add_extra(&mut kept, json.as_bytes())?;
        let (annotations, notes) = kept.finish();
        let annotations = annotations
            .iter()
            .map(|(name, value)| (name.to_owned(), value.as_text().unwrap().to_owned()))
            .collect();
        Ok((annotations, notes))
    }

    #[test]
    fn strings_are_decoded_and_other_values_are_kept_as_they_came() {
        let json = r#" {"a":"caf\u00e9\n","b":1e400,"c":[1, {"x" : null}],"d":"\ud800","e":10000000000000000000001} "#;
        let (annotations, notes) = read(&Config::default(), json).unwrap();
        let expected = [
            ("a", "caf\u{e9}\n"),
            ("b", "1e400"),
            ("c", r#"[1, {"x" : null}]"#),
            ("d", r#""\ud800""#),
            ("e", "10000000000000000000001"),
        ];
        assert_eq!(annotations, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(notes.is_empty());
    }

    #[test]
    fn of_one_name_the_last_wins_with_a_note_even_where_there_is_no_room_for_another() {
        let config = Config { max_annotations: 2, ..Config::default() };
        let (annotations, notes) = read(&config, r#"{"a":"1","b":"2","c":"3","a":"4"}"#).unwrap();
        assert_eq!(annotations, [("a", "4"), ("b", "2")].map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert_eq!(notes, ["duplicate_annotation", "too_many_annotations"]);
    }

    #[test]
    fn a_value_that_is_deep_is_text_like_any_other() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let (annotations, _) = read(&Config::default(), &format!("{{\"a\":{deep}}}")).unwrap();
        assert_eq!(annotations, [("a".to_owned(), deep)]);
    }

    #[test]
    fn what_is_no_object_or_no_json_is_refused() {
        for json in ["[1]", "\"text\"", "null"] {
            assert_eq!(read(&Config::default(), json), Err(Malformed::InvalidJsonValue), "{json}");
        }
        for json in ["", "{", "[1", "{\"a\":1}x", "{\"a\":}", "{1:2}"] {
            assert_eq!(read(&Config::default(), json), Err(Malformed::InvalidJson), "{json}");
        }
    }
}
