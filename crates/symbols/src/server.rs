//! One symbol server, and whether it is worth asking.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{Client, redirect};
use settings::ServiceUrl;
use url::Url;

use crate::{Config, Error};

/// How long a server that failed is left alone at first; each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const MOST_REDIRECTS: usize = 5;

/// Makes rustls with the *ring* provider the process's way of speaking TLS, unless one is installed already.
///
/// [`Symbols::open`](crate::Symbols::open) does it when there are servers, because its HTTP client refuses to be
/// made without. A program that wants another provider installs its own first.
pub fn install_tls_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // It fails only where another thread was quicker, and then there is one.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
}

pub(crate) fn client(config: &Config) -> Result<Client, Error> {
    install_tls_provider();
    Client::builder()
        .connect_timeout(config.connect_timeout.get())
        .timeout(config.timeout.get())
        .redirect(redirect::Policy::limited(MOST_REDIRECTS))
        .user_agent(concat!("crashmill/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(Error::Client)
}

/// A symbol server. After a failure it is not asked for a while, so that a dead one costs one crash its time and not
/// each of them.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: Url,
    failure: Mutex<Option<Failure>>,
}

#[derive(Debug, Clone)]
struct Failure {
    why: String,
    until: Instant,
    pause: Duration,
}

impl Server {
    pub(crate) fn new(address: &ServiceUrl) -> Result<Self, Error> {
        let url = Url::parse(address.expose()).map_err(|_| Error::ServerAddress(address.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            // The address may carry a password: only what it begins with is shown.
            return Err(Error::ServerAddress(format!("{}:", url.scheme())));
        }
        Ok(Self { url, failure: Mutex::new(None) })
    }

    /// The server's name, for people: the address may carry a password.
    pub(crate) fn name(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Why it is not to be asked now.
    pub(crate) fn is_paused(&self, now: Instant) -> Option<String> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().filter(|failure| now < failure.until).map(|failure| failure.why.clone())
    }

    pub(crate) fn failed(&self, why: &str, now: Instant) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = failure.as_ref().map_or(FIRST_PAUSE, |before| LONGEST_PAUSE.min(before.pause * 2));
        // Workers that met the failure together must not come back together.
        let until = now + pause.mul_f64(rand::random_range(0.75..1.25));
        tracing::warn!(
            server = self.name(),
            why,
            pause_s = pause.as_secs(),
            "a symbol server failed and is left alone"
        );
        *failure = Some(Failure { why: why.to_owned(), until, pause });
    }

    pub(crate) fn answered(&self) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_keeps_failing_is_left_alone_for_longer_up_to_a_limit() {
        let server = Server::new(&"http://symbols.example/".parse().unwrap()).unwrap();
        let now = Instant::now();
        assert_eq!(server.is_paused(now), None);

        server.failed("it answered 503", now);
        assert_eq!(server.is_paused(now + FIRST_PAUSE / 2).as_deref(), Some("it answered 503"));
        assert_eq!(server.is_paused(now + FIRST_PAUSE * 2), None);
        for _ in 0..10 {
            server.failed("it answered 503", now);
        }
        assert!(server.is_paused(now + LONGEST_PAUSE / 2).is_some());
        assert_eq!(server.is_paused(now + LONGEST_PAUSE * 2), None);

        server.answered();
        assert_eq!(server.is_paused(now), None);
    }

    #[test]
    fn addresses_that_nothing_can_be_below_are_refused_without_showing_them() {
        for address in ["ftp://user:secret@host/", "http://user:secret@:x/", "file://a:secret@b/"] {
            let error = Server::new(&address.parse().unwrap()).unwrap_err().to_string();
            assert!(error.contains("symbols.servers") && !error.contains("secret"), "{error}");
        }
    }
}
