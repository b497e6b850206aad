//! Listening sockets that whoever started this process has opened for it.
//!
//! Such a socket outlives the process: while one process ends and the next one starts, clients wait in the kernel's queue
//! and none is refused. systemd hands them over from file descriptor 3 on and says so in `LISTEN_PID`, `LISTEN_FDS` and
//! `LISTEN_FDNAMES` (sd_listen_fds(3)). A supervisor of ours starts its processes by way of a guard and cannot know their
//! ids, so it says `CRASHMILL_SOCKETS` instead: `name=descriptor`, with colons between several. Neither variable reaches
//! what this process starts: workers get an environment of their own.

use std::{
    collections::{BTreeSet, VecDeque},
    env, fs, io,
    net::{self, SocketAddr},
    os::fd::{FromRawFd, OwnedFd, RawFd},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, anyhow, ensure};
use rustix::{
    io::FdFlags,
    net::{SocketType, sockopt},
};
use tokio::net::TcpListener;
use tracing::{info, warn};

/// Set by a supervisor that hands sockets over: `submit=5:metrics=7`.
pub const SOCKETS: &str = "CRASHMILL_SOCKETS";

/// The first descriptor that systemd hands over.
const FIRST: RawFd = 3;
/// More than anybody would hand over by intention.
const MOST: RawFd = 64;
/// How many clients may wait at a socket of our own; the system may allow fewer.
const BACKLOG: u32 = 4096;

/// The sockets that this process was started with, and the way to those that it opens itself.
///
/// A handle; clones are the same sockets.
#[derive(Debug, Clone, Default)]
pub struct Sockets(Arc<Mutex<VecDeque<Handed>>>);

/// A socket under the name that its opener gave it.
#[derive(Debug)]
struct Handed {
    name: String,
    listener: net::TcpListener,
}

impl Sockets {
    /// Takes over what the environment announces: once a process, before it opens anything itself.
    pub(crate) fn inherited() -> anyhow::Result<Self> {
        let announced = announced(std::process::id(), |name| env::var(name).ok())
            .context("reading which sockets were handed over (LISTEN_FDS, CRASHMILL_SOCKETS)")?;
        let handed = announced
            .into_iter()
            .map(|(name, fd)| {
                let listener = take_over(fd).with_context(|| {
                    format!(
                        "taking over the socket {name:?}, file descriptor {fd}, from whoever started this process"
                    )
                })?;
                Ok(Handed { name, listener })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self(Arc::new(Mutex::new(handed))))
    }

    /// Listens on the sockets that were handed over under this name, or at `address` where there are none.
    ///
    /// `key` is the address's key in the configuration, for errors. Needs to be called within the runtime.
    ///
    /// # Errors
    /// When the address cannot be had, with what can be done about it.
    pub fn listen(&self, name: &str, address: SocketAddr, key: &str) -> anyhow::Result<Vec<TcpListener>> {
        let handed = self.take(name);
        if handed.is_empty() {
            return Ok(vec![bind(address).map_err(|error| cannot_listen(address, key, &error))?]);
        }
        info!(
            name,
            sockets = handed.len(),
            "listening on what was handed over; {key} in the configuration is not used"
        );
        handed
            .into_iter()
            .map(|listener| {
                TcpListener::from_std(listener).context("listening on a socket that was handed over")
            })
            .collect()
    }

    /// Says which sockets nobody has taken: their clients would wait for ever.
    pub(crate) fn warn_of_unused(&self) {
        for Handed { name, listener } in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let address = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
            warn!(
                name,
                address,
                "a socket was handed over and nobody listens on it; its name must be submit or metrics \
                 (FileDescriptorName= in the socket unit)"
            );
        }
    }

    fn take(&self, name: &str) -> Vec<net::TcpListener> {
        let mut handed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (ours, others) = handed.drain(..).partition(|socket| socket.name == name);
        *handed = others;
        let ours: VecDeque<Handed> = ours;
        ours.into_iter().map(|socket| socket.listener).collect()
    }
}

/// Which descriptors are meant for this process, and under which names.
fn announced(pid: u32, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Vec<(String, RawFd)>> {
    let mut announced = Vec::new();
    // With another process's id the variables are a leftover of our starter's, and no word to us.
    if variable("LISTEN_PID").is_some_and(|meant| meant.trim() == pid.to_string()) {
        let count = variable("LISTEN_FDS").unwrap_or_default();
        let count: RawFd = count.trim().parse().with_context(|| format!("LISTEN_FDS is {count:?}"))?;
        ensure!((0..=MOST).contains(&count), "LISTEN_FDS is {count}, and up to {MOST} make sense");
        let names = variable("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').chain(std::iter::repeat("unknown"));
        announced.extend(names.map(str::to_owned).zip(FIRST..FIRST + count));
    }
    let ours = variable(SOCKETS).unwrap_or_default();
    for socket in ours.split(':').filter(|socket| !socket.is_empty()) {
        let parsed = socket.split_once('=').and_then(|(name, fd)| Some((name, fd.parse().ok()?)));
        let (name, fd) =
            parsed.ok_or_else(|| anyhow!("{SOCKETS} has {socket:?}, which is not name=number"))?;
        announced.push((name.to_owned(), fd));
    }
    let mut seen = BTreeSet::new();
    for (name, fd) in &announced {
        ensure!(seen.insert(*fd), "file descriptor {fd} is announced twice, once for {name:?}");
    }
    Ok(announced)
}

/// Makes a descriptor ours, if it is a TCP socket that listens.
fn take_over(fd: RawFd) -> anyhow::Result<net::TcpListener> {
    let what = fs::read_link(format!("/proc/self/fd/{fd}")).context("it is not open")?;
    ensure!(what.to_string_lossy().starts_with("socket:"), "it is no socket but {}", what.display());
    ensure!(fd >= FIRST, "it is standard input or output");
    #[expect(unsafe_code, reason = "a number becomes the descriptor that it stands for")]
    // SAFETY: it is open, as was just seen. Nothing else in this process knows it: it was there before the process
    // began, is announced for it alone, and this is called once, before anything else is opened.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    // It must not go on to what this process starts.
    rustix::io::fcntl_setfd(&owned, FdFlags::CLOEXEC)?;
    // Others cannot be accepted from, ever.
    ensure!(sockopt::socket_type(&owned)? == SocketType::STREAM, "it is not a TCP socket");
    let listener = net::TcpListener::from(owned);
    listener.local_addr().context("it is not a TCP socket")?;
    ensure!(sockopt::socket_acceptconn(&listener)?, "it does not listen");
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Opens a socket that listens, for this process or to be handed over. Needs to be called within a runtime.
///
/// # Errors
/// What the system refuses.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
    }?;
    // Connections of an earlier process that are still closing are no reason to refuse the address.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn cannot_listen(address: SocketAddr, key: &str, error: &io::Error) -> anyhow::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "; another process has this port: choose another, or 0 for any free one",
        io::ErrorKind::AddrNotAvailable => "; this machine does not have this address",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 are root's: choose another, or have systemd hand the socket over"
        }
        _ => "",
    };
    anyhow!("listening on {address} ({key} in the configuration): {error}{advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pid: u32, variables: &[(&str, &str)]) -> anyhow::Result<Vec<(String, RawFd)>> {
        announced(pid, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn named(sockets: &[(&str, RawFd)]) -> Vec<(String, RawFd)> {
        sockets.iter().map(|(name, fd)| ((*name).to_owned(), *fd)).collect()
    }

    #[test]
    fn systemd_hands_over_from_3_on_with_names_where_it_gives_them() {
        let variables = [("LISTEN_PID", "42"), ("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "submit:submit")];
        let expected = named(&[("submit", 3), ("submit", 4), ("unknown", 5)]);
        assert_eq!(told(42, &variables).unwrap(), expected);
    }

    #[test]
    fn what_is_meant_for_another_process_is_not_ours() {
        assert!(told(43, &[("LISTEN_PID", "42"), ("LISTEN_FDS", "1")]).unwrap().is_empty());
        assert!(told(43, &[("LISTEN_FDS", "1")]).unwrap().is_empty());
        assert!(told(43, &[]).unwrap().is_empty());
    }

    #[test]
    fn a_supervisor_of_ours_names_each_descriptor() {
        let expected = named(&[("submit", 7), ("metrics", 9)]);
        assert_eq!(told(1, &[(SOCKETS, "submit=7:metrics=9")]).unwrap(), expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_variable() {
        for (variables, part) in [
            (&[("LISTEN_PID", "42"), ("LISTEN_FDS", "many")][..], "LISTEN_FDS is \"many\""),
            (&[("LISTEN_PID", "42"), ("LISTEN_FDS", "-1")], "LISTEN_FDS is -1"),
            (&[("LISTEN_PID", "42"), ("LISTEN_FDS", "100000")], "LISTEN_FDS is 100000"),
            (&[("LISTEN_PID", "42")], "LISTEN_FDS is \"\""),
            (&[(SOCKETS, "submit")], "CRASHMILL_SOCKETS has \"submit\""),
            (&[(SOCKETS, "submit=x")], "CRASHMILL_SOCKETS has \"submit=x\""),
            (&[(SOCKETS, "submit=7:metrics=7")], "7 is announced twice"),
            (&[("LISTEN_PID", "42"), ("LISTEN_FDS", "1"), (SOCKETS, "metrics=3")], "3 is announced twice"),
        ] {
            let error = format!("{:#}", told(42, variables).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_is_no_listening_socket_is_refused() {
        let file = std::os::fd::IntoRawFd::into_raw_fd(fs::File::open("/dev/null").unwrap());
        assert!(take_over(file).unwrap_err().to_string().contains("no socket"));
        assert!(take_over(123_456).unwrap_err().to_string().contains("not open"));
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let refused = take_over(std::os::fd::IntoRawFd::into_raw_fd(unix)).unwrap_err();
        assert!(refused.to_string().contains("not a TCP socket"), "{refused}");
        let udp = net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let refused = take_over(std::os::fd::IntoRawFd::into_raw_fd(udp)).unwrap_err();
        assert!(refused.to_string().contains("not a TCP socket"), "{refused}");
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let refused = take_over(std::os::fd::IntoRawFd::into_raw_fd(client)).unwrap_err();
        assert!(refused.to_string().contains("does not listen"), "{refused}");
    }

    #[tokio::test]
    async fn a_name_takes_its_sockets_once_and_without_one_the_address_is_opened() {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let handed = listener.local_addr().unwrap();
        let socket = Handed { name: "submit".to_owned(), listener };
        let sockets = Sockets(Arc::new(Mutex::new([socket].into())));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));

        let metrics = sockets.listen("metrics", any, "daemon.metrics_listen").unwrap();
        assert_ne!(metrics[0].local_addr().unwrap(), handed);
        let submit = sockets.listen("submit", any, "collector.listen").unwrap();
        assert_eq!(submit[0].local_addr().unwrap(), handed);
        let taken = sockets.listen("submit", handed, "collector.listen").unwrap_err().to_string();
        assert!(taken.contains("collector.listen") && taken.contains("another process"), "{taken}");
    }
}
