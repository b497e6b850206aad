//! Blanks.

use super::{Done, Rule, Why};
use crate::{CrashData, Generator, generate::Making, python};

/// Makes one space of every run of blanks, and takes those at both ends away.
pub(crate) struct SigFixWhitespace;

impl Rule for SigFixWhitespace {
    fn name(&self) -> &'static str {
        "SigFixWhitespace"
    }

    fn apply(&self, _: &CrashData<'_>, making: &mut Making, _: &Generator) -> Result<Done, Why> {
        let signature = making.signature.as_str();
        // What is left of blanks by now is spaces.
        if !signature.contains("  ") && python::trim(signature).len() == signature.len() {
            return Ok(Done::Nothing);
        }
        let words: Vec<&str> = signature.split(python::is_blank).filter(|word| !word.is_empty()).collect();
        making.signature = words.join(" ");
        Ok(Done::changed("made one space of several"))
    }
}
