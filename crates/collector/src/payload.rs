//! The body of a report as it was extracted, and how it becomes a raw crash.

use bytes::Bytes;
use crash::{
    Annotations, CrashId, Dump, DumpMetadata, IdError, MAIN_DUMP, RAW_FORMAT, RawCrash, RawMetadata,
    Throttle, ThrottleDigit,
};
use jiff::Timestamp;

/// How a body was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
}

impl Encoding {
    /// The name in the raw crash.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }
}

/// What a client sent, taken apart.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) annotations: Annotations,
    pub(crate) dumps: Vec<ReceivedDump>,
    pub(crate) notes: Vec<String>,
    pub(crate) encoding: Encoding,
    /// Bytes of the body as it came.
    pub(crate) bytes_wire: u64,
    /// Bytes of the body once decoded.
    pub(crate) bytes_inflated: u64,
    pub(crate) user_agent: Option<String>,
}

/// A dump with the file name that the client gave it.
#[derive(Debug)]
pub(crate) struct ReceivedDump {
    pub(crate) name: String,
    pub(crate) file_name: Option<String>,
    pub(crate) bytes: Bytes,
}

/// What the collector adds to a payload: its own name, the moment and chance.
pub(crate) struct Receipt<'a> {
    pub(crate) node: &'a str,
    pub(crate) received_at: Timestamp,
    pub(crate) random: u128,
    pub(crate) private_annotations: &'a [String],
}

impl Payload {
    /// Gives the payload its id and makes it a raw crash.
    ///
    /// The main dump comes first, whatever its place in the body. Of annotations that can identify a person the raw
    /// crash knows only apart from the others.
    ///
    /// # Errors
    /// When the clock is outside the years that an id can say.
    pub(crate) fn into_raw_crash(mut self, receipt: &Receipt<'_>) -> Result<RawCrash, IdError> {
        self.dumps.sort_by_key(|dump| dump.name != MAIN_DUMP);
        let mut metadata = RawMetadata {
            format: RAW_FORMAT,
            crash_id: CrashId::new(receipt.received_at, ThrottleDigit::Accept, receipt.random)?,
            submitted_at: receipt.received_at,
            node: receipt.node.to_owned(),
            throttle: Throttle::Accept,
            throttle_rule: None,
            sample_rate: 1.0,
            payload: "multipart".to_owned(),
            encoding: self.encoding.as_str().to_owned(),
            bytes_wire: self.bytes_wire,
            bytes_inflated: self.bytes_inflated,
            user_agent: self.user_agent,
            notes: self.notes,
            dumps: vec![],
        };
        let mut dumps = Vec::with_capacity(self.dumps.len());
        for (index, received) in self.dumps.into_iter().enumerate() {
            let dump = Dump { name: received.name, bytes: received.bytes };
            metadata.dumps.push(DumpMetadata::of(index, &dump, received.file_name));
            dumps.push(dump);
        }
        let private = self.annotations.split_off(receipt.private_annotations);
        Ok(RawCrash { metadata, annotations: self.annotations, private, dumps })
    }
}
