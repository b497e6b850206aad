//! Which system this is, as far as installing packages goes.

use std::{fmt, fs};

/// A package that the servers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package {
    /// PostgreSQL's server.
    PostgreSql,
    /// RabbitMQ, and Erlang with it.
    RabbitMq,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PostgreSql => "PostgreSQL",
            Self::RabbitMq => "RabbitMQ",
        })
    }
}

/// A family of systems that install packages in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Debian, Ubuntu and what is made from them.
    Debian,
    /// Fedora, Red Hat Enterprise Linux and what is made from them.
    Fedora,
    /// Arch Linux and what is made from it.
    Arch,
    /// macOS, where Homebrew is the usual way.
    MacOs,
    /// Anything else.
    Other,
}

impl System {
    /// The system that this is.
    pub fn here() -> Self {
        if cfg!(target_os = "macos") {
            return Self::MacOs;
        }
        Self::named_by(&fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    /// The system that the text of an `os-release` file names.
    fn named_by(os_release: &str) -> Self {
        let names: Vec<&str> = os_release
            .lines()
            .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
            .flat_map(|value| value.trim_matches(['"', '\'']).split_whitespace())
            .collect();
        let is = |name| names.contains(&name);
        if is("debian") || is("ubuntu") {
            Self::Debian
        } else if is("fedora") || is("rhel") || is("centos") {
            Self::Fedora
        } else if is("arch") {
            Self::Arch
        } else {
            Self::Other
        }
    }

    /// The command that installs both servers.
    pub fn install_command(self) -> &'static str {
        match self {
            Self::Debian => "sudo apt-get install postgresql rabbitmq-server",
            Self::Fedora => "sudo dnf install postgresql-server rabbitmq-server",
            Self::Arch => "sudo pacman -S postgresql rabbitmq",
            Self::MacOs => "brew install postgresql rabbitmq",
            Self::Other => {
                "the system's own tools (PostgreSQL 13 or newer, RabbitMQ 3.10 or newer with Erlang)"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_known_by_its_name_or_by_what_it_is_like() {
        assert_eq!(System::named_by("PRETTY_NAME=\"Debian 12\"\nID=debian\n"), System::Debian);
        assert_eq!(System::named_by("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"), System::Debian);
        assert_eq!(System::named_by("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"), System::Fedora);
        assert_eq!(System::named_by("ID=nixos\n"), System::Other);
    }
}
