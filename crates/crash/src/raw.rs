//! The raw crash: what a client sent, and what the collector noted about it.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Annotations, CrashId};

/// The field under which clients send the main minidump.
pub const MAIN_DUMP: &str = "upload_file_minidump";

/// The version of the `crash.json` that this release writes; it reads every version up to it.
///
/// Fields are only ever added, with a default, within a version. A field whose meaning changes, and a word that is
/// new in a place where only some words may stand, are a new version.
pub const RAW_FORMAT: u32 = 1;

/// A binary in a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// The name of the form field, as the client sent it; the main one is [`MAIN_DUMP`].
    pub name: String,
    /// What the client sent, unchecked.
    pub bytes: Bytes,
}

/// What the collector decided about a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Throttle {
    /// Store it and process it.
    Accept,
    /// Store it; process it when somebody asks.
    Defer,
    /// Say that it was discarded, and store nothing.
    Reject,
    /// Answer as if it were accepted, and store nothing.
    FakeAccept,
}

/// One crash as it was received, whole: annotations, dumps and the collector's notes.
#[derive(Debug, Clone, PartialEq)]
pub struct RawCrash {
    /// The `metadata` section of `crash.json`.
    pub metadata: RawMetadata,
    /// The `annotations` section of `crash.json`.
    pub annotations: Annotations,
    /// The annotations that can identify a person; they are stored apart and kept for a shorter time.
    pub private: Annotations,
    /// The dumps, in the order of [`RawMetadata::dumps`]; the first is the main one.
    pub dumps: Vec<Dump>,
}

/// The collector's side of a raw crash: the `metadata` section of `crash.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RawMetadata {
    /// [`RAW_FORMAT`] of the release that wrote it.
    pub format: u32,
    /// The crash's id.
    pub crash_id: CrashId,
    /// When the collector had the whole request.
    pub submitted_at: Timestamp,
    /// The collector that took it.
    #[serde(default)]
    pub node: String,
    /// The verdict.
    pub throttle: Throttle,
    /// The throttle rule that gave the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle_rule: Option<String>,
    /// The share of such crashes that is kept, in (0, 1]: a count over it estimates all of them.
    pub sample_rate: f64,
    /// How the report was sent: `multipart`.
    #[serde(default)]
    pub payload: String,
    /// How the body was encoded: `identity`, `gzip`, `deflate` or `zstd`.
    #[serde(default)]
    pub encoding: String,
    /// Size of the body as it was received, in bytes.
    #[serde(default)]
    pub bytes_wire: u64,
    /// Size of the body after decoding, in bytes.
    #[serde(default)]
    pub bytes_inflated: u64,
    /// What the client calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// What the collector wants a human to know: `lenient_boundary`, `duplicate_annotation` and the like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// One entry a dump, in the order of [`RawCrash::dumps`].
    #[serde(default)]
    pub dumps: Vec<DumpMetadata>,
}

/// What is known about a dump without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpMetadata {
    /// The name of the form field, from the client.
    pub name: String,
    /// The name in the stored frame, made by us: `0.dmp`, `1.dmp`, ...
    pub member: String,
    /// The file name that the client gave, if any. Never used as a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes, lower-case hex.
    pub sha256: String,
}

impl DumpMetadata {
    /// Describes the dump at `index` of a report.
    #[must_use]
    pub fn of(index: usize, dump: &Dump, file_name: Option<String>) -> Self {
        Self {
            name: dump.name.clone(),
            member: format!("{index}.dmp"),
            file_name,
            bytes: dump.bytes.len() as u64,
            sha256: Sha256::digest(&dump.bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// `crash.json`: everything of a raw crash but its dumps and its private annotations.
#[derive(Debug, Serialize, Deserialize)]
struct CrashJson<A, M> {
    annotations: A,
    metadata: M,
}

impl RawCrash {
    /// The crash's id.
    #[must_use]
    pub fn id(&self) -> CrashId {
        self.metadata.crash_id
    }

    /// Writes `crash.json`: an object of two sections, `annotations` and `metadata`.
    #[must_use]
    pub fn to_crash_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(&CrashJson { annotations: &self.annotations, metadata: &self.metadata })
            .expect("text keys and finite numbers are always JSON")
    }

    /// Puts a raw crash together from its `crash.json`, its private annotations and its dumps by member name.
    ///
    /// The format is looked at first: what a later release wrote may hold words that this one does not know, and is
    /// not damaged for that.
    ///
    /// # Errors
    /// [`RawCrashError`], which says which of the parts is wrong.
    pub fn from_parts(
        crash_json: &[u8],
        private: Annotations,
        mut take_member: impl FnMut(&str) -> Option<Bytes>,
    ) -> Result<Self, RawCrashError> {
        let FormatOnly { metadata: Format { format } } = serde_json::from_slice(crash_json)?;
        if format > RAW_FORMAT {
            return Err(RawCrashError::Newer { format });
        }
        let CrashJson::<Annotations, RawMetadata> { annotations, metadata } =
            serde_json::from_slice(crash_json)?;
        let mut dumps = Vec::with_capacity(metadata.dumps.len());
        for DumpMetadata { name, member, .. } in &metadata.dumps {
            let bytes =
                take_member(member).ok_or_else(|| RawCrashError::NoMember { member: member.clone() })?;
            dumps.push(Dump { name: name.clone(), bytes });
        }
        Ok(Self { metadata, annotations, private, dumps })
    }
}

/// Why parts make no raw crash.
#[derive(Debug, thiserror::Error)]
pub enum RawCrashError {
    /// `crash.json` is not what a collector writes.
    #[error("crash.json cannot be read: {0}")]
    BadJson(#[from] serde_json::Error),
    /// A later release wrote it.
    #[error("crash.json is of format {format}, and this release knows formats up to {RAW_FORMAT}")]
    Newer {
        /// Its format.
        format: u32,
    },
    /// A dump that `crash.json` names is not there.
    #[error("the dump {member} is missing")]
    NoMember {
        /// The dump's name in the stored frame.
        member: String,
    },
}

/// The one field of `crash.json` that every release has to understand.
#[derive(Deserialize)]
struct FormatOnly {
    metadata: Format,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ThrottleDigit;

    fn crash() -> RawCrash {
        let at: Timestamp = "2026-11-23T13:10:27Z".parse().unwrap();
        let dumps = vec![Dump { name: MAIN_DUMP.to_owned(), bytes: Bytes::from_static(b"MDMP") }];
        RawCrash {
            metadata: RawMetadata {
                format: RAW_FORMAT,
                crash_id: CrashId::new(at, ThrottleDigit::Accept, 0).unwrap(),
                submitted_at: at,
                node: "node-1".to_owned(),
                throttle: Throttle::Accept,
                throttle_rule: None,
                sample_rate: 1.0,
                payload: "multipart".to_owned(),
                encoding: "gzip".to_owned(),
                bytes_wire: 100,
                bytes_inflated: 200,
                user_agent: None,
                notes: vec![],
                dumps: vec![DumpMetadata::of(0, &dumps[0], Some("..\\a.dmp".to_owned()))],
            },
            annotations: [("ProductName", "Sample")].into_iter().collect(),
            private: [("Email", "a@b.example")].into_iter().collect(),
            dumps,
        }
    }

    #[test]
    fn a_raw_crash_reads_back_from_its_parts() {
        let crash = crash();
        let back = RawCrash::from_parts(&crash.to_crash_json(), crash.private.clone(), |member| {
            (member == "0.dmp").then(|| Bytes::from_static(b"MDMP"))
        });
        assert_eq!(back.unwrap(), crash);
    }

    #[test]
    fn crash_json_holds_no_private_annotation() {
        let json = String::from_utf8(crash().to_crash_json()).unwrap();
        assert!(json.contains("ProductName") && !json.contains("a@b.example"), "{json}");
    }

    #[test]
    fn a_crash_of_a_later_format_is_told_from_a_damaged_one() {
        let json = String::from_utf8(crash().to_crash_json()).unwrap();
        let later =
            json.replace("\"format\": 1", "\"format\": 2").replace("\"accept\"", "\"a later verdict\"");
        let error = RawCrash::from_parts(later.as_bytes(), Annotations::default(), |_| None).unwrap_err();
        assert!(matches!(error, RawCrashError::Newer { format: 2 }), "{error}");
        let damaged = json.replace("\"accept\"", "\"no verdict\"");
        let error = RawCrash::from_parts(damaged.as_bytes(), Annotations::default(), |_| None).unwrap_err();
        assert!(matches!(error, RawCrashError::BadJson(_)), "{error}");
    }

    #[test]
    fn a_dump_that_is_missing_is_named_and_does_not_shift_the_others() {
        let error =
            RawCrash::from_parts(&crash().to_crash_json(), Annotations::default(), |_| None).unwrap_err();
        assert!(matches!(error, RawCrashError::NoMember { ref member } if member == "0.dmp"), "{error}");
    }

    #[test]
    fn fields_that_a_later_release_adds_are_passed_over() {
        let json = String::from_utf8(crash().to_crash_json())
            .unwrap()
            .replace("\"node\"", "\"later\": [1], \"node\"");
        let dump = |_: &str| Some(Bytes::from_static(b"MDMP"));
        let back = RawCrash::from_parts(json.as_bytes(), Annotations::default(), dump);
        assert_eq!(back.unwrap().id(), crash().id());
    }
}
