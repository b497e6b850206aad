//! The ports of this machine's roles: ours, free, or somebody else's.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    time::Duration,
};

use reqwest::Client;
use serde_json::Value;

use super::findings::Findings;
use crate::config::Config;

/// How long a role may take to say how it is.
const ANSWER: Duration = Duration::from_secs(4);

/// Who has an address.
enum Holder {
    /// A role of ours, and what it says of itself.
    Ours(Value),
    /// Something that does not answer as a role does.
    Another(String),
    /// Nobody: it can be had.
    Nobody,
    /// Nobody, and it cannot be had.
    Unusable(std::io::Error),
}

pub(super) async fn look(config: Config) -> Findings {
    let mut findings = Findings::default();
    let (submit, health) = tokio::join!(holder(config.collector.listen), async {
        match config.daemon.metrics_listen {
            Some(address) => Some((address, holder(address).await)),
            None => None,
        }
    });
    told(&mut findings, "roles.submit", "collector.listen", config.collector.listen, submit);
    match health {
        Some((address, holder)) => {
            told(&mut findings, "roles.health", "daemon.metrics_listen", address, holder);
        }
        None => findings.skip("roles.health", "daemon.metrics_listen is not set: no role says how it is"),
    }
    findings
}

fn told(findings: &mut Findings, check: &'static str, key: &str, address: SocketAddr, holder: Holder) {
    match holder {
        Holder::Ours(beat) => beats(findings, check, address, &beat),
        Holder::Another(what) => findings.fail(
            check,
            format!("another program has {address} ({key}): {what}"),
            format!("end it, or choose another address in {key}"),
        ),
        Holder::Nobody if check == "roles.health" => findings.skip(
            check,
            format!("nobody answers at {address} ({key}): no role runs here with this configuration"),
        ),
        Holder::Nobody => findings.ok(check, format!("{address} ({key}) is free: no collector runs here")),
        Holder::Unusable(error) => {
            let advice = match error.kind() {
                ErrorKind::AddrNotAvailable => "this machine does not have this address: choose another",
                ErrorKind::PermissionDenied => {
                    "ports below 1024 are root's: have systemd hand the socket over (crashmill-collector.socket)"
                }
                _ => "choose another",
            };
            findings.fail(check, format!("{address} ({key}) cannot be had: {error}"), advice);
        }
    }
}

/// What a role says of itself.
fn beats(findings: &mut Findings, check: &'static str, address: SocketAddr, beat: &Value) {
    let text = |key: &str| beat.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let role = text("role");
    if beat.get("ready").and_then(Value::as_bool) == Some(true) {
        return findings.ok(check, format!("the {role} at {address} is ready"));
    }
    let dependencies = beat.get("dependencies").and_then(Value::as_object);
    let missing: Vec<String> = dependencies
        .into_iter()
        .flatten()
        .filter(|(_, reading)| reading.get("state").and_then(Value::as_str) != Some("up"))
        .map(|(name, reading)| {
            let reason = reading.get("reason").and_then(Value::as_str).unwrap_or_default();
            format!("{name} {reason}").trim_end().to_owned()
        })
        .collect();
    let phase = text("phase");
    findings.fail(
        check,
        format!("the {role} at {address} is not ready ({phase}): {}", missing.join(", ")),
        "what it depends on is looked at above and below; its log says since when",
    );
}

async fn holder(address: SocketAddr) -> Holder {
    let asking = Client::builder().timeout(ANSWER).no_proxy().build();
    let Ok(client) = asking else { return Holder::Another("it could not be asked".to_owned()) };
    let answer = match client.get(format!("http://{}/__heartbeat__", reached_at(address))).send().await {
        Ok(answer) => answer,
        Err(error) if error.is_connect() => return free(address),
        Err(error) => {
            return Holder::Another(format!(
                "it does not answer: {:#}",
                anyhow::Error::from(error.without_url())
            ));
        }
    };
    let status = answer.status();
    match answer.json::<Value>().await {
        Ok(beat) if beat.get("role").is_some() => Holder::Ours(beat),
        _ => Holder::Another(format!("it answers /__heartbeat__ with {status}")),
    }
}

/// Takes the address for a moment.
fn free(address: SocketAddr) -> Holder {
    match TcpListener::bind(address) {
        Ok(_) => Holder::Nobody,
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Holder::Another("it takes no connections from here".to_owned())
        }
        Err(error) => Holder::Unusable(error),
    }
}

/// Where what listens everywhere can be reached from here.
fn reached_at(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
