use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tracing::error;

/// How long to wait before the next try when the system gives no more connections, as when files run out.
const EXHAUSTED_PAUSE: Duration = Duration::from_secs(1);

/// A listener for `axum::serve`, which by itself sets no bound: at most so many connections at a time (the next
/// wait in the kernel's queue), and none on which nothing has moved for so long. It may have several sockets.
#[derive(Debug)]
pub struct BoundedListener {
    listeners: Vec<TcpListener>,
    /// Which socket is looked at first: each in its turn, so that a busy one does not keep the others waiting.
    first: usize,
    places: Arc<Semaphore>,
    idle: Duration,
}

/// A connection of a [`BoundedListener`].
#[derive(Debug)]
pub struct BoundedStream {
    stream: TcpStream,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl BoundedListener {
    /// `idle` must be longer than the slowest answer takes to begin, since nothing moves meanwhile.
    pub fn new(listeners: Vec<TcpListener>, connections: usize, idle: Duration) -> Self {
        Self { listeners, first: 0, places: Arc::new(Semaphore::new(connections)), idle }
    }

    async fn next(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            self.first = self.first.wrapping_add(1);
            match poll_fn(|cx| self.poll_accept(cx)).await {
                Ok(accepted) => return accepted,
                Err(error) if ended_early(&error) => {}
                Err(error) => {
                    error!(%error, "no connection can be accepted for now");
                    sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let first = self.first.checked_rem(self.listeners.len()).unwrap_or(0);
        let (before, after) = self.listeners.split_at(first);
        for listener in after.iter().chain(before) {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }
}

/// The client was gone before it was accepted.
fn ended_early(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        // The semaphore is never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, peer) = self.next().await;
        let deadline = Box::pin(sleep(self.idle));
        (BoundedStream { stream, idle: self.idle, deadline, _place: place }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        let none = || io::Error::other("it has no socket");
        self.listeners.first().ok_or_else(none)?.local_addr()
    }
}

impl BoundedStream {
    /// Passes on what has moved, and gives up on what has not for too long.
    fn judge<T>(&mut self, moved: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            self.deadline.as_mut().reset(Instant::now() + self.idle);
            return moved;
        }
        self.deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let moved = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.judge(moved, cx)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(moved, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judge(moved, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // A TCP stream has nothing of its own to flush, and shuts down at once.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    const DEADLINE: Duration = Duration::from_secs(60);

    async fn server(connections: usize, idle: Duration) -> SocketAddr {
        let [address, _] = servers(connections, idle).await;
        address
    }

    /// One server with two sockets.
    async fn servers(connections: usize, idle: Duration) -> [SocketAddr; 2] {
        let (one, two) = tokio::join!(TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0"));
        let listeners = vec![one.unwrap(), two.unwrap()];
        let addresses = [0, 1].map(|number: usize| listeners[number].local_addr().unwrap());
        let listener = BoundedListener::new(listeners, connections, idle);
        let router = Router::new().route("/", get(|| std::future::ready("hello")));
        tokio::spawn(axum::serve(listener, router).into_future());
        addresses
    }

    #[tokio::test]
    async fn every_socket_is_listened_to() {
        for address in servers(8, DEADLINE).await {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
            assert!(answer.ends_with("hello"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_more_is_hung_up_on() {
        let address = server(8, Duration::from_millis(50)).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
        let mut answer = Vec::new();
        // Either an end or a reset; what counts is that it comes.
        timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap().unwrap_or_default();
        assert!(answer.is_empty());
    }

    #[tokio::test]
    async fn silent_clients_that_take_every_place_give_them_back() {
        let address = server(2, Duration::from_millis(50)).await;
        let _silent =
            [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.ends_with("hello"), "{answer}");
    }
}
