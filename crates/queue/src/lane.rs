//! One channel that publishes in batches, each of which is confirmed before the next begins.
//!
//! Many messages are under way at once, but of one batch only. lapin hands a message that came back to whichever
//! publish is confirmed next, not to the one that it belongs to; only when all of a batch are settled is it certain
//! which of them came back. The batch is what gathered while the one before it was under way, so nobody waits for
//! company, and a batch costs the broker one write to its log.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    error::{Error, within},
    line::{ANSWER_TIMEOUT, Line},
};

/// How many messages are under way at once.
pub(crate) const BATCH: usize = 256;

/// A message and where it goes.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) exchange: ShortString,
    pub(crate) key: ShortString,
    pub(crate) body: Vec<u8>,
    pub(crate) properties: BasicProperties,
}

/// Somebody who waits for a confirm. Without an answer it is unknown whether the message arrived.
pub(crate) struct Request {
    pub(crate) outgoing: Outgoing,
    pub(crate) reply: oneshot::Sender<Result<(), Error>>,
}

/// A channel in confirm mode.
pub(crate) async fn open(line: &Line) -> Result<Channel, Error> {
    let channel = line.channel().await?;
    let selecting = channel.confirm_select(ConfirmSelectOptions::default());
    within(ANSWER_TIMEOUT, "asking for confirms", selecting).await?;
    Ok(channel)
}

/// Publishes what is asked for, until something fails: then the whole connection has to be made anew.
pub(crate) async fn run(channel: Channel, mut requests: mpsc::Receiver<Request>, limit: Duration) -> Error {
    let mut batch = Vec::with_capacity(BATCH);
    while requests.recv_many(&mut batch, BATCH).await > 0 {
        // Who has given up waiting has put the id elsewhere.
        batch.retain(|request: &Request| !request.reply.is_closed());
        let publishing = join_all(batch.iter().map(|request| publish(&channel, &request.outgoing)));
        let Ok(confirmations) = tokio::time::timeout(limit, publishing).await else {
            return Error::Timeout { doing: "waiting for confirms".to_owned(), after: limit };
        };
        if let Err(error) = settle(batch.drain(..), confirmations) {
            return error;
        }
    }
    Error::lost("nobody publishes any more")
}

async fn publish(channel: &Channel, outgoing: &Outgoing) -> Result<Confirmation, lapin::Error> {
    let Outgoing { exchange, key, body, properties } = outgoing;
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    channel.basic_publish(exchange.clone(), key.clone(), options, body, properties.clone()).await?.await
}

/// Answers everybody in a batch. Fails when the connection, or what stands on the broker, is not what it should be.
fn settle(
    batch: impl Iterator<Item = Request>,
    confirmations: Vec<Result<Confirmation, lapin::Error>>,
) -> Result<(), Error> {
    let mut came_back = HashSet::new();
    let mut trouble = Ok(());
    let answers: Vec<_> = confirmations
        .into_iter()
        .map(|confirmation| match confirmation {
            Ok(Confirmation::Ack(message)) => {
                came_back.extend(message.map(|message| message.delivery.data));
                Ok(())
            }
            Ok(Confirmation::Nack(message)) => {
                came_back.extend(message.map(|message| message.delivery.data));
                Err("the broker could not store the message".to_owned())
            }
            Ok(Confirmation::NotRequested) => Err("the channel does not confirm".to_owned()),
            Err(error) => {
                trouble = Err(Error::broker("publishing", &error));
                Err(error.to_string())
            }
        })
        .collect();
    if !came_back.is_empty() {
        trouble = Err(Error::lost("a message came back: a queue or its binding is missing on the broker"));
    }
    for (request, answer) in batch.zip(answers) {
        let answer = if came_back.contains(&request.outgoing.body) {
            Err(Error::unconfirmed("the message came back: its queue or binding is missing on the broker"))
        } else {
            answer.map_err(Error::unconfirmed)
        };
        // Who no longer waits does not want to know.
        drop(request.reply.send(answer));
    }
    trouble
}
