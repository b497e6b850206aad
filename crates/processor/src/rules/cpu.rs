//! What processor the machine has.

use crash::{Cpu, ProcessedCrash, RawCrash};

use super::{Outcome, Rule, RuleError};

/// Takes the machine's processor from the main dump.
pub(crate) struct Processor;

impl Rule for Processor {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn apply(&self, _: &RawCrash, processed: &mut ProcessedCrash) -> Result<Outcome, RuleError> {
        let Some(system) = processed.main_dump().map(|dump| dump.stackwalk.system_info.clone()) else {
            return Ok(Outcome::Skipped);
        };
        let Some(arch) = system.cpu_arch else { return Ok(Outcome::Skipped) };
        processed.cpu = Cpu { arch, model: system.cpu_info.unwrap_or_default(), cores: system.cpu_count };
        Ok(Outcome::Applied)
    }
}
