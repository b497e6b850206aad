//! `servers.json`: what has to be the same at the next start, and what a command needs in order to find the servers.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rand::distr::{Alphanumeric, SampleString};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Doing, Error},
    ports,
};

/// The file's name within the folder of the servers.
const FILE: &str = "servers.json";
/// The user on both servers, and the name of the database.
pub(crate) const NAME: &str = "crashmill";
const PASSWORD_LENGTH: usize = 32;

/// What is kept about the servers of one folder. It holds passwords: the file is its owner's alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Where the servers keep their data: beside this file, or where their own users can reach it.
    pub(crate) data: PathBuf,
    pub(crate) postgres: Option<PostgresRecord>,
    pub(crate) rabbitmq: Option<RabbitMqRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PostgresRecord {
    pub(crate) port: u16,
    pub(crate) password: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RabbitMqRecord {
    /// The Erlang node's name; RabbitMQ's data belong to it.
    pub(crate) node: String,
    pub(crate) port: u16,
    /// Between Erlang nodes and for RabbitMQ's own commands.
    pub(crate) distribution_port: u16,
    pub(crate) epmd_port: u16,
    pub(crate) password: String,
    /// Whether it has ever been ready: before that its user may not have been made, and its data are worth nothing.
    pub(crate) complete: bool,
}

impl Record {
    pub(crate) fn load(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(FILE);
        let reading = || format!("reading {}", path.display());
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).doing(reading),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing(reading),
        }
    }

    /// Writes the record so that it is there, whole, whatever happens next: a server may be given a password only after.
    pub(crate) fn save(&self, dir: &Path) -> Result<(), Error> {
        let (path, new) = (dir.join(FILE), dir.join("servers.json.new"));
        let write = || {
            let text = serde_json::to_vec_pretty(self)?;
            let mut file = File::options().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(dir)?.sync_all()
        };
        write().doing(|| format!("writing {}", path.display()))
    }

    fn ports(&self) -> Vec<u16> {
        let postgres = self.postgres.iter().map(|postgres| postgres.port);
        let rabbitmq = self.rabbitmq.iter().flat_map(RabbitMqRecord::ports);
        postgres.chain(rabbitmq).collect()
    }

    /// The recorded port if it can still be had, else another.
    pub(crate) fn port(&self, recorded: Option<u16>) -> Result<u16, Error> {
        match recorded {
            Some(port) if ports::is_free(port) => Ok(port),
            _ => ports::choose(&self.ports()).doing(|| "choosing a port".to_owned()),
        }
    }
}

impl PostgresRecord {
    pub(crate) fn url(&self) -> String {
        format!("postgres://{NAME}:{}@127.0.0.1:{}/{NAME}", self.password, self.port)
    }
}

impl RabbitMqRecord {
    pub(crate) fn url(&self) -> String {
        format!("amqp://{NAME}:{}@127.0.0.1:{}/%2f", self.password, self.port)
    }

    fn ports(&self) -> [u16; 3] {
        [self.port, self.distribution_port, self.epmd_port]
    }
}

/// A password of letters and digits: it needs no quoting, neither in a URL nor in a configuration file.
pub(crate) fn new_password() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LENGTH)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_saved_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(Record::load(dir.path()).expect("nothing there"), None);

        let record = Record {
            data: "/data".into(),
            postgres: Some(PostgresRecord { port: 5, password: new_password() }),
            rabbitmq: None,
        };
        record.save(dir.path()).expect("a folder of ours");

        assert_eq!(Record::load(dir.path()).expect("just saved"), Some(record));
        let mode = fs::metadata(dir.path().join(FILE)).expect("just saved").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_port_stays_the_same_until_somebody_else_has_it() {
        let record = Record::default();
        let first = record.port(None).expect("a free port");
        assert_eq!(record.port(Some(first)).expect("still free"), first);

        let _somebody = std::net::TcpListener::bind(("127.0.0.1", first)).expect("free a moment ago");
        assert_ne!(record.port(Some(first)).expect("another"), first);
    }
}
