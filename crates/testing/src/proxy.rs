//! A bad network between a program and its server.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use url::Url;

/// How long the proxy waits for the server to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many connections wait to be accepted, as the standard library has it.
const BACKLOG: i32 = 128;
/// How many ports are tried for one that nobody has.
const PORTS_TRIED: usize = 20;
/// As much is passed on at a time.
const CHUNK: usize = 16 * 1024;

/// Passes connections on to a real server, as well or as badly as a test wants it.
///
/// The server stays as it is: what a test spoils is the way to it, for itself alone. The port stays the same for as long as the
/// proxy lives. [`Proxy::restore`] makes everything well again; the other calls can be combined where that has a meaning.
#[derive(Debug)]
pub struct Proxy {
    url: Url,
    listener: Arc<TcpListener>,
    way: Arc<Way>,
}

/// What the threads of a proxy share.
#[derive(Debug)]
struct Way {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    condition: Condition,
    /// How long each chunk takes beside its own time.
    latency: Duration,
    /// How many bytes a second each connection passes in each direction.
    rate: Option<u32>,
    /// After how many bytes in one direction a connection ends.
    cut_after: Option<u64>,
    /// Counts the settings of `cut_after`, since bytes are counted from each of them on.
    cuts: u64,
    /// Both ends of every connection, to be shut when the way is cut.
    open: HashMap<u64, [TcpStream; 2]>,
    accepted: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Condition {
    #[default]
    Passing,
    /// Connections are accepted and closed.
    Cut,
    /// Nobody listens.
    Refusing,
    /// Connections are accepted, and nothing goes through them.
    Silent,
}

impl Proxy {
    /// Stands in front of the server of a URL.
    #[must_use]
    pub fn to_url(server: &str) -> Self {
        let mut url = Url::parse(server).expect("a test server's URL is one");
        let host = url.host_str().expect("a test server has a host").to_owned();
        let port = url.port_or_known_default().expect("a test server has a port");
        let target = (host, port)
            .to_socket_addrs()
            .expect("the host is known")
            .next()
            .expect("the host has an address");

        let listener = Arc::new(listen());
        let own = listener.local_addr().expect("a listener has an address");
        url.set_host(Some("127.0.0.1")).expect("an address is a host");
        url.set_port(Some(own.port())).expect("the URL has a port");

        let way = Arc::new(Way { state: Mutex::default(), changed: Condvar::new() });
        let (accepting, accepted) = (Arc::clone(&listener), Arc::clone(&way));
        // Ends with the test's process; nothing is left for anyone to wait for.
        thread::spawn(move || {
            loop {
                accepted.until_listening();
                if let Ok((client, _)) = accepting.accept() {
                    // A connection that cannot be passed on is closed, which is what a cut way looks like.
                    drop(pass_on(client, target, &accepted));
                }
            }
        });
        Self { url, listener, way }
    }

    /// The server's URL by way of the proxy.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// Ends every connection, and closes each new one at once.
    pub fn cut(&self) {
        self.become_so(Condition::Cut);
    }

    /// Ends every connection, and refuses new ones: nobody listens at the port, which stays ours.
    pub fn refuse(&self) {
        self.become_so(Condition::Refusing);
        // On Linux a listener that was shut down listens no more, keeps its port, and can listen again.
        rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both)
            .expect("a listener can be shut down");
    }

    /// Keeps every connection open and accepts new ones, and passes nothing on in any direction.
    pub fn silence(&self) {
        self.way.change(|state| state.condition = Condition::Silent);
    }

    /// Makes each chunk of at most 16 KiB take so much longer, in each direction.
    pub fn slow(&self, latency: Duration) {
        self.way.change(|state| state.latency = latency);
    }

    /// Lets no more than so many bytes a second through each connection, in each direction.
    pub fn throttle(&self, bytes_a_second: u32) {
        self.way.change(|state| state.rate = Some(bytes_a_second.max(1)));
    }

    /// Ends each connection in the middle: once so many bytes have passed in one direction, counted from now on.
    pub fn cut_after(&self, bytes: u64) {
        self.way.change(|state| {
            state.cut_after = Some(bytes);
            state.cuts += 1;
        });
    }

    /// Passes everything on again, at once and to its end.
    pub fn restore(&self) {
        self.way.change(|state| {
            if state.condition == Condition::Refusing {
                rustix::net::listen(&*self.listener, BACKLOG).expect("the port is still ours");
            }
            (state.condition, state.latency) = (Condition::Passing, Duration::ZERO);
            (state.rate, state.cut_after) = (None, None);
        });
    }

    /// Ends every connection, and takes new ones like this from now on.
    fn become_so(&self, condition: Condition) {
        self.way.change(|state| {
            state.condition = condition;
            for stream in state.open.drain().flat_map(|(_, both)| both) {
                // One that has ended by itself cannot be ended again.
                drop(stream.shutdown(Shutdown::Both));
            }
        });
    }
}

/// Listens at a port that was asked for by its number: only such a one is kept while nobody listens.
fn listen() -> TcpListener {
    let free = || TcpListener::bind(("127.0.0.1", 0))?.local_addr();
    (0..PORTS_TRIED).find_map(|_| free().and_then(TcpListener::bind).ok()).expect("there is a free port")
}

impl Way {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Waits until this is not so any more.
    fn until_not(&self, condition: Condition) -> MutexGuard<'_, State> {
        self.changed
            .wait_while(self.state(), |state| state.condition == condition)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn until_listening(&self) {
        drop(self.until_not(Condition::Refusing));
    }
}

fn pass_on(client: TcpStream, target: SocketAddr, way: &Arc<Way>) -> io::Result<()> {
    let server = TcpStream::connect_timeout(&target, CONNECT_TIMEOUT)?;
    // Small chunks are not to wait for one another, but for what a test says.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut state = way.state();
    if matches!(state.condition, Condition::Cut | Condition::Refusing) {
        return client.shutdown(Shutdown::Both);
    }
    state.accepted += 1;
    let number = state.accepted;
    state.open.insert(number, [client.try_clone()?, server.try_clone()?]);
    for (from, to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        let way = Arc::clone(way);
        thread::spawn(move || {
            copy(&from, &to, &way);
            drop(to.shutdown(Shutdown::Both));
            drop(from.shutdown(Shutdown::Both));
            way.state().open.remove(&number);
        });
    }
    Ok(())
}

/// Copies until either side ends, or the way is to be cut.
fn copy(mut from: &TcpStream, mut to: &TcpStream, way: &Way) {
    let mut buffer = vec![0; CHUNK];
    let (mut passed, mut cuts) = (0, 0);
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let began = Instant::now();
        let state = way.until_not(Condition::Silent);
        let takes = state.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(f64::from(u32::try_from(length).unwrap_or(u32::MAX)) / f64::from(rate))
        });
        let (latency, cut_after) = (state.latency, state.cut_after);
        if cuts != state.cuts {
            (passed, cuts) = (0, state.cuts);
        }
        drop(state);
        thread::sleep((latency + takes).saturating_sub(began.elapsed()));

        let left =
            cut_after.map_or(length, |after| usize::try_from(after - passed).unwrap_or(length).min(length));
        passed += left as u64;
        let is_passed = buffer.get(..left).is_some_and(|bytes| to.write_all(bytes).is_ok());
        if !is_passed || cut_after == Some(passed) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends everything back, and the proxy before it.
    fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                thread::spawn(move || io::copy(&mut &client, &mut &client));
            }
        });
        Proxy::to_url(&url)
    }

    fn connect(proxy: &Proxy) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(proxy.url.socket_addrs(|| None)?.as_slice())?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(stream)
    }

    fn answer(mut stream: &TcpStream, sent: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(sent)?;
        let mut back = vec![0; sent.len()];
        stream.read_exact(&mut back)?;
        Ok(back)
    }

    #[test]
    fn a_way_that_is_refused_or_cut_is_well_again_when_it_is_restored() {
        let proxy = echo();
        let before = connect(&proxy).unwrap();
        assert_eq!(answer(&before, b"before").unwrap(), b"before");

        proxy.refuse();
        assert!(answer(&before, b"while").is_err());
        assert_eq!(connect(&proxy).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        proxy.restore();
        assert_eq!(answer(&connect(&proxy).unwrap(), b"after").unwrap(), b"after");

        proxy.cut();
        assert!(connect(&proxy).and_then(|cut| answer(&cut, b"while")).is_err());
        proxy.restore();
        assert_eq!(answer(&connect(&proxy).unwrap(), b"after").unwrap(), b"after");
    }

    #[test]
    fn what_is_sent_into_silence_arrives_when_that_is_over() {
        let proxy = echo();
        proxy.silence();
        let mut stream = connect(&proxy).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(answer(&stream, b"hello").is_err(), "nothing comes back");

        proxy.restore();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
    }

    #[test]
    fn a_slow_way_takes_its_time_and_a_narrow_one_too() {
        let proxy = echo();
        let stream = connect(&proxy).unwrap();
        let took = |sent: &[u8]| {
            let began = Instant::now();
            assert_eq!(answer(&stream, sent).unwrap(), sent);
            began.elapsed()
        };
        proxy.slow(Duration::from_millis(40));
        assert!(took(b"hello") >= Duration::from_millis(80), "there and back");
        proxy.restore();
        proxy.throttle(10_000);
        assert!(took(&[7; 1_000]) >= Duration::from_millis(180), "there and back");
    }

    #[test]
    fn a_connection_can_be_cut_in_the_middle() {
        let proxy = echo();
        let mut stream = connect(&proxy).unwrap();
        assert_eq!(answer(&stream, b"not counted").unwrap(), b"not counted");
        proxy.cut_after(4);
        stream.write_all(b"hello").unwrap();
        let mut back = Vec::new();
        // It ends, or is reset, since there was more to come.
        drop(stream.read_to_end(&mut back));
        assert!(b"hell".starts_with(&back), "{back:?}");

        proxy.restore();
        assert_eq!(answer(&connect(&proxy).unwrap(), b"whole").unwrap(), b"whole");
    }
}
