//! Text out of dumps and symbol files, made fit to show.

use symbolic_common::Name;
use symbolic_demangle::{Demangle as _, DemangleOptions};

/// Longest name of a file, thread, register or the like, in bytes.
pub(crate) const NAME: usize = 1024;
/// Longest name of a function, in bytes. C++ templates make them long, and signatures look at their end.
pub(crate) const FUNCTION: usize = 8192;

/// Replaces control characters, which could forge lines and drive terminals, and cuts what is too long.
pub(crate) fn clean(text: &str, longest: usize) -> String {
    let end = text.floor_char_boundary(longest);
    text.get(..end)
        .unwrap_or_default()
        .chars()
        .map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char })
        .collect()
}

/// The last part of a path, Windows' or another's.
pub(crate) fn leaf(path: &str) -> String {
    clean(minidump_common::utils::basename(path), NAME)
}

/// A function's name as people read it: symbol tables of stripped modules hold mangled ones.
///
/// Name and parameters, as symbol files write the functions that they know more of.
pub(crate) fn function(name: &str) -> String {
    let demangled = Name::from(name).demangle(DemangleOptions::name_only().parameters(true));
    clean(demangled.as_deref().unwrap_or(name), FUNCTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_loses_its_control_characters_and_its_excess() {
        assert_eq!(clean("a\u{1b}[2Jb\r\nc\0", NAME), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}");
        assert_eq!(clean("aé", 2), "a");
        assert_eq!(clean("ünïcödé stays", NAME), "ünïcödé stays");
    }

    #[test]
    fn of_a_path_the_last_part_is_kept() {
        assert_eq!(leaf("C:\\Program Files\\app.exe"), "app.exe");
        assert_eq!(leaf("/usr/lib/libc.so.6"), "libc.so.6");
    }

    #[test]
    fn mangled_names_are_made_readable_and_others_left_alone() {
        assert_eq!(function("_ZN3foo3barEi"), "foo::bar(int)");
        assert_eq!(function("_RNvC3foo4main"), "foo::main");
        assert_eq!(function("?run@App@@QEAAXH@Z"), "App::run(int)");
        assert_eq!(function("operator new(unsigned long)"), "operator new(unsigned long)");
    }
}
