//! Functions that were seen before: their names need not be read again.
//!
//! Crashes of one product show the same functions over and over, and reading a C++ name costs a hundred times as much
//! as finding it here.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use crash::ListLine;
use foldhash::fast::RandomState;

use crate::{
    lists::Lists,
    normalise::{self, Language, Name, NoName},
};

/// How many functions of a language are remembered at most; twice that for a moment.
const MOST: usize = 16 * 1024;
/// A function's name that is longer is not remembered, so that memory stays within bounds.
const LONGEST: usize = 4 * 1024;

/// What is known about the text of a frame.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) text: Arc<str>,
    /// The list's line that makes it the start of a signature.
    pub(crate) sentinel: Option<Box<ListLine>>,
    /// The entries of the lists that match it; asked for only by frames that a signature gets to.
    irrelevant: OnceLock<Option<usize>>,
    prefix: OnceLock<Option<usize>>,
}

impl Known {
    pub(crate) fn of(text: &str, lists: &Lists) -> Self {
        Self {
            text: text.into(),
            sentinel: lists.sentinels.find(text),
            irrelevant: OnceLock::new(),
            prefix: OnceLock::new(),
        }
    }

    /// The line of the list of irrelevant frames that matches.
    pub(crate) fn irrelevant(&self, lists: &Lists) -> Option<Box<ListLine>> {
        let entry = self.irrelevant.get_or_init(|| lists.irrelevant.first(&self.text));
        lists.irrelevant.cite((*entry)?)
    }

    /// The line of the list of frames that are kept which matches.
    pub(crate) fn prefix(&self, lists: &Lists) -> Option<Box<ListLine>> {
        let entry = self.prefix.get_or_init(|| lists.prefix.first(&self.text));
        lists.prefix.cite((*entry)?)
    }
}

/// What a function is called.
#[derive(Debug, Clone)]
pub(crate) enum KnownFunction {
    /// Always the same.
    Plain(Arc<Known>),
    /// With the line in the source behind the stem.
    Numbered { stem: Arc<str>, entry: usize },
    /// It cannot be told.
    NoName,
}

/// How often a function was remembered, and how often it had to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheUse {
    /// It was remembered.
    pub hits: u64,
    /// It had to be read.
    pub misses: u64,
}

/// The functions that were seen, by their names as they came.
///
/// When a generation is full the one before it is forgotten, and what is still asked for moves over.
#[derive(Debug, Default)]
pub(crate) struct KnownFunctions {
    cpp: Generations,
    rust: Generations,
    pub(crate) used: CacheUse,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Box<str>, KnownFunction, RandomState>,
    old: HashMap<Box<str>, KnownFunction, RandomState>,
}

impl Generations {
    fn get(&mut self, name: &str) -> Option<KnownFunction> {
        if let Some(known) = self.young.get(name) {
            return Some(known.clone());
        }
        let (name, known) = self.old.remove_entry(name)?;
        self.insert(name, known.clone());
        Some(known)
    }

    fn insert(&mut self, name: Box<str>, known: KnownFunction) {
        if self.young.len() >= MOST {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, known);
    }
}

impl KnownFunctions {
    /// What a function is called.
    pub(crate) fn name(&mut self, name: &str, language: Language, lists: &Lists) -> KnownFunction {
        let generations = match language {
            Language::Cpp => &mut self.cpp,
            Language::Rust => &mut self.rust,
        };
        if let Some(known) = generations.get(name) {
            self.used.hits += 1;
            return known;
        }
        self.used.misses += 1;
        let known = read(name, language, lists);
        if name.len() <= LONGEST {
            generations.insert(name.into(), known.clone());
        }
        known
    }
}

fn read(name: &str, language: Language, lists: &Lists) -> KnownFunction {
    match normalise::function(name, language, &lists.numbered) {
        Ok(Name::Plain(text)) => KnownFunction::Plain(Arc::new(Known::of(&text, lists))),
        Ok(Name::Numbered { stem, entry }) => KnownFunction::Numbered { stem: stem.into(), entry },
        Err(NoName) => KnownFunction::NoName,
    }
}

/// What a function is called at a line of its source.
pub(crate) fn at_line(stem: &str, line: &impl std::fmt::Display, language: Language, lists: &Lists) -> Known {
    Known::of(&normalise::finish(Cow::Owned(format!("{stem}:{line}")), language), lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_when_a_generation_is_full() {
        let lists = Lists::built_in();
        let mut known = KnownFunctions::default();
        known.name("game::save()", Language::Cpp, &lists);
        for number in 0..2 * MOST {
            known.name(&format!("f{number}()"), Language::Cpp, &lists);
            if number % 1000 == 0 {
                known.name("game::save()", Language::Cpp, &lists);
            }
        }
        assert_eq!(known.used.misses, 1 + 2 * MOST as u64, "game::save was read once");
        assert!(known.cpp.young.len() + known.cpp.old.len() <= 2 * MOST);
    }
}
