//! Rust functions.

use std::borrow::Cow;

use super::{
    NoName,
    brackets::{Brackets, no_operator},
    tokens,
};

/// Types in angle brackets. `<X as Y>` says whose function it is, and stays.
const TYPES: Brackets = Brackets {
    open: b'<',
    close: b'>',
    replacement: "<T>",
    stays_after: &[" as "],
    stays: |token| token.contains(" as "),
    operator: no_operator,
};

const ARGUMENTS: Brackets = Brackets {
    open: b'(',
    close: b')',
    replacement: "",
    stays_after: &[],
    stays: |_| false,
    operator: no_operator,
};

/// A function's name without return type, types and arguments.
pub(super) fn stem(function: &str) -> Result<Cow<'_, str>, NoName> {
    let name = tokens::without_prefix(function)?;
    Ok(ARGUMENTS.collapse(TYPES.collapse(Cow::Borrowed(name))))
}

/// A name without the hash that the compiler puts behind it, which is new in every build.
pub(super) fn without_hash(name: Cow<'_, str>) -> Cow<'_, str> {
    // A line's end after it does not count.
    let (line, end) = match name.strip_suffix('\n') {
        Some(line) => (line, "\n"),
        None => (&*name, ""),
    };
    let Some((path, hash)) = line.rsplit_once("::h") else { return name };
    if hash.is_empty() || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return name;
    }
    Cow::Owned(format!("{path}{end}"))
}

/// Functions of the standard library that the compiler of 1.34 named without their module, by their source file.
const WITHOUT_MODULE: [(&str, &str, &str); 9] = [
    ("src/liballoc/raw_vec.rs", "capacity_overflow", "alloc::raw_vec::capacity_overflow"),
    ("src/libcore/option.rs", "expect_failed", "core::option::expect_failed"),
    ("src/libcore/panicking.rs", "panic", "core::panicking::panic"),
    ("src/libcore/panicking.rs", "panic_bounds_check", "core::panicking::panic_bounds_check"),
    ("src/libcore/panicking.rs", "panic_fmt", "core::panicking::panic_fmt"),
    ("src/libcore/slice/mod.rs", "slice_index_order_fail", "core::slice::slice_index_order_fail"),
    ("src/libstd/panicking.rs", "begin_panic_fmt", "std::panicking::begin_panic_fmt"),
    ("src/libstd/panicking.rs", "continue_panic_fmt", "std::panicking::continue_panic_fmt"),
    ("src/libstd/panicking.rs", "rust_panic_with_hook", "std::panicking::rust_panic_with_hook"),
];

/// A function's name with the module that the compiler of 1.34 left out.
pub(crate) fn with_module<'a>(source: &str, function: &'a str) -> &'a str {
    let whole = WITHOUT_MODULE.iter().find(|(file, name, _)| *file == source && *name == function);
    whole.map_or(function, |(_, _, whole)| whole)
}
