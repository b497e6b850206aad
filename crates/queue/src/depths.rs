//! How much waits on the broker.

use std::time::Duration;

use crash::QueueName;
use lapin::{
    options::QueueDeclareOptions,
    types::{FieldTable, ShortString},
};

use crate::{
    config::Config,
    error::{Error, within},
    line::{ANSWER_TIMEOUT, Line},
    names::Names,
};

/// The most that an answer may take in all.
const LIMIT: Duration = Duration::from_secs(20);

/// One queue, as the broker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depth {
    /// The queue's name on the broker, with the namespace.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// How many messages wait; those that somebody has taken are not counted.
    pub ready: u32,
    /// How many take from it: three a processor, one for each work queue.
    pub consumers: u32,
}

/// What a queue is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Processors take from it.
    Work(QueueName),
    /// Dead crashes are parked there.
    Dead,
    /// Crashes wait there for their next attempt.
    Retry,
}

/// Asks for every queue of ours: the work queues, `dead`, and those of the retries. Changes nothing; a queue that is
/// not there yet is left out.
///
/// # Errors
/// When the broker cannot be asked, or does not answer in time.
pub async fn depths(config: &Config) -> Result<Vec<Depth>, Error> {
    let settings = config.checked()?;
    let asking = async {
        let line = Line::open(&settings.uri, "status").await?;
        depths_on(&line, &settings.names).await
    };
    tokio::time::timeout(LIMIT, asking)
        .await
        .map_err(|_| Error::Timeout { doing: "asking the broker for its queues".to_owned(), after: LIMIT })?
}

/// The same over a connection that is there.
pub(crate) async fn depths_on(line: &Line, names: &Names) -> Result<Vec<Depth>, Error> {
    let mut depths = Vec::new();
    let work = QueueName::ALL.into_iter().map(|queue| (Kind::Work(queue), names.work(queue)));
    let retries = names.retries().map(|retry| (Kind::Retry, retry.name.clone()));
    for (kind, queue) in work.chain([(Kind::Dead, names.dead())]).chain(retries) {
        match depth(line, kind, queue).await {
            Ok(depth) => depths.push(depth),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(depths)
}

/// On a channel of its own, because the broker closes a channel that asks for what is not there.
pub(crate) async fn depth(line: &Line, kind: Kind, queue: ShortString) -> Result<Depth, Error> {
    let channel = line.channel().await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
    let doing = format!("asking for the queue {queue}");
    let answer =
        within(ANSWER_TIMEOUT, doing, channel.queue_declare(queue, options, FieldTable::default())).await?;
    Ok(Depth {
        name: answer.name().as_str().to_owned(),
        kind,
        ready: answer.message_count(),
        consumers: answer.consumer_count(),
    })
}
