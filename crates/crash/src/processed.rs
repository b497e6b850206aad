//! The processed crash: everything that was worked out about a crash.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Address, Annotations, CrashId, SignatureExplanation, Stackwalk, Throttle, WalkStatus};

/// The version of the processed crash's JSON that this release writes; it reads every version up to it. What makes a
/// new version is said at [`RAW_FORMAT`](crate::RAW_FORMAT).
pub const PROCESSED_FORMAT: u32 = 1;

/// What a processor worked out about one crash. It holds no private annotation.
///
/// Text fields are empty, and others absent, where nothing is known: "unknown" is a word for pages and dimensions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessedCrash {
    /// [`PROCESSED_FORMAT`] of the release that wrote it.
    pub format: u32,
    /// The crash's id.
    pub crash_id: CrashId,
    /// When the collector had the crash.
    pub submitted_at: Timestamp,
    /// When this processing began.
    pub started_at: Timestamp,
    /// When this processing ended.
    pub completed_at: Timestamp,
    /// How often the crash was tried, this time included; from 1.
    pub attempt: u16,
    /// The processor that did it.
    pub node: String,
    /// Version of the rules that were applied.
    pub ruleset: String,
    /// Whether the main dump was walked, or there was none to walk.
    pub success: bool,
    /// The collector's verdict.
    pub throttle: Throttle,
    /// The share of such crashes that is kept, in (0, 1].
    pub sample_rate: f64,

    /// The product.
    #[serde(default)]
    pub product: String,
    /// The product's version.
    #[serde(default)]
    pub version: String,
    /// The release channel.
    #[serde(default)]
    pub channel: String,
    /// The build id.
    #[serde(default)]
    pub build: String,
    /// Which process of the product crashed: `parent`, `content`, `gpu`, ...
    #[serde(default)]
    pub process_type: String,
    /// What happened to it.
    #[serde(default)]
    pub event: Event,

    /// The operating system.
    #[serde(default)]
    pub os: Os,
    /// The processor of the machine.
    #[serde(default)]
    pub cpu: Cpu,
    /// Why the process stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The address that the crash was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// Index of the crashing thread in the main dump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crashing_thread: Option<usize>,
    /// The client's times.
    #[serde(default)]
    pub times: Times,
    /// The machine's memory.
    #[serde(default)]
    pub memory: Memory,

    /// The name under which the crash is grouped.
    #[serde(default)]
    pub signature: String,
    /// All frames that the signature was made from.
    #[serde(default)]
    pub proto_signature: String,
    /// Why the signature is what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_explanation: Option<SignatureExplanation>,

    /// One entry a dump, the main one first.
    #[serde(default)]
    pub dumps: Vec<ProcessedDump>,
    /// Modules on the stacks whose symbols were not found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_symbols: Vec<MissingSymbols>,
    /// What the processor wants a human to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<ProcessorNote>,
    /// The client's public annotations.
    #[serde(default)]
    pub annotations: Annotations,
}

impl ProcessedCrash {
    /// The main dump and its stackwalk.
    #[must_use]
    pub fn main_dump(&self) -> Option<&ProcessedDump> {
        self.dumps.first()
    }
}

/// What happened to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It crashed.
    #[default]
    Crash,
    /// It did not answer any more.
    Hang,
    /// It had no memory left.
    Oom,
    /// A check of its own failed.
    Assert,
    /// A Java or Kotlin exception.
    Java,
    /// Something else.
    Other,
}

impl Event {
    /// The name in columns and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::Oom => "oom",
            Self::Assert => "assert",
            Self::Java => "java",
            Self::Other => "other",
        }
    }
}

/// An operating system.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Os {
    /// `Windows`, `macOS`, `Linux`, `Android`, `iOS`, ...
    #[serde(default)]
    pub family: String,
    /// Its version, as detailed as the dump has it.
    #[serde(default)]
    pub version: String,
    /// The two in words that people use.
    #[serde(default)]
    pub label: String,
}

/// A machine's processor.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cpu {
    /// `amd64`, `x86`, `arm64`, ...
    #[serde(default)]
    pub arch: String,
    /// Vendor, family, model and stepping.
    #[serde(default)]
    pub model: String,
    /// Number of logical processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
}

/// What the client's clock says. None of it is to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Times {
    /// When it crashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crashed_at: Option<Timestamp>,
    /// How long the process had run, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<u64>,
    /// How long this version had been installed, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install_age_s: Option<u64>,
    /// How long ago this installation had crashed before, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_crash_s: Option<u64>,
}

/// What the client says about the machine's memory, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Virtual memory that was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_virtual_bytes: Option<u64>,
    /// Physical memory that was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_physical_bytes: Option<u64>,
    /// Physical memory of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_physical_bytes: Option<u64>,
    /// How much the allocation that failed asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_allocation_bytes: Option<u64>,
}

/// One dump of the crash, walked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessedDump {
    /// The name of the form field.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes, lower-case hex.
    pub sha256: String,
    /// The stackwalk, also of a dump that could not be read.
    pub stackwalk: Stackwalk,
}

impl ProcessedDump {
    /// How the walk ended.
    #[must_use]
    pub fn status(&self) -> WalkStatus {
        self.stackwalk.status
    }
}

/// A module on a stack whose symbols no source had.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MissingSymbols {
    /// File name of the debug file.
    pub debug_file: String,
    /// Identifies the debug file, in Breakpad's form.
    pub debug_id: String,
}

/// What the processor wants a human to know. It names keys and never values: values came from a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessorNote {
    /// The rule or stage that says it.
    pub source: String,
    /// What it says.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ThrottleDigit;

    fn crash(second: i64, text: &str, address: u64, uptime_s: Option<u64>) -> ProcessedCrash {
        let at = Timestamp::from_second(second).unwrap();
        ProcessedCrash {
            format: PROCESSED_FORMAT,
            crash_id: CrashId::new(at, ThrottleDigit::Defer, u128::from(address)).unwrap(),
            submitted_at: at,
            started_at: at,
            completed_at: at,
            attempt: 1,
            node: text.to_owned(),
            ruleset: String::new(),
            success: uptime_s.is_some(),
            throttle: Throttle::Defer,
            sample_rate: 0.25,
            product: text.to_owned(),
            version: text.to_owned(),
            channel: String::new(),
            build: String::new(),
            process_type: "parent".to_owned(),
            event: Event::Hang,
            os: Os { family: text.to_owned(), ..Os::default() },
            cpu: Cpu { cores: Some(2), ..Cpu::default() },
            reason: Some(text.to_owned()),
            address: Some(Address(address)),
            crashing_thread: None,
            times: Times { uptime_s, ..Times::default() },
            memory: Memory::default(),
            signature: text.to_owned(),
            proto_signature: String::new(),
            signature_explanation: None,
            dumps: vec![ProcessedDump {
                name: text.to_owned(),
                bytes: address,
                sha256: String::new(),
                stackwalk: Stackwalk::failed(WalkStatus::TimedOut, text),
            }],
            missing_symbols: vec![],
            notes: vec![ProcessorNote { source: "rule".to_owned(), text: text.to_owned() }],
            annotations: [(text, text)].into_iter().collect(),
        }
    }

    proptest! {
        #[test]
        fn a_processed_crash_reads_back_from_its_json(
            second in 946_684_800i64..4_102_444_800, text: String, address: u64, uptime: Option<u64>,
        ) {
            let crash = crash(second, &text, address, uptime);
            let json = serde_json::to_vec(&crash).unwrap();
            prop_assert_eq!(serde_json::from_slice::<ProcessedCrash>(&json).unwrap(), crash);
        }
    }

    #[test]
    fn addresses_are_written_in_hexadecimal() {
        let json = serde_json::to_value(crash(946_684_800, "", 0xdead, None)).unwrap();
        assert_eq!(json["address"], "0xdead");
    }
}
