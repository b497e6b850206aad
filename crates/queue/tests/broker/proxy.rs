//! A network between us and the broker that can be cut, fall silent, and come back.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{broadcast, watch},
    task::JoinHandle,
};
use url::Url;

/// How the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// It works.
    Good,
    /// Connections are closed, and new ones at once.
    Cut,
    /// Nothing gets through in either direction, and nobody is told.
    BlackHole,
    /// What we say arrives; what the broker says is lost.
    Deaf,
}

/// A way to the broker whose network is ours to break.
pub(crate) struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    words: broadcast::Sender<Vec<u8>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(network: Network) -> Self {
        let broker: Url = testing::amqp_url().parse().expect("the broker's URL is one");
        let host = broker.host_str().expect("with a host").to_owned();
        let port = broker.port().unwrap_or(5672);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let network = watch::Sender::new(network);
        let words = broadcast::Sender::new(16);
        let (watched, said) = (network.clone(), words.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(broker) = TcpStream::connect((host.as_str(), port)).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_broker, to_broker) = broker.into_split();
                tokio::spawn(forward(from_client, to_broker, watched.subscribe(), None));
                tokio::spawn(forward(from_broker, to_client, watched.subscribe(), Some(said.subscribe())));
            }
        });
        Self { address, network, words, accepting }
    }

    pub(crate) fn url(&self) -> String {
        let mut url: Url = testing::amqp_url().parse().expect("the broker's URL is one");
        url.set_host(Some("127.0.0.1")).expect("a host");
        url.set_port(Some(self.address.port())).expect("a port");
        url.into()
    }

    pub(crate) fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// Says something to all clients in the broker's name.
    pub(crate) fn say(&self, frame: Vec<u8>) {
        self.words.send(frame).expect("somebody listens");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

enum Event {
    Said(Vec<u8>),
    Read(usize),
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
    mut words: Option<broadcast::Receiver<Vec<u8>>>,
) {
    let to_client = words.is_some();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let said = async {
            match &mut words {
                Some(words) => words.recv().await,
                None => std::future::pending().await,
            }
        };
        let cut = async { network.wait_for(|network| *network == Network::Cut).await.is_ok() };
        let event = tokio::select! {
            _ = cut => return,
            word = said => Event::Said(word.unwrap_or_default()),
            read = from.read(&mut buffer) => Event::Read(read.unwrap_or(0)),
        };
        let count = match event {
            Event::Said(word) => {
                to.write_all(&word).await.expect("the client listens");
                continue;
            }
            Event::Read(0) => return,
            Event::Read(count) => count,
        };
        if to_client && *network.borrow() == Network::Deaf {
            continue;
        }
        if network.wait_for(|network| *network != Network::BlackHole).await.is_err() {
            return;
        }
        let sent = tokio::time::timeout(Duration::from_secs(5), to.write_all(&buffer[..count])).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}
