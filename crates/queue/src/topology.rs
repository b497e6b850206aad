//! What stands on the broker.
//!
//! | what | kind | arguments |
//! |---|---|---|
//! | exchange `crashmill` | direct, durable | - |
//! | queues `priority`, `standard`, `reprocessing` | quorum, durable; each bound to `crashmill` by its own name | `x-queue-type`, `x-dead-letter-exchange`, `x-dead-letter-routing-key` |
//! | queue `dead` | quorum, durable; bound to `crashmill` by its own name | `x-queue-type` |
//! | exchanges `retry.<delay>`, two a configured delay | fanout, durable | - |
//! | queues `retry.<delay>` | quorum, durable; each bound to the exchange of its name | `x-queue-type`, `x-message-ttl`, `x-dead-letter-exchange` |
//!
//! What the broker drops from a work queue by itself goes to `dead`: a message that came back more often than the
//! delivery limit allows, which is 20 where nobody has set another since RabbitMQ 4.0, or what an operator's policy
//! expires or pushes out. Without that dead-letter exchange it would be discarded without a word. So `dead` holds what
//! this crate has parked, with a header `queue`, and what the broker has put there, with headers `x-death` and
//! `x-first-death-queue` instead and whatever `reason` an earlier attempt had.
//! `dead` has such a limit too, and nowhere to send what exceeds it; so nothing may be taken from it again and again.
//!
//! A retry is published to the exchange of its delay with the work queue's name as routing key. When its time to live
//! is over, the broker dead-letters it to `crashmill` with the key that it still has, so it comes home.
//!
//! The broker's own steps are at most once, which is what quorum queues do unless asked otherwise: a broker that is
//! killed in just that moment may drop the message, and the sweep of the crash store brings the crash back.
//! At-least-once dead-lettering would hold all waiting messages in the broker's memory, and needs
//! `x-overflow=reject-publish` too. Who wants it sets `dead-letter-strategy=at-least-once` and
//! `overflow=reject-publish` as a policy on `retry\..*`; as arguments they could never be changed without deleting
//! the queue. The same holds for limits of every kind.
//! This is valid on RabbitMQ 3.10 (the first whose quorum queues know a time to live) to 4.x.

use crash::QueueName;
use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use crate::{
    config::Config,
    error::{Error, within},
    line::{ANSWER_TIMEOUT, Line},
    names::{Names, Retry},
};

const DURABLE: ExchangeDeclareOptions = ExchangeDeclareOptions {
    durable: true,
    passive: false,
    auto_delete: false,
    internal: false,
    nowait: false,
};

/// Makes everything that this crate needs on the broker, or finds that it is there already.
///
/// # Errors
/// [`Error::Mismatch`] where something of the same name is different; whatever keeps us from asking.
pub async fn declare(config: &Config) -> Result<(), Error> {
    let settings = config.checked()?;
    let line = Line::open(&settings.uri, "topology").await?;
    declare_on(&line, &settings.names).await
}

pub(crate) async fn declare_on(line: &Line, names: &Names) -> Result<(), Error> {
    let channel = line.channel().await?;
    declare_exchange(&channel, names.exchange(), ExchangeKind::Direct).await?;
    for (queue, arguments) in bound_queues(names) {
        declare_queue(&channel, &queue, arguments).await?;
        bind(&channel, &queue, names.exchange(), queue.clone()).await?;
    }
    for retry @ Retry { name, .. } in names.retries() {
        declare_exchange(&channel, name.clone(), ExchangeKind::Fanout).await?;
        declare_queue(&channel, name, retry_arguments(retry, names)).await?;
        bind(&channel, name, name.clone(), ShortString::default()).await?;
    }
    Ok(())
}

/// The queues that are bound to the exchange by their own names, with their arguments.
fn bound_queues(names: &Names) -> Vec<(ShortString, FieldTable)> {
    let dead = names.dead();
    let mut to_dead = dead_letters_to(&names.exchange());
    to_dead.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(dead.as_str().into()));
    let work = QueueName::ALL.map(|queue| (names.work(queue), to_dead.clone()));
    work.into_iter().chain([(dead, FieldTable::default())]).collect()
}

/// No routing key: the one that the message has leads it home.
fn retry_arguments(retry: &Retry, names: &Names) -> FieldTable {
    let mut arguments = dead_letters_to(&names.exchange());
    let milliseconds = i64::try_from(retry.delay.as_millis()).unwrap_or(i64::MAX);
    arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(milliseconds));
    arguments
}

/// How what stands on the broker differs from what this crate needs.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) absent: Vec<String>,
    pub(crate) different: Vec<String>,
}

/// Looks at everything that [`declare`] would make, and makes nothing: what is there is declared as it should be, which
/// changes nothing and is refused where it is not so.
pub(crate) async fn compare(line: &Line, names: &Names) -> Result<Comparison, Error> {
    let mut found = Comparison::default();
    let direct = (names.exchange(), ExchangeKind::Direct);
    let fanout = names.retries().map(|retry| (retry.name.clone(), ExchangeKind::Fanout));
    for (name, kind) in std::iter::once(direct).chain(fanout) {
        let there = passive_exchange(line, &name, kind.clone()).await;
        if found.is_there(&format!("the exchange {name}"), there)? {
            let channel = line.channel().await?;
            found.note(declare_exchange(&channel, name, kind).await)?;
        }
    }
    let retries = names.retries().map(|retry| (retry.name.clone(), retry_arguments(retry, names)));
    for (name, arguments) in bound_queues(names).into_iter().chain(retries) {
        let there = passive_queue(line, &name).await;
        if found.is_there(&format!("the queue {name}"), there)? {
            let channel = line.channel().await?;
            found.note(declare_queue(&channel, &name, arguments).await)?;
        }
    }
    Ok(found)
}

impl Comparison {
    fn is_there(&mut self, what: &str, asked: Result<(), Error>) -> Result<bool, Error> {
        match asked {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => {
                self.absent.push(what.to_owned());
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn note(&mut self, declared: Result<(), Error>) -> Result<(), Error> {
        match declared {
            Err(error @ Error::Mismatch { .. }) => self.different.push(error.to_string()),
            other => return other,
        }
        Ok(())
    }
}

/// On a channel of its own, because the broker closes a channel that asks for what is not there.
async fn passive_exchange(line: &Line, name: &ShortString, kind: ExchangeKind) -> Result<(), Error> {
    let channel = line.channel().await?;
    let options = ExchangeDeclareOptions { passive: true, ..DURABLE };
    let asking = channel.exchange_declare(name.clone(), kind, options, FieldTable::default());
    within(ANSWER_TIMEOUT, format!("asking for the exchange {name}"), asking).await
}

async fn passive_queue(line: &Line, name: &ShortString) -> Result<(), Error> {
    let channel = line.channel().await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
    let asking = channel.queue_declare(name.clone(), options, FieldTable::default());
    within(ANSWER_TIMEOUT, format!("asking for the queue {name}"), asking).await.map(drop)
}

fn dead_letters_to(exchange: &ShortString) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(exchange.as_str().into()));
    arguments
}

async fn declare_exchange(channel: &Channel, name: ShortString, kind: ExchangeKind) -> Result<(), Error> {
    let what = format!("an exchange named {name}");
    let expected = format!("durable, {}", if kind == ExchangeKind::Fanout { "fanout" } else { "direct" });
    let declaring = channel.exchange_declare(name, kind, DURABLE, FieldTable::default());
    within(ANSWER_TIMEOUT, format!("declaring {what}"), declaring)
        .await
        .map_err(|error| error.or_mismatch(what, expected))
}

async fn declare_queue(
    channel: &Channel,
    name: &ShortString,
    mut arguments: FieldTable,
) -> Result<(), Error> {
    let what = format!("a queue named {name}");
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let mut expected = "durable".to_owned();
    for (key, value) in arguments.inner() {
        let value = match value {
            AMQPValue::LongString(text) => text.to_string(),
            AMQPValue::LongLongInt(number) => number.to_string(),
            _ => String::new(),
        };
        expected.push_str(&format!(", {key}={value}"));
    }
    let declaring = channel.queue_declare(name.clone(), QueueDeclareOptions::durable(), arguments);
    within(ANSWER_TIMEOUT, format!("declaring {what}"), declaring)
        .await
        .map_err(|error| error.or_mismatch(what, expected))?;
    Ok(())
}

async fn bind(
    channel: &Channel,
    queue: &ShortString,
    exchange: ShortString,
    key: ShortString,
) -> Result<(), Error> {
    let doing = format!("binding the queue {queue}");
    let binding =
        channel.queue_bind(queue.clone(), exchange, key, QueueBindOptions::default(), FieldTable::default());
    within(ANSWER_TIMEOUT, doing, binding).await
}
