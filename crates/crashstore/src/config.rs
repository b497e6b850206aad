//! The section `[crashstore]` of the configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where crashes are kept, and how small they are made.
///
/// There is no switch that leaves out a sync: "saved" always means durable.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The folder of the store, on a local disk. Every role of one installation names the same folder.
    pub path: PathBuf,
    /// The zstd level of what is written, 1 (fastest) to 22 (smallest).
    pub compression_level: i32,
}

impl Default for Config {
    fn default() -> Self {
        Self { path: PathBuf::from("/var/lib/crashmill/store"), compression_level: 3 }
    }
}
