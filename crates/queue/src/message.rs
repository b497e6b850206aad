//! What is on the queue, and how it is written down there.

use crash::{CrashId, Place, QueueName};
use jiff::Timestamp;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use serde::{Deserialize, Serialize};

const ATTEMPT: &str = "attempt";
const REASON: &str = "reason";
const ENQUEUED_AT: &str = "enqueued_at";
const RULESET: &str = "ruleset";
const PLACE: &str = "place";
/// The queue from which a dead crash came.
const QUEUE: &str = "queue";

/// Longer reasons are cut: all headers have to fit in one frame.
const LONGEST_TEXT: usize = 1_000;
/// The protocol's word for a message that survives a restart.
const PERSISTENT: u8 = 2;

/// A crash that waits to be processed: its id, and what the next attempt has to know.
///
/// On the broker the body is the crash id as text, and the rest are headers of the fields' names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Which crash.
    pub crash_id: CrashId,
    /// Which attempt this is, from 1.
    pub attempt: u16,
    /// Why the attempt before this one failed, or why the crash is processed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when the crash can be taken from its queue; the queue is as far behind as the oldest of these.
    pub enqueued_at: Timestamp,
    /// The rule set to use, by its hash, where it is not the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ruleset: Option<String>,
    /// Where the crash is in the store, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

impl Message {
    /// The first attempt of a crash.
    #[must_use]
    pub fn new(crash_id: CrashId, enqueued_at: Timestamp) -> Self {
        Self { crash_id, attempt: 1, reason: None, enqueued_at, ruleset: None, place: None }
    }

    pub(crate) fn body(&self) -> String {
        self.crash_id.to_string()
    }

    pub(crate) fn properties(&self) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert(ATTEMPT.into(), AMQPValue::LongInt(i32::from(self.attempt)));
        headers.insert(ENQUEUED_AT.into(), text(&self.enqueued_at.to_string()));
        let optional = [
            (REASON, self.reason.clone()),
            (RULESET, self.ruleset.clone()),
            (PLACE, self.place.as_ref().map(ToString::to_string)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                headers.insert(name.into(), text(&value));
            }
        }
        persistent(headers)
    }

    /// As [`Message::properties`], with the queue from which the crash is parked.
    pub(crate) fn dead_properties(&self, queue: QueueName) -> BasicProperties {
        let properties = self.properties();
        let mut headers = properties.headers().clone().unwrap_or_default();
        headers.insert(QUEUE.into(), text(queue.as_str()));
        properties.with_headers(headers)
    }

    /// Reads what [`Message::body`] and [`Message::properties`] wrote, or what a person published by hand: a crash
    /// id alone is enough. `None` when there is no crash id.
    pub(crate) fn read(body: &[u8], properties: &BasicProperties) -> Option<Self> {
        let crash_id: CrashId = std::str::from_utf8(body).ok()?.trim().parse().ok()?;
        let header = |name: &str| properties.headers().as_ref()?.inner().get(name);
        let text = |name: &str| header(name).and_then(as_text);
        Some(Self {
            crash_id,
            attempt: header(ATTEMPT)
                .and_then(as_number)
                .and_then(|number| u16::try_from(number).ok())
                .map_or(1, |attempt| attempt.max(1)),
            reason: text(REASON),
            enqueued_at: text(ENQUEUED_AT)
                .and_then(|time| time.parse().ok())
                .unwrap_or_else(|| crash_id.received_at()),
            ruleset: text(RULESET),
            place: text(PLACE).and_then(|place| place.parse().ok()),
        })
    }
}

/// Properties of a message that nobody could read, on its way to the dead.
pub(crate) fn unreadable(queue: QueueName) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(QUEUE.into(), text(queue.as_str()));
    headers.insert(REASON.into(), text("the body is no crash id"));
    persistent(headers)
}

/// How often the broker says that it has delivered a message in vain, before this time.
pub(crate) fn returns(properties: &BasicProperties) -> u64 {
    let count = properties.headers().as_ref().and_then(|headers| headers.inner().get("x-delivery-count"));
    count.and_then(as_number).and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
}

/// The queue from which a crash was parked.
pub(crate) fn parked_from(properties: &BasicProperties) -> Option<QueueName> {
    let name = properties.headers().as_ref()?.inner().get(QUEUE).and_then(as_text)?;
    QueueName::ALL.into_iter().find(|queue| queue.as_str() == name)
}

/// Why the broker itself took a message off its queue; nothing when it did not.
pub(crate) fn given_up_by_broker(properties: &BasicProperties) -> Option<String> {
    let headers = properties.headers().as_ref()?.inner();
    // What we have parked says its queue; it may still carry the broker's headers of a retry that came home.
    if headers.contains_key(QUEUE) {
        return None;
    }
    headers.get("x-first-death-queue")?;
    // The first death may be that of a retry's delay, the last one is what led here; it stands first.
    let last = headers.get("x-death").and_then(AMQPValue::as_array).and_then(|deaths| {
        match deaths.as_slice().first()? {
            AMQPValue::FieldTable(death) => death.inner().get("reason").and_then(as_text),
            _ => None,
        }
    });
    Some(last.unwrap_or_else(|| "unknown".to_owned()))
}

fn persistent(headers: FieldTable) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type(ShortString::from("text/plain"))
        .with_headers(headers)
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(cut(value).into())
}

/// The beginning of a text, as much as a header may hold.
pub(crate) fn cut(value: &str) -> &str {
    let end = value.floor_char_boundary(LONGEST_TEXT);
    value.get(..end).unwrap_or(value)
}

fn as_text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// A number of any width: clients and management pages choose their own.
fn as_number(value: &AMQPValue) -> Option<i64> {
    match *value {
        AMQPValue::ShortShortInt(number) => Some(number.into()),
        AMQPValue::ShortShortUInt(number) => Some(number.into()),
        AMQPValue::ShortInt(number) => Some(number.into()),
        AMQPValue::ShortUInt(number) => Some(number.into()),
        AMQPValue::LongInt(number) => Some(number.into()),
        AMQPValue::LongUInt(number) => Some(number.into()),
        AMQPValue::LongLongInt(number) => Some(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1047b2a3-5c1f-4c0e-9d5a-2f1b60261123";

    #[test]
    fn a_message_reads_back_as_it_was_written() {
        let message = Message {
            attempt: 3,
            reason: Some("no symbols: the server was down".to_owned()),
            ruleset: Some("a1b2".to_owned()),
            place: Some("4096@node-1".parse().unwrap()),
            ..Message::new(ID.parse().unwrap(), "2026-11-23T19:14:03.25Z".parse().unwrap())
        };
        let read = Message::read(message.body().as_bytes(), &message.properties());
        assert_eq!(read, Some(message));
    }

    #[test]
    fn a_crash_id_alone_is_a_first_attempt_that_waits_since_it_was_received() {
        let message = Message::read(format!("bp-{ID}\n").as_bytes(), &BasicProperties::default()).unwrap();
        assert_eq!(message, Message::new(message.crash_id, message.crash_id.received_at()));
    }

    #[test]
    fn a_body_that_is_no_crash_id_is_no_message() {
        for body in [&b""[..], b"hello", b"\xff\xfe", &[b'0'; 40]] {
            assert_eq!(Message::read(body, &BasicProperties::default()), None);
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        let message = Message {
            reason: Some("ä".repeat(900)),
            ..Message::new(ID.parse().unwrap(), "2026-11-23T19:14:03Z".parse().unwrap())
        };
        let read = Message::read(message.body().as_bytes(), &message.properties()).unwrap();
        assert_eq!(read.reason, Some("ä".repeat(500)));
    }
}
