//! What is skipped, what is kept, and where a signature starts: four files, one entry a line.
//!
//! Names and meaning of the files are the reference's, so that a folder of its lists works as it is. Lines that are
//! blank or begin with `#` are not entries. The lists that ship with the product are in `lists/` beside this crate.

mod pattern;

use std::{
    borrow::Cow,
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crash::ListLine;
use regex_automata::{Anchored, Input, PatternID, meta::Regex};
use sha2::{Digest as _, Sha256};

const IRRELEVANT: &str = "irrelevant_signature_re.txt";
const PREFIX: &str = "prefix_signature_re.txt";
const SENTINELS: &str = "signature_sentinels.txt";
const LINE_NUMBERS: &str = "signatures_with_line_numbers_re.txt";

/// Lists that signatures are made with.
#[derive(Debug)]
pub struct Lists {
    /// `built-in`, or the folder.
    pub(crate) name: Arc<str>,
    /// The beginning of the SHA-256 of the texts, of lists that do not ship with the product.
    hash: Option<String>,
    /// Frames that are skipped.
    pub(crate) irrelevant: Patterns,
    /// Frames that belong to the signature together with the one after them.
    pub(crate) prefix: Patterns,
    /// Frames at which a signature starts.
    pub(crate) sentinels: Sentinels,
    /// Frames whose line in the source is a part of the signature.
    pub(crate) numbered: Patterns,
}

/// Why lists cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A file cannot be read.
    #[error("the signature list {} cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// An entry cannot be taken.
    #[error("{file}:{line}: `{entry}` cannot be used as a pattern: {reason}")]
    BadEntry {
        /// The list's file.
        file: String,
        /// The line in it, from 1.
        line: u32,
        /// What stands there.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// All entries of a list together are too much.
    #[error("the signature list {file} cannot be used: {reason}")]
    BadList {
        /// The list's file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Lists {
    /// The lists that ship with the product.
    #[must_use]
    pub fn built_in() -> Self {
        let text = |name: &'static str| match name {
            IRRELEVANT => include_str!("../lists/irrelevant_signature_re.txt"),
            PREFIX => include_str!("../lists/prefix_signature_re.txt"),
            SENTINELS => include_str!("../lists/signature_sentinels.txt"),
            _ => include_str!("../lists/signatures_with_line_numbers_re.txt"),
        };
        Self::from_texts("built-in", None, |name| Ok(text(name).to_owned()))
            .expect("the lists that ship with the product are held by tests")
    }

    /// Reads a folder of lists: all four files must be there, and others are of no interest.
    ///
    /// # Errors
    /// When a file cannot be read, or an entry cannot be taken.
    pub fn read(folder: &Path) -> Result<Self, ListError> {
        Self::from_texts(&folder.display().to_string(), Some(folder), |name| {
            let file = folder.join(name);
            fs::read_to_string(&file).map_err(|source| ListError::Unreadable { file, source })
        })
    }

    fn from_texts(
        name: &str,
        folder: Option<&Path>,
        text: impl Fn(&'static str) -> Result<String, ListError>,
    ) -> Result<Self, ListError> {
        let mut hash = Sha256::new();
        let mut read = |name| {
            let text = text(name)?;
            hash.update(&text);
            Ok(text)
        };
        let irrelevant = Patterns::compile(IRRELEVANT, folder, &read(IRRELEVANT)?)?;
        let prefix = Patterns::compile(PREFIX, folder, &read(PREFIX)?)?;
        let sentinels = Sentinels::of(&read(SENTINELS)?);
        let numbered = Patterns::compile(LINE_NUMBERS, folder, &read(LINE_NUMBERS)?)?;
        let hash = folder.map(|_| hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect());
        Ok(Self { name: name.into(), hash, irrelevant, prefix, sentinels, numbered })
    }

    /// What tells these lists from others: the beginning of a hash; nothing for the ones that ship with the product,
    /// which the release tells.
    #[must_use]
    pub fn hash(&self) -> Option<&str> {
        self.hash.as_deref()
    }
}

/// One entry of a list.
#[derive(Debug)]
struct Entry {
    line: u32,
    text: Arc<str>,
}

fn entries(text: &str) -> impl Iterator<Item = Entry> {
    let numbered = (1..).zip(text.lines().map(str::trim));
    numbered
        .filter(|(_, text)| !text.is_empty() && !text.starts_with('#'))
        .map(|(line, text)| Entry { line, text: text.into() })
}

fn cite(list: &'static str, entry: &Entry) -> Box<ListLine> {
    Box::new(ListLine { list: Cow::Borrowed(list), line: entry.line, entry: Arc::clone(&entry.text) })
}

/// A list of patterns, compiled as one set.
#[derive(Debug)]
pub(crate) struct Patterns {
    list: &'static str,
    entries: Vec<Entry>,
    /// Nothing for a list without entries.
    set: Option<Regex>,
}

impl Patterns {
    /// The first entry that matches at the start of a text.
    pub(crate) fn first(&self, text: &str) -> Option<usize> {
        let input = Input::new(text).anchored(Anchored::Yes);
        Some(self.set.as_ref()?.search_half(&input)?.pattern().as_usize())
    }

    /// Where an entry stands.
    pub(crate) fn cite(&self, entry: usize) -> Option<Box<ListLine>> {
        self.entries.get(entry).map(|entry| cite(self.list, entry))
    }

    fn compile(list: &'static str, folder: Option<&Path>, text: &str) -> Result<Self, ListError> {
        let entries: Vec<Entry> = entries(text).collect();
        if entries.is_empty() {
            return Ok(Self { list, entries, set: None });
        }
        let patterns: Vec<String> = entries.iter().map(|entry| pattern::translate(&entry.text)).collect();
        match Regex::new_many(&patterns) {
            Ok(set) => Ok(Self { list, entries, set: Some(set) }),
            Err(error) => {
                let file =
                    folder.map_or_else(|| list.to_owned(), |folder| folder.join(list).display().to_string());
                let entry = error.pattern().and_then(|index| entries.get(PatternID::as_usize(&index)));
                let reason = error.syntax_error().map_or_else(|| error.to_string(), one_line);
                Err(match entry {
                    Some(Entry { line, text }) => {
                        ListError::BadEntry { file, line: *line, entry: text.to_string(), reason }
                    }
                    None => ListError::BadList { file, reason },
                })
            }
        }
    }
}

/// An error about a pattern says where it is over several lines; the last says what it is.
fn one_line(error: &impl ToString) -> String {
    let text = error.to_string();
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

/// The list of frames at which signatures start.
#[derive(Debug)]
pub(crate) struct Sentinels(HashMap<Arc<str>, Entry>);

impl Sentinels {
    fn of(text: &str) -> Self {
        let mut sentinels = HashMap::new();
        for entry in entries(text) {
            sentinels.entry(Arc::clone(&entry.text)).or_insert(entry);
        }
        Self(sentinels)
    }

    /// Where a frame stands in the list, if it does.
    pub(crate) fn find(&self, frame: &str) -> Option<Box<ListLine>> {
        self.0.get(frame).map(|entry| cite(SENTINELS, entry))
    }
}
