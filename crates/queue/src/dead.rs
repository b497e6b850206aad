//! What is parked in `dead`, for whoever keeps the books.
//!
//! `dead` is a way and not a place: the database is where dead letters are kept, listed, retried and dropped. A message
//! stays in `dead` until it is certain that the database has its letter, or that none is needed; then it is taken away.
//! So queue and table cannot drift apart: the table alone says what is dead, and whatever is still in the queue is on
//! its way there. Taking the same message away twice, or a message whose letter was written twice, does no harm.

use std::time::Duration;

use crash::QueueName;
use lapin::{Acker, BasicProperties, Channel, options::BasicGetOptions, types::ShortString};

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
    /// What it says; nothing when it names no crash.
    pub message: Option<Message>,
    /// Who has put it there.
    pub by: Parker,
    acker: Acker,
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

    /// Up to so many messages; none at the end. Those that are not forgotten are back in the queue when this look has ended.
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
            taken.push(Parked { message: Message::read(&data, &properties), by: parker(&properties), acker });
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

fn parker(properties: &BasicProperties) -> Parker {
    match message::given_up_by_broker(properties) {
        Some(reason) => Parker::Broker(reason),
        None => Parker::Processor(message::parked_from(properties)),
    }
}
