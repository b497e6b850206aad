//! The boundary of a multipart body, from its Content-Type.

use crate::answer::Malformed;

/// The longest boundary that RFC 2046 allows, in bytes.
const MAX_BOUNDARY: usize = 70;

/// Reads the boundary of a `multipart/form-data` or `multipart/mixed` body.
///
/// Clients write it in many ways: type and parameter names in any case, `boundary` anywhere among the parameters,
/// in quotes or not.
///
/// # Errors
/// No header, another type, or no usable boundary.
pub(crate) fn boundary(content_type: Option<&str>) -> Result<String, Malformed> {
    let content_type =
        content_type.map(str::trim).filter(|text| !text.is_empty()).ok_or(Malformed::NoContentType)?;
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !["multipart/form-data", "multipart/mixed"].iter().any(|known| kind.trim().eq_ignore_ascii_case(known))
    {
        return Err(Malformed::WrongContentType);
    }
    let value = parameter(parameters, "boundary").ok_or(Malformed::NoBoundary)?;
    if value.is_empty() || value.len() > MAX_BOUNDARY { Err(Malformed::NoBoundary) } else { Ok(value) }
}

/// The value of a parameter of a header, without its quotes.
fn parameter(parameters: &str, wanted: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        let (name, after) = rest.split_once('=')?;
        // What stands before the name on this parameter: earlier parameters without a value, and blanks.
        let name = name.rsplit(';').next().unwrap_or(name).trim();
        let (value, next) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let (value, next) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), next)
            }
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = next;
    }
}

/// Reads up to the closing quote; a backslash keeps the character after it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boundary_is_found_however_it_is_written() {
        for text in [
            "multipart/form-data; boundary=abc",
            "multipart/form-data;boundary=\"abc\"",
            "Multipart/Form-Data; charset=utf-8; Boundary=abc",
            "multipart/mixed; boundary=abc; charset=\"a;b=c\"",
            "multipart/form-data; charset=\"a;boundary=x\"; boundary=abc ",
            "multipart/form-data; flag; boundary=abc",
        ] {
            assert_eq!(boundary(Some(text)), Ok("abc".to_owned()), "{text}");
        }
    }

    #[test]
    fn a_type_without_a_usable_boundary_is_refused_with_the_reason() {
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        for (text, reason) in [
            (None, Malformed::NoContentType),
            (Some(" "), Malformed::NoContentType),
            (Some("application/json"), Malformed::WrongContentType),
            (Some("multipart/form-data"), Malformed::NoBoundary),
            (Some("multipart/form-data; boundary="), Malformed::NoBoundary),
            (Some("multipart/form-data; boundary=\"abc"), Malformed::NoBoundary),
            (Some(long.as_str()), Malformed::NoBoundary),
        ] {
            assert_eq!(boundary(text), Err(reason), "{text:?}");
        }
    }
}
