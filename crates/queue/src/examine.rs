//! What can be seen of the broker, for whoever looks for what is wrong. Nothing is made or changed.

use std::{io, time::Duration};

use lapin::{BasicProperties, options::BasicPublishOptions, uri::AMQPScheme, uri::AMQPUri};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    config::Config,
    depths::{Depth, depths_on},
    error::{Error, within},
    lane,
    line::Line,
    names::Names,
    topology,
};

/// How long the broker may take to confirm a message that nobody gets: one that is short of memory or disk never does.
const CONFIRM: Duration = Duration::from_secs(3);
/// How long it may take to greet.
const GREETING: Duration = Duration::from_secs(3);
/// The most of a greeting that is read.
const GREETING_BYTES: u64 = 4096;
/// No queue is bound by this key.
const NOBODY: &str = "doctor";

/// What can be seen of the broker.
#[derive(Debug, Clone)]
pub struct Examination {
    /// What it calls itself, `RabbitMQ 3.10.8`; unknown over TLS.
    pub server: Option<String>,
    /// Queues and exchanges that are not there yet: whichever role connects first makes them.
    pub absent: Vec<String>,
    /// Queues and exchanges that are there and are not as we need them, each with what to do.
    pub different: Vec<String>,
    /// Why it takes no messages.
    pub takes_nothing: Option<String>,
    /// What waits in which queue.
    pub depths: Vec<Depth>,
}

/// Looks at the broker.
///
/// # Errors
/// When it cannot be reached, does not let us in, or does not answer.
pub async fn examine(config: &Config) -> Result<Examination, Error> {
    let settings = config.checked()?;
    let (server, line) = tokio::join!(greeting(&settings.uri), Line::open(&settings.uri, "doctor"));
    let line = line?;
    let found = topology::compare(&line, &settings.names).await?;
    let takes_nothing =
        if found.absent.is_empty() { takes_nothing(&line, &settings.names).await } else { None };
    let depths = depths_on(&line, &settings.names).await?;
    Ok(Examination { server, absent: found.absent, different: found.different, takes_nothing, depths })
}

/// Publishes a message that reaches no queue, which the broker confirms unless something keeps it from it.
async fn takes_nothing(line: &Line, names: &Names) -> Option<String> {
    let publishing = async {
        let channel = lane::open(line).await?;
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let publish = async {
            channel.basic_publish(names.exchange(), NOBODY.into(), options, b"", properties).await?.await
        };
        within(CONFIRM, "publishing a message that nobody gets", publish).await
    };
    match publishing.await {
        Ok(_) => None,
        Err(Error::Timeout { after, .. }) => {
            Some(format!("it confirms nothing within {after:?}, as when it is short of memory or disk"))
        }
        Err(error) => Some(error.to_string()),
    }
}

/// What the broker says of itself before anybody has logged in; a guess at it, since a client library keeps it to itself.
async fn greeting(uri: &AMQPUri) -> Option<String> {
    if uri.scheme != AMQPScheme::AMQP {
        return None;
    }
    let asking = async {
        let mut stream = TcpStream::connect((uri.authority.host.as_str(), uri.authority.port)).await?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        // A frame: its kind, its channel, the length of what follows.
        let mut head = [0; 7];
        stream.read_exact(&mut head).await?;
        let [.., a, b, c, d] = head;
        let length = u64::from(u32::from_be_bytes([a, b, c, d])).min(GREETING_BYTES);
        let mut properties = Vec::new();
        stream.take(length).read_to_end(&mut properties).await?;
        io::Result::Ok(properties)
    };
    let properties = tokio::time::timeout(GREETING, asking).await.ok()?.ok()?;
    Some(format!("{} {}", property(&properties, "product")?, property(&properties, "version")?))
}

/// A text in a table of the protocol: the length of its key, the key, an `S`, its length in four bytes, the text.
fn property<'a>(table: &'a [u8], key: &str) -> Option<&'a str> {
    let length = u8::try_from(key.len()).ok()?;
    let entry = [&[length], key.as_bytes(), b"S"].concat();
    let at = table.windows(entry.len()).position(|window| window == entry)?;
    let (length, text) = table.get(at + entry.len()..)?.split_first_chunk::<4>()?;
    let text = text.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::property;

    #[test]
    fn texts_are_found_in_a_greeting_and_what_is_cut_off_is_none() {
        let table = b"\x07productS\x00\x00\x00\x08RabbitMQ\x07versionS\x00\x00\x00\x063.10.8";
        assert_eq!(property(table, "product"), Some("RabbitMQ"));
        assert_eq!(property(table, "version"), Some("3.10.8"));
        assert_eq!(property(table, "platform"), None);
        assert_eq!(property(&table[..table.len() - 1], "version"), None);
        assert_eq!(property(b"\x07versionS\xff\xff\xff\xff", "version"), None);
    }
}
