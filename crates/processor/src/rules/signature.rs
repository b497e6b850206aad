//! The name under which the crash is grouped.

use crash::{ProcessedCrash, ProcessorNote, RawCrash};

use super::{Outcome, Rule, RuleError};

/// The signature of a report without a minidump.
const NO_DUMP: &str = "EMPTY: no crashing thread identified";

/// Names the crash by the main dump's crashing thread. Runs last: it may use what other rules found.
pub(crate) struct SignatureOfMainDump;

impl Rule for SignatureOfMainDump {
    fn name(&self) -> &'static str {
        "signature"
    }

    fn apply(&self, _: &RawCrash, processed: &mut ProcessedCrash) -> Result<Outcome, RuleError> {
        let Some(dump) = processed.main_dump() else {
            NO_DUMP.clone_into(&mut processed.signature);
            return Ok(Outcome::Skipped);
        };
        let made = signature::generate(&dump.stackwalk);
        processed.signature = made.signature;
        processed.proto_signature = made.proto_signature;
        processed.notes.extend(
            made.notes.into_iter().map(|text| ProcessorNote { source: self.name().to_owned(), text }),
        );
        Ok(Outcome::Applied)
    }
}
