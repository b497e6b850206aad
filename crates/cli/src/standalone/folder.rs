//! The folder of a standalone: where everything is, and what is known of the one that runs.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::absolute;
use crate::config::Setting;

const CONFIG_HEADER: &str = "\
# Settings of this standalone. What is not said here has its default; `crashmill config show --data DIR` prints all.
";

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
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("making {}", config.display())),
        }
        Ok(folder)
    }

    /// Makes this process the only standalone on the folder, for as long as the file is open.
    pub(crate) fn claim(&self) -> anyhow::Result<File> {
        let path = self.run().join("standalone.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        if file.try_lock().is_err() {
            let who = self.state().map_or_else(String::new, |state| {
                format!(" (process {}, submit address http://{}/submit)", state.pid, state.listen)
            });
            bail!("a standalone already runs on {}{who}", self.dir.display());
        }
        Ok(file)
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
