//! `crashmill standalone`: every role on one machine, a process each, supervised.
//!
//! The supervisor starts PostgreSQL and RabbitMQ servers of its own where none are configured, brings the schema up,
//! starts the roles, and starts again, with growing pauses, whatever ends. Nothing outlives it: every process has a
//! guard that ends it when the supervisor is gone, however it went.

mod folder;
mod roles;
mod service;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    ops::Range,
    os::fd::OwnedFd,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use daemon::sockets;
use servers::{Durability, Layout, Postgres, RabbitMq};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::Place,
    commands::migrate::told,
    config::{Config, Said},
};
pub(crate) use folder::{Folder, State};
use roles::Role;
use service::{Service, StopOrder, Supervised};

/// The roles, in the order in which they are started.
const ROLES: [&str; 3] = [COLLECTOR, "processor", "scheduler"];
/// The role that clients reach.
const COLLECTOR: &str = "collector";
/// Where free ports are looked for: below those that systems give to outgoing connections, so that none of these has
/// the collector's when everything is started again.
const PORTS: Range<u16> = 20_000..30_000;
const PORTS_TRIED: usize = 200;
/// The exit status that the parser of the command line has, too.
const WRONG_USAGE: u8 = 2;
/// How long everything may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(90);

/// Run all roles on this machine, with private PostgreSQL and RabbitMQ servers where none are configured.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everything is kept below the folder that --data names: the servers' data, the crash store, symbols, logs, and
crashmill.toml for settings. A start after a kill goes on where it was.

Examples:
  crashmill standalone --data /srv/crashmill
  crashmill standalone --data ./data --listen 0.0.0.0:8080")]
pub(crate) struct Args {
    /// Where clients send their reports [default: 127.0.0.1:8080, or what this folder had before]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

pub(crate) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let Some(dir) = &place.data else {
        eprintln!("crashmill: say where everything is to be kept: crashmill standalone --data DIR");
        return Ok(ExitCode::from(WRONG_USAGE));
    };
    let folder = Folder::create(dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    // Signals are caught from here on: whatever has been started is taken down in order.
    let (mut interrupt, mut terminate) = runtime.block_on(async {
        anyhow::Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    })?;
    let _claim = folder.claim()?;
    let started = runtime.block_on(async {
        let place = Place { data: Some(folder.dir().to_owned()), config: place.config.clone() };
        let listen = args.listen;
        let folder = folder.clone();
        let starting = tokio::task::spawn_blocking(move || Standalone::start(&place, folder, listen));
        tokio::select! {
            started = starting => started.context("starting")?,
            _ = interrupt.recv() => bail!("interrupted while starting"),
            _ = terminate.recv() => bail!("asked to stop while starting"),
        }
    });
    let standalone = match started {
        Ok(standalone) => standalone,
        Err(error) => {
            eprintln!("crashmill: {error:#}");
            // A start that is still under way is not waited for: the guards end what it has started.
            std::process::exit(1);
        }
    };

    let ready = runtime.block_on(async {
        tokio::select! {
            ready = standalone.ready() => ready,
            _ = interrupt.recv() => Ok(false),
            _ = terminate.recv() => Ok(false),
        }
    });
    if matches!(ready, Ok(true)) {
        standalone.announce();
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        });
    }
    eprintln!("stopping; once more to stop at once");
    runtime.spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        std::process::exit(1);
    });
    standalone.stop();
    match ready {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
    }
}

/// Everything that runs, the servers apart from the roles: they are stopped after them.
struct Standalone {
    folder: Folder,
    listen: SocketAddr,
    servers: Vec<Supervised>,
    roles: Vec<Supervised>,
    health: Vec<roles::Health>,
}

impl Standalone {
    fn start(place: &Place, folder: Folder, listen: Option<SocketAddr>) -> anyhow::Result<Self> {
        // What is wrong with the settings is said before anything is started.
        let config = Config::load(place)?;
        folder.wait_until_roles_are_gone()?;
        let listen = listen.unwrap_or(config.collector.listen);
        // Kept open for as long as this process lives: while the collector is started again, clients wait.
        let submit = open(listen).with_context(|| {
            format!("{listen} cannot be used as the submit address; choose another with --listen")
        })?;
        let listen = submit.local_addr()?;
        let submit = Arc::new(OwnedFd::from(submit));

        let servers = start_servers(place, &folder)?;
        // The servers' addresses are known only now.
        let config = Config::load(place)?;
        eprintln!("{}", told(&facts::migrate(&config.facts).context("migrating the database")?));
        folder.save_state(&State { pid: std::process::id(), listen })?;

        let mut roles = Vec::new();
        let mut health = Vec::new();
        for name in ROLES {
            let mut role = Role::new(name, place, &folder)?;
            if name == COLLECTOR {
                role.hand_over("submit", &submit);
            }
            health.push(role.health());
            roles.push(Supervised::start(Box::new(role), StopOrder::default())?);
        }
        Ok(Self { folder, listen, servers, roles, health })
    }

    /// Waits until every role can do its work; `false` when one of them never will.
    async fn ready(&self) -> anyhow::Result<bool> {
        let deadline = tokio::time::Instant::now() + READY_TIMEOUT;
        for role in &self.health {
            if tokio::time::timeout_at(deadline, role.until_ready()).await.is_err() {
                bail!(
                    "the {} is not ready after {} s: see {}",
                    role.name(),
                    READY_TIMEOUT.as_secs(),
                    self.folder.log(role.name()).display()
                );
            }
        }
        Ok(true)
    }

    fn announce(&self) {
        let data = self.folder.dir().display();
        println!("ready: submit crashes to http://{}/submit", self.listen);
        eprintln!("  data, settings (crashmill.toml), symbols and logs: {data}");
        eprintln!(
            "  crashmill submit DUMP --url http://{}/submit --annotation ProductName=NAME",
            self.listen
        );
        eprintln!("  crashmill status --data {data}");
        eprintln!("  crashmill where ID --data {data}");
    }

    /// Ends the roles, then the servers that they use.
    fn stop(self) {
        service::stop_all(self.roles);
        service::stop_all(self.servers);
    }
}

/// Starts the servers that no URL is configured for, both at the same time.
fn start_servers(place: &Place, folder: &Folder) -> anyhow::Result<Vec<Supervised>> {
    let said = Said::by(&place.config.clone().unwrap_or_else(|| folder.config_file()))?;
    let own_database = !said.has("facts", "url");
    let own_broker = !said.has("queue", "url");
    if !own_database && !own_broker {
        return Ok(Vec::new());
    }
    let layout = Arc::new(Layout::at(&folder.servers())?);
    std::thread::scope(|scope| {
        let database = own_database.then(|| {
            scope.spawn(|| {
                eprintln!("starting PostgreSQL");
                Ok(Box::new(Postgres::start(&layout, Durability::Full)?) as Box<dyn Service>)
            })
        });
        let broker = own_broker.then(|| {
            scope.spawn(|| {
                eprintln!("starting RabbitMQ");
                Ok(Box::new(RabbitMq::start(&layout, Durability::Full)?) as Box<dyn Service>)
            })
        });
        let started: anyhow::Result<Vec<_>> = [database, broker]
            .into_iter()
            .flatten()
            .map(|starting| starting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        started?.into_iter().map(|service| Ok(Supervised::running(service, StopOrder::default()))).collect()
    })
}

/// Opens a socket at an address; where the port is 0, at any that is free.
fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let bind = |address| sockets::bind(address)?.into_std();
    if address.port() != 0 {
        return bind(address);
    }
    (0..PORTS_TRIED)
        .find_map(|_| bind(SocketAddr::new(address.ip(), rand::random_range(PORTS))).ok())
        .ok_or_else(|| io::Error::other(format!("{PORTS_TRIED} ports were tried and none could be had")))
}

/// The path of a folder as other processes will find it.
fn absolute(dir: &std::path::Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(dir).with_context(|| format!("finding {}", dir.display()))
}
