//! What is in a frame: a raw crash as a tar, everything else as JSON; compressed and back.
//!
//! Frames are read as hostile: nothing is reserved on the word of a length, and what is unpacked has a limit.

use std::{
    collections::HashMap,
    io::{self, Read},
};

use bytes::Bytes;
use crash::{Annotations, CrashId, PROCESSED_FORMAT, ProcessedCrash, RawCrash, RawCrashError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Error, header};

/// The most that one frame may hold, uncompressed; 1 GiB. What is larger is refused, written or read.
pub(crate) const LIMIT: u64 = 1 << 30;
const TAR_BLOCK: u64 = 512;
const CRASH_JSON: &str = "crash.json";

/// A compressed frame, with room in front of it for its header.
pub(crate) struct Encoded {
    bytes: Vec<u8>,
    crc: u32,
}

impl Encoded {
    fn new(bytes: Vec<u8>) -> Self {
        let crc = crc32fast::hash(bytes.get(header::ROOM..).unwrap_or_default());
        Self { bytes, crc }
    }

    pub(crate) fn crc(&self) -> u32 {
        self.crc
    }

    /// The length of the frame alone.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.bytes.len() - header::ROOM).expect("the limit keeps frames below 4 GiB")
    }

    /// Puts the header in front of the frame and gives both away.
    pub(crate) fn into_bytes(mut self, header: &header::Header) -> Bytes {
        let start = self.bytes.len() - self.with_header(header).len();
        Bytes::from(self.bytes).slice(start..)
    }

    /// Puts the header in front of the frame and returns both, to be written at once.
    pub(crate) fn with_header(&mut self, header: &header::Header) -> &[u8] {
        let room = self.bytes.first_chunk_mut().expect("the room was made with the frame");
        let start = header.write(room);
        self.bytes.get(start..).expect("the header begins in the room")
    }
}

/// A crash as it is saved: its frame, and before that the frame of its private annotations.
pub(crate) struct Compressed {
    pub(crate) private: Option<Encoded>,
    pub(crate) frame: Encoded,
}

/// Compresses a raw crash, its private annotations apart.
pub(crate) fn compress_raw(crash: &RawCrash, level: i32) -> Result<Compressed, Error> {
    let private =
        (!crash.private.is_empty()).then(|| encode_json(crash.id(), &crash.private, level)).transpose()?;
    Ok(Compressed { private, frame: encode_raw(crash, level)? })
}

/// Compresses a processed crash.
pub(crate) fn compress_processed(crash: &ProcessedCrash, level: i32) -> Result<Compressed, Error> {
    Ok(Compressed { private: None, frame: encode_json(crash.crash_id, crash, level)? })
}

/// Writes the tar of a raw crash: `<crash id>/crash.json`, then each dump as `<crash id>/<member>`.
fn encode_raw(crash: &RawCrash, level: i32) -> Result<Encoded, Error> {
    let id = crash.id();
    let unwritable = |what: &str| Error::Unwritable { id, what: what.to_owned() };
    if crash.metadata.dumps.len() != crash.dumps.len() {
        return Err(unwritable("its metadata describes another number of dumps"));
    }
    if !crash.metadata.dumps.iter().all(|dump| is_member(&dump.member)) {
        return Err(unwritable("a member's name is not short and plain"));
    }

    let json = crash.to_crash_json();
    let members = || {
        let dumps = crash.metadata.dumps.iter().zip(&crash.dumps);
        let dumps = dumps.map(|(described, dump)| (described.member.as_str(), &dump.bytes[..]));
        std::iter::once((CRASH_JSON, &json[..])).chain(dumps)
    };
    let bytes =
        members().map(|(_, bytes)| TAR_BLOCK + (bytes.len() as u64).next_multiple_of(TAR_BLOCK)).sum::<u64>()
            + 2 * TAR_BLOCK;
    check_size(id, bytes)?;

    let modified = u64::try_from(crash.metadata.submitted_at.as_second()).unwrap_or(0);
    compress(bytes, level, |writer| {
        let mut tar = tar::Builder::new(writer);
        for (name, bytes) in members() {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o600);
            header.set_mtime(modified);
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, format!("{id}/{name}"), bytes)?;
        }
        tar.finish()
    })
}

/// Writes a value as JSON.
fn encode_json(id: CrashId, value: &impl Serialize, level: i32) -> Result<Encoded, Error> {
    let json = serde_json::to_vec(value)
        .map_err(|error| Error::Unwritable { id, what: format!("as JSON: {error}") })?;
    check_size(id, json.len() as u64)?;
    compress(json.len() as u64, level, |mut writer| io::Write::write_all(&mut writer, &json))
}

fn check_size(id: CrashId, bytes: u64) -> Result<(), Error> {
    if bytes > LIMIT { Err(Error::TooLarge { id, bytes, limit: LIMIT }) } else { Ok(()) }
}

type Encoder<'a> = zstd::stream::write::Encoder<'static, &'a mut Vec<u8>>;

fn compress(
    bytes: u64,
    level: i32,
    write: impl FnOnce(&mut Encoder<'_>) -> io::Result<()>,
) -> Result<Encoded, Error> {
    let compress = || {
        let mut frame = vec![0; header::ROOM];
        let mut encoder = Encoder::new(&mut frame, level)?;
        // The size makes zstd take small tables for small frames, and the checksum lets `zstd -t` find damage.
        encoder.set_pledged_src_size(Some(bytes))?;
        encoder.include_checksum(true)?;
        write(&mut encoder)?;
        encoder.finish()?;
        Ok(Encoded::new(frame))
    };
    compress().map_err(|error| Error::io("compressing a crash", error))
}

/// What a frame that is no crash is like.
#[derive(Debug)]
pub(crate) enum Undecodable {
    /// What is wrong with it.
    Bad(String),
    /// It says that it is of a later format.
    Newer(u32),
}

impl<E: std::error::Error> From<E> for Undecodable {
    fn from(error: E) -> Self {
        Self::Bad(error.to_string())
    }
}

/// Reads the tar of a raw crash.
pub(crate) fn decode_raw(frame: &[u8], id: CrashId, limit: u64) -> Result<RawCrash, Undecodable> {
    let mut members = HashMap::new();
    let mut left = limit;
    let mut archive = tar::Archive::new(decompress(frame, limit)?);
    let prefix = format!("{id}/");
    for entry in archive.entries()? {
        let entry = entry?;
        // Sparse entries could claim any size without a byte behind it; we write none.
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = String::from_utf8(entry.path_bytes().into_owned())?;
        let mut bytes = Vec::new();
        entry.take(left.saturating_add(1)).read_to_end(&mut bytes)?;
        left = left.checked_sub(bytes.len() as u64).ok_or_else(|| too_large(limit))?;
        if let Some(name) = path.strip_prefix(&prefix) {
            members.insert(name.to_owned(), Bytes::from(bytes));
        }
    }
    let json =
        members.remove(CRASH_JSON).ok_or_else(|| Undecodable::Bad("no crash.json of this crash".into()))?;
    RawCrash::from_parts(&json, Annotations::default(), |member| members.remove(member)).map_err(|error| {
        match error {
            RawCrashError::Newer { format } => Undecodable::Newer(format),
            other => Undecodable::Bad(other.to_string()),
        }
    })
}

/// Reads a processed crash, whose format is looked at before anything else.
pub(crate) fn decode_processed(frame: &[u8], limit: u64) -> Result<ProcessedCrash, Undecodable> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } = decode_json(frame, limit)?;
    if format > PROCESSED_FORMAT {
        return Err(Undecodable::Newer(format));
    }
    decode_json(frame, limit)
}

/// Reads a value from JSON.
pub(crate) fn decode_json<T: DeserializeOwned>(frame: &[u8], limit: u64) -> Result<T, Undecodable> {
    let mut json = Vec::new();
    decompress(frame, limit)?.read_to_end(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

/// Unpacks one frame and fails when there is more of it than the limit.
fn decompress(frame: &[u8], limit: u64) -> io::Result<impl Read> {
    let decoder = zstd::stream::read::Decoder::with_buffer(frame)?.single_frame();
    Ok(Limited { inner: decoder.take(limit.saturating_add(1)), limit })
}

struct Limited<R> {
    inner: io::Take<R>,
    limit: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if self.inner.limit() == 0 {
            return Err(io::Error::other(format!("it unpacks to more than {} bytes", self.limit)));
        }
        Ok(read)
    }
}

fn too_large(limit: u64) -> Undecodable {
    Undecodable::Bad(format!("it unpacks to more than {limit} bytes"))
}

/// Members are named by the collector; the check is for whoever changes that.
fn is_member(name: &str) -> bool {
    (1..=60).contains(&name.len())
        && name != CRASH_JSON
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
