//! An S3 emulator for the tests: moto, in a Python environment of its own.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use servers::{Environment, Guard, Guarded, Program, Stop, StopSignal, System};

use crate::prerequisites;

/// What is installed, from PyPI. What these need in turn is as new as it is on that day.
const REQUIREMENTS: [&str; 3] = ["moto[s3]==5.2.5", "Flask==3.1.3", "flask-cors==6.0.5"];
/// What Debian and Ubuntu call what makes such environments.
const VENV_PACKAGE: &str = "python3-venv";
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
        let program = installed(dir).context("installing moto, the S3 emulator of the tests")?;
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

/// The emulator's executable, once everything is installed.
fn installed(dir: &Path) -> anyhow::Result<PathBuf> {
    let (venv, done) = (dir.join("venv"), dir.join("installed"));
    let wanted = REQUIREMENTS.join("\n");
    let program = venv.join("bin/moto_server");
    if program.exists() && fs::read_to_string(&done).is_ok_and(|found| found == wanted) {
        return Ok(program);
    }
    eprintln!("installing moto into {}", venv.display());
    fs::create_dir_all(dir)?;
    if venv.exists() {
        fs::remove_dir_all(&venv)?;
    }
    let make = || Command::new("python3").args(["-m", "venv"]).arg(&venv).status();
    if !make().is_ok_and(|status| status.success()) {
        ensure!(System::here() == System::Debian, "python3 with its venv module must be installed first");
        prerequisites::install_debian(&[VENV_PACKAGE])?;
        ensure!(make()?.success(), "python3 -m venv failed");
    }
    let status = Command::new(venv.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "--no-input"])
        .args(REQUIREMENTS)
        .status()?;
    ensure!(status.success(), "pip failed with {status}");
    // Last: an installation that was cut off is done again.
    fs::write(&done, wanted)?;
    Ok(program)
}
