//! Why, where and in which thread the process stopped.

use crash::{ProcessedCrash, RawCrash};

use super::{Outcome, Rule, RuleError};

/// Takes reason, address and crashing thread from the main dump.
pub(crate) struct Reason;

impl Rule for Reason {
    fn name(&self) -> &'static str {
        "reason"
    }

    fn apply(&self, _: &RawCrash, processed: &mut ProcessedCrash) -> Result<Outcome, RuleError> {
        let Some(stackwalk) = processed.main_dump().map(|dump| &dump.stackwalk) else {
            return Ok(Outcome::Skipped);
        };
        let crashing_thread = stackwalk.crashing_thread;
        let Some(info) = stackwalk.crash_info.clone() else {
            processed.crashing_thread = crashing_thread;
            return Ok(Outcome::Skipped);
        };
        processed.crashing_thread = crashing_thread;
        processed.reason = info.reason;
        processed.address = info.address;
        Ok(Outcome::Applied)
    }
}
