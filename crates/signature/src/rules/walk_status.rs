//! Why there is no stack.

use super::{Done, Rule, Why};
use crate::{CrashData, Generator, generate::Making, python};

/// Says how the stackwalk ended where it gave no frame.
pub(crate) struct StackwalkerErrorSignatureRule;

impl Rule for StackwalkerErrorSignatureRule {
    fn name(&self) -> &'static str {
        "StackwalkerErrorSignatureRule"
    }

    fn apply(&self, crash: &CrashData<'_>, making: &mut Making, _: &Generator) -> Result<Done, Why> {
        if !making.signature.starts_with("EMPTY") || !python::is_true(&crash.walk_status) {
            return Ok(Done::Nothing);
        }
        making.signature = format!("{}; {}", making.signature, python::text(&crash.walk_status));
        Ok(Done::changed("added how the stackwalk ended, since it gave no frame"))
    }
}
