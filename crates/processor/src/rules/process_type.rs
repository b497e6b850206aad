//! Which process of the product crashed.

use crash::{ProcessedCrash, RawCrash};

use super::{Outcome, Rule, RuleError, set_text};

const KEYS: &[&str] = &["ProcessType"];
/// What a client that does not say it means.
const MAIN_PROCESS: &str = "parent";

/// Takes the type of the process from the client; the main process is not named.
pub(crate) struct ProcessType;

impl Rule for ProcessType {
    fn name(&self) -> &'static str {
        "process_type"
    }

    fn apply(&self, raw: &RawCrash, processed: &mut ProcessedCrash) -> Result<Outcome, RuleError> {
        MAIN_PROCESS.clone_into(&mut processed.process_type);
        Ok(set_text(raw, KEYS, &mut processed.process_type))
    }
}
