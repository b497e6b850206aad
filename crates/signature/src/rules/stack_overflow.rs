//! Stacks that were used up.

use super::{Done, Rule, Why};
use crate::{CrashData, Generator, generate::Making};

/// Tells a stack overflow apart: the innermost frame happens to be the one that no space was left for.
pub(crate) struct StackOverflowSignature;

impl Rule for StackOverflowSignature {
    fn name(&self) -> &'static str {
        "StackOverflowSignature"
    }

    fn apply(&self, crash: &CrashData<'_>, making: &mut Making, _: &Generator) -> Result<Done, Why> {
        if crash.reason.as_deref() != Some("EXCEPTION_STACK_OVERFLOW") {
            return Ok(Done::Nothing);
        }
        making.prepend("stackoverflow");
        Ok(Done::changed("put `stackoverflow` before it, which is the reason"))
    }
}
