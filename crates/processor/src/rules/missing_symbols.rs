//! Which symbol files would have made the stacks better.

use std::collections::BTreeSet;

use crash::{MissingSymbols, ProcessedCrash, RawCrash, SymbolStatus};

use super::{Outcome, Rule, RuleError};

/// Lists the modules on the stacks, of all dumps, whose symbols no source had.
pub(crate) struct MissingSymbolFiles;

impl Rule for MissingSymbolFiles {
    fn name(&self) -> &'static str {
        "missing_symbols"
    }

    fn apply(&self, _: &RawCrash, processed: &mut ProcessedCrash) -> Result<Outcome, RuleError> {
        let modules = processed.dumps.iter().flat_map(|dump| &dump.stackwalk.modules);
        let missing: BTreeSet<MissingSymbols> = modules
            .filter(|module| matches!(module.symbols, SymbolStatus::Missing | SymbolStatus::Unavailable))
            .filter(|module| !module.debug_file.is_empty())
            .map(|module| MissingSymbols {
                debug_file: module.debug_file.clone(),
                debug_id: module.debug_id.clone(),
            })
            .collect();
        processed.missing_symbols = missing.into_iter().collect();
        Ok(if processed.missing_symbols.is_empty() { Outcome::Skipped } else { Outcome::Applied })
    }
}
