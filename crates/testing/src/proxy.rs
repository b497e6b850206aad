//! A bad network between a program and its server.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use url::Url;

/// How long the proxy waits for the server to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Passes connections on to a real server, until it is cut.
///
/// The server stays as it is: what a test cuts is the way to it, for itself alone. The port stays the same for as long as the
/// proxy lives.
#[derive(Debug)]
pub struct Proxy {
    url: Url,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_cut: bool,
    /// Both ends of every connection, to be shut when the way is cut.
    open: Vec<TcpStream>,
}

impl Proxy {
    /// Stands in front of the server of a URL.
    #[must_use]
    pub fn to_url(server: &str) -> Self {
        let mut url = Url::parse(server).expect("a test server's URL is one");
        let host = url.host_str().expect("a test server has a host").to_owned();
        let port = url.port().expect("a test server has a port of its own");
        let target = (host, port)
            .to_socket_addrs()
            .expect("the host is known")
            .next()
            .expect("the host has an address");

        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
        let own = listener.local_addr().expect("a listener has an address");
        url.set_host(Some("127.0.0.1")).expect("an address is a host");
        url.set_port(Some(own.port())).expect("the URL has a port");

        let state = Arc::new(Mutex::new(State::default()));
        let accepted = Arc::clone(&state);
        // Ends with the test's process; nothing is left for anyone to wait for.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A connection that cannot be passed on is closed, which is what a cut way looks like.
                drop(pass_on(client, target, &accepted));
            }
        });
        Self { url, state }
    }

    /// The server's URL by way of the proxy.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// Ends every connection, and closes each new one at once, until [`Proxy::restore`].
    pub fn cut(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_cut = true;
        for stream in state.open.drain(..) {
            // One that has ended by itself cannot be ended again.
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// Passes new connections on again.
    pub fn restore(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_cut = false;
    }
}

fn pass_on(client: TcpStream, target: SocketAddr, state: &Mutex<State>) -> io::Result<()> {
    let server = TcpStream::connect_timeout(&target, CONNECT_TIMEOUT)?;
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    if state.is_cut {
        return client.shutdown(Shutdown::Both);
    }
    state.open.extend([client.try_clone()?, server.try_clone()?]);
    let (client_again, server_again) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || copy(client, server));
    thread::spawn(move || copy(server_again, client_again));
    Ok(())
}

/// Copies until either side ends, then ends the other.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if buffer.get(..length).is_none_or(|bytes| to.write_all(bytes).is_err()) {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}
