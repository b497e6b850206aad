//! Real processes that are started, signalled and watched from outside.
//!
//! This test executable starts itself again as the daemon: [`the_daemon_under_test`] is what runs there.

mod child;
mod roles;

use std::env;
use std::process::ExitCode;

use child::{Daemon, Systemd};

const ANY_PORT: (&str, &str) = ("CRASHMILL__DAEMON__METRICS_LISTEN", "127.0.0.1:0");
const LONG: (&str, &str) = ("CRASHMILL__DAEMON__SHUTDOWN_TIMEOUT", "1h");
const SHORT: (&str, &str) = ("CRASHMILL__DAEMON__SHUTDOWN_TIMEOUT", "50ms");

/// Nothing, unless this process was started by one of the tests below.
#[test]
fn the_daemon_under_test() {
    let Ok(role) = env::var(child::ROLE) else { return };
    let code = roles::run(&role);
    std::process::exit(if code == ExitCode::SUCCESS { 0 } else { 1 });
}

#[test]
fn sigterm_lets_the_role_finish_and_ends_with_0() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut daemon = Daemon::start("drains", &[LONG]);
        daemon.wait_for("ready");
        daemon.signal(signal);
        daemon.wait_for("what was in hand is finished");
        assert_eq!(daemon.exit_code(), 0);
    }
}

#[test]
fn a_second_signal_ends_at_once_with_1_and_says_so() {
    let mut daemon = Daemon::start("never_finishes", &[LONG]);
    daemon.wait_for("ready");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("stopping: finishing what is in hand");
    daemon.signal(rustix::process::Signal::INT);
    daemon.wait_for("ended without finishing: a second signal, SIGINT");
    assert_eq!(daemon.exit_code(), 1);
}

#[test]
fn a_role_that_does_not_finish_in_time_is_ended_with_1() {
    let mut daemon = Daemon::start("never_finishes", &[SHORT]);
    daemon.wait_for("ready");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("ended without finishing: the time to finish is over");
    assert_eq!(daemon.exit_code(), 1);
}

#[test]
fn a_runtime_that_hangs_is_ended_all_the_same() {
    let mut daemon = Daemon::start("hangs", &[SHORT]);
    daemon.wait_for("ready");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("ended without finishing");
    assert_eq!(daemon.exit_code(), 1);
}

#[test]
fn a_log_that_nobody_reads_does_not_keep_a_process_alive() {
    let systemd = Systemd::new();
    let mut daemon = Daemon::start_unread("floods", &[SHORT, systemd.variable()]);
    systemd.wait_for("READY=1");
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.exit_code_polled(), 1);
}

#[test]
fn a_role_that_asks_for_the_end_itself_is_held_to_the_same_time() {
    let mut daemon = Daemon::start("cancels_and_hangs", &[SHORT]);
    daemon.wait_for("ended without finishing: the time to finish is over");
    assert_eq!(daemon.exit_code(), 1);
}

#[test]
fn the_end_of_stdin_is_a_signal_for_a_supervised_process() {
    let mut daemon = Daemon::start("drains", &[LONG, ("CRASHMILL_SUPERVISED", "1")]);
    daemon.wait_for("ready");
    daemon.close_stdin();
    daemon.wait_for("the supervisor is gone");
    assert_eq!(daemon.exit_code(), 0);
}

#[test]
fn the_end_of_stdin_means_nothing_to_a_process_without_a_supervisor() {
    let mut daemon = Daemon::start("drains", &[LONG]);
    daemon.close_stdin();
    daemon.wait_for("ready");
    daemon.signal(rustix::process::Signal::TERM);
    let line = daemon.wait_for("stopping: finishing what is in hand");
    assert!(line.contains("SIGTERM"), "{line}");
    assert_eq!(daemon.exit_code(), 0);
}

#[test]
fn systemd_is_told_when_it_is_ready_how_it_is_and_that_it_stops() {
    let systemd = Systemd::new();
    let mut daemon = Daemon::start("drains", &[LONG, systemd.variable()]);
    systemd.wait_for("READY=1");
    systemd.wait_for("STATUS=backlog 1 200, ETA 6 m");
    daemon.signal(rustix::process::Signal::TERM);
    systemd.wait_for("STOPPING=1");
    assert_eq!(daemon.exit_code(), 0);
}

#[test]
fn the_watchdog_is_pinged_while_the_runtime_runs_and_no_longer_when_it_hangs() {
    let systemd = Systemd::new();
    let watchdog = ("WATCHDOG_USEC", "40000");
    let daemon = Daemon::start("drains", &[systemd.variable(), watchdog]);
    for _ in 0..5 {
        systemd.wait_for("WATCHDOG=1");
    }
    drop(daemon);

    let systemd = Systemd::new();
    let daemon = Daemon::start("hangs", &[systemd.variable(), watchdog]);
    daemon.wait_for("ready");
    systemd.wait_for_silence();
}

#[test]
fn a_required_dependency_that_is_down_is_shown_with_503_and_its_reason() {
    let daemon = Daemon::start("has_lost_its_database", &[ANY_PORT]);
    daemon.wait_for("ready");
    let (status, body) = daemon.get("/__heartbeat__");
    assert_eq!(status, 503);
    let beat: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(beat["dependencies"]["postgresql"]["state"], "down");
    assert_eq!(beat["dependencies"]["postgresql"]["reason"], "connection refused");
    assert!(beat["dependencies"]["postgresql"]["since"].as_str().unwrap().ends_with('Z'));
    assert_eq!(beat["dependencies"]["rabbitmq"]["state"], "up");
    assert_eq!(daemon.get("/__lbheartbeat__").0, 200);
}

#[test]
fn a_process_that_has_what_it_needs_is_healthy_until_it_stops() {
    let daemon = Daemon::start("has_lost_its_broker", &[ANY_PORT, LONG]);
    daemon.wait_for("ready");
    let (status, body) = daemon.get("/__heartbeat__");
    assert_eq!(status, 200);
    assert!(body.contains("\"rabbitmq\":{\"need\":\"optional\",\"state\":\"down\""), "{body}");

    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("stopping: finishing what is in hand");
    let (status, body) = daemon.get("/__heartbeat__");
    assert!(status == 503 && body.contains("\"phase\":\"stopping\""), "{status} {body}");
    assert_eq!(daemon.get("/__lbheartbeat__").0, 200);
}

#[test]
fn every_metric_carries_the_node_and_the_process_is_measured() {
    let daemon = Daemon::start("measures", &[ANY_PORT, ("CRASHMILL__DAEMON__NODE", "east-1")]);
    daemon.wait_for("ready");
    let (status, text) = daemon.get("/metrics");
    assert_eq!(status, 200);
    let samples: Vec<_> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(samples.iter().all(|line| line.contains("node=\"east-1\"")), "{text}");
    for part in [
        "crashmill_build_info{",
        "role=\"tester\"",
        "config_hash=\"",
        "crashmill_tester_process_resident_memory_bytes{",
        "crashmill_tester_process_open_fds{",
        "crashmill_tester_process_start_time_seconds{",
        "crashmill_tester_process_cpu_seconds{",
        "crashmill_tester_request_seconds_bucket{node=\"east-1\",le=\"0.25\"} 1",
        "crashmill_tester_payload_bytes_bucket{node=\"east-1\",le=\"1048576\"} 1",
        "crashmill_tester_dependency_up{node=\"east-1\",dependency=\"postgresql\"} 1",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
}

#[test]
fn the_version_is_told() {
    let daemon = Daemon::start("drains", &[ANY_PORT]);
    let (status, body) = daemon.get("/__version__");
    assert_eq!(status, 200);
    assert!(body.contains(&format!("\"version\":\"{}\"", daemon::VERSION.version)), "{body}");
}

#[test]
fn a_port_that_another_process_has_is_said_plainly() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut daemon = Daemon::start("drains", &[("CRASHMILL__DAEMON__METRICS_LISTEN", &address)]);
    let line = daemon.wait_for("crashmill tester: listening on");
    assert!(line.contains(&address) && line.contains("daemon.metrics_listen"), "{line}");
    assert!(line.contains("another process has this port"), "{line}");
    assert_eq!(daemon.exit_code(), 1);
}

#[test]
fn a_failure_is_one_readable_line_and_a_log_line() {
    let mut daemon = Daemon::start("fails", &[]);
    let chain = "opening the crash store: making the folder /srv/crashes: permission denied";
    assert_eq!(daemon.wait_for("crashmill tester:"), format!("crashmill tester: {chain}"));
    let logged = daemon.wait_for("\"level\":\"ERROR\"");
    assert!(logged.contains(chain), "{logged}");
    assert_eq!(daemon.exit_code(), 1);
}

#[test]
fn a_panic_is_logged_with_its_place_and_ends_with_1() {
    let mut daemon = Daemon::start("panics", &[]);
    let line = daemon.wait_for("a thread panicked");
    assert!(line.contains("roles.rs:") && line.contains("the invariant does not hold"), "{line}");
    assert_eq!(daemon.exit_code(), 1);
}

#[test]
fn a_log_filter_that_makes_no_sense_is_named() {
    let mut daemon = Daemon::start("drains", &[("CRASHMILL__DAEMON__LOG__FILTER", "info=loud")]);
    let line = daemon.wait_for("crashmill tester:");
    assert!(line.contains("reading the log filter \"info=loud\" (daemon.log.filter)"), "{line}");
    assert_eq!(daemon.exit_code(), 1);
}

#[test]
fn a_log_for_people_says_a_failure_once() {
    let mut daemon = Daemon::start("fails", &[("CRASHMILL__DAEMON__LOG__FORMAT", "human")]);
    daemon.wait_for("crashmill tester: opening the crash store");
    assert_eq!(daemon.exit_code(), 1);
    assert!(!daemon.rest_of_log().iter().any(|line| line.contains("ERROR")));
}
