//! How long a signature may be.

use super::{Done, Rule, Why};
use crate::{CrashData, Generator, generate::Making};

/// The longest signature, in characters; it is ASCII by now.
const LONGEST: usize = 255;

/// Cuts what is too long to be a name.
pub(crate) struct SigTruncate;

impl Rule for SigTruncate {
    fn name(&self) -> &'static str {
        "SigTruncate"
    }

    fn apply(&self, _: &CrashData<'_>, making: &mut Making, _: &Generator) -> Result<Done, Why> {
        if making.signature.len() <= LONGEST {
            return Ok(Done::Nothing);
        }
        making.signature.truncate(LONGEST - 3);
        making.signature.push_str("...");
        making.note(self, "the signature was too long and is cut");
        Ok(Done::changed("cut it, since it was too long"))
    }
}
