//! `cargo xtask demo`: a program crashes, and everything that follows can be seen.
//!
//! Each step is a command that anyone can type, and is shown as such.

use std::{
    env,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use cargo_metadata::MetadataCommand;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::prerequisites;

const READY_TIMEOUT: Duration = Duration::from_secs(120);
const PROCESSED_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What the standalone prints before its submit address, once it takes crashes.
const READY: &str = "ready: submit crashes to ";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave everything running, to look around
    #[arg(long)]
    keep: bool,
    /// Where crashes are submitted [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    prerequisites::ensure_installed()?;
    let metadata = MetadataCommand::new().no_deps().exec().context("asking cargo about the workspace")?;
    let target = metadata.target_directory.as_std_path();

    step("Building");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).args(["build", "--workspace", "--bins"]).status()?;
    ensure!(built.success(), "the build failed");

    let demo = Demo { programs: target.join("debug"), data: target.join("demo") };
    step("Starting PostgreSQL, RabbitMQ and Crashmill");
    let mut standalone = Standalone::start(&demo, args)?;
    let shown = demo.show(&standalone.submit_url);
    if shown.is_ok() && args.keep {
        eprintln!("\nEverything goes on running; end it with: kill {}", standalone.process.id());
        return Ok(ExitCode::SUCCESS);
    }
    step("Stopping");
    standalone.stop()?;
    shown.map(|()| ExitCode::SUCCESS)
}

fn step(text: &str) {
    eprintln!("\n== {text}");
}

/// The programs that were built, and the folder that they work in.
struct Demo {
    programs: PathBuf,
    data: PathBuf,
}

impl Demo {
    fn show(&self, submit_url: &str) -> anyhow::Result<()> {
        let data = self.data.to_string_lossy().into_owned();
        let sample = self.programs.join("crashmill-sample").to_string_lossy().into_owned();
        let dump = self.data.join("sample.dmp").to_string_lossy().into_owned();

        step("A program crashes");
        self.crash_sample(&sample, &dump)?;

        step("Its symbols, and its minidump, are handed in");
        self.crashmill(&["symbols", "add", &sample, "--data", &data])?;
        let submit = [
            "submit",
            &dump,
            "--url",
            submit_url,
            "--annotation",
            "ProductName=Sample",
            "--annotation",
            "Version=1.0",
            "--annotation",
            "ReleaseChannel=release",
            "--annotation",
            "BuildID=20261101120000",
        ];
        let id = self.crashmill(&submit)?.trim().to_owned();
        println!("{id}");

        step("The crash is processed");
        let whereabouts = self.until_processed(&id, &data)?;
        print!("{}", self.crashmill(&["store", "get", &id, "--data", &data])?);

        step("Its fact, a row in PostgreSQL");
        println!("{}", serde_json::to_string_pretty(&whereabouts.get("fact"))?);

        step("To look further");
        let crashmill = self.programs.join("crashmill");
        for command in [format!("where {id}"), "status".to_owned(), "store list".to_owned(), "sql".to_owned()]
        {
            eprintln!("  {} {command} --data {data}", crashmill.display());
        }
        Ok(())
    }

    /// Runs the sample in an empty environment: a minidump carries its process's environment along.
    fn crash_sample(&self, sample: &str, dump: &str) -> anyhow::Result<()> {
        if Path::new(dump).exists() {
            fs::remove_file(dump).with_context(|| format!("removing {dump}"))?;
        }
        eprintln!("+ env -i {sample} --minidump {dump}");
        let status = Command::new(sample)
            .args(["--minidump", dump])
            .env_clear()
            .current_dir(&self.data)
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("running {sample}"))?;
        eprintln!("the program ended: {status}");
        ensure!(Path::new(dump).exists(), "the program has written no minidump");
        Ok(())
    }

    /// Runs a command of the built executable and returns what it printed.
    fn crashmill(&self, args: &[&str]) -> anyhow::Result<String> {
        eprintln!("+ crashmill {}", args.join(" "));
        self.quietly(args)
    }

    fn quietly(&self, args: &[&str]) -> anyhow::Result<String> {
        let output =
            Command::new(self.programs.join("crashmill")).args(args).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "crashmill {} failed: {}", args.join(" "), output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Waits until the crash has a fact; returns what `where` says of it.
    fn until_processed(&self, id: &str, data: &str) -> anyhow::Result<Value> {
        let deadline = Instant::now() + PROCESSED_TIMEOUT;
        eprintln!("+ crashmill where {id} --data {data} --json");
        loop {
            let whereabouts: Value =
                serde_json::from_str(&self.quietly(&["where", id, "--data", data, "--json"])?)?;
            match whereabouts.get("state").and_then(Value::as_str) {
                Some("processed") => return Ok(whereabouts),
                state if Instant::now() > deadline => {
                    bail!("the crash is still {}", state.unwrap_or("nowhere"))
                }
                _ => thread::sleep(LOOK_EVERY),
            }
        }
    }
}

/// A running standalone; its output goes to a file, so that it can outlive this command.
struct Standalone {
    process: Child,
    submit_url: String,
}

impl Standalone {
    fn start(demo: &Demo, args: &Args) -> anyhow::Result<Self> {
        fs::create_dir_all(&demo.data).with_context(|| format!("making {}", demo.data.display()))?;
        let log = demo.data.join("standalone.log");
        let output = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let mut command = Command::new(demo.programs.join("crashmill"));
        command.arg("standalone").arg("--data").arg(&demo.data);
        if let Some(listen) = &args.listen {
            command.args(["--listen", listen]);
        }
        if args.keep {
            // Ctrl-C at this terminal is not meant for what is to go on.
            command.process_group(0);
        }
        eprintln!("+ crashmill standalone --data {}", demo.data.display());
        let process = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("starting crashmill")?;

        let mut standalone = Self { process, submit_url: String::new() };
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let said = fs::read_to_string(&log).unwrap_or_default();
            if let Some(address) = said.lines().find_map(|line| line.strip_prefix(READY)) {
                address.clone_into(&mut standalone.submit_url);
                return Ok(standalone);
            }
            if let Some(status) = standalone.process.try_wait()? {
                bail!("the standalone ended ({status}):\n{said}");
            }
            if Instant::now() > deadline {
                standalone.stop()?;
                bail!("the standalone is not ready after {} s:\n{said}", READY_TIMEOUT.as_secs());
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)
            .context("asking the standalone to stop")?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.process.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.process.kill().context("ending the standalone")?;
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}
