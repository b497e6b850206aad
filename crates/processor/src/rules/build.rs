//! Which build of the product crashed.

use crash::{ProcessedCrash, RawCrash};

use super::{Outcome, Rule, RuleError, set_text};

const KEYS: &[&str] = &["BuildID"];

/// Takes the build id from the client.
pub(crate) struct Build;

impl Rule for Build {
    fn name(&self) -> &'static str {
        "build"
    }

    fn apply(&self, raw: &RawCrash, processed: &mut ProcessedCrash) -> Result<Outcome, RuleError> {
        Ok(set_text(raw, KEYS, &mut processed.build))
    }
}
