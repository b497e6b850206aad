//! One dump, from its bytes to its stackwalk.

use crash::{Annotations, Sensitive, Stackwalk, WalkStatus};
use minidump::Minidump;
use serde::{Deserialize, Serialize};
use symbols::Symbols;

use crate::{
    Limits, annotations::annotations, budget::Budget, overview::overview, parsed::ParsedFiles,
    provider::Provider, report, threads::walk_threads,
};

/// What was read from a dump.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Walked {
    /// Threads, modules and crash information.
    pub stackwalk: Stackwalk,
    /// The annotations that Crashpad wrote into the dump, for dumps that come without others.
    #[serde(default)]
    pub annotations: Annotations,
}

impl Walked {
    pub(crate) fn failed(status: WalkStatus, error: impl Into<String>) -> Self {
        Self { stackwalk: Stackwalk::failed(status, error), annotations: Annotations::default() }
    }
}

/// Walks dumps one after the other and keeps the symbols that they share.
pub struct Walker {
    symbols: Symbols,
    parsed: ParsedFiles,
    limits: Limits,
}

impl Walker {
    /// A walker that holds no symbols yet.
    #[must_use]
    pub fn new(symbols: Symbols, limits: Limits) -> Self {
        Self { symbols, parsed: ParsedFiles::new(limits.max_symbol_bytes.bytes()), limits }
    }

    /// Walks the stacks of a dump. It always answers: what is wrong with a dump is in the stackwalk's status.
    ///
    /// The crashing thread comes first and may use the whole budget, so that it is there however many others want
    /// a share. It blocks the thread that it runs on, except for downloads.
    pub async fn walk(&self, dump: &[u8]) -> Walked {
        if dump.is_empty() {
            return Walked::failed(WalkStatus::EmptyDump, "the dump is empty");
        }
        if dump.len() > self.limits.max_dump_bytes.as_usize() {
            return too_large(dump.len(), &self.limits);
        }
        let minidump = match Minidump::read(dump) {
            Ok(minidump) => minidump,
            Err(error) => return Walked::failed(WalkStatus::BadMinidump, error.to_string()),
        };
        Walked { stackwalk: self.stackwalk(dump, &minidump).await, annotations: annotations(&minidump) }
    }

    async fn stackwalk(&self, dump: &[u8], minidump: &Minidump<'_, &[u8]>) -> Stackwalk {
        let overview = match overview(dump, minidump).await {
            Ok(overview) => overview,
            Err(error) => return Stackwalk::failed(WalkStatus::BadMinidump, error.to_string()),
        };
        let limits = &self.limits;
        let budget = Budget::new(limits);
        let provider = Provider::new(&self.symbols, &self.parsed, &budget, limits.symbol_wait.get());
        let threads = match walk_threads(minidump, &overview, &provider, &budget, limits).await {
            Ok(threads) => threads,
            Err(error) => return Stackwalk::failed(WalkStatus::BadMinidump, error.to_string()),
        };

        let exception = overview.exception_info.as_ref();
        let (instruction, possible_bit_flips) = report::instruction(exception);
        let (modules, main_module) = report::modules(&overview, &provider, limits);
        let mut soft_errors = report::soft_errors(&overview);
        soft_errors.extend(provider.into_notes());
        let truncated = threads.threads.iter().filter(|thread| thread.truncated).count();
        if truncated > 0 {
            soft_errors.push(format!(
                "frames of {truncated} threads are left out: the limits of [stackwalk.limits] were reached"
            ));
        }
        if overview.modules.iter().nth(limits.max_modules).is_some() {
            soft_errors.push(format!("modules are left out: there are more than {}", limits.max_modules));
        }
        Stackwalk {
            status: if threads.over_limit.is_some() { WalkStatus::OverLimit } else { WalkStatus::Ok },
            error: threads.over_limit,
            system_info: report::system_info(&overview),
            pid: overview.process_id,
            dumped_at: report::dumped_at(&overview),
            process_uptime: report::process_uptime(&overview),
            crash_info: report::crash_info(exception, minidump.get_stream().ok().as_ref()),
            crashing_thread: threads.crashing,
            threads: threads.threads,
            main_module,
            modules,
            unloaded_modules: report::unloaded_modules(&overview, limits),
            soft_errors,
            sensitive: Sensitive { instruction, possible_bit_flips, registers: threads.registers },
        }
    }
}

/// The answer to a dump that is not even looked at.
pub(crate) fn too_large(bytes: usize, limits: &Limits) -> Walked {
    let most = limits.max_dump_bytes;
    let error = format!("it has {bytes} bytes where stackwalk.limits.max_dump_bytes is {most}");
    Walked::failed(WalkStatus::OverLimit, error)
}

/// Walks a single dump in this process, for tools that are given a dump by hand.
///
/// There is no deadline, and no limit to memory but the budgets of `limits`: dumps from strangers go through a
/// [`Pool`](crate::Pool).
pub async fn walk(dump: &[u8], symbols: &Symbols, limits: &Limits) -> Stackwalk {
    Walker::new(symbols.clone(), limits.clone()).walk(dump).await.stackwalk
}
