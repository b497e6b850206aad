//! A bucket of one's own in the S3 emulator, and a bad way to it.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use url::Url;

use crate::{S3, namespace, variable};

/// How long the emulator may take for anything.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Somebody's; the emulator verifies no signature.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=tests/20260101/us-east-1/s3/aws4_request, \
                             SignedHeaders=host, Signature=0";

/// A bucket that no other test uses.
#[derive(Debug)]
pub struct Bucket {
    name: String,
    endpoint: String,
}

impl Bucket {
    /// Makes a bucket, named after the test.
    #[must_use]
    pub fn create(test_name: &str) -> Self {
        let name = namespace(test_name).replace('_', "-").trim_start_matches('-').to_owned();
        let bucket = Self { name, endpoint: variable(S3) };
        bucket.ask("PUT", "");
        bucket
    }

    /// What `crashstore.url` says of it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("s3://{}/crashes", self.name)
    }

    /// Where the emulator is.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The keys of all objects.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let listing = self.ask("GET", "?list-type=2");
        assert!(
            listing.contains("<IsTruncated>false"),
            "a test has fewer objects than one listing: {listing}"
        );
        listing
            .split("<Key>")
            .skip(1)
            .filter_map(|rest| rest.split("</Key>").next())
            .map(str::to_owned)
            .collect()
    }

    /// Puts other bytes in the place of an object.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        self.exchange("PUT", &format!("/{key}"), bytes);
    }

    fn ask(&self, method: &str, path: &str) -> String {
        self.exchange(method, path, b"")
    }

    fn exchange(&self, method: &str, path: &str, body: &[u8]) -> String {
        let address = address_of(&self.endpoint);
        let answer = || -> io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            let (name, length) = (&self.name, body.len());
            write!(
                stream,
                "{method} /{name}{path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {AUTHORIZATION}\r\n\
                 Content-Length: {length}\r\nConnection: close\r\n\r\n"
            )?;
            stream.write_all(body)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = answer().expect("the S3 emulator answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
        answer
    }
}

/// Stands in front of an HTTP server and spoils requests: answers 500 or 503 itself, before or after the server has done
/// what was asked, or cuts the connection in the middle of a body. Which ones follows from a seed.
#[derive(Debug)]
pub struct FaultyHttp {
    url: Url,
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    server: SocketAddr,
    /// How many of a thousand requests are spoilt.
    per_mille: AtomicU64,
    /// How much later each answer comes, in milliseconds.
    delay: AtomicU64,
    chance: Mutex<Chance>,
    spoilt: AtomicU64,
    /// What the first line of a request has in it that is forbidden.
    forbidden: Mutex<Option<String>>,
}

/// Draws which requests are spoilt, and how.
#[derive(Debug)]
struct Chance {
    state: u64,
    /// How many requests are left of the share that has one that is spoilt, and how many come after that one.
    left: u64,
    until: u64,
}

impl Chance {
    fn draw(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) % below
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Well,
    /// 503, and the server never hears of it.
    Refused,
    /// 500, after the server has done it.
    Denied,
    /// The server gets half of the body.
    CutRequest,
    /// The client gets half of the answer.
    CutAnswer,
}

impl FaultyHttp {
    /// Stands in front of the server of a URL, and spoils nothing yet.
    #[must_use]
    pub fn to_url(server: &str, seed: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
        let own = listener.local_addr().expect("a listener has an address");
        let url = Url::parse(&format!("http://{own}/")).expect("it is a URL");
        let plan = Arc::new(Plan {
            server: address_of(server),
            per_mille: AtomicU64::new(0),
            delay: AtomicU64::new(0),
            chance: Mutex::new(Chance {
                state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
                left: 0,
                until: 0,
            }),
            spoilt: AtomicU64::new(0),
            forbidden: Mutex::new(None),
        });
        let shared = Arc::clone(&plan);
        // Ends with the test's process; nothing is left for anyone to wait for.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let plan = Arc::clone(&shared);
                // What cannot be passed on is closed, which is one more way to fail.
                thread::spawn(move || drop(plan.pass_on(client)));
            }
        });
        Self { url, plan }
    }

    /// The server's URL by this way.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// From now on so many of a thousand requests are spoilt.
    pub fn spoil(&self, per_mille: u64) {
        self.plan.per_mille.store(per_mille, Ordering::Relaxed);
    }

    /// From now on every answer comes so much later.
    pub fn delay(&self, by: Duration) {
        self.plan.delay.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// From now on 403 is the answer to requests that have this in their first line, and the server never hears of them.
    pub fn forbid(&self, what: Option<&str>) {
        *self.plan.forbidden.lock().unwrap_or_else(PoisonError::into_inner) = what.map(str::to_owned);
    }

    /// How many requests were spoilt so far.
    #[must_use]
    pub fn spoilt(&self) -> u64 {
        self.plan.spoilt.load(Ordering::Relaxed)
    }
}

impl Plan {
    /// Of so many requests as have one that is spoilt, one is drawn.
    fn fate(&self) -> Fate {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(share) = 1000_u64.checked_div(self.per_mille.load(Ordering::Relaxed)) else {
            return Fate::Well;
        };
        if chance.left == 0 {
            (chance.left, chance.until) = (share, chance.draw(share));
        }
        chance.left -= 1;
        if chance.left != chance.until {
            return Fate::Well;
        }
        self.spoilt.fetch_add(1, Ordering::Relaxed);
        match chance.draw(4) {
            0 => Fate::Refused,
            1 => Fate::Denied,
            2 => Fate::CutRequest,
            _ => Fate::CutAnswer,
        }
    }

    fn is_forbidden(&self, head: &str) -> bool {
        let forbidden = self.forbidden.lock().unwrap_or_else(PoisonError::into_inner);
        let line = head.lines().next().unwrap_or_default();
        forbidden.as_ref().is_some_and(|what| line.contains(what))
    }

    /// Passes one request on, on a connection of its own.
    fn pass_on(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_read_timeout(Some(TIMEOUT))?;
        let (head, mut body) = read_head(&mut client)?;
        if self.is_forbidden(&head) {
            read_body(&mut client, &head, &mut body)?;
            return refuse(&mut client, "403 Forbidden");
        }
        let fate = self.fate();
        if matches!(fate, Fate::Refused) {
            read_body(&mut client, &head, &mut body)?;
            return refuse(&mut client, "503 Slow Down");
        }
        read_body(&mut client, &head, &mut body)?;

        let mut server = TcpStream::connect_timeout(&self.server, TIMEOUT)?;
        server.set_read_timeout(Some(TIMEOUT))?;
        server.write_all(closing(&head).as_bytes())?;
        if matches!(fate, Fate::CutRequest) {
            server.write_all(body.get(..body.len() / 2).unwrap_or_default())?;
            server.shutdown(Shutdown::Both)?;
            return client.shutdown(Shutdown::Both);
        }
        server.write_all(&body)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        thread::sleep(Duration::from_millis(self.delay.load(Ordering::Relaxed)));
        match fate {
            Fate::Denied => refuse(&mut client, "500 Internal Server Error"),
            Fate::CutAnswer => {
                client.write_all(answer.get(..answer.len() / 2).unwrap_or_default())?;
                client.shutdown(Shutdown::Both)
            }
            _ => client.write_all(&answer),
        }
    }
}

fn refuse(client: &mut TcpStream, status: &str) -> io::Result<()> {
    write!(client, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

/// The head of a request, and what has come of its body.
fn read_head(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return Ok((String::from_utf8(bytes).map_err(io::Error::other)?, body));
        }
        let read = client.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
}

fn read_body(client: &mut TcpStream, head: &str, body: &mut Vec<u8>) -> io::Result<()> {
    let lengths = head.lines().filter_map(|line| line.split_once(':'));
    let length = lengths
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .find_map(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0);
    let start = body.len();
    if start < length {
        body.resize(length, 0);
        client.read_exact(body.get_mut(start..).unwrap_or_default())?;
    }
    Ok(())
}

/// The same head, for a connection that ends with the answer.
fn closing(head: &str) -> String {
    let kept: Vec<&str> =
        head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:")).collect();
    kept.join("\r\n").trim_end().to_owned() + "\r\nConnection: close\r\n\r\n"
}

fn address_of(url: &str) -> SocketAddr {
    let url = Url::parse(url).expect("a test server's URL is one");
    let host = url.host_str().expect("a test server has a host").to_owned();
    let port = url.port().expect("a test server has a port of its own");
    (host, port).to_socket_addrs().expect("the host is known").next().expect("the host has an address")
}
