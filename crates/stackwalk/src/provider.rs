//! Answers the unwinder's questions to symbols, for one dump.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use breakpad_symbols::SymbolFile;
use crash::SymbolStatus;
use minidump::Module;
use minidump_common::utils::basename;
use minidump_unwind::{FileError, FileKind, FillSymbolError, FrameSymbolizer, FrameWalker, SymbolProvider};
use symbols::{Found, Symbols};

use crate::{
    budget::Budget,
    parsed::{Key, Parsed, ParsedFiles},
};

/// The symbols of one dump's modules, looked up when they are first asked for.
///
/// The stock `Symbolizer` is not used: it remembers for ever what is missing, counts a library once for each path that
/// it is loaded from, and mixes up the statuses of different dumps. Here a module's status is this dump's, known by
/// the module's address; parsed files are shared by debug file and id, and nothing else outlives the dump.
pub(crate) struct Provider<'a> {
    symbols: &'a Symbols,
    parsed: &'a ParsedFiles,
    budget: &'a Budget,
    state: Mutex<State>,
}

struct State {
    modules: HashMap<u64, ModuleSymbols>,
    wait_left: Duration,
    notes: Vec<String>,
}

/// What is known of the symbols of the module at an address.
#[derive(Clone)]
struct ModuleSymbols {
    status: SymbolStatus,
    file: Option<Arc<SymbolFile>>,
}

impl<'a> Provider<'a> {
    pub(crate) fn new(
        symbols: &'a Symbols,
        parsed: &'a ParsedFiles,
        budget: &'a Budget,
        wait: Duration,
    ) -> Self {
        let state = State { modules: HashMap::new(), wait_left: wait, notes: vec![] };
        Self { symbols, parsed, budget, state: Mutex::new(state) }
    }

    /// What became of the symbols of the module at this address.
    pub(crate) fn status(&self, base: u64) -> SymbolStatus {
        self.state().modules.get(&base).map_or(SymbolStatus::NotNeeded, |module| module.status)
    }

    /// What people should know about symbols of this dump.
    pub(crate) fn into_notes(self) -> Vec<String> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).notes
    }

    async fn file(&self, module: &(dyn Module + Sync)) -> Option<Arc<SymbolFile>> {
        let known = self.state().modules.get(&module.base_address()).cloned();
        let symbols = match known {
            Some(symbols) => symbols,
            None => {
                let symbols = self.find(module).await;
                self.state().modules.insert(module.base_address(), symbols.clone());
                symbols
            }
        };
        symbols.file
    }

    async fn find(&self, module: &(dyn Module + Sync)) -> ModuleSymbols {
        let without = |status| ModuleSymbols { status, file: None };
        let Some((debug_file, debug_id)) = key(module) else { return without(SymbolStatus::Missing) };
        let key = (debug_file, debug_id);
        let parsed = match self.parsed.get(&key) {
            Some(parsed) => parsed,
            None => match self.locate(&key).await {
                Found::Located(path) => self.parsed.load(key.clone(), path),
                Found::Missing => return without(SymbolStatus::Missing),
                Found::Unavailable(why) => {
                    self.note(format!("symbols of {} cannot be had now: {why}", key.0));
                    return without(SymbolStatus::Unavailable);
                }
            },
        };
        match parsed {
            Parsed::Ready(file) => ModuleSymbols { status: SymbolStatus::Loaded, file: Some(file) },
            Parsed::Corrupt(why) => {
                self.note(format!("symbols of {} are unreadable: {why}", key.0));
                without(SymbolStatus::Corrupt)
            }
            Parsed::TooLarge => {
                self.note(format!(
                    "symbols of {} are too large: raise stackwalk.limits.max_symbol_bytes, and stackwalk.memory by three times as much",
                    key.0
                ));
                without(SymbolStatus::Corrupt)
            }
        }
    }

    /// Asks the sources, for as long as this dump may still wait. What takes longer is ready for a later dump.
    async fn locate(&self, (debug_file, debug_id): &Key) -> Found {
        let left = self.state().wait_left;
        let begun = Instant::now();
        let found = tokio::time::timeout(left, self.symbols.locate(debug_file, debug_id)).await;
        self.state().wait_left = left.saturating_sub(begun.elapsed());
        found.unwrap_or_else(|_| Found::Unavailable("they were not here in time".to_owned()))
    }

    fn note(&self, note: String) {
        self.state().notes.push(note);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The debug file's name, without folders, and its id. A module without a debug file is looked for by its own name, as
/// MinGW's are.
fn key(module: &(dyn Module + Sync)) -> Option<Key> {
    let debug_id = module.debug_identifier()?;
    let debug_file =
        module.debug_file().filter(|name| !name.is_empty()).unwrap_or_else(|| module.code_file());
    Some((basename(&debug_file).to_owned(), debug_id.breakpad().to_string()))
}

#[async_trait]
impl SymbolProvider for Provider<'_> {
    async fn fill_symbol(
        &self,
        module: &(dyn Module + Sync),
        frame: &mut (dyn FrameSymbolizer + Send),
    ) -> Result<(), FillSymbolError> {
        self.budget.another_lookup().await;
        match self.file(module).await {
            Some(file) => {
                file.fill_symbol(module, frame);
                Ok(())
            }
            // It makes the unwinder take any address within the module for a return address.
            None => Err(FillSymbolError {}),
        }
    }

    async fn walk_frame(
        &self,
        module: &(dyn Module + Sync),
        walker: &mut (dyn FrameWalker + Send),
    ) -> Option<()> {
        self.budget.another_frame().await;
        self.file(module).await?.walk_frame(module, walker)
    }

    async fn get_file_path(&self, _: &(dyn Module + Sync), _: FileKind) -> Result<PathBuf, FileError> {
        Err(FileError::NotFound)
    }
}
