use serde::Serialize;

/// Which program this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Version {
    /// The release, as in `Cargo.toml`.
    pub version: &'static str,
    /// The commit, or `unknown` in a build that was not told (`CRASHMILL_COMMIT` at build time).
    pub commit: &'static str,
    /// The build: a number, an address, or empty (`CRASHMILL_BUILD` at build time).
    pub build: &'static str,
}

/// The version of this executable.
pub const VERSION: Version = Version {
    version: env!("CARGO_PKG_VERSION"),
    commit: match option_env!("CRASHMILL_COMMIT") {
        Some(commit) => commit,
        None => "unknown",
    },
    build: match option_env!("CRASHMILL_BUILD") {
        Some(build) => build,
        None => "",
    },
};
