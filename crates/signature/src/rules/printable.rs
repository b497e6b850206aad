//! Characters that people can read and type.

use super::{Done, Rule, Why};
use crate::{CrashData, Generator, generate::Making, python};

/// Removes every character that is not printable ASCII, line feeds and tabs included.
pub(crate) struct SigPrintableCharsOnly;

impl Rule for SigPrintableCharsOnly {
    fn name(&self) -> &'static str {
        "SigPrintableCharsOnly"
    }

    fn apply(&self, _: &CrashData<'_>, making: &mut Making, _: &Generator) -> Result<Done, Why> {
        let is_fine = making.signature.bytes().all(|byte| matches!(byte, b' '..=b'~'))
            && python::trim(&making.signature).len() == making.signature.len();
        if is_fine {
            return Ok(Done::Nothing);
        }
        let trimmed = python::trim(&making.signature);
        making.signature = trimmed.chars().filter(|character| matches!(character, ' '..='~')).collect();
        Ok(Done::changed("removed what cannot be printed"))
    }
}
