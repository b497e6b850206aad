//! What is parked in `dead`, for whoever keeps the books.
//!
//! `dead` is a way and not a place: the database is where dead letters are kept, listed, retried and dropped. A message
//! stays in `dead` until it is certain that the database has its letter, or that none is needed; then it is taken away.
//! So queue and table cannot drift apart: the table alone says what is dead, and whatever is still in the queue is on
//! its way there. Taking the same message away twice, or a message whose letter was written twice, does no harm.

use std::time::Duration;

use crash::QueueName;
use lapin::{Acker, BasicProperties, Channel, options::BasicGetOptions, types::ShortString};
use sha2::{Digest as _, Sha256};

use crate::{
    config::Config,
    delivery::finish,
    depths::{Kind, depth},
    error::{Error, within},
    line::{ANSWER_TIMEOUT, Line},
    message::{self, Message},
};

/// How long opening may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A look through what was in `dead` when it began.
pub struct DeadQueue {
    channel: Channel,
    queue: ShortString,
    left: u32,
    _line: Line,
}

/// One message in `dead`. It is still there until it is [forgotten](Parked::forget).
#[derive(Debug)]
pub struct Parked {
    /// What it says.
    pub content: Content,
    /// Who has put it there.
    pub by: Parker,
    acker: Acker,
}

/// What a message in `dead` says.
#[derive(Debug)]
pub enum Content {
    /// It names a crash.
    Message(Message),
    /// It does not. What it says instead may be anybody's secret, so this is all that is told of it.
    Unreadable {
        /// How long its body is.
        bytes: usize,
        /// The SHA-256 of its body, in hex digits.
        sha256: String,
    },
}

/// Who has put a message into `dead`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parker {
    /// A processor of ours, having recorded the letter. It came from this queue.
    Processor(Option<QueueName>),
    /// The broker itself, for this reason: `delivery_limit`, `expired`, `maxlen`, `rejected`.
    Broker(String),
}

impl DeadQueue {
    /// Begins to look through `dead`. What comes later is not looked at, so that every look ends.
    ///
    /// # Errors
    /// When the broker cannot be asked.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        let settings = config.checked()?;
        let opening = async {
            let line = Line::open(&settings.uri, "dead letters").await?;
            let queue = settings.names.dead();
            let left = match depth(&line, Kind::Dead, queue.clone()).await {
                Ok(depth) => depth.ready,
                Err(error) if error.is_not_found() => 0,
                Err(error) => return Err(error),
            };
            Ok(Self { channel: line.channel().await?, queue, left, _line: line })
        };
        let doing = "looking into the queue of the dead";
        tokio::time::timeout(LIMIT, opening)
            .await
            .map_err(|_| Error::Timeout { doing: doing.to_owned(), after: LIMIT })?
    }

    /// Up to so many messages; none at the end. Those that are not forgotten are back in the queue when this look has ended,
    /// and the broker counts that: forget each, for since RabbitMQ 4.0 it drops a message that has come back 20 times.
    ///
    /// # Errors
    /// When the broker does not give them.
    pub async fn take(&mut self, most: usize) -> Result<Vec<Parked>, Error> {
        let mut taken = Vec::new();
        while taken.len() < most && self.left > 0 {
            let getting = self.channel.basic_get(self.queue.clone(), BasicGetOptions::default());
            let Some(got) = within(ANSWER_TIMEOUT, "taking a dead crash", getting).await? else {
                self.left = 0;
                break;
            };
            self.left -= 1;
            let lapin::message::Delivery { data, properties, acker, .. } = got.delivery;
            taken.push(Parked { content: content(&data, &properties), by: parker(&properties), acker });
        }
        Ok(taken)
    }
}

impl Parked {
    /// Takes it away for good.
    ///
    /// # Errors
    /// When the broker does not know of it; then it is still there.
    pub async fn forget(self) -> Result<(), Error> {
        finish(&self.acker).await
    }
}

impl Content {
    /// The message, where it names a crash.
    #[must_use]
    pub fn message(&self) -> Option<&Message> {
        match self {
            Self::Message(message) => Some(message),
            Self::Unreadable { .. } => None,
        }
    }
}

fn content(body: &[u8], properties: &BasicProperties) -> Content {
    Message::read(body, properties).map_or_else(
        || {
            let hash = Sha256::digest(body);
            let sha256 = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            Content::Unreadable { bytes: body.len(), sha256 }
        },
        Content::Message,
    )
}

fn parker(properties: &BasicProperties) -> Parker {
    match message::given_up_by_broker(properties) {
        Some(reason) => Parker::Broker(reason),
        None => Parker::Processor(message::parked_from(properties)),
    }
}
