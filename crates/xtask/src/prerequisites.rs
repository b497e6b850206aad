//! What the commands need from the system: PostgreSQL and RabbitMQ, from its packages, and for some tests systemd's tools.

use std::{path::Path, process::Command};

use anyhow::{Context, bail, ensure};
use servers::{Package, System};

/// Installs what is missing on Debian and Ubuntu; elsewhere says what to install.
pub(crate) fn ensure_installed() -> anyhow::Result<()> {
    let missing = servers::missing();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing.iter().map(Package::to_string).collect();
    let names = names.join(" and ");
    if System::here() != System::Debian {
        bail!("{names} must be installed first; on this system: {}", System::here().install_command());
    }

    eprintln!("{names} must be installed first; installing from the distribution's packages");
    install(&missing)?;
    let still_missing = servers::missing();
    ensure!(
        still_missing.is_empty(),
        "apt-get has installed the packages, and still missing are: {still_missing:?}"
    );
    Ok(())
}

/// What checks the units under `deploy/`: without it those tests say that they are skipped.
const UNIT_CHECKER: &str = "systemd-analyze";

/// Installs what the tests of the systemd units need, where Debian or Ubuntu came without systemd, as containers do.
pub(crate) fn ensure_units_can_be_checked() {
    let is_there = Command::new(UNIT_CHECKER).arg("--version").output().is_ok();
    if is_there || System::here() != System::Debian {
        return;
    }
    eprintln!("installing systemd, whose {UNIT_CHECKER} checks the units; no service of it is started");
    let installed = as_root(&["apt-get", "update"])
        .and_then(|()| as_root(&["apt-get", "install", "--yes", "--no-install-recommends", "systemd"]));
    if let Err(error) = installed {
        eprintln!("the tests of the units will be skipped: {error:#}");
    }
}

fn install(missing: &[Package]) -> anyhow::Result<()> {
    let services: Vec<&str> = missing.iter().copied().map(debian_package).collect();
    install_debian(&services)?;

    // The packages start servers of the system's own, which nothing here uses.
    if Path::new("/run/systemd/system").exists() {
        as_root(
            &["systemctl", "disable", "--now"]
                .into_iter()
                .chain(services.iter().copied())
                .collect::<Vec<_>>(),
        )?;
        eprintln!("the packages' own services are not needed and were disabled: {}", services.join(", "));
    } else {
        for service in services {
            // Without systemd they may not have been started at all, and then there is nothing to stop.
            if let Err(error) = as_root(&["service", service, "stop"]) {
                eprintln!("{service} may still run as a service, which is not needed: {error:#}");
            }
        }
    }
    Ok(())
}

/// Installs packages of Debian or Ubuntu.
pub(crate) fn install_debian(packages: &[&str]) -> anyhow::Result<()> {
    as_root(&["apt-get", "update"])?;
    as_root(&[&["apt-get", "install", "--yes", "--no-install-recommends"], packages].concat())
}

/// The name of the package and, both being named alike, of its service.
fn debian_package(package: Package) -> &'static str {
    match package {
        Package::PostgreSql => "postgresql",
        Package::RabbitMq => "rabbitmq-server",
    }
}

/// Runs a command as root, through sudo where we are not, and shows it first.
fn as_root(command: &[&str]) -> anyhow::Result<()> {
    let mut whole = if rustix::process::geteuid().is_root() { vec!["env"] } else { vec!["sudo", "env"] };
    whole.push("DEBIAN_FRONTEND=noninteractive");
    whole.extend(command);
    let shown = whole.join(" ");
    eprintln!("+ {shown}");

    let [program, args @ ..] = whole.as_slice() else { bail!("nothing to run") };
    let status = Command::new(program).args(args).status().with_context(|| format!("running {shown}"))?;
    ensure!(status.success(), "{shown} failed with {status}");
    Ok(())
}
