//! Crashes that the disk is to blame for.

use super::{Done, Rule, Why};
use crate::{CrashData, Generator, generate::Making};

/// Tells apart crashes in which the system could not read a page from the disk.
pub(crate) struct BadHardware;

impl Rule for BadHardware {
    fn name(&self) -> &'static str {
        "BadHardware"
    }

    fn apply(&self, crash: &CrashData<'_>, making: &mut Making, _: &Generator) -> Result<Done, Why> {
        if !crash.reason.as_ref().is_some_and(|reason| reason.contains("STATUS_DEVICE_DATA_ERROR")) {
            return Ok(Done::Nothing);
        }
        making.prepend("bad hardware");
        Ok(Done::changed("put `bad hardware` before it: the reason is an error of a device"))
    }
}
