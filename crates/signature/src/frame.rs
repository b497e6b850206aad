//! The text of a frame.

use crash::Frame;

use crate::lists;

/// The text by which a frame is known: the function; else file and line; else module and offset; else the address.
pub(crate) fn text_of(frame: &Frame) -> String {
    if let Some(function) = &frame.function {
        return normalise_function(function);
    }
    if let (Some(file), Some(line)) = (&frame.file, frame.line) {
        let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
        return format!("{name}#{line}");
    }
    match (&frame.module, frame.module_offset) {
        (Some(module), Some(offset)) => format!("{module}@{offset}"),
        (Some(module), None) => module.clone(),
        (None, _) => match frame.unloaded_modules.first() {
            Some(module) => format!("(unloaded {})", module.filename),
            None => format!("@{}", frame.offset),
        },
    }
}

/// A function's name without the hash that Rust's compiler adds.
pub(crate) fn normalise_function(function: &str) -> String {
    let without_hash = function.rsplit_once("::h").and_then(|(path, hash)| {
        (hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(path)
    });
    without_hash.unwrap_or(function).to_owned()
}

/// Whether a frame belongs to a platform's runtime.
pub(crate) fn is_runtime(frame: &Frame) -> bool {
    match (&frame.function, &frame.module) {
        (Some(function), _) => lists::is_runtime_function(function),
        (None, Some(module)) => lists::is_runtime_module(module),
        (None, None) => false,
    }
}
