//! Which release channel the product came through.

use crash::{ProcessedCrash, RawCrash};

use super::{Outcome, Rule, RuleError, set_text};

const KEYS: &[&str] = &["ReleaseChannel"];

/// Takes the release channel from the client.
pub(crate) struct Channel;

impl Rule for Channel {
    fn name(&self) -> &'static str {
        "channel"
    }

    fn apply(&self, raw: &RawCrash, processed: &mut ProcessedCrash) -> Result<Outcome, RuleError> {
        Ok(set_text(raw, KEYS, &mut processed.channel))
    }
}
