//! Takes a multipart body apart: which parts are annotations, which are dumps.

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use crash::{AnnotationValue, Annotations, MAIN_DUMP};
use multer::{Field, Multipart};

use crate::{
    answer::Malformed,
    body::{self, BodyError, Limits, Shared},
    config::Config,
    content_type,
    payload::{Payload, ReceivedDump},
};

/// The first bytes of a minidump.
const MINIDUMP_MAGIC: &[u8] = b"MDMP";
/// The part in which Mozilla's clients send their annotations as one JSON object.
const EXTRA: &str = "extra";

/// Why there is no payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExtractError {
    /// The report cannot be understood; the client is told so.
    Malformed(Malformed),
    /// There is nobody left to tell.
    Aborted,
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
            BodyError::Aborted => Self::Aborted,
        }
    }
}

/// Reads a report: its annotations and its dumps, within the configured limits.
///
/// A part is told by its name and its first bytes, never by its content type: clients label minidumps in many ways.
///
/// # Errors
/// When the report cannot be understood, or its client went away.
pub(crate) async fn extract(
    headers: &HeaderMap,
    body: Body,
    config: &Config,
) -> Result<Payload, ExtractError> {
    let boundary = content_type::boundary(text(headers, header::CONTENT_TYPE).as_deref())?;
    let encoding = body::encoding(headers)?;
    let limits = Limits { wire: config.max_body.bytes(), inflated: config.max_inflated_body.bytes() };
    if let Some(length) = content_length(headers) {
        if length > limits.wire {
            return Err(Malformed::TooLarge.into());
        }
        if length == 0 {
            return Err(Malformed::EmptyBody.into());
        }
    }

    let (decoded, sizes) = body::decode(body, encoding, limits);
    let mut parts = Parts::new(config);
    let whole = Shared::new(decoded);
    let mut multipart = Multipart::new(whole.clone(), boundary);
    let read = async {
        while let Some(field) = multipart.next_field().await? {
            parts.take(field).await?;
        }
        // Behind the last delimiter there is still the checksum of an encoding, and whatever else was announced.
        whole.drain().await.map_err(ExtractError::from)
    };
    match read.await {
        Err(ExtractError::Malformed(Malformed::InvalidStructure)) if sizes.wire() == 0 => {
            return Err(Malformed::EmptyBody.into());
        }
        other => other?,
    }
    if parts.annotations.is_empty() && parts.dumps.is_empty() {
        return Err(Malformed::NoAnnotations.into());
    }
    let notes = parts.notes();
    Ok(Payload {
        annotations: parts.annotations,
        dumps: parts.dumps,
        notes,
        encoding,
        bytes_wire: sizes.wire(),
        bytes_inflated: sizes.inflated(),
        user_agent: text(headers, header::USER_AGENT),
    })
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The parts of a report that have been read so far.
struct Parts<'a> {
    config: &'a Config,
    annotations: Annotations,
    dumps: Vec<ReceivedDump>,
    /// How much more text the annotations may have, in bytes.
    text_left: usize,
    seen: Seen,
}

/// What a human should know about how the report was read.
#[derive(Default)]
struct Seen {
    nameless_parts: bool,
    duplicate_annotations: bool,
    duplicate_dumps: bool,
    too_many_annotations: bool,
    too_many_dumps: bool,
    too_much_text: bool,
    cleaned_names: bool,
}

impl<'a> Parts<'a> {
    fn new(config: &'a Config) -> Self {
        Self {
            config,
            annotations: Annotations::default(),
            dumps: Vec::new(),
            text_left: config.max_annotation_text.as_usize(),
            seen: Seen::default(),
        }
    }

    fn notes(&self) -> Vec<String> {
        [
            (self.seen.nameless_parts, "nameless_part_dropped"),
            (self.seen.duplicate_annotations, "duplicate_annotation"),
            (self.seen.duplicate_dumps, "duplicate_dump"),
            (self.seen.too_many_annotations, "too_many_annotations"),
            (self.seen.too_many_dumps, "too_many_dumps"),
            (self.seen.too_much_text, "annotation_text_cut"),
            (self.seen.cleaned_names, "name_cleaned"),
        ]
        .into_iter()
        .filter(|(seen, _)| *seen)
        .map(|(_, note)| note.to_owned())
        .collect()
    }

    async fn take(&mut self, mut field: Field<'_>) -> Result<(), ExtractError> {
        let Some(name) = field.name().map(str::to_owned) else {
            self.seen.nameless_parts = true;
            return Ok(());
        };
        let name = self.clean(&name);
        let file_name = field.file_name().map(str::to_owned);
        let is_json = field.content_type().is_some_and(|kind| kind.essence_str() == "application/json");

        let mut bytes = BytesMut::new();
        while let Some(chunk) = field.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        let bytes = bytes.freeze();

        if name.starts_with(MAIN_DUMP) || bytes.starts_with(MINIDUMP_MAGIC) {
            self.add_dump(name, file_name, bytes);
        } else if name == EXTRA || is_json {
            self.add_extra(&bytes)?;
        } else if file_name.is_some() {
            self.add_dump(name, file_name, bytes);
        } else {
            self.add_annotation(name, AnnotationValue::from_bytes(bytes.into()));
        }
        Ok(())
    }

    /// A name without control characters: they would make trouble wherever it is shown.
    fn clean(&mut self, name: &str) -> String {
        let cleaned: String = name.chars().filter(|character| !character.is_control()).collect();
        self.seen.cleaned_names |= cleaned != name;
        cleaned
    }

    fn add_dump(&mut self, name: String, file_name: Option<String>, bytes: Bytes) {
        if self.dumps.len() >= self.config.max_dumps {
            self.seen.too_many_dumps = true;
            return;
        }
        self.seen.duplicate_dumps |= self.dumps.iter().any(|dump| dump.name == name);
        self.dumps.push(ReceivedDump { name, file_name, bytes });
    }

    /// Takes a JSON object of annotations; values that are no strings are kept as their JSON text.
    fn add_extra(&mut self, bytes: &[u8]) -> Result<(), ExtractError> {
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|_| Malformed::InvalidJson)?;
        let serde_json::Value::Object(entries) = value else {
            return Err(Malformed::InvalidJsonValue.into());
        };
        for (name, value) in entries {
            let text = match value {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            };
            let name = self.clean(&name);
            self.add_annotation(name, AnnotationValue::Text(text));
        }
        Ok(())
    }

    fn add_annotation(&mut self, name: String, value: AnnotationValue) {
        if self.annotations.len() >= self.config.max_annotations && self.annotations.value(&name).is_none() {
            self.seen.too_many_annotations = true;
            return;
        }
        let value = self.cut(value);
        self.seen.duplicate_annotations |= self.annotations.insert(name, value).is_some();
    }

    /// Cuts a value to the text that is left.
    fn cut(&mut self, value: AnnotationValue) -> AnnotationValue {
        let length = value.as_bytes().len();
        if length <= self.text_left {
            self.text_left -= length;
            return value;
        }
        self.seen.too_much_text = true;
        let left = std::mem::take(&mut self.text_left);
        match value {
            AnnotationValue::Text(mut text) => {
                text.truncate(text.floor_char_boundary(left));
                AnnotationValue::Text(text)
            }
            AnnotationValue::Bytes(mut bytes) => {
                bytes.truncate(left);
                AnnotationValue::Bytes(bytes)
            }
        }
    }
}
