//! Ports of one's own on the loopback address.

use std::{io, net::TcpListener, ops::Range};

use rand::RngExt;

/// Below the ports that systems give to outgoing connections, so that none of these takes ours between two starts.
const CHOICE: Range<u16> = 20_000..30_000;
const TRIES: usize = 200;

/// Whether nobody listens on the port.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// A free port that is none of `taken`.
pub(crate) fn choose(taken: &[u16]) -> io::Result<u16> {
    let mut rng = rand::rng();
    (0..TRIES)
        .map(|_| rng.random_range(CHOICE))
        .find(|port| !taken.contains(port) && is_free(*port))
        .ok_or_else(|| {
            io::Error::other(format!(
                "no free port among {TRIES} between {} and {}",
                CHOICE.start, CHOICE.end
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_listens_on_is_not_free() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        assert!(!is_free(port));
    }

    #[test]
    fn a_chosen_port_is_none_of_those_already_taken() {
        let taken: Vec<u16> = (20_000..25_000).collect();
        assert!(choose(&taken).is_ok_and(|port| port >= 25_000));
    }
}
