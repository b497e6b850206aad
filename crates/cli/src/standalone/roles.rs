//! The roles of a standalone, as processes to be kept running.

use std::{
    ffi::OsString,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    process::ExitStatus,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use daemon::sockets::SOCKETS;
use servers::{Environment, Guard, Guarded, Program, Stop, StopSignal};

use super::{Folder, service::Service};
use crate::args::Place;

/// How long a role may take to finish what it has begun.
const GRACE: Duration = Duration::from_secs(40);
/// Any port that is free, for this machine alone.
const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
/// How often a role is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A role's process.
pub(super) struct Role {
    name: &'static str,
    args: Vec<OsString>,
    handed_over: Vec<(&'static str, Arc<OwnedFd>)>,
    log: PathBuf,
    lock: PathBuf,
    folder: PathBuf,
    health: Health,
    running: Option<Guarded>,
}

impl Role {
    pub(super) fn new(name: &'static str, place: &Place, folder: &Folder) -> anyhow::Result<Self> {
        let mut args: Vec<OsString> = vec![name.into(), "--data".into(), folder.dir().into()];
        if let Some(config) = &place.config {
            args.extend(["--config".into(), super::absolute(config)?.into()]);
        }
        Ok(Self {
            name,
            args,
            handed_over: Vec::new(),
            log: folder.log(name),
            lock: folder.lock(name),
            folder: folder.dir().to_owned(),
            health: Health { name, address: Arc::default() },
            running: None,
        })
    }

    /// Gives the role a socket that stays open when the role ends, under the name by which it knows it.
    pub(super) fn hand_over(&mut self, name: &'static str, socket: &Arc<OwnedFd>) {
        self.handed_over.push((name, Arc::clone(socket)));
    }

    /// How to ask the role whether it is ready.
    pub(super) fn health(&self) -> Health {
        self.health.clone()
    }
}

impl Service for Role {
    fn name(&self) -> &'static str {
        self.name
    }

    fn start(&mut self) -> anyhow::Result<()> {
        // A port of its own at every start, whose socket the role takes over: so nobody else can have it by then.
        let port = TcpListener::bind(ANY_PORT)?;
        let health = port.local_addr()?;
        let mut handed_over = self.handed_over.clone();
        handed_over.push(("metrics", Arc::new(port.into())));
        let announced: Vec<String> =
            handed_over.iter().map(|(name, socket)| format!("{name}={}", socket.as_raw_fd())).collect();
        let environment = [
            (SOCKETS, announced.join(":")),
            // Anything but nothing: it is the socket that counts.
            ("CRASHMILL__DAEMON__METRICS_LISTEN", health.to_string()),
        ];
        let program = Program {
            executable: servers::this_executable(),
            args: self.args.clone(),
            environment: Environment::InheritedAnd(
                environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            ),
            folder: self.folder.clone(),
            account: None,
            stop: Stop { signal: StopSignal::Term, grace: GRACE },
            lock: self.lock.clone(),
            log: self.log.clone(),
            handed_over: handed_over.into_iter().map(|(_, socket)| socket).collect(),
        };
        self.running = Some(Guarded::spawn(&Guard::this_executable(), &program)?);
        self.health.moved_to(health);
        Ok(())
    }

    fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.running.as_mut().map_or(Ok(None), Guarded::try_wait)
    }

    fn stop(&mut self) -> io::Result<()> {
        self.running.as_mut().map_or(Ok(()), |running| running.stop().map(drop))
    }

    fn log_tail(&self) -> String {
        self.running.as_ref().map(Guarded::log_tail).unwrap_or_default()
    }
}

/// Asks a role whether it can do its work.
#[derive(Debug, Clone)]
pub(super) struct Health {
    name: &'static str,
    address: Arc<Mutex<Option<SocketAddr>>>,
}

impl Health {
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    fn moved_to(&self, address: SocketAddr) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    /// Returns when the role says that it is ready; never, if it never is.
    pub(super) async fn until_ready(&self) {
        while !self.is_ready().await {
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    async fn is_ready(&self) -> bool {
        let Some(address) = *self.address.lock().unwrap_or_else(PoisonError::into_inner) else {
            return false;
        };
        let asking = reqwest::get(format!("http://{address}/__heartbeat__"));
        matches!(tokio::time::timeout(ANSWER_TIMEOUT, asking).await, Ok(Ok(answer)) if answer.status().is_success())
    }
}
