//! Values of JSON as the reference takes them, which is written in Python: what counts as true, as a number, as text.

use std::borrow::Cow;

use serde_json::Value;

/// Whether the reference takes a value for true: whatever is neither missing, nor empty, nor 0.
pub(crate) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
    }
}

/// Why a value is no whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoNumber {
    /// It is text that says no whole number.
    BadText,
    /// It is neither text nor a number.
    OtherKind,
}

/// A value as a whole number. Fractions are cut off; what is out of range is the nearest that is not.
pub(crate) fn int(value: &Value) -> Result<i64, NoNumber> {
    match value {
        Value::Bool(is) => Ok(i64::from(*is)),
        Value::Number(number) => Ok(whole(number)),
        Value::String(text) => int_of_text(text).ok_or(NoNumber::BadText),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(NoNumber::OtherKind),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "`as` takes the nearest whole number, as is wanted")]
fn whole(number: &serde_json::Number) -> i64 {
    let beyond = || number.as_f64().unwrap_or_default() as i64;
    number.as_i64().unwrap_or_else(beyond)
}

/// Decimal digits with a sign before them, blanks around them, and single underscores between them.
pub(crate) fn int_of_text(text: &str) -> Option<i64> {
    let text = trim(text);
    let (is_negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let is_number =
        digits.split('_').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    if !is_number {
        return None;
    }
    let size = digits
        .bytes()
        .filter(u8::is_ascii_digit)
        .fold(0i64, |size, digit| size.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    Some(if is_negative { -size } else { size })
}

/// A value as text.
pub(crate) fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(shown(other)),
    }
}

/// A value as it stands in a program.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("'{text}'"),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("'{key}': {}", shown(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// What counts as a blank: also four control characters that Rust does not count.
pub(crate) fn is_blank(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

/// Text without the blanks around it.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// Text without the blanks after it.
pub(crate) fn trim_end(text: &str) -> &str {
    text.trim_end_matches(is_blank)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_a_whole_number_only_when_all_of_it_is() {
        for (value, expected) in [
            (json!(" +1_000 "), Ok(1000)),
            (json!("-5"), Ok(-5)),
            (json!("1.5"), Err(NoNumber::BadText)),
            (json!("0x10"), Err(NoNumber::BadText)),
            (json!("1__0"), Err(NoNumber::BadText)),
            (json!(""), Err(NoNumber::BadText)),
            (json!("99999999999999999999999"), Ok(i64::MAX)),
            (json!(262_144.9), Ok(262_144)),
            (json!(true), Ok(1)),
            (json!(null), Err(NoNumber::OtherKind)),
            (json!([1]), Err(NoNumber::OtherKind)),
        ] {
            assert_eq!(int(&value), expected, "{value}");
        }
    }

    #[test]
    fn values_are_shown_as_a_program_would_write_them() {
        assert_eq!(text(&json!("a")), "a");
        assert_eq!(text(&json!(["a", null, true, 1.5, {"b": 2}])), "['a', None, True, 1.5, {'b': 2}]");
    }
}
