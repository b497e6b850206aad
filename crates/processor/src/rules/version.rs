//! Which version of the product crashed.

use crash::{ProcessedCrash, RawCrash};

use super::{Outcome, Rule, RuleError, set_text};

const KEYS: &[&str] = &["Version"];

/// Takes the product's version from the client.
pub(crate) struct Version;

impl Rule for Version {
    fn name(&self) -> &'static str {
        "version"
    }

    fn apply(&self, raw: &RawCrash, processed: &mut ProcessedCrash) -> Result<Outcome, RuleError> {
        Ok(set_text(raw, KEYS, &mut processed.version))
    }
}
