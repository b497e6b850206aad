//! Reads a multipart body, part by part.

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use multer::Multipart;

use crate::{
    answer::Malformed,
    body::{self, BodyError, Limits, Shared},
    config::Config,
    content_type,
    heavy::Heavy,
    memory::{Held, Memory, NoMemory},
    pace::Pace,
    parts::Parts,
    payload::Payload,
};

/// What reading a body takes beside what is kept of it, in bytes: the buffers on its way.
const BUFFERS: u64 = 64 * 1024;

/// Why there is no payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExtractError {
    /// The report cannot be understood; the client is told so.
    Malformed(Malformed),
    /// The client sends too slowly.
    TooSlow,
    /// Too many reports are in memory.
    NoMemory,
    /// There is nobody left to tell.
    Aborted,
    /// We could not do our work.
    Failed,
}

impl From<NoMemory> for ExtractError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

impl From<Malformed> for ExtractError {
    fn from(reason: Malformed) -> Self {
        Self::Malformed(reason)
    }
}

impl From<multer::Error> for ExtractError {
    fn from(error: multer::Error) -> Self {
        let multer::Error::StreamReadFailed(source) = error else {
            return Self::Malformed(Malformed::InvalidStructure);
        };
        source.downcast_ref::<BodyError>().copied().map_or(Self::Aborted, Self::from)
    }
}

impl From<BodyError> for ExtractError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::Malformed(Malformed::TooLarge),
            BodyError::BadEncoding => Self::Malformed(Malformed::BadEncoding),
            BodyError::EndlessHead => Self::Malformed(Malformed::InvalidStructure),
            BodyError::TooSlow => Self::TooSlow,
            BodyError::Aborted => Self::Aborted,
        }
    }
}

/// Reads a report: its annotations and its dumps, within the configured limits. The memory that comes with it is to be
/// held as long as the report is.
///
/// # Errors
/// When the report cannot be understood, there is no memory for it, or its client is too slow or went away.
pub(crate) async fn extract(
    headers: &HeaderMap,
    body: Body,
    config: &Config,
    memory: &Memory,
    heavy: &Heavy,
) -> Result<(Payload, Held), ExtractError> {
    let boundary = content_type::boundary(text(headers, header::CONTENT_TYPE).as_deref())?;
    let encoding = body::encoding(headers)?;
    let overhead = BUFFERS + body::window(encoding);
    let limits = Limits {
        wire: config.max_body.bytes(),
        // One body alone must fit, or it would wait for what it holds itself.
        inflated: config.max_inflated_body.bytes().min(memory.bytes().saturating_sub(overhead)),
        pace: Pace { rate: config.min_body_rate.bytes(), after: config.min_body_rate_after.get() },
    };
    if let Some(length) = content_length(headers) {
        if length > limits.wire {
            return Err(Malformed::TooLarge.into());
        }
        if length == 0 {
            return Err(Malformed::EmptyBody.into());
        }
    }

    let mut held = memory.share();
    held.grow(overhead).await?;
    let (decoded, sizes) = body::decode(body, encoding, limits);
    let mut parts = Parts::new(config, heavy, held);
    let whole = Shared::new(decoded);
    let mut multipart = Multipart::new(whole.clone(), boundary);
    let read = async {
        whole.begin_head();
        while let Some(field) = multipart.next_field().await? {
            whole.begin_content();
            parts.take(field).await?;
            whole.begin_head();
        }
        whole.begin_content();
        // Behind the last delimiter there is still the checksum of an encoding, and whatever else was announced.
        whole.drain().await.map_err(ExtractError::from)
    };
    match read.await {
        Err(ExtractError::Malformed(Malformed::InvalidStructure)) if sizes.wire() == 0 => {
            return Err(Malformed::EmptyBody.into());
        }
        other => other?,
    }
    let Parts { kept, dumps, memory, .. } = parts;
    if kept.is_empty() && dumps.is_empty() {
        return Err(Malformed::NoAnnotations.into());
    }
    let (annotations, notes) = kept.finish();
    let payload = Payload {
        annotations,
        dumps,
        notes,
        encoding,
        bytes_wire: sizes.wire(),
        bytes_inflated: sizes.inflated(),
        user_agent: text(headers, header::USER_AGENT),
    };
    Ok((payload, memory))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures_util::stream;
    use testing::report;

    use super::*;

    async fn extracted(config: &Config, fields: &[(&str, &str)], dumps: &[(&str, &[u8])]) -> (Payload, Held) {
        let (content_type, body) = report::multipart(fields, dumps);
        let headers = [(header::CONTENT_TYPE, content_type.parse().unwrap())].into_iter().collect();
        let memory = Memory::new(config.max_bytes_in_memory, config.memory_timeout.get());
        let chunks: Vec<_> =
            body.chunks(16 << 10).map(|chunk| Ok::<_, Infallible>(Bytes::copy_from_slice(chunk))).collect();
        extract(&headers, Body::from_stream(stream::iter(chunks)), config, &memory, &Heavy::new())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn what_is_dropped_is_not_held_in_memory() {
        let config = Config {
            max_body: settings::Size::mib(200),
            max_annotations: 2,
            max_dumps: 1,
            ..Config::default()
        };
        let (large, large_dump) = ("x".repeat(20 << 20), vec![0; 20 << 20]);
        let fields = [("a", large.as_str()), ("b", &large), ("c", &large)];
        let dumps = [("upload_file_minidump", &b"MDMP"[..]), ("other", &large_dump)];
        let (payload, held) = extracted(&config, &fields, &dumps).await;
        assert_eq!(payload.annotations.get("a").map(str::len), Some((1 << 20) - 1), "its name counts too");
        assert_eq!((payload.annotations.len(), payload.dumps.len()), (1, 1));
        assert_eq!(payload.notes, ["too_many_dumps", "annotation_text_cut"]);
        assert!(held.bytes() < BUFFERS + (1 << 20) + 1000, "{}", held.bytes());
    }

    #[tokio::test]
    async fn a_large_part_that_begins_like_a_dump_is_kept_whole_whatever_its_name() {
        let config = Config { max_annotation_text: settings::Size::kib(1), ..Config::default() };
        let dump = format!("MDMP{}", "x".repeat(1 << 20));
        let (payload, held) = extracted(&config, &[("a", &dump)], &[]).await;
        assert_eq!(payload.dumps.iter().map(|dump| dump.bytes.len()).collect::<Vec<_>>(), [dump.len()]);
        assert_eq!(held.bytes(), BUFFERS + dump.len() as u64);
    }
}
