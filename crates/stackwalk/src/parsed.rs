//! Symbol files in memory, for as long as a worker lives.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use breakpad_symbols::SymbolFile;

/// A debug file's name and id.
pub(crate) type Key = (String, String);

/// What became of a symbol file that was found.
#[derive(Clone)]
pub(crate) enum Parsed {
    /// Ready to be asked.
    Ready(Arc<SymbolFile>),
    /// It cannot be read, for this reason.
    Corrupt(String),
    /// It does not fit beside the others that the same dump needs.
    TooLarge,
}

/// Parsed symbol files by debug file, within a number of bytes of symbol text.
///
/// Files that no walk uses make room for new ones. A file is parsed anew when it has changed on disk. Only what was
/// found is kept: what is missing now may be there for the next dump.
pub(crate) struct ParsedFiles {
    most_bytes: u64,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    files: HashMap<Key, File>,
    bytes: u64,
}

struct File {
    path: PathBuf,
    version: Version,
    parsed: Parsed,
}

/// Tells a file from one that replaced it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Version {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self { bytes: metadata.len(), modified: metadata.modified().ok() })
    }
}

impl ParsedFiles {
    pub(crate) fn new(most_bytes: u64) -> Self {
        Self { most_bytes, held: Mutex::default() }
    }

    /// A file that an earlier dump used, if it is still the same on disk.
    pub(crate) fn get(&self, key: &Key) -> Option<Parsed> {
        let held = self.held();
        let file = held.files.get(key)?;
        let is_current = Version::of(&file.path).is_ok_and(|version| version == file.version);
        is_current.then(|| file.parsed.clone())
    }

    /// Parses a file and keeps it. Blocks, at about 200 MB a second.
    pub(crate) fn load(&self, key: Key, path: PathBuf) -> Parsed {
        let version = match Version::of(&path) {
            Ok(version) => version,
            Err(error) => return Parsed::Corrupt(error.to_string()),
        };
        self.held().remove(&key);
        if !self.held().make_room(version.bytes, self.most_bytes) {
            return Parsed::TooLarge;
        }
        let parsed = match SymbolFile::from_file(&path) {
            Ok(file) => Parsed::Ready(Arc::new(file)),
            Err(error) => Parsed::Corrupt(error.to_string()),
        };
        self.held().insert(key, File { path, version, parsed: parsed.clone() });
        parsed
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn insert(&mut self, key: Key, file: File) {
        self.bytes += file.bytes();
        self.files.insert(key, file);
    }

    fn remove(&mut self, key: &Key) {
        if let Some(file) = self.files.remove(key) {
            self.bytes -= file.bytes();
        }
    }

    /// Drops files that no walk uses, if that is needed; false if even that is not enough.
    fn make_room(&mut self, bytes: u64, most: u64) -> bool {
        if self.bytes.saturating_add(bytes) > most {
            self.files.retain(|_, file| file.is_in_use());
            self.bytes = self.files.values().map(File::bytes).sum();
        }
        self.bytes.saturating_add(bytes) <= most
    }
}

impl File {
    fn is_in_use(&self) -> bool {
        matches!(&self.parsed, Parsed::Ready(file) if Arc::strong_count(file) > 1)
    }

    /// What the file takes of the limit, in bytes of text; one that cannot be read takes nothing.
    fn bytes(&self) -> u64 {
        if matches!(self.parsed, Parsed::Ready(_)) { self.version.bytes } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "MODULE Linux x86_64 5A9832E5287241C1838ED98914E9B7FF1 app\nFUNC 1000 10 0 main\n";

    fn key(name: &str) -> Key {
        (name.to_owned(), String::new())
    }

    fn is_ready(parsed: Option<&Parsed>) -> bool {
        matches!(parsed, Some(Parsed::Ready(_)))
    }

    #[test]
    fn files_in_use_stay_and_others_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sym");
        fs::write(&path, TEXT).unwrap();
        let files = ParsedFiles::new(2 * TEXT.len() as u64);
        let used = files.load(key("used"), path.clone());
        assert!(is_ready(Some(&used)));
        assert!(is_ready(Some(&files.load(key("idle"), path.clone()))));
        let third = files.load(key("third"), path.clone());
        assert!(is_ready(Some(&third)));
        assert!(is_ready(files.get(&key("used")).as_ref()) && files.get(&key("idle")).is_none());
        assert!(matches!(files.load(key("fourth"), path.clone()), Parsed::TooLarge));
        drop((used, third));
        assert!(is_ready(Some(&files.load(key("fourth"), path))));
    }

    #[test]
    fn a_file_that_changed_on_disk_is_not_used_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sym");
        fs::write(&path, TEXT).unwrap();
        let files = ParsedFiles::new(1 << 20);
        files.load(key("a"), path.clone());
        assert!(is_ready(files.get(&key("a")).as_ref()));
        fs::write(&path, format!("{TEXT}FUNC 2000 10 0 other\n")).unwrap();
        assert!(files.get(&key("a")).is_none());
        assert!(is_ready(Some(&files.load(key("a"), path.clone()))));
        fs::remove_file(&path).unwrap();
        assert!(files.get(&key("a")).is_none());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_corrupt_and_takes_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sym");
        fs::write(&path, "").unwrap();
        let files = ParsedFiles::new(1 << 20);
        assert!(matches!(files.load(key("a"), path), Parsed::Corrupt(_)));
        assert!(matches!(files.get(&key("a")), Some(Parsed::Corrupt(_))));
        assert_eq!(files.held().bytes, 0);
    }
}
