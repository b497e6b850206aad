//! A private RabbitMQ server, with a port mapper of its own.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use crate::{
    Durability,
    account::Account,
    error::{Doing, Error},
    guarded::{Environment, Guarded, Program, Stop, StopSignal},
    layout::{Layout, RABBITMQ_USER, write_for},
    packages::{self, RabbitMqPrograms},
    ports,
    record::{NAME, RabbitMqRecord, new_password},
    startup,
};

const SERVER: &str = "rabbitmq";
const EPMD: &str = "epmd";
/// How long queues may take to be closed at a stop; a kill after it costs a recovery, no confirmed message.
const GRACE: Duration = Duration::from_secs(30);
/// The port mapper keeps nothing that would have to be saved.
const EPMD_GRACE: Duration = Duration::from_secs(2);
/// AMQP 0-9-1: the header that a client begins with. The server answers with a method frame.
const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
const METHOD_FRAME: u8 = 1;

/// A running RabbitMQ server of our own, with the user `crashmill` and no other.
///
/// It listens on loopback ports and nowhere else. Dropping it asks the server to end, without waiting.
///
/// Erlang nodes register with a port mapper, `epmd`, and one would be started, to run for ever, if there were none. So
/// there is one of our own, on its own port, guarded like the server.
#[derive(Debug)]
pub struct RabbitMq {
    layout: Layout,
    durability: Durability,
    programs: RabbitMqPrograms,
    account: Option<Account>,
    folder: PathBuf,
    record: RabbitMqRecord,
    epmd: Guarded,
    server: Guarded,
}

impl RabbitMq {
    /// Starts the server of a folder. Blocks until it speaks AMQP.
    pub fn start(layout: &Layout, durability: Durability) -> Result<Self, Error> {
        let account = Account::for_server(RABBITMQ_USER).doing(|| "choosing RabbitMQ's user".to_owned())?;
        layout.wait_until_gone(SERVER)?;
        layout.wait_until_gone(EPMD)?;
        let folder = layout.folder(SERVER, account)?;
        let programs = packages::rabbitmq()?;

        let mut start = Start {
            layout,
            durability,
            programs: &programs,
            account,
            folder: &folder,
            record: record(layout)?,
        };
        start.forget_what_was_never_complete()?;
        let (epmd, server) = match start.launch() {
            // Between the choice of the ports and their use somebody else took one: once more, with others.
            Err(Error::Startup { .. }) if !start.record.ports_are_free() => {
                start.record = record(layout)?;
                start.launch()
            }
            other => other,
        }?;
        let record = layout.change(|record| {
            if let Some(rabbitmq) = &mut record.rabbitmq {
                rabbitmq.complete = true;
            }
            Ok(start.record.clone())
        })?;
        Ok(Self { layout: layout.clone(), durability, programs, account, folder, record, epmd, server })
    }

    /// Starts the server and its port mapper again after one of them has ended, on the same ports and data. Blocks until
    /// the server speaks AMQP.
    pub fn restart(&mut self) -> Result<(), Error> {
        // Both, because a server that misses its port mapper starts one, in the place of ours.
        self.stop().doing(|| "stopping what is left of RabbitMQ".to_owned())?;
        let start = Start {
            layout: &self.layout,
            durability: self.durability,
            programs: &self.programs,
            account: self.account,
            folder: &self.folder,
            record: self.record.clone(),
        };
        (self.epmd, self.server) = start.launch()?;
        Ok(())
    }

    /// The URL of the server's default virtual host, user and password included.
    pub fn url(&self) -> String {
        self.record.url()
    }

    /// The server's own process, as [`Guarded`].
    pub fn guarded(&self) -> &Guarded {
        &self.server
    }

    /// The port mapper's process.
    pub fn epmd(&self) -> &Guarded {
        &self.epmd
    }

    /// Whether the server or its port mapper has ended, and how.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        match self.server.try_wait()? {
            Some(status) => Ok(Some(status)),
            None => self.epmd.try_wait(),
        }
    }

    /// Completes when the server or its port mapper has ended.
    pub async fn ended(&self) -> io::Result<()> {
        tokio::select! {
            result = self.server.ended() => result,
            result = self.epmd.ended() => result,
        }
    }

    /// Ends the server, then its port mapper. Blocks until both are gone.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        let status = self.server.stop();
        self.epmd.stop()?;
        status
    }
}

/// The name and password, made once, and ports that are free now.
fn record(layout: &Layout) -> Result<RabbitMqRecord, Error> {
    layout.change(|record| {
        let old = record.rabbitmq.take();
        let mut new = old.clone().unwrap_or_else(|| RabbitMqRecord {
            node: format!("{NAME}-{:012x}@localhost", rand::random::<u64>() >> 16),
            port: 0,
            distribution_port: 0,
            epmd_port: 0,
            password: new_password(),
            complete: false,
        });
        // One after the other, each in the record, so that none is chosen twice.
        new.port = record.port(old.as_ref().map(|old| old.port))?;
        record.rabbitmq = Some(new.clone());
        new.distribution_port = record.port(old.as_ref().map(|old| old.distribution_port))?;
        record.rabbitmq = Some(new.clone());
        new.epmd_port = record.port(old.as_ref().map(|old| old.epmd_port))?;
        record.rabbitmq = Some(new.clone());
        Ok(new)
    })
}

impl RabbitMqRecord {
    fn ports_are_free(&self) -> bool {
        [self.port, self.distribution_port, self.epmd_port].into_iter().all(ports::is_free)
    }
}

/// What all steps of a start need.
struct Start<'a> {
    layout: &'a Layout,
    durability: Durability,
    programs: &'a RabbitMqPrograms,
    account: Option<Account>,
    /// The server's own folder, which is also its user's home.
    folder: &'a Path,
    record: RabbitMqRecord,
}

impl Start<'_> {
    /// The user is made when the database is new. A first start that was cut off may have left a database without one.
    fn forget_what_was_never_complete(&self) -> Result<(), Error> {
        let data = self.folder.join("data");
        if !self.record.complete && data.exists() {
            fs::remove_dir_all(&data).doing(|| format!("removing {}", data.display()))?;
        }
        Ok(())
    }

    fn launch(&self) -> Result<(Guarded, Guarded), Error> {
        Ok((self.launch_epmd()?, self.launch_server()?))
    }

    fn launch_epmd(&self) -> Result<Guarded, Error> {
        let port = self.record.epmd_port;
        let args = vec!["-port".into(), port.to_string().into(), "-address".into(), "127.0.0.1".into()];
        let stop = Stop { signal: StopSignal::Term, grace: EPMD_GRACE };
        let mut epmd = self.spawn(EPMD, &self.programs.epmd, args, stop)?;
        startup::until_ready("Erlang's port mapper (epmd)", &mut epmd, |_| startup::accepts(port))?;
        Ok(epmd)
    }

    fn launch_server(&self) -> Result<Guarded, Error> {
        self.write(".erlang.cookie", 0o400, &new_password())?;
        self.write("rabbitmq.conf", 0o600, &self.configuration())?;
        self.write("enabled_plugins", 0o600, "[].\n")?;

        let port = self.record.port;
        let stop = Stop { signal: StopSignal::Term, grace: GRACE };
        let mut server = self.spawn(SERVER, &self.programs.server, Vec::new(), stop)?;
        startup::until_ready("RabbitMQ", &mut server, |_| {
            startup::answers(port, PROTOCOL_HEADER, |reply| reply == METHOD_FRAME)
        })?;
        Ok(server)
    }

    fn spawn(
        &self,
        name: &str,
        executable: &Path,
        args: Vec<OsString>,
        stop: Stop,
    ) -> Result<Guarded, Error> {
        let program = Program {
            executable: executable.to_path_buf(),
            args,
            environment: Environment::Only(self.environment()),
            folder: self.folder.to_path_buf(),
            account: self.account,
            stop,
            lock: self.layout.lock(name),
            log: self.layout.log(name),
            handed_over: Vec::new(),
        };
        Guarded::spawn(self.layout.guard(), &program)
    }

    /// Small enough to stand beside everything else on one little machine. Only keys that 3.10 and 4.x both know.
    fn configuration(&self) -> String {
        let RabbitMqRecord { port, password, .. } = &self.record;
        let memory = match self.durability {
            Durability::Full => "400MB",
            // Hundreds of tests, each with queues of its own, are more than any one installation has.
            Durability::Fast => "1GB",
        };
        format!(
            "listeners.tcp.loopback = 127.0.0.1:{port}\n\
             num_acceptors.tcp = 2\n\
             default_user = {NAME}\n\
             default_pass = {password}\n\
             default_user_tags.administrator = true\n\
             vm_memory_high_watermark.absolute = {memory}\n\
             disk_free_limit.absolute = 200MB\n\
             raft.wal_max_size_bytes = 64000000\n\
             log.file = false\n\
             log.console = true\n\
             log.console.level = warning\n"
        )
    }

    /// Everything that RabbitMQ's scripts and Erlang take from the environment, so that neither the caller's nor the
    /// configuration of a server of the system's has a say.
    fn environment(&self) -> Vec<(OsString, OsString)> {
        let RabbitMqRecord { node, port, distribution_port, epmd_port, .. } = &self.record;
        let in_folder = |name: &str| self.folder.join(name).into_os_string();
        let mut environment: Vec<(OsString, OsString)> = Vec::new();
        let mut set = |name: &str, value: OsString| environment.push((name.into(), value));

        set("HOME", in_folder(""));
        set("PATH", packages::search_path().into());
        set("LANG", "C.UTF-8".into());
        set("TZ", "UTC".into());
        // Makes the script become the server, instead of waiting for it in between and taking its signals.
        set("detached", "1".into());

        set("ERL_EPMD_PORT", epmd_port.to_string().into());
        set("ERL_EPMD_ADDRESS", "127.0.0.1".into());
        set("ERL_MAX_PORTS", "8192".into());
        // No crash dump: it can be as large as the memory.
        set("ERL_CRASH_DUMP_SECONDS", "0".into());

        set("RABBITMQ_NODENAME", node.into());
        set("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".into());
        set("RABBITMQ_NODE_PORT", port.to_string().into());
        set("RABBITMQ_DIST_PORT", distribution_port.to_string().into());
        set("RABBITMQ_LOGS", "-".into());
        set("RABBITMQ_LOG_BASE", in_folder("log"));
        set("RABBITMQ_MNESIA_BASE", in_folder("data"));
        set("RABBITMQ_PID_FILE", in_folder("pid"));
        set("RABBITMQ_PLUGINS_EXPAND_DIR", in_folder("plugins"));
        set("RABBITMQ_ENABLED_PLUGINS_FILE", in_folder("enabled_plugins"));
        set("RABBITMQ_FEATURE_FLAGS_FILE", in_folder("feature_flags"));
        set("RABBITMQ_GENERATED_CONFIG_DIR", in_folder("config"));
        set("RABBITMQ_SCHEMA_DIR", in_folder("schema"));
        set("RABBITMQ_CONFIG_FILE", in_folder("rabbitmq"));
        // Files that do not exist, in place of those in /etc.
        set("RABBITMQ_CONFIG_FILES", in_folder("no.conf.d"));
        set("RABBITMQ_ADVANCED_CONFIG_FILE", in_folder("no-advanced.config"));
        set("RABBITMQ_CONF_ENV_FILE", in_folder("no-env.conf"));

        set("RABBITMQ_SERVER_ERL_ARGS", ERLANG.into());
        set("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}".into());
        environment
    }

    fn write(&self, name: &str, mode: u32, content: &str) -> Result<(), Error> {
        write_for(self.account, &self.folder.join(name), mode, content)
    }
}

/// In place of RabbitMQ's own arguments, which are for a server that has a machine to itself: schedulers that are not bound
/// to cores and do not spin, and few of them, each having memory of its own.
const ERLANG: &str = "+P 131072 +t 1048576 +zdbbl 32000 +stbt u +sbwt none +sbwtdcpu none +sbwtdio none \
                      +S 2:2 +SDcpu 1:1 +SDio 4";
