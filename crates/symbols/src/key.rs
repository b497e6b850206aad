//! What may be asked for: one debug file, by a name and an id that are safe in paths and addresses.

use std::path::{Path, PathBuf};

use url::Url;

/// Leaves room for `.sym` and for an id in front, within the 255 bytes that file systems give a name.
const LONGEST_NAME: usize = 200;
/// 32 digits of a GUID and up to 8 of an age.
const LONGEST_ID: usize = 40;

/// Identifies a symbol file.
///
/// Its parts are plain file names: no separators, no control characters, no leading dot, of limited length.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    debug_file: String,
    debug_id: String,
    symbol_file: String,
}

impl Key {
    /// Checks what a dump says. Nothing where no symbol file can have this name and id.
    ///
    /// Of a path, Windows' or another's, only the last part counts.
    pub(crate) fn new(debug_file: &str, debug_id: &str) -> Option<Self> {
        let debug_file = debug_file.rsplit(['/', '\\']).next()?;
        let named = !debug_file.is_empty()
            && debug_file.len() <= LONGEST_NAME
            && !debug_file.starts_with('.')
            && !debug_file.chars().any(char::is_control);
        // An id of zeros is what tools write that know no id.
        let identified = (33..=LONGEST_ID).contains(&debug_id.len())
            && debug_id.bytes().all(|byte| byte.is_ascii_hexdigit())
            && debug_id.bytes().any(|byte| byte != b'0');
        (named && identified).then(|| Self {
            debug_file: debug_file.to_owned(),
            debug_id: debug_id.to_owned(),
            symbol_file: format!("{}.sym", without_pdb(debug_file)),
        })
    }

    pub(crate) fn debug_file(&self) -> &str {
        &self.debug_file
    }

    pub(crate) fn debug_id(&self) -> &str {
        &self.debug_id
    }

    /// Where the file is below a folder of symbols.
    pub(crate) fn below(&self, folder: &Path) -> PathBuf {
        folder.join(&self.debug_file).join(&self.debug_id).join(&self.symbol_file)
    }

    /// One file name for the key, for notes about it.
    pub(crate) fn flat_name(&self) -> String {
        format!("{}-{}", self.debug_id, self.debug_file)
    }

    /// Where the file is below a server's address; nothing where the address can have nothing below it.
    pub(crate) fn on(&self, server: &Url) -> Option<Url> {
        let mut url = server.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend([
            &self.debug_file,
            &self.debug_id,
            &self.symbol_file,
        ]);
        Some(url)
    }
}

fn without_pdb(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, extension)) if extension.eq_ignore_ascii_case("pdb") => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5A9832E5287241C1838ED98914E9B7FF1";

    #[test]
    fn symbols_are_laid_out_as_breakpad_does() {
        let path = |name| Key::new(name, ID).unwrap().below(Path::new("/s"));
        assert_eq!(path("app.pdb"), Path::new(&format!("/s/app.pdb/{ID}/app.sym")));
        assert_eq!(path("APP.PDB"), Path::new(&format!("/s/APP.PDB/{ID}/APP.sym")));
        assert_eq!(path("libc.so.6"), Path::new(&format!("/s/libc.so.6/{ID}/libc.so.6.sym")));
        assert_eq!(path("app"), Path::new(&format!("/s/app/{ID}/app.sym")));
    }

    #[test]
    fn of_a_path_only_the_last_part_counts() {
        for path in ["C:\\build\\app.pdb", "/usr/lib/app.pdb", "..\\../app.pdb"] {
            assert_eq!(Key::new(path, ID), Key::new("app.pdb", ID), "{path}");
        }
    }

    #[test]
    fn hostile_names_are_no_keys() {
        let long = "a".repeat(LONGEST_NAME + 1);
        for name in
            ["", ".", "..", "/", "a/..", "a\\", "nul\0", "line\nbreak", "esc\u{1b}[2J", ".hidden", &long]
        {
            assert_eq!(Key::new(name, ID), None, "{name:?}");
        }
        let ids = [
            "",
            "..",
            "../../etc",
            "0123",
            &"0".repeat(33),
            &"A".repeat(41),
            "5A9832E5287241C1838ED98914E9B7FFx1",
        ];
        for id in ids {
            assert_eq!(Key::new("app.pdb", id), None, "{id:?}");
        }
    }

    #[test]
    fn odd_names_are_escaped_in_addresses() {
        let url = |server: &str, name| {
            Key::new(name, ID).unwrap().on(&server.parse().unwrap()).unwrap().to_string()
        };
        assert_eq!(url("http://s/a", "x.pdb"), format!("http://s/a/x.pdb/{ID}/x.sym"));
        assert_eq!(url("http://s/a/?key=1", "x.pdb"), format!("http://s/a/x.pdb/{ID}/x.sym?key=1"));
        assert_eq!(
            url("http://s", "a b?c#d%2e"),
            format!("http://s/a%20b%3Fc%23d%252e/{ID}/a%20b%3Fc%23d%252e.sym")
        );
    }
}
