//! Hangs that a watchdog ended.

use super::{Done, Rule, Why, generation};
use crate::{CrashData, Generator, generate::Making};

/// Names a hang by the main thread: the one that crashed is the watchdog.
pub(crate) struct SignatureRunWatchDog;

impl Rule for SignatureRunWatchDog {
    fn name(&self) -> &'static str {
        "SignatureRunWatchDog"
    }

    fn apply(&self, crash: &CrashData<'_>, making: &mut Making, generator: &Generator) -> Result<Done, Why> {
        if !making.signature.contains("RunWatchdog") {
            return Ok(Done::Nothing);
        }
        generation::generate(self, crash, 0, making, generator)?;
        making.prepend("shutdownhang");
        Ok(Done::changed(
            "made it anew from thread 0, with `shutdownhang` before it: the crashing thread is the watchdog",
        ))
    }
}
