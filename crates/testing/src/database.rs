//! A PostgreSQL database that lives as long as its test.

use std::thread;

use postgres::{Client, NoTls};
use url::Url;

use crate::{POSTGRES, namespace, variable};

/// A fresh, empty database of one test; dropped with everything in it, and whoever is connected, at the end.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
}

impl Database {
    /// Makes an empty database whose name begins with the test's, so that one left behind says whose it was.
    pub fn create(test_name: &str) -> Self {
        let name = namespace(test_name);
        let mut url: Url = variable(POSTGRES).parse().expect("CRASHMILL_TEST_POSTGRES is a URL");
        url.set_path(&name);

        // template0, because nobody may be connected to the template, and template1 takes connections.
        execute(format!("CREATE DATABASE \"{name}\" TEMPLATE template0"))
            .unwrap_or_else(|error| panic!("making the test database {name}: {error}"));
        Self { name, url: url.into() }
    }

    /// The database's URL, user and password included.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The one number that a query returns, such as `SELECT count(*) FROM ...`.
    pub fn number(&self, query: &str) -> i64 {
        let (url, statement) = (self.url.clone(), query.to_owned());
        let row = aside(move || Client::connect(&url, NoTls)?.query_one(&statement, &[]));
        row.and_then(|row| row.try_get(0)).unwrap_or_else(|error| panic!("{query}: {error:?}"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A test that fails must show its own reason, so this one's is ignored; the server goes after the run anyway.
        drop(execute(format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name)));
    }
}

/// Runs one statement on the server's own database.
fn execute(statement: String) -> Result<(), postgres::Error> {
    let server = variable(POSTGRES);
    aside(move || Client::connect(&server, NoTls)?.batch_execute(&statement))
}

/// Does this on a plain thread: the blocking client has a runtime inside, and a runtime cannot be started within another,
/// which is where an async test calls from.
fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(work).join().expect("the thread only runs the client")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_like(name: &str) -> i64 {
        Client::connect(&variable(POSTGRES), NoTls)
            .expect("the server answers")
            .query_one("SELECT count(*) FROM pg_database WHERE datname = $1", &[&name])
            .expect("the query runs")
            .get(0)
    }

    #[test]
    fn a_database_is_gone_after_its_test_even_when_somebody_is_connected() {
        let database = Database::create("gone_after_its_test");
        let name = database.name.clone();
        let _still_connected = Client::connect(database.url(), NoTls).expect("a database of its own");
        assert_eq!(names_like(&name), 1);

        drop(database);

        assert_eq!(names_like(&name), 0);
    }

    #[tokio::test]
    async fn a_database_can_be_made_and_dropped_inside_a_runtime() {
        let database = Database::create("inside a runtime");
        assert!(database.url().contains("/inside_a_runtime-"));
        assert_eq!(database.number("SELECT count(*) FROM pg_database WHERE datname = current_database()"), 1);
    }
}
