//! What the client says about the machine's memory.

use crash::{ProcessedCrash, RawCrash};

use super::{Numbers, Outcome, Rule, RuleError};

const BYTES: &str = "a number of bytes";

/// Takes sizes of memory, and of the allocation that failed, from the client's annotations.
pub(crate) struct MachineMemory;

impl Rule for MachineMemory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn apply(&self, raw: &RawCrash, processed: &mut ProcessedCrash) -> Result<Outcome, RuleError> {
        let mut bytes = Numbers { rule: self.name(), raw, expected: BYTES, notes: &mut processed.notes };
        processed.memory = crash::Memory {
            failed_allocation_bytes: bytes.read("OOMAllocationSize"),
            available_virtual_bytes: bytes.read("AvailableVirtualMemory"),
            available_physical_bytes: bytes.read("AvailablePhysicalMemory"),
            total_physical_bytes: bytes.read("TotalPhysicalMemory"),
        };
        Ok(if processed.memory == crash::Memory::default() { Outcome::Skipped } else { Outcome::Applied })
    }
}
