//! A Breakpad symbol file: the module it is for, and its text.
//!
//! The format is Breakpad's; its first line is `MODULE <os> <architecture> <debug id> <debug file>`, where only the last
//! part may contain spaces.

use std::path::{Path, PathBuf};

use crate::Error;

/// Leaves room for an ending within the 255 bytes that file systems give a name.
const LONGEST_NAME: usize = 200;
/// The 32 digits of a GUID, and one to eight of an age.
const ID_LENGTHS: std::ops::RangeInclusive<usize> = 33..=40;

/// The Breakpad symbols of one module.
///
/// `debug_file` and `debug_id` are checked: they are plain file names, whatever the file said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolFile {
    /// The name by which dumps refer to the module's debug information (`app.pdb`, `libapp.so`), without folders.
    pub debug_file: String,
    /// The GUID or build id, and an age, as 33 to 40 upper-case hex digits.
    pub debug_id: String,
    /// The system, in Breakpad's words: `Linux`, `Mac`, `windows`.
    pub os: String,
    /// The architecture, in Breakpad's words: `x86_64`, `arm64`.
    pub arch: String,
    /// The whole file.
    pub text: Vec<u8>,
}

impl SymbolFile {
    /// Takes `text` for the symbols that its first line says they are; `file` is where it came from, for messages.
    pub(crate) fn parse(file: &Path, text: Vec<u8>) -> Result<Self, Error> {
        let bad = |reason| Error::BadModule { file: file.to_owned(), reason };
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = std::str::from_utf8(line).map_err(|_| bad("the first line is not UTF-8"))?;
        let mut words = line.trim_end_matches('\r').splitn(5, ' ');
        let (Some("MODULE"), Some(os), Some(arch), Some(debug_id), Some(debug_file)) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            return Err(bad("the first line must be `MODULE <os> <architecture> <debug id> <debug file>`"));
        };
        if !is_debug_id(debug_id) {
            return Err(bad("the debug id must be 33 to 40 hex digits, not all of them zero"));
        }
        if !is_file_name(debug_file) {
            return Err(bad(
                "the debug file must be a plain name without folders, of at most 200 bytes, and not begin with a dot",
            ));
        }
        Ok(Self {
            debug_file: debug_file.to_owned(),
            debug_id: debug_id.to_ascii_uppercase(),
            os: os.to_owned(),
            arch: arch.to_owned(),
            text,
        })
    }

    /// Where it belongs below a folder of symbols: `<debug file>/<debug id>/<debug file without .pdb>.sym`.
    #[must_use]
    pub fn relative_path(&self) -> PathBuf {
        let stem = match self.debug_file.rsplit_once('.') {
            Some((stem, extension)) if extension.eq_ignore_ascii_case("pdb") => stem,
            _ => &self.debug_file,
        };
        Path::new(&self.debug_file).join(&self.debug_id).join(format!("{stem}.sym"))
    }

    /// Whether it says how to unwind the stack. A PDB of a 64-bit program does not: that is in the program itself.
    #[must_use]
    pub fn says_how_to_unwind(&self) -> bool {
        self.text.windows(b"\nSTACK ".len()).any(|bytes| bytes == b"\nSTACK ")
    }
}

fn is_debug_id(text: &str) -> bool {
    ID_LENGTHS.contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte != b'0')
}

fn is_file_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST_NAME
        && !text.starts_with('.')
        && !text.contains(|c: char| matches!(c, '/' | '\\') || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5A9832E5287241C1838ED98914E9B7FF1";

    fn parse(text: &str) -> Result<SymbolFile, Error> {
        SymbolFile::parse(Path::new("given.sym"), text.as_bytes().to_vec())
    }

    fn named(name: &str) -> SymbolFile {
        parse(&format!("MODULE windows x86 {ID} {name}\nFUNC 1 1 0 f\n")).unwrap()
    }

    #[test]
    fn a_symbol_file_says_which_module_it_is_for() {
        let symbols = parse(&format!("MODULE windows x86 {ID} my app.pdb\r\nPUBLIC 1 0 f\r\n")).unwrap();
        assert_eq!((symbols.os.as_str(), symbols.arch.as_str()), ("windows", "x86"));
        assert_eq!((symbols.debug_file.as_str(), symbols.debug_id.as_str()), ("my app.pdb", ID));
        assert!(symbols.text.ends_with(b"PUBLIC 1 0 f\r\n"));
    }

    #[test]
    fn symbols_are_laid_out_as_breakpad_does() {
        for (name, file) in
            [("app.pdb", "app.sym"), ("A.PDB", "A.sym"), ("libc.so.6", "libc.so.6.sym"), ("app", "app.sym")]
        {
            assert_eq!(named(name).relative_path(), Path::new(name).join(ID).join(file));
        }
    }

    #[test]
    fn an_id_in_lower_case_is_found_where_dumps_look() {
        let symbols = parse(&format!("MODULE Linux x86_64 {} app", ID.to_lowercase())).unwrap();
        assert_eq!(symbols.debug_id, ID);
    }

    #[test]
    fn a_name_that_could_be_a_path_is_refused() {
        let long = "a".repeat(LONGEST_NAME + 1);
        for name in
            ["", ".", "..", "/etc/passwd", "a/b", "..\\b", "C:\\app.pdb", ".hidden", "esc\u{1b}[2J", &long]
        {
            let refused = parse(&format!("MODULE windows x86 {ID} {name}\n")).unwrap_err();
            assert!(refused.to_string().contains("given.sym"), "{refused}");
        }
    }

    #[test]
    fn an_id_that_could_be_a_path_is_refused() {
        for id in [
            "",
            "..",
            "../../../etc",
            "123",
            &"0".repeat(33),
            &"A".repeat(41),
            "5A9832E5287241C1838ED98914E9B7FF-",
        ] {
            assert!(parse(&format!("MODULE windows x86 {id} app.pdb\n")).is_err(), "{id}");
        }
    }

    #[test]
    fn what_only_begins_like_symbols_is_refused() {
        for text in ["MODULE ", "MODULE Linux x86_64\n", "FUNC 1 1 0 f\n"] {
            assert!(parse(text).unwrap_err().to_string().contains("first line"), "{text}");
        }
    }

    #[test]
    fn unwinding_is_known_where_a_record_says_how() {
        assert!(!named("app.pdb").says_how_to_unwind());
        let text =
            format!("MODULE Linux x86_64 {ID} app\nSTACK CFI INIT 10 4 .cfa: $rsp 8 + .ra: .cfa -8 + ^\n");
        assert!(parse(&text).unwrap().says_how_to_unwind());
    }
}
