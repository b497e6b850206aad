//! Where the system's packages have put the servers, and how to get them there.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    error::Error,
    system::{Package, System},
};

/// Where programs are looked for besides the caller's `PATH`, which may be short for an ordinary user or a service.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The packages that have to be installed before both servers can be started.
pub fn missing() -> Vec<Package> {
    let postgres = postgres(None).is_err().then_some(Package::PostgreSql);
    let rabbitmq = rabbitmq().is_err().then_some(Package::RabbitMq);
    postgres.into_iter().chain(rabbitmq).collect()
}

/// The folder with PostgreSQL's programs.
#[derive(Debug, Clone)]
pub(crate) struct PostgresPrograms {
    pub(crate) bin: PathBuf,
    pub(crate) major: u32,
}

/// Finds the PostgreSQL of a major version, or the newest.
pub(crate) fn postgres(major: Option<u32>) -> Result<PostgresPrograms, Error> {
    let by_version = [("/usr/lib/postgresql", ""), ("/usr", "pgsql-"), ("/opt/homebrew/opt", "postgresql@")];
    let mut found: Vec<PostgresPrograms> = by_version
        .iter()
        .flat_map(|(folder, prefix)| versions(Path::new(folder), prefix))
        .map(|(_, folder)| folder.join("bin"))
        .chain(resolved("postgres"))
        .chain(resolved("pg_ctl"))
        .filter(|bin| bin.join("postgres").exists() && bin.join("initdb").exists())
        .filter_map(|bin| postgres_major(&bin).map(|major| PostgresPrograms { bin, major }))
        .filter(|found| major.is_none_or(|major| found.major == major))
        .collect();
    found.sort_by_key(|found| found.major);
    found.pop().ok_or_else(|| absent(Package::PostgreSql))
}

/// The major version of the PostgreSQL in this folder, by its own word.
fn postgres_major(bin: &Path) -> Option<u32> {
    let output = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    // "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", or "17devel" for the version.
    let version = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// RabbitMQ's scripts and Erlang's port mapper.
#[derive(Debug, Clone)]
pub(crate) struct RabbitMqPrograms {
    /// The server's own script, which, unlike the wrapper that packages put on the path, lets any user start it.
    pub(crate) server: PathBuf,
    pub(crate) epmd: PathBuf,
}

/// Finds the newest RabbitMQ, and Erlang.
pub(crate) fn rabbitmq() -> Result<RabbitMqPrograms, Error> {
    let mut by_version: Vec<_> = ["/usr/lib/rabbitmq/lib", "/usr/lib64/rabbitmq/lib", "/opt"]
        .iter()
        .flat_map(|folder| versions(Path::new(folder), "rabbitmq_server-"))
        .collect();
    by_version.sort();
    let plain = ["/usr/lib/rabbitmq", "/opt/rabbitmq", "/opt/homebrew/opt/rabbitmq"].map(PathBuf::from);

    let sbin = by_version
        .into_iter()
        .rev()
        .map(|(_, folder)| folder)
        .chain(plain)
        .map(|folder| folder.join("sbin"))
        .chain(resolved("rabbitmq-server"))
        // A wrapper has the same name; what lies beside it is what tells them apart.
        .find(|sbin| sbin.join("rabbitmq-server").exists() && sbin.join("../plugins").exists());

    match (sbin, on_path("erl"), epmd()) {
        (Some(sbin), Some(_), Some(epmd)) => {
            Ok(RabbitMqPrograms { server: sbin.join("rabbitmq-server"), epmd })
        }
        _ => Err(absent(Package::RabbitMq)),
    }
}

/// Erlang's port mapper, on the path or in its own folder beside the virtual machine.
fn epmd() -> Option<PathBuf> {
    let mut by_version: Vec<_> = ["/usr/lib/erlang", "/usr/lib64/erlang", "/usr/local/lib/erlang"]
        .iter()
        .flat_map(|folder| versions(Path::new(folder), "erts-"))
        .collect();
    by_version.sort();
    on_path("epmd")
        .or_else(|| by_version.pop().map(|(_, folder)| folder.join("bin/epmd")).filter(|epmd| epmd.exists()))
}

fn absent(package: Package) -> Error {
    Error::Missing { package, command: System::here().install_command() }
}

/// The caller's `PATH`, then the usual one.
pub(crate) fn search_path() -> String {
    match env::var("PATH") {
        Ok(path) if !path.is_empty() => format!("{path}:{USUAL_PATH}"),
        _ => USUAL_PATH.to_owned(),
    }
}

/// The folder in which a program on the path really is, after all links.
fn resolved(program: &str) -> Option<PathBuf> {
    Some(fs::canonicalize(on_path(program)?).ok()?.parent()?.to_path_buf())
}

fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// A version as numbers, so that 10 comes after 9.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(Vec<u32>);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        text.split(['.', '-']).map(|part| part.parse().ok()).collect::<Option<_>>().map(Self)
    }
}

/// The folders in `folder` that are named `prefix` and a version.
fn versions(folder: &Path, prefix: &str) -> Vec<(Version, PathBuf)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let version = Version::parse(OsStr::to_str(&entry.file_name())?.strip_prefix(prefix)?)?;
            Some((version, entry.path()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_the_greatest_number_and_not_the_last_in_the_alphabet() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["rabbitmq_server-3.9.13", "rabbitmq_server-3.10.8", "rabbitmq_server-old", "other-9"] {
            fs::create_dir(dir.path().join(name)).expect("a folder");
        }
        let mut found = versions(dir.path(), "rabbitmq_server-");
        found.sort();
        let newest = found.pop().expect("two of them have a version");
        assert_eq!(newest.1, dir.path().join("rabbitmq_server-3.10.8"));
        assert_eq!(found.len(), 1);
    }
}
