//! A private PostgreSQL server.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use crate::{
    Durability,
    account::Account,
    error::{Doing, Error},
    guarded::{Environment, Guarded, Program, Stop, StopSignal},
    layout::{Layout, POSTGRES_USER, write_for},
    packages::{self, PostgresPrograms},
    ports, processes,
    record::{NAME, PostgresRecord, new_password},
    startup,
};

const SERVER: &str = "postgres";
/// How long open transactions and the last checkpoint may take at a stop; a kill after it costs a recovery, no data.
const GRACE: Duration = Duration::from_secs(30);
/// The message that a server sends for "do you speak TLS?", to which it answers with one letter.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// A running PostgreSQL server of our own, with a database and its owner, both named `crashmill`.
///
/// It listens on a loopback port and nowhere else. Dropping it asks the server to end, without waiting.
#[derive(Debug)]
pub struct Postgres {
    layout: Layout,
    durability: Durability,
    programs: PostgresPrograms,
    account: Option<Account>,
    folder: PathBuf,
    record: PostgresRecord,
    guarded: Guarded,
}

impl Postgres {
    /// Starts the server of a folder, making its database at the first start. Blocks until it answers.
    pub fn start(layout: &Layout, durability: Durability) -> Result<Self, Error> {
        let account = Account::for_server(POSTGRES_USER).doing(|| "choosing PostgreSQL's user".to_owned())?;
        layout.wait_until_gone(SERVER)?;
        let folder = layout.folder(SERVER, account)?;
        let programs = programs_for(&folder.join("data"))?;

        let start = Start { layout, durability, programs: &programs, account, folder: &folder };
        let mut record = start.record()?;
        if !folder.join("data").exists() {
            start.initialise(&record)?;
        }
        let guarded = match start.launch(record.port) {
            // Between the choice of the port and its use somebody else took it: once more, with another.
            Err(Error::Startup { .. }) if !ports::is_free(record.port) => {
                record = start.record()?;
                start.launch(record.port)
            }
            other => other,
        }?;
        Ok(Self { layout: layout.clone(), durability, programs, account, folder, record, guarded })
    }

    /// Starts the server again after it has ended, on the same port and data. Blocks until it answers.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.stop().doing(|| "stopping what is left of PostgreSQL".to_owned())?;
        let start = Start {
            layout: &self.layout,
            durability: self.durability,
            programs: &self.programs,
            account: self.account,
            folder: &self.folder,
        };
        self.guarded = start.launch(self.record.port)?;
        Ok(())
    }

    /// The URL of the database, user and password included.
    pub fn url(&self) -> String {
        self.record.url()
    }

    /// The server's own process, as [`Guarded`].
    pub fn guarded(&self) -> &Guarded {
        &self.guarded
    }

    /// Whether the server has ended, and how.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.guarded.try_wait()
    }

    /// Completes when the server has ended.
    pub async fn ended(&self) -> io::Result<()> {
        self.guarded.ended().await
    }

    /// Ends the server, transactions in progress with it. Blocks until it is gone.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        self.guarded.stop()
    }
}

/// PostgreSQL's data can only be used by the major version that made them.
fn programs_for(data: &Path) -> Result<PostgresPrograms, Error> {
    let path = data.join("PG_VERSION");
    let made_by = match fs::read_to_string(&path) {
        Ok(version) => version.trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return packages::postgres(None),
        Err(error) => return Err(error).doing(|| format!("reading {}", path.display())),
    };
    match packages::postgres(made_by.parse().ok()) {
        Ok(programs) if programs.major.to_string() == made_by => Ok(programs),
        _ => Err(Error::OtherVersion { data: data.to_path_buf(), made_by }),
    }
}

/// What all steps of a start need.
struct Start<'a> {
    layout: &'a Layout,
    durability: Durability,
    programs: &'a PostgresPrograms,
    account: Option<Account>,
    /// The server's own folder, with the data in `data/`.
    folder: &'a Path,
}

impl Start<'_> {
    /// The password, made once, and a port that is free now.
    fn record(&self) -> Result<PostgresRecord, Error> {
        self.layout.change(|record| {
            let old = record.postgres.take();
            let port = record.port(old.as_ref().map(|old| old.port))?;
            let password = old.map_or_else(new_password, |old| old.password);
            let new = PostgresRecord { port, password };
            record.postgres = Some(new.clone());
            Ok(new)
        })
    }

    /// Makes the data beside their place and moves them there when they are whole.
    fn initialise(&self, record: &PostgresRecord) -> Result<(), Error> {
        let new = self.folder.join("data.new");
        let preparing = || format!("preparing {}", new.display());
        if new.exists() {
            fs::remove_dir_all(&new).doing(preparing)?;
        }
        self.initdb(&new, &record.password)?;
        self.create_database(&new)?;
        fs::rename(&new, self.folder.join("data")).doing(preparing)?;
        File::open(self.folder).and_then(|folder| folder.sync_all()).doing(preparing)
    }

    fn initdb(&self, data: &Path, password: &str) -> Result<(), Error> {
        let password_file = self.private_file("password", password)?;
        let mut args = vec![
            "--pgdata".to_owned(),
            data.display().to_string(),
            format!("--username={NAME}"),
            format!("--pwfile={}", password_file.display()),
            "--auth=scram-sha-256".to_owned(),
            "--encoding=UTF8".to_owned(),
            "--data-checksums".to_owned(),
            // Sorting by bytes is the same on every machine; upper and lower case need more than ASCII.
            "--locale=C".to_owned(),
        ];
        if has_c_utf8() {
            args.push("--lc-ctype=C.UTF-8".to_owned());
        }
        if self.durability == Durability::Fast {
            args.push("--no-sync".to_owned());
        }
        let done = startup::until_done("initdb", self.spawn(self.programs.bin.join("initdb"), args)?);
        fs::remove_file(&password_file).doing(|| "removing initdb's password file".to_owned())?;
        done
    }

    /// Makes the database without a running server, so that data in place always have it.
    fn create_database(&self, data: &Path) -> Result<(), Error> {
        let statement =
            self.private_file("create.sql", &format!("CREATE DATABASE {NAME} OWNER {NAME};\n"))?;
        let args = vec![
            "-c".to_owned(),
            r#"exec "$0" --single -c exit_on_error=on -D "$1" postgres < "$2""#.to_owned(),
            self.programs.bin.join("postgres").display().to_string(),
            data.display().to_string(),
            statement.display().to_string(),
        ];
        let done = startup::until_done("postgres --single", self.spawn("/bin/sh".into(), args)?);
        fs::remove_file(&statement).doing(|| "removing a file of statements".to_owned())?;
        done
    }

    fn launch(&self, port: u16) -> Result<Guarded, Error> {
        let data = self.folder.join("data");
        let mut args = vec!["-D".to_owned(), data.display().to_string()];
        for (name, value) in settings(self.durability, self.programs.major) {
            args.extend(["-c".to_owned(), format!("{name}={value}")]);
        }
        args.extend(["-c".to_owned(), format!("port={port}")]);

        let mut guarded = self.spawn(self.programs.bin.join("postgres"), args)?;
        startup::until_ready("PostgreSQL", &mut guarded, |guarded| {
            says_ready(&data, guarded)
                && startup::answers(port, &SSL_REQUEST, |reply| matches!(reply, b'N' | b'S'))
        })?;
        Ok(guarded)
    }

    fn spawn(&self, executable: PathBuf, args: Vec<String>) -> Result<Guarded, Error> {
        let program = Program {
            executable,
            args: args.into_iter().map(Into::into).collect(),
            environment: Environment::Only(vec![
                ("PATH".into(), packages::search_path().into()),
                ("LC_ALL".into(), "C".into()),
                ("TZ".into(), "UTC".into()),
            ]),
            folder: self.folder.to_path_buf(),
            account: self.account,
            // "Fast shutdown": connections are closed, and the data are written out.
            stop: Stop { signal: StopSignal::Int, grace: GRACE },
            lock: self.layout.lock(SERVER),
            log: self.layout.log(SERVER),
            handed_over: Vec::new(),
        };
        Guarded::spawn(self.layout.guard(), &program)
    }

    /// A file that only the server's user reads.
    fn private_file(&self, name: &str, content: &str) -> Result<PathBuf, Error> {
        let path = self.folder.join(name);
        write_for(self.account, &path, 0o600, content)?;
        Ok(path)
    }
}

/// Small enough to stand beside everything else on one little machine.
fn settings(durability: Durability, major: u32) -> Vec<(&'static str, &'static str)> {
    let mut settings = vec![
        ("listen_addresses", "127.0.0.1"),
        // A path to a socket is limited to 107 bytes, which a folder below somebody's home easily exceeds.
        ("unix_socket_directories", ""),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        ("log_checkpoints", "off"),
        ("shared_buffers", "32MB"),
        ("huge_pages", "off"),
        ("min_wal_size", "32MB"),
        ("max_wal_size", "256MB"),
        ("wal_level", "minimal"),
        ("max_wal_senders", "0"),
        ("max_worker_processes", "2"),
        ("max_parallel_workers", "0"),
        ("max_parallel_workers_per_gather", "0"),
        ("max_parallel_maintenance_workers", "0"),
        ("max_logical_replication_workers", "0"),
        ("autovacuum_max_workers", "1"),
        ("jit", "off"),
    ];
    if major >= 18 {
        // The default keeps three more processes.
        settings.push(("io_method", "sync"));
    }
    match durability {
        Durability::Full => settings.push(("max_connections", "100")),
        Durability::Fast => settings.extend([
            ("max_connections", "500"),
            ("fsync", "off"),
            ("synchronous_commit", "off"),
            ("full_page_writes", "off"),
        ]),
    }
    settings
}

/// Whether the server that this guard runs has written "ready" in the eighth line of its `postmaster.pid`. The file may
/// also be one that a killed server left.
fn says_ready(data: &Path, guarded: &Guarded) -> bool {
    let Ok(file) = fs::read_to_string(data.join("postmaster.pid")) else { return false };
    let lines: Vec<&str> = file.lines().map(str::trim).collect();
    let ours = |pid: &&str| pid.parse().is_ok_and(|pid| processes::parent_of(pid) == Some(guarded.pid()));
    lines.first().is_some_and(ours) && lines.get(7) == Some(&"ready")
}

/// Whether the C library has the locale of plain Unicode; some older ones do not.
fn has_c_utf8() -> bool {
    let output = std::process::Command::new("locale").arg("-a").output();
    output.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).lines().any(|name| matches!(name, "C.UTF-8" | "C.utf8"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_a_version_that_is_not_installed_are_refused_by_its_name() {
        let data = tempfile::tempdir().expect("a folder");
        fs::write(data.path().join("PG_VERSION"), "9\n").expect("a folder of ours");
        let error = programs_for(data.path()).expect_err("nobody has PostgreSQL 9 any more");
        assert!(error.to_string().contains("made by PostgreSQL 9, which is not installed"), "{error}");
    }
}
