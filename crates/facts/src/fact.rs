//! What one crash contributes to the facts.

use crash::{Address, CrashId, Event, WalkStatus};
use jiff::{Timestamp, civil::Date};
use serde_json::{Map, Value};

/// Everything that one crash contributes to the facts: its row in `fact_crash`, its rows in `fact_dump`, and the names that
/// its dimensions are found by.
///
/// [`CrashFact::of`] makes one from a processed crash and leaves nothing in it that PostgreSQL would refuse: no NUL, names of
/// a bounded length, numbers within the range of their columns. Where nothing is known a name is `unknown`.
#[derive(Debug, Clone, PartialEq)]
pub struct CrashFact {
    /// The crash; its day is the partition.
    pub crash_id: CrashId,
    /// When the collector had it.
    pub received_at: Timestamp,
    /// When it happened, by the client's clock.
    pub client_crash_at: Option<Timestamp>,
    /// When this processing began.
    pub started_at: Timestamp,
    /// When this processing ended. Of two results the later one stays.
    pub completed_at: Timestamp,
    /// How often it was tried, this time included.
    pub attempt: i16,

    /// The product.
    pub product: String,
    /// The channel.
    pub channel: String,
    /// The version.
    pub version: String,
    /// The build id.
    pub build: String,
    /// The day of the build, where its id says it.
    pub build_day: Option<Date>,
    /// The signature, at most 1,024 bytes.
    pub signature: String,
    /// Which process of the product it was.
    pub process_type: String,
    /// What happened to it.
    pub event: Event,

    /// The operating system.
    pub os_family: String,
    /// Its version; may be empty.
    pub os_version: String,
    /// The two in words.
    pub os_label: String,
    /// The machine's processor.
    pub cpu_arch: String,
    /// Its model; may be empty.
    pub cpu_model: String,
    /// Number of logical processors.
    pub cores: Option<i16>,
    /// The telephone or tablet.
    pub device: Option<Device>,
    /// The graphics processor.
    pub gpu: Option<Gpu>,

    /// Why the process stopped.
    pub reason: String,
    /// The address that the crash was about.
    pub address: Option<Address>,
    /// How long the process had run, in seconds.
    pub uptime_s: Option<i32>,
    /// How long the version had been installed, in seconds.
    pub install_age_s: Option<i64>,
    /// How long ago the installation had crashed before, in seconds.
    pub last_crash_s: Option<i64>,
    /// The same for crashes of one installation.
    pub install_hash: Option<Vec<u8>>,
    /// 1 none, 2 interesting, 3 low, 4 medium, 5 high.
    pub exploitability: Option<i16>,
    /// Whether the process had run for less than a minute.
    pub is_startup: bool,
    /// Whether it was collecting garbage.
    pub is_gc: Option<bool>,
    /// Virtual memory that was left, in bytes.
    pub mem_avail_virtual: Option<i64>,
    /// Physical memory that was left, in bytes.
    pub mem_avail_physical: Option<i64>,
    /// Physical memory of the machine, in bytes.
    pub mem_total_physical: Option<i64>,
    /// How much the allocation that failed asked for, in bytes.
    pub oom_alloc: Option<i64>,

    /// The share of such crashes that is kept, in (0, 1].
    pub sample_rate: f64,
    /// Whether the main dump was walked, or there was none to walk.
    pub success: bool,
    /// The crash that this one most likely repeats.
    pub duplicate_of: Option<CrashId>,
    /// What the two halves of one hang have in common.
    pub hang_id: Option<String>,
    /// All frames that the signature was made from.
    pub proto_signature: Option<String>,
    /// Hash of the rules that were applied; empty when the processor named none.
    pub ruleset: Vec<u8>,
    /// What the processor wants a human to know.
    pub notes: Vec<String>,
    /// Public annotations without a column of their own.
    pub attrs: Map<String, Value>,
    /// The dumps, the main one first; no two of one name.
    pub dumps: Vec<DumpFact>,
    /// What the crash is saved without.
    pub lacks: Vec<crate::Lacks>,
}

/// A telephone or tablet. What is not known is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Who made it.
    pub manufacturer: String,
    /// The model.
    pub model: String,
    /// Its system's release.
    pub os_release: String,
    /// The binary interface of the program.
    pub abi: String,
}

/// A graphics processor, as clients name it. What is not known is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// The vendor's id or name.
    pub vendor: String,
    /// The device's id or name.
    pub device: String,
}

/// What one dump contributes to the facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpFact {
    /// Name of the form field.
    pub name: String,
    /// Size in bytes.
    pub bytes: Option<i64>,
    /// SHA-256 of the bytes.
    pub sha256: Option<Vec<u8>>,
    /// How its stackwalk ended.
    pub walk_status: WalkStatus,
    /// Why the process stopped; nothing where no dump could be read.
    pub reason: Option<String>,
    /// Index of the thread that crashed.
    pub crashing_thread: Option<i32>,
    /// 1 none to 5 high.
    pub exploitability: Option<i16>,
    /// The modules that were loaded.
    pub modules: Vec<ModuleFact>,
}

/// A module that was loaded in the crashed process. What is not known is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleFact {
    /// File name of the code file.
    pub filename: String,
    /// Its version.
    pub version: String,
    /// Identifies the debug file.
    pub debug_id: String,
    /// Identifies the code file.
    pub code_id: String,
}
