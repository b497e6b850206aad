//! The `[processor]` section.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use settings::Duration;

/// How crashes are processed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often a dump is walked that makes its worker die or overruns the deadline, before the crash is saved
    /// with a status that says so.
    pub walk_attempts: u16,
    /// How many facts are saved in one transaction at most.
    pub save_batch: usize,
    /// The longest pause between two tries to reach what is down: the database, the crash store, a worker.
    pub longest_pause: Duration,
    /// A folder with the lists by which signatures are made; the ones that ship with the product, unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_lists: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            walk_attempts: 2,
            save_batch: 32,
            longest_pause: Duration::from_secs(10),
            signature_lists: None,
        }
    }
}
