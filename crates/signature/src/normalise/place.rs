//! Frames without a function, and the source files of those with one.

use std::borrow::Cow;

use crate::crash_data::{FrameData, Line, Offset, System};

/// What a frame without a function is called: file and line, else module, else unloaded module, else address.
///
/// Frames of our own stackwalks say more than a module: which build of it, and where in it. So programs without
/// symbols are told apart.
pub(crate) fn place(frame: &FrameData<'_>, system: System) -> String {
    if let Some(file) = frame.file.as_deref().filter(|file| !file.is_empty())
        && let Some(line) = line(&frame.line)
    {
        return format!("{}#{line}", base_name(file));
    }
    if let Some(module) = frame.module.as_deref().filter(|module| !module.is_empty()) {
        let name = module.trim_matches(['[', ']']);
        let name = if system == System::Windows { name.to_lowercase() } else { name.to_owned() };
        return match &frame.place_in_module {
            Some(place) if !name.is_empty() => format!("{name}{place}"),
            _ => name,
        };
    }
    match &frame.unloaded_module {
        Some(module) => format!("(unloaded {module})"),
        None => frame.offset.as_ref().map(offset).unwrap_or_default(),
    }
}

/// The line, where it says one: 0 is none.
fn line<'a>(line: &'a Line<'_>) -> Option<Cow<'a, str>> {
    match line {
        Line::Missing | Line::Number(0) => None,
        Line::Number(number) => Some(Cow::Owned(number.to_string())),
        Line::Text(text) => Some(Cow::Borrowed(&**text)).filter(|text| !text.is_empty()),
    }
}

/// The last part of a path of either kind.
fn base_name(path: &str) -> &str {
    let path = path.trim_end_matches(['/', '\\']);
    let separator = if path.contains('\\') { '\\' } else { '/' };
    path.rsplit(separator).next().unwrap_or(path)
}

fn offset(offset: &Offset<'_>) -> String {
    match offset {
        Offset::Address(address) => format!("@{address}"),
        Offset::Text(text) => address(text),
        Offset::Shown(text) => format!("@{text}"),
    }
}

/// An address without leading zeros; what is no address stays.
fn address(offset: &str) -> String {
    if offset.is_empty() {
        return String::new();
    }
    let text = crate::python::trim(offset);
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) if text.starts_with('-') => ("-", digits),
        Some(digits) => ("", digits),
        None => ("", text),
    };
    let prefixed = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let digits = prefixed.map_or(digits, |digits| digits.strip_prefix('_').unwrap_or(digits));
    let is_hex =
        digits.split('_').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit()));
    if !is_hex {
        return format!("@{offset}");
    }
    let digits = digits.replace('_', "").to_ascii_lowercase();
    match digits.trim_start_matches('0') {
        "" => "@0x0".to_owned(),
        digits => format!("@{sign}0x{digits}"),
    }
}

/// The file that a path names, without the source control system or the drive before it. A bare relative path is none.
pub(crate) fn source_file(path: &str) -> Option<&str> {
    // Most paths are plain ones.
    if !path.contains(':') {
        return path.starts_with('/').then_some(path);
    }
    let mut parts = path.split(':');
    match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (_, _, Some(file), Some(_), None) | (_, Some(file), None, ..) => Some(file),
        _ => path.starts_with('/').then_some(path),
    }
}
