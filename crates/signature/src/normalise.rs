//! What a frame is called: the same text for the same place in the program, whatever its arguments and its build.
//!
//! [`function`] is what all C, C++ and Rust functions go through; `place` names frames that have no function.

mod brackets;
mod cpp;
mod place;
mod rust;
mod spaces;
mod tokens;

use std::borrow::Cow;

pub(crate) use place::{place, source_file};
pub(crate) use rust::with_module;

use crate::lists::Patterns;

/// A function's name could not be told from what stands around it: nothing but qualifiers is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoName;

/// The rules by which a function's name is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Language {
    /// C, C++, and whatever is not known to be something else.
    Cpp,
    /// Rust.
    Rust,
}

/// A function's normalised name, or what is needed to make it once the line in the source is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    /// The name.
    Plain(String),
    /// The beginning of the name, which the line in the source follows since a list says so.
    Numbered {
        /// What comes before the line.
        stem: String,
        /// Which line of the list it was.
        entry: usize,
    },
}

/// Normalises a function's name.
pub(crate) fn function(name: &str, language: Language, numbered: &Patterns) -> Result<Name, NoName> {
    let stem = match language {
        Language::Cpp => cpp::stem(name)?,
        Language::Rust => rust::stem(name)?,
    };
    Ok(match numbered.first(&stem) {
        Some(entry) => Name::Numbered { stem: stem.into_owned(), entry },
        None => Name::Plain(finish(stem, language)),
    })
}

/// What remains to be done once a line has been put behind a stem, or need not be.
pub(crate) fn finish(stem: Cow<'_, str>, language: Language) -> String {
    let spaced = spaces::fix(stem);
    match language {
        Language::Cpp => spaced.into_owned(),
        Language::Rust => rust::without_hash(spaced).into_owned(),
    }
}
