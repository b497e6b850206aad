use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use settings::{Duration, ServiceUrl, Size};

use crate::{Error, server::Server};

/// The section `[symbols]`: where symbols come from.
///
/// The folders are looked into first, in their order, then the cache, then the servers are asked, in their order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folders with Breakpad symbols, laid out as `<debug file>/<debug id>/<debug file without .pdb>.sym`.
    pub paths: Vec<PathBuf>,
    /// Symbol servers over HTTP; the same layout is expected below each address. One with a password in it comes from
    /// the environment.
    pub servers: Vec<ServiceUrl>,
    /// Folder for what the servers sent. Processes may share it. Anything in it may be deleted at any time.
    pub cache: PathBuf,
    /// How long a server may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long one file may take from the request to its last byte.
    pub timeout: Duration,
    /// How long a file that no server has is not asked for again.
    pub missing_ttl: Duration,
    /// The largest symbol file to take from a server, uncompressed.
    pub max_file_size: Size,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            paths: vec![],
            servers: vec![],
            cache: "/var/lib/crashmill/symbols-cache".into(),
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            missing_ttl: Duration::from_secs(60 * 60),
            max_file_size: Size::gib(2),
        }
    }
}

impl Config {
    /// Whether the addresses of the servers are ones that symbols can be below.
    ///
    /// # Errors
    /// [`Error::ServerAddress`] for the first that is not.
    pub fn check(&self) -> Result<(), Error> {
        self.servers.iter().try_for_each(|server| Server::new(server).map(drop))
    }
}
