//! Crashes for want of memory.

use serde_json::Value;

use super::{Done, Rule, Why};
use crate::{
    CrashData, Generator,
    generate::Making,
    python::{self, NoNumber},
};

/// The largest allocation that is small: whoever asks for so little happens to be the one who is refused.
const LARGEST_SMALL_ALLOCATION: i64 = 256 * 1024;

/// Functions that programs call when an allocation has failed.
const FUNCTIONS: [&str; 5] = [
    "NS_ABORT_OOM",
    "mozalloc_handle_oom",
    "CrashAtUnhandlableOOM",
    "AutoEnterOOMUnsafeRegion",
    "alloc::oom::oom",
];
const LAST_ERRORS: [&str; 2] = ["ERROR_COMMITMENT_LIMIT", "ERROR_NOT_ENOUGH_MEMORY"];
/// What a script engine says of a large allocation while it fails.
const SCRIPT_REPORTS: &str = "Reporting";
const REASONS: [&str; 2] = ["STATUS_FATAL_MEMORY_EXHAUSTION", "STATUS_NO_MEMORY"];

/// Files crashes for want of memory by how much was asked for.
pub(crate) struct OOMSignature;

impl Rule for OOMSignature {
    fn name(&self) -> &'static str {
        "OOMSignature"
    }

    fn apply(&self, crash: &CrashData<'_>, making: &mut Making, _: &Generator) -> Result<Done, Why> {
        let script_reports = crash.js_large_allocation_failure.as_str() == Some(SCRIPT_REPORTS);
        let is_out_of_memory = python::is_true(&crash.oom_allocation_size)
            || (!making.signature.is_empty() && (script_reports || ran_out(crash, &making.signature)));
        if !is_out_of_memory {
            return Ok(Done::Nothing);
        }
        if script_reports {
            making.prepend("OOM | large");
            return Ok(Done::changed("put `OOM | large` before it: a script's large allocation failed"));
        }
        match size(&crash.oom_allocation_size)? {
            None => {
                making.prepend("OOM | unknown");
                Ok(Done::changed(
                    "put `OOM | unknown` before it: memory ran out, and nothing says for how much",
                ))
            }
            Some(size) if size <= LARGEST_SMALL_ALLOCATION => {
                making.replace("OOM | small".to_owned());
                Ok(Done::changed("replaced it: a small allocation fails wherever it happens to be"))
            }
            Some(_) => {
                making.prepend("OOM | large");
                Ok(Done::changed("put `OOM | large` before it: the allocation that failed was large"))
            }
        }
    }
}

/// Whether something else than a size says that memory ran out.
fn ran_out(crash: &CrashData<'_>, signature: &str) -> bool {
    let last_error = || crash.thread(crash.crashing_thread).and_then(|thread| thread.last_error.as_deref());
    FUNCTIONS.iter().any(|function| signature.contains(function))
        || last_error().is_some_and(|error| LAST_ERRORS.contains(&error))
        || crash.reason.as_deref().is_some_and(|reason| REASONS.contains(&reason))
}

fn size(value: &Value) -> Result<Option<i64>, Why> {
    match python::int(value) {
        Ok(size) => Ok(Some(size)),
        Err(NoNumber::OtherKind) => Ok(None),
        Err(NoNumber::BadText) => Err(Why::Borrowed("the size of the allocation is not a whole number")),
    }
}
