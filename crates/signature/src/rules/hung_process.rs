//! Processes that did not answer any more.

use super::{Done, Rule, Why};
use crate::{CrashData, Generator, generate::Making, python};

/// Tells hangs apart from crashes.
pub(crate) struct HungProcess;

impl Rule for HungProcess {
    fn name(&self) -> &'static str {
        "HungProcess"
    }

    fn apply(&self, crash: &CrashData<'_>, making: &mut Making, _: &Generator) -> Result<Done, Why> {
        if crash.hang.is_null() {
            return Ok(Done::Nothing);
        }
        making.prepend(&format!("hang: {}", python::text(&crash.hang)));
        Ok(Done::changed("put `hang` before it: the process did not crash by itself"))
    }
}
