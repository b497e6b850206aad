//! The folder of a standalone: where everything is, and what is known of the one that runs.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::{ROLES, absolute};
use crate::config::Setting;

const CONFIG_HEADER: &str = "\
# Settings of this standalone. What is not said here has its default; `crashmill config show --data DIR` prints all.
";

/// How long the roles of a standalone that was killed may take to be gone.
const GONE_DEADLINE: Duration = Duration::from_secs(60);
const GONE_POLL: Duration = Duration::from_millis(50);

/// The folder that `--data` names.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    dir: PathBuf,
}

/// What is known of the standalone that last ran on the folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    /// Its process.
    pub(crate) pid: u32,
    /// Where clients send their reports.
    pub(crate) listen: SocketAddr,
}

impl Folder {
    /// The folder of a standalone that was started before.
    pub(crate) fn existing(dir: &Path) -> anyhow::Result<Self> {
        let folder = Self { dir: absolute(dir)? };
        if !folder.config_file().exists() {
            bail!(
                "{} is not the folder of a standalone; `crashmill standalone --data DIR` makes one",
                folder.dir.display()
            );
        }
        Ok(folder)
    }

    /// Makes the folder, and what is missing in it.
    pub(crate) fn create(dir: &Path) -> anyhow::Result<Self> {
        let folder = Self { dir: absolute(dir)? };
        for sub in [folder.run(), folder.logs(), folder.dir.join("symbols")] {
            fs::create_dir_all(&sub).with_context(|| format!("making {}", sub.display()))?;
        }
        // Raw crashes hold memory of other people's programs.
        for private in [folder.dir.join("store"), folder.dir.join("journal")] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&private)
                .with_context(|| format!("making {}", private.display()))?;
        }
        let config = folder.config_file();
        match OpenOptions::new().write(true).create_new(true).open(&config) {
            Ok(mut file) => file
                .write_all(CONFIG_HEADER.as_bytes())
                .with_context(|| format!("writing {}", config.display()))?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("making {}", config.display())),
        }
        Ok(folder)
    }

    /// Makes this process the only standalone on the folder, for as long as the file is open.
    pub(crate) fn claim(&self) -> anyhow::Result<File> {
        let path = self.run().join("standalone.lock");
        let claiming = || format!("claiming {}", path.display());
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(claiming)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("a standalone already runs on {} ({})", self.dir.display(), self.holder(&file))
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(claiming),
        }
        // For the message of whoever comes second.
        file.set_len(0).with_context(claiming)?;
        write!(file, "{}", std::process::id()).with_context(claiming)?;
        Ok(file)
    }

    /// Who has claimed the folder, as far as it is known.
    fn holder(&self, mut claim: &File) -> String {
        let mut pid = String::new();
        if claim.read_to_string(&mut pid).is_err() || pid.is_empty() {
            return "it has only begun to start".to_owned();
        }
        match self.state() {
            Some(state) if state.pid.to_string() == pid => {
                format!("process {pid}, submit address http://{}/submit", state.listen)
            }
            _ => format!("process {pid}, which is still starting"),
        }
    }

    /// Waits until nothing is left of the roles of an earlier standalone, which was killed: they end by themselves.
    pub(crate) fn wait_until_roles_are_gone(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + GONE_DEADLINE;
        for role in ROLES {
            let lock = self.lock(role);
            let waiting = || format!("waiting for what still holds {}", lock.display());
            let file = match File::open(&lock) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(waiting),
            };
            loop {
                match file.try_lock() {
                    Ok(()) => break,
                    Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(GONE_POLL),
                    Err(error) => return Err(error).with_context(waiting),
                }
            }
        }
        Ok(())
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The settings file.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.dir.join("crashmill.toml")
    }

    /// Where the private servers keep themselves.
    pub(crate) fn servers(&self) -> PathBuf {
        self.dir.join("servers")
    }

    /// Locks and what is known of the standalone that runs.
    pub(crate) fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    fn logs(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The log of a role.
    pub(crate) fn log(&self, role: &str) -> PathBuf {
        self.logs().join(format!("{role}.log"))
    }

    /// What a role holds locked while it runs.
    pub(crate) fn lock(&self, role: &str) -> PathBuf {
        self.run().join(format!("{role}.lock"))
    }

    fn state_file(&self) -> PathBuf {
        self.run().join("standalone.json")
    }

    /// What is known of the standalone that last ran here.
    pub(crate) fn state(&self) -> Option<State> {
        serde_json::from_slice(&fs::read(self.state_file()).ok()?).ok()
    }

    /// The submit address that the folder had last.
    pub(crate) fn last_listen(&self) -> Option<SocketAddr> {
        self.state().map(|state| state.listen)
    }

    pub(crate) fn save_state(&self, state: &State) -> anyhow::Result<()> {
        let path = self.state_file();
        let unfinished = path.with_extension("tmp");
        let text = serde_json::to_vec_pretty(state)?;
        fs::write(&unfinished, text).with_context(|| format!("writing {}", unfinished.display()))?;
        fs::rename(&unfinished, &path).with_context(|| format!("writing {}", path.display()))
    }

    /// What the folder says where neither its settings file nor the environment does.
    pub(crate) fn settings(&self) -> anyhow::Result<Vec<Setting>> {
        let path = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        let symbols = toml::Value::Array(vec![toml::Value::String(path("symbols"))]);
        let mut settings = vec![
            Setting::new("crashstore", "path", path("store")),
            // Of use with an object store alone: see `Config::read`.
            Setting::new("crashstore", "spool", path("spool")),
            Setting::new("queue", "journal", path("journal")),
            Setting::new("symbols", "paths", symbols.to_string()),
            Setting::new("symbols", "cache", path("symbols-cache")),
        ];
        if let Some(urls) = servers::urls(&self.servers())? {
            settings.extend(urls.postgres.map(|url| Setting::new("facts", "url", url)));
            settings.extend(urls.amqp.map(|url| Setting::new("queue", "url", url)));
        }
        settings
            .extend(self.last_listen().map(|listen| Setting::new("collector", "listen", listen.to_string())));
        Ok(settings)
    }
}
