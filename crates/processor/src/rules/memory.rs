//! What the client says about the machine's memory.

use crash::{ProcessedCrash, RawCrash};

use super::{Outcome, Rule, RuleError, number};

const BYTES: &str = "a number of bytes";

/// Takes sizes of memory, and of the allocation that failed, from the client's annotations.
pub(crate) struct MachineMemory;

impl Rule for MachineMemory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn apply(&self, raw: &RawCrash, processed: &mut ProcessedCrash) -> Result<Outcome, RuleError> {
        let memory = &mut processed.memory;
        memory.failed_allocation_bytes = number(raw, "OOMAllocationSize", BYTES)?;
        memory.available_virtual_bytes = number(raw, "AvailableVirtualMemory", BYTES)?;
        memory.available_physical_bytes = number(raw, "AvailablePhysicalMemory", BYTES)?;
        memory.total_physical_bytes = number(raw, "TotalPhysicalMemory", BYTES)?;
        Ok(if *memory == crash::Memory::default() { Outcome::Skipped } else { Outcome::Applied })
    }
}
