//! C and C++ functions.

use std::borrow::Cow;

use super::{
    NoName,
    brackets::{Brackets, no_operator},
    tokens,
};

/// What may follow the arguments of a member function, in the order in which it is taken off; each once.
const QUALIFIERS: [&str; 5] = ["const", "const&", "const &", "&&", "&"];

/// Types in angle brackets. What names a function rather than a type stays: `<name omitted>`, `<X as Y>`, `<x in y>`.
const TYPES: Brackets = Brackets {
    open: b'<',
    close: b'>',
    replacement: "<T>",
    stays_after: &["name omitted", "IPC::ParamTraits", " in ", " as "],
    stays: |token| {
        ["name omitted", "IPC::ParamTraits", " in ", " as "].iter().any(|word| token.contains(word))
    },
    operator: operator_of_comparison,
};

const ARGUMENTS: Brackets = Brackets {
    open: b'(',
    close: b')',
    replacement: "",
    stays_after: &["anonymous namespace", "operator"],
    stays: |token| token == ANONYMOUS || token.contains("operator"),
    operator: no_operator,
};

/// A compiler's remark.
const REMARKS: Brackets = Brackets {
    open: b'[',
    close: b']',
    replacement: "",
    stays_after: &[],
    stays: |_| false,
    operator: no_operator,
};

const ANONYMOUS: &str = "(anonymous namespace)";
/// The same, as Microsoft's compiler writes it.
const ANONYMOUS_OF_MICROSOFT: &str = "`anonymous namespace'";

/// A function's name without qualifiers, return type, types and arguments.
pub(super) fn stem(function: &str) -> Result<Cow<'_, str>, NoName> {
    let mut function = function;
    for qualifier in QUALIFIERS {
        if let Some(before) = function.strip_suffix(qualifier) {
            function = crate::python::trim_end(before);
        }
    }
    // A conversion is called by a type, whose words must not be taken for what comes before the name.
    if !function.contains("::operator") {
        function = tokens::without_prefix(function)?;
    }
    let name = if function.contains(ANONYMOUS_OF_MICROSOFT) {
        Cow::Owned(function.replace(ANONYMOUS_OF_MICROSOFT, ANONYMOUS))
    } else {
        Cow::Borrowed(function)
    };
    let name = without_lambda_numbers(name);
    let name = TYPES.collapse(name);
    let name = ARGUMENTS.collapse(name);
    Ok(if name.contains("clone .cold") { REMARKS.collapse(name) } else { name })
}

/// `::$_3::` is the fourth lambda of its file, until somebody writes one before it.
fn without_lambda_numbers(name: Cow<'_, str>) -> Cow<'_, str> {
    const BEFORE: &str = "::$_";
    if !name.contains(BEFORE) {
        return name;
    }
    let mut without = String::with_capacity(name.len());
    let mut rest = &*name;
    while let Some((before, after)) = rest.split_once(BEFORE) {
        without.push_str(before);
        let end = after.trim_start_matches(|digit: char| digit.is_ascii_digit());
        match end.strip_prefix("::") {
            Some(end) if end.len() + 2 < after.len() => {
                without.push_str("::$::");
                rest = end;
            }
            _ => {
                without.push_str(BEFORE);
                rest = after;
            }
        }
    }
    without.push_str(rest);
    Cow::Owned(without)
}

/// How long the name of an operator is that begins with an angle bracket here.
fn operator_of_comparison(before: &str, from: &str) -> usize {
    let Some(before) = before.strip_suffix("operator") else { return 0 };
    if before.ends_with(|character: char| character.is_alphanumeric() || character == '_') {
        return 0;
    }
    ["<=>", "<<=", "<<", "<=", "<"].iter().find(|name| from.starts_with(**name)).map_or(0, |name| name.len())
}
