//! Crashes that have nothing in common but the platform.

use super::{Done, Rule, Why};
use crate::{CrashData, Generator, crash_data::Origin, generate::Making};

/// Names a crash a mix when no frame of it is the program's own: whatever ends in the same place of the platform then
/// has the same signature.
///
/// The reference has no such rule; it is for our own stackwalks alone.
pub(crate) struct SignatureMix;

impl Rule for SignatureMix {
    fn name(&self) -> &'static str {
        "SignatureMix"
    }

    fn apply(&self, crash: &CrashData<'_>, making: &mut Making, _: &Generator) -> Result<Done, Why> {
        if crash.origin != Origin::Processed || !making.has_no_frame_of_its_own {
            return Ok(Done::Nothing);
        }
        making.prepend("mix");
        Ok(Done::changed(
            "put `mix` before it: no frame is the program's own, so unlike crashes may share it",
        ))
    }
}
