//! The section `[crashstore]` of the configuration.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use settings::{Duration, Portion, Secret, Size};

use crate::{Error, objects::Address, space::Watermarks};

/// Where the spool of an object store is, unless the configuration says so.
const SPOOL: &str = "/var/lib/crashmill/spool";

/// Where crashes are kept, and how small they are made.
///
/// There is no switch that leaves out a sync: "saved" always means durable.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The folder of the store, on a local disk. Every role of one installation names the same folder. With
    /// [`url`](Self::url) it is not used.
    pub path: PathBuf,
    /// An object store in place of the folder, for several machines: `s3://bucket/prefix`, `gs://bucket/prefix` or
    /// `az://container/prefix`.
    pub url: Option<String>,
    /// Where the object store is, when it is not the platform's own: `https://minio.example:9000`.
    pub endpoint: Option<String>,
    /// The region of an S3 bucket.
    pub region: Option<String>,
    /// Whether the object store may be spoken to without TLS.
    pub allow_http: bool,
    /// Who we are: S3's access key id, or Azure's account. Without it the platform's usual environment variables are
    /// looked at, then what the machine itself may do.
    pub key_id: Option<String>,
    /// What proves it: S3's secret access key, Azure's access key, or the JSON of a Google service account.
    pub key: Secret,
    /// How long a collector waits for the store to take a crash before it saves it in the spool, tries included.
    pub timeout: Duration,
    /// How long one request to the object store may take.
    pub request_timeout: Duration,
    /// How often a request to the object store is tried again that failed in a way that passes, with growing pauses.
    pub retries: u32,
    /// Where a collector saves crashes while the store does not take them; a local folder, for all collectors on one
    /// machine. For an object store it is `/var/lib/crashmill/spool` unless given, for a local store there is none unless given.
    pub spool: Option<PathBuf>,
    /// How much the spool may take on its disk. What is more is refused, and the client keeps its crash.
    pub spool_limit: Size,
    /// The zstd level of what is written, 1 (fastest) to 22 (smallest).
    pub compression_level: i32,
    /// Below so much free room on the filesystem somebody is told.
    pub warn_below: Portion,
    /// Below so much free room no new crash is taken: the rest is for the journal, for erasures and for what is under way.
    pub refuse_below: Portion,
    /// Below so much free room no processed crash is written either, and processors wait.
    pub stop_below: Portion,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/var/lib/crashmill/store"),
            url: None,
            endpoint: None,
            region: None,
            allow_http: false,
            key_id: None,
            key: Secret::default(),
            timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            retries: 3,
            spool: None,
            spool_limit: Size::gib(10),
            compression_level: 3,
            warn_below: Portion::percent_up_to(10, Size::gib(10)),
            refuse_below: Portion::percent_up_to(5, Size::gib(2)),
            stop_below: Portion::percent_up_to(2, Size::mib(512)),
        }
    }
}

impl Config {
    /// Refuses values that make no sense, without asking anyone.
    ///
    /// # Errors
    /// [`Error::CompressionLevel`], [`Error::Address`], and [`Error::Spool`] where spool and store are one folder, or one
    /// is in the other.
    pub fn check(&self) -> Result<(), Error> {
        let levels = zstd::compression_level_range();
        let (level, min, max) = (self.compression_level, 1, *levels.end());
        if !(min..=max).contains(&level) {
            return Err(Error::CompressionLevel { level, min, max });
        }
        self.url.as_deref().map_or(Ok(()), |url| Address::parse(url).map(drop))?;
        self.spool_folder().map_or(Ok(()), |spool| are_apart(&spool, &self.path))
    }

    /// The name of the store, which is its address or its folder.
    pub(crate) fn store_name(&self) -> String {
        let path = || resolved(&self.path).to_string_lossy().into_owned();
        self.url.as_ref().map_or_else(path, |url| url.trim_end_matches('/').to_owned())
    }

    /// How much room is kept back on the filesystem.
    #[must_use]
    pub fn watermarks(&self) -> Watermarks {
        let Self { warn_below, refuse_below, stop_below, .. } = *self;
        Watermarks { warn_below, refuse_below, stop_below }
    }

    /// Where crashes are saved while the store does not take them, if anywhere.
    #[must_use]
    pub fn spool_folder(&self) -> Option<PathBuf> {
        let usual = self.url.as_ref().map(|_| PathBuf::from(SPOOL));
        self.spool.clone().or(usual)
    }
}

/// What is in the spool is moved, and then unlinked: nothing else may be there. Also with an object store, for the folder
/// may be the store of before.
fn are_apart(spool: &Path, store: &Path) -> Result<(), Error> {
    let (spool, store) = (resolved(spool), resolved(store));
    if spool.starts_with(&store) || store.starts_with(&spool) {
        let (spool, store) = (spool.display(), store.display());
        let what = format!("{spool} has to be apart from crashstore.path, {store}: name a folder of its own");
        return Err(Error::Spool { what });
    }
    Ok(())
}

/// The path without links, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find_map(|there| {
        let rest = path.strip_prefix(there).ok()?;
        Some(rest.components().fold(there.canonicalize().ok()?, enter))
    });
    there.unwrap_or(path)
}

/// Goes on from a folder to what is not there yet, and so has no links in it.
fn enter(mut folder: PathBuf, part: Component<'_>) -> PathBuf {
    if part == Component::ParentDir {
        folder.pop();
    } else {
        folder.push(part);
    }
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_that_is_the_store_or_in_it_or_around_it_is_refused_whatever_it_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("store")).unwrap();
        std::os::unix::fs::symlink(at("store"), at("link")).unwrap();
        let checked = |url: Option<&str>, spool: PathBuf| {
            let url = url.map(str::to_owned);
            Config { path: at("store"), spool: Some(spool), url, ..Config::default() }.check()
        };
        for spool in ["store", "store/spool", "link", "link/new/spool", "", "other/../store"] {
            for url in [None, Some("s3://bucket/crashes")] {
                let refused = checked(url, at(spool));
                assert!(matches!(refused, Err(Error::Spool { .. })), "{spool}: {refused:?}");
            }
        }
        for spool in ["spool", "store-spool", "other/spool"] {
            checked(None, at(spool)).unwrap();
        }
    }
}
