use std::thread;

use serde::{Deserialize, Serialize};
use settings::{Duration, Size};

/// The section `[stackwalk]`: the worker processes, and what one dump may cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Number of worker processes; by default as many as there are processors.
    pub workers: usize,
    /// How long a worker may take over one dump, downloads of symbols included, before it is killed.
    pub deadline: Duration,
    /// Memory for a worker's data. A worker that needs more dies, which costs one attempt of one crash.
    pub memory: Size,
    /// A worker that holds more memory than this after a dump is replaced.
    pub recycle_rss: Size,
    /// What one dump may cost inside a worker; beyond it the stackwalk is cut short and says so.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: thread::available_parallelism().map_or(1, usize::from),
            deadline: Duration::from_secs(30),
            memory: Size::gib(1),
            recycle_rss: Size::mib(400),
            limits: Limits::default(),
        }
    }
}

/// What one dump may cost: the table `[stackwalk.limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest dump that is looked at.
    pub max_dump_bytes: Size,
    /// Threads; of a dump with more, the crashing one alone is walked, and as many as this are listed.
    pub max_threads: usize,
    /// Frames of one thread; the outer ones are left out.
    pub max_frames_per_thread: usize,
    /// Frames of all threads. The crashing thread comes first; the threads that find nothing left get their innermost frame.
    pub max_frames_total: usize,
    /// Stack memory of one thread that is looked at, from its stack pointer on.
    pub max_stack_bytes_per_thread: Size,
    /// Stack memory of all threads, counted for each thread even where they share it; of a dump with more, the
    /// crashing thread alone is walked.
    pub max_stack_bytes_total: Size,
    /// Loaded modules that are listed, and unloaded ones.
    pub max_modules: usize,
    /// Symbol text that may be held in memory, parsed; it takes two to three times as much there.
    pub max_symbol_bytes: Size,
    /// How long one dump may wait for symbols in all. Downloads go on for the dumps after it.
    pub symbol_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_dump_bytes: Size::mib(200),
            max_threads: 4096,
            max_frames_per_thread: 2000,
            max_frames_total: 20_000,
            max_stack_bytes_per_thread: Size::mib(2),
            max_stack_bytes_total: Size::mib(512),
            max_modules: 4096,
            max_symbol_bytes: Size::mib(256),
            symbol_wait: Duration::from_secs(15),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_reads_as_people_write_it() {
        let config: Config =
            toml::from_str("workers = 3\nmemory = '512MiB'\n[limits]\nmax_threads = 10\n").unwrap();
        assert_eq!((config.workers, config.memory, config.limits.max_threads), (3, Size::mib(512), 10));
        assert_eq!(config.limits.max_modules, Limits::default().max_modules);
        assert!(toml::from_str::<Config>("max_threads = 10").is_err());
    }

    #[test]
    fn a_dump_within_its_limits_fits_into_a_workers_memory() {
        let Config { memory, limits, deadline, .. } = Config::default();
        // The dump, a copy of it for a moment, and parsed symbols at two and a half times their text.
        let needed = limits.max_dump_bytes.bytes() + limits.max_symbol_bytes.bytes() * 5 / 2;
        assert!(needed < memory.bytes(), "{needed}");
        assert!(limits.symbol_wait < deadline);
    }
}
