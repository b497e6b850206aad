//! One connection to the broker, whose end is certain.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, Event,
    tcp::OwnedTLSConfig,
    uri::{AMQPScheme, AMQPUri},
};
use tokio::runtime::Handle;

use crate::error::{Error, within};

/// Everything that the broker answers to, short of confirms, has to be answered in this time.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the connection is looked at, beside listening to what it says about itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A connection and the socket below it.
///
/// lapin waits for the other side with a thread, also in order to close. Where the other side is gone without a word
/// that thread would wait for ever, so the socket is shut down below it.
#[derive(Debug)]
pub(crate) struct Line {
    connection: Option<Connection>,
    socket: Option<ShutOnDrop>,
    runtime: Handle,
}

/// What a connection tells about itself.
#[derive(Debug)]
pub(crate) enum News {
    /// The broker takes no messages for now, for this reason.
    Blocked(String),
    /// It takes messages again.
    Unblocked,
    /// The connection is of no more use.
    Lost(Error),
}

impl Line {
    /// Connects and logs in; `purpose` is what the broker's own pages call the connection.
    pub(crate) async fn open(uri: &AMQPUri, purpose: &str) -> Result<Self, Error> {
        let doing = format!("connecting to RabbitMQ at {}:{}", uri.authority.host, uri.authority.port);
        let socket = Socket::default();
        let runtime = lapin::runtime::default_runtime().map_err(|error| Error::broker(&*doing, &error))?;
        let properties =
            ConnectionProperties::default().with_connection_name(format!("crashmill {purpose}").into());
        let below = socket.clone();
        let connecting = Connection::connector(
            uri.clone(),
            runtime,
            async move |uri: AMQPUri, runtime| {
                let addresses = resolve(&uri).await?;
                let stream =
                    tokio::time::timeout(ANSWER_TIMEOUT, AsyncTcpStream::connect(&runtime, addresses))
                        .await
                        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                if let AsyncTcpStream::Plain(plain) = &stream {
                    below.hold(plain.get_ref().as_fd())?;
                }
                let stream = match uri.scheme {
                    AMQPScheme::AMQP => stream,
                    AMQPScheme::AMQPS => {
                        let tls = OwnedTLSConfig::default();
                        stream.into_tls(&uri.authority.host, tls.as_ref()).await?
                    }
                };
                Ok(stream)
            },
            properties,
        );
        match within(ANSWER_TIMEOUT, doing, connecting).await {
            Ok(connection) => Ok(Self {
                connection: Some(connection),
                socket: Some(ShutOnDrop(socket)),
                runtime: Handle::current(),
            }),
            Err(error) => {
                socket.shut();
                Err(error)
            }
        }
    }

    pub(crate) async fn channel(&self) -> Result<Channel, Error> {
        within(ANSWER_TIMEOUT, "opening a channel", self.connection().create_channel()).await
    }

    /// What the connection says about itself. To be called once: several listeners would take each other's news.
    pub(crate) fn news(&self) -> impl Stream<Item = News> + Send + Unpin + use<> {
        let status = self.connection().status().clone();
        let events = self.connection().events_listener().filter_map(|event| {
            std::future::ready(match event {
                Event::ConnectionBlocked(reason) => Some(News::Blocked(reason)),
                Event::ConnectionUnblocked => Some(News::Unblocked),
                Event::Error(error) => Some(News::Lost(Error::lost(error))),
                _ => None,
            })
        });
        let looks = futures_util::stream::unfold(status, |status| async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                if !status.connected() {
                    return Some((News::Lost(Error::lost("it is closed")), status));
                }
            }
        });
        futures_util::stream::select(events.boxed(), looks.boxed())
    }

    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("the connection is only taken when the line is dropped")
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let (connection, socket) = (self.connection.take(), self.socket.take());
        self.runtime.spawn(async move {
            if let Some(connection) = connection {
                // Whatever comes of it: after the goodbye there is nothing left to save.
                drop(tokio::time::timeout(CLOSE_TIMEOUT, connection.close(200, "done".into())).await);
            }
            drop(socket);
        });
    }
}

async fn resolve(uri: &AMQPUri) -> io::Result<Vec<SocketAddr>> {
    let host = (uri.authority.host.as_str(), uri.authority.port);
    let addresses =
        tokio::time::timeout(ANSWER_TIMEOUT, tokio::net::lookup_host(host)).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, "the name of the host was not resolved in time")
        })??;
    Ok(addresses.collect())
}

/// Ends a connection for certain, also where the runtime is going away.
#[derive(Debug)]
struct ShutOnDrop(Socket);

impl Drop for ShutOnDrop {
    fn drop(&mut self) {
        self.0.shut();
    }
}

/// A second handle on the socket of a connection.
#[derive(Debug, Clone, Default)]
struct Socket(Arc<Mutex<Below>>);

#[derive(Debug, Default)]
enum Below {
    #[default]
    Dialing,
    Open(TcpStream),
    Shut,
}

impl Socket {
    fn hold(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let mut below = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*below, Below::Shut) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        *below = Below::Open(socket.try_clone_to_owned()?.into());
        Ok(())
    }

    fn shut(&self) {
        let mut below = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Below::Open(socket) = std::mem::replace(&mut *below, Below::Shut) {
            // It fails when the connection is closed already, which is what is wanted.
            drop(socket.shutdown(Shutdown::Both));
        }
    }
}
