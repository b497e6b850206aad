//! The built-in rules, one file each, in the order in which they run. Order is meaning.

mod build;
mod channel;
mod cpu;
mod event;
mod memory;
mod missing_symbols;
mod os;
mod process_type;
mod product;
mod reason;
mod times;
mod version;

use crash::{ProcessedCrash, ProcessorNote, RawCrash};
use signature::Lists;

/// One small change to a crash.
///
/// Pure: no clock, no network, no chance. What it needs is in its arguments.
pub(crate) trait Rule: Sync {
    /// The name in notes and metrics.
    fn name(&self) -> &'static str;

    /// Makes the change.
    ///
    /// # Errors
    /// When an annotation is not what the rule needs; the crash goes on without the change.
    fn apply(&self, raw: &RawCrash, processed: &mut ProcessedCrash) -> Result<Outcome, RuleError>;
}

/// What a rule did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It changed the crash.
    Applied,
    /// There was nothing for it to do.
    Skipped,
    /// It failed, and left a note.
    Failed,
}

/// Why a rule could not make its change. It names the annotation and never its value, which came from a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleError {
    /// The annotation is not of the form that it should have.
    #[error("annotation {key} is not {expected}")]
    BadAnnotation {
        /// Its name.
        key: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

/// All of them, in their order.
pub(crate) const ALL: &[&dyn Rule] = &[
    &product::Product,
    &version::Version,
    &channel::Channel,
    &build::Build,
    &process_type::ProcessType,
    &event::WhatHappened,
    &os::OperatingSystem,
    &cpu::Processor,
    &reason::Reason,
    &times::ClientTimes,
    &memory::MachineMemory,
    &missing_symbols::MissingSymbolFiles,
];

/// The version of the rules: of the built-in ones, that of the release; of an operator's signature lists, their hash.
pub(crate) fn version(lists: &Lists) -> String {
    let built_in = concat!("built-in-", env!("CARGO_PKG_VERSION"));
    lists.hash().map_or_else(|| built_in.to_owned(), |hash| format!("{built_in}+lists-{hash}"))
}

/// Runs one rule; its failure becomes a note.
pub(crate) fn apply(rule: &dyn Rule, raw: &RawCrash, processed: &mut ProcessedCrash) -> Outcome {
    rule.apply(raw, processed).unwrap_or_else(|error| {
        processed.notes.push(ProcessorNote { source: rule.name().to_owned(), text: error.to_string() });
        Outcome::Failed
    })
}

/// Sets a text from the first of these annotations that has one.
fn set_text(raw: &RawCrash, keys: &[&str], target: &mut String) -> Outcome {
    let Some(text) =
        keys.iter().find_map(|key| raw.annotations.get(key).filter(|text| !text.trim().is_empty()))
    else {
        return Outcome::Skipped;
    };
    text.trim().clone_into(target);
    Outcome::Applied
}

/// Reads an annotation that should be a whole number of seconds or bytes; a fraction is cut off.
fn number(raw: &RawCrash, key: &'static str, expected: &'static str) -> Result<Option<u64>, RuleError> {
    let Some(text) = raw.annotations.get(key).map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    whole.parse().map(Some).map_err(|_| RuleError::BadAnnotation { key, expected })
}

/// Reads several such annotations, of which a bad one costs itself alone: it leaves a note.
struct Numbers<'a> {
    rule: &'static str,
    raw: &'a RawCrash,
    expected: &'static str,
    notes: &'a mut Vec<ProcessorNote>,
}

impl Numbers<'_> {
    fn read(&mut self, key: &'static str) -> Option<u64> {
        number(self.raw, key, self.expected).unwrap_or_else(|error| {
            self.notes.push(ProcessorNote { source: self.rule.to_owned(), text: error.to_string() });
            None
        })
    }
}

#[cfg(test)]
mod tests;
