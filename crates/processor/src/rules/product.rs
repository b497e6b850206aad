//! Which product crashed.

use crash::{ProcessedCrash, RawCrash};

use super::{Outcome, Rule, RuleError, set_text};

const KEYS: &[&str] = &["ProductName"];

/// Takes the product's name from the client.
pub(crate) struct Product;

impl Rule for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn apply(&self, raw: &RawCrash, processed: &mut ProcessedCrash) -> Result<Outcome, RuleError> {
        Ok(set_text(raw, KEYS, &mut processed.product))
    }
}
