//! The shipped units, held against the executable and against the systemd that will read them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says why"
)]

mod support;

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use support::{
    RunToEnd, printed,
    shipped::{is_a_subcommand, read, read_settings, top},
    stderr, stdout,
};
use tempfile::TempDir;

/// How exposed a service may be, in tenths, as `systemd-analyze security` counts: 100 is everything allowed.
const EXPOSURE: u32 = 15;
/// Where the units expect the executable.
const INSTALLED: &str = "/usr/bin/crashmill";
/// What systemd before 254 does not know, and passes over: the pauses between restarts then do not grow.
const NEWER_KEYS: [&str; 2] = ["'RestartSteps'", "'RestartMaxDelaySec'"];

/// A program of systemd's, where the machine has it.
fn systemd(program: &str) -> Option<Command> {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: {program} is not on this machine (Debian and Ubuntu: apt-get install systemd)");
    }
    found.then(|| Command::new(program))
}

/// The units with the built executable in place of the installed one, and two instances of each template.
struct Units {
    dir: TempDir,
    names: Vec<String>,
}

impl Units {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let mut names = Vec::new();
        for entry in fs::read_dir(top("deploy/systemd")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".conf") {
                continue;
            }
            let text = read(&format!("deploy/systemd/{name}"));
            let text = text.replace(INSTALLED, env!("CARGO_BIN_EXE_crashmill"));
            fs::write(dir.path().join(&name), &text).unwrap();
            if let Some((before, after)) = name.split_once("@.") {
                for instance in ["1", "2"] {
                    let name = format!("{before}@{instance}.{after}");
                    fs::write(dir.path().join(&name), &text).unwrap();
                    names.push(name);
                }
            } else {
                names.push(name);
            }
        }
        assert!(names.len() > 5, "{names:?}");
        Self { dir, names }
    }

    fn services(&self) -> impl Iterator<Item = &String> {
        self.names.iter().filter(|name| name.ends_with(".service"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The values of a key in a unit, in their order, with its specifiers filled in.
    fn values(&self, name: &str, key: &str) -> Vec<String> {
        let instance = name.split_once('@').and_then(|(_, rest)| rest.split('.').next()).unwrap_or_default();
        let text = fs::read_to_string(self.path(name)).unwrap();
        text.lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.replace("%i", instance).replace("%H", "host.example"))
            .collect()
    }

    fn environment(&self, name: &str) -> BTreeMap<String, String> {
        let pair = |line: String| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.values(name, "Environment").into_iter().filter_map(pair).collect()
    }
}

#[test]
fn systemd_takes_every_unit_as_it_is() {
    let Some(mut analyze) = systemd("systemd-analyze") else { return };
    let units = Units::new();

    let paths = units.names.iter().map(|name| units.path(name));
    let verified = analyze.args(["verify", "--man=no"]).args(paths).run_to_end();

    let said = stderr(&verified);
    let complaints: Vec<&str> =
        said.lines().filter(|line| !NEWER_KEYS.iter().any(|key| line.contains(key))).collect();
    assert!(verified.status.success() && complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn no_service_may_do_more_than_it_needs() {
    let units = Units::new();
    for name in units.services() {
        let Some(mut analyze) = systemd("systemd-analyze") else { return };
        let threshold = format!("--threshold={EXPOSURE}");
        let judged = analyze
            .args(["security", "--offline=true", "--no-pager", &threshold])
            .arg(units.path(name))
            .run_to_end();
        assert!(judged.status.success(), "{name}\n{}{}", printed(&judged), stderr(&judged));
    }
}

#[test]
fn every_service_runs_a_subcommand_with_settings_that_it_knows() {
    let units = Units::new();
    for name in units.services() {
        let [start] = units.values(name, "ExecStart").try_into().unwrap();
        let (executable, subcommand) = start.split_once(' ').unwrap();
        assert_eq!(executable, env!("CARGO_BIN_EXE_crashmill"), "{name}");
        is_a_subcommand(&subcommand.split(' ').collect::<Vec<_>>());
        stdout(&read_settings(&units.environment(name)));
    }
}

#[test]
fn no_service_is_ever_given_up_and_each_has_the_time_to_finish() {
    let units = Units::new();
    let default = daemon::Config::default().shutdown_timeout.as_secs();
    for name in units.services() {
        assert_eq!(units.values(name, "StartLimitIntervalSec"), ["0"], "{name}");
        let [restart] = units.values(name, "Restart").try_into().unwrap();
        let kind = units.values(name, "Type");
        if kind == ["oneshot"] {
            assert_eq!(restart, "on-failure", "{name}");
            continue;
        }
        assert_eq!((kind, restart.as_str()), (vec!["notify".to_owned()], "always"), "{name}");
        let [stop] = units.values(name, "TimeoutStopSec").try_into().unwrap();
        let stop: u64 = stop.strip_suffix('s').unwrap().parse().unwrap();
        assert!(stop > default, "{name}: {stop} s, and daemon.shutdown_timeout is {default} s");
    }
}

#[test]
fn instances_of_the_processor_share_no_name_and_no_port() {
    let units = Units::new();
    let [one, two] =
        ["1", "2"].map(|number| units.environment(&format!("crashmill-processor@{number}.service")));
    for key in ["CRASHMILL__DAEMON__NODE", "CRASHMILL__DAEMON__METRICS_LISTEN"] {
        assert_ne!(one[key], two[key], "{key}");
    }
    let listening: Vec<_> = units
        .services()
        .filter_map(|name| units.environment(name).remove("CRASHMILL__DAEMON__METRICS_LISTEN"))
        .collect();
    let mut distinct = listening.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), listening.len(), "{listening:?}");
}

#[test]
fn the_socket_goes_by_the_name_that_the_collector_listens_for() {
    let units = Units::new();
    assert_eq!(units.values("crashmill-collector.socket", "FileDescriptorName"), ["submit"]);
    assert_eq!(
        units.values("crashmill-collector.socket", "ListenStream"),
        [collector::Config::default().listen.to_string()]
    );
    assert_eq!(units.values("crashmill-collector.service", "Requires"), ["crashmill-collector.socket"]);
}

#[test]
fn users_and_folders_are_made_as_the_units_need_them() {
    let Some(mut sysusers) = systemd("systemd-sysusers") else { return };
    let root = TempDir::new().unwrap();
    let inside = format!("--root={}", root.path().display());
    fs::create_dir(root.path().join("etc")).unwrap();

    stdout(&sysusers.arg(&inside).arg(top("deploy/systemd/crashmill.sysusers.conf")).run_to_end());
    let passwd = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert!(passwd.lines().any(|line| line.starts_with("crashmill:")), "{passwd}");
    let units = Units::new();
    for name in units.services() {
        assert_eq!(units.values(name, "User"), ["crashmill"], "{name}");
    }

    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give folders away");
        return;
    }
    let Some(mut tmpfiles) = systemd("systemd-tmpfiles") else { return };
    let conf = top("deploy/systemd/crashmill.tmpfiles.conf");
    stdout(&tmpfiles.args([&inside, "--create"]).arg(conf).run_to_end());
    for folder in ["store", "journal", "symbols", "symbols-cache"] {
        assert!(root.path().join("var/lib/crashmill").join(folder).is_dir(), "{folder}");
    }
}
