//! An S3 emulator for the tests: moto, in a Python environment of its own.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::bail;
use servers::{Environment, Guard, Guarded, Program, Stop, StopSignal};

use crate::python::Packages;

const MOTO: Packages =
    Packages { name: "moto", requirements: &["moto[s3]==5.2.5", "Flask==3.1.3", "flask-cors==6.0.5"] };
/// How long it may take to be ready.
const READY: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// It keeps nothing that would have to be saved.
const GRACE: Duration = Duration::from_secs(2);

/// A running emulator. Dropping it ends it; so does the end of this process, however that comes.
#[derive(Debug)]
pub(crate) struct Emulator {
    process: Guarded,
    url: String,
}

impl Emulator {
    /// Installs the emulator below a folder, unless it is there, and starts it. Blocks until it listens.
    pub(crate) fn start(dir: &Path) -> anyhow::Result<Self> {
        let program = MOTO.install(dir)?.join("moto_server");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let args = ["-H", "127.0.0.1", "-p", &port.to_string()].map(Into::into).to_vec();
        let program = Program {
            executable: program,
            args,
            environment: Environment::InheritedAnd(vec![]),
            folder: dir.to_owned(),
            account: None,
            stop: Stop { signal: StopSignal::Term, grace: GRACE },
            lock: dir.join("lock"),
            log: dir.join("log"),
            handed_over: Vec::new(),
        };
        let process = Guarded::spawn(&Guard::this_executable(), &program)?;
        let mut emulator = Self { process, url: format!("http://{address}/") };
        emulator.until_ready(address)?;
        Ok(emulator)
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn until_ready(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let start = Instant::now();
        while TcpStream::connect_timeout(&address, POLL).is_err() {
            let ended = self.process.wait(POLL)?;
            if ended.is_some() || start.elapsed() > READY {
                bail!("the S3 emulator does not listen: see {}", self.process.log().display());
            }
        }
        Ok(())
    }
}
