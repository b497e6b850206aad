//! What a minidump says once its stacks are walked.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Address;

/// How a stackwalk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WalkStatus {
    /// The dump was read and its stacks were walked.
    Ok,
    /// The client sent a dump without a byte.
    EmptyDump,
    /// The bytes are no minidump, or one too damaged to read.
    BadMinidump,
    /// It asks for more threads, frames or stack than the limits allow.
    OverLimit,
    /// The walk was ended at its deadline.
    TimedOut,
    /// The walk needed more memory than it may have, or made its worker die.
    WorkerDied,
}

impl WalkStatus {
    /// The name in columns, metrics and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::EmptyDump => "empty_dump",
            Self::BadMinidump => "bad_minidump",
            Self::OverLimit => "over_limit",
            Self::TimedOut => "timed_out",
            Self::WorkerDied => "worker_died",
        }
    }
}

/// Threads, modules and crash information from one minidump.
///
/// The names of the JSON fields follow the ones that minidump tools and signature generators already share
/// (`threads[].frames[].module_offset` and so on). What only some may see is under `sensitive`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stackwalk {
    /// How the walk ended.
    pub status: WalkStatus,
    /// What was wrong, for people, when the status is not `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The system that the process ran on.
    #[serde(default)]
    pub system_info: SystemInfo,
    /// The process id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// When the dump was written, by the client's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dumped_at: Option<Timestamp>,
    /// Whole seconds from the start of the process to the dump, when the dump says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_uptime: Option<u64>,
    /// Why the process stopped, when the dump says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash_info: Option<CrashInfo>,
    /// Index in `threads` of the thread that crashed, or that asked for the dump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crashing_thread: Option<usize>,
    /// All threads, in the order of the dump.
    #[serde(default)]
    pub threads: Vec<Thread>,
    /// Index in `modules` of the executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main_module: Option<usize>,
    /// All loaded modules, by their base address.
    #[serde(default)]
    pub modules: Vec<Module>,
    /// Modules that had been unloaded by the time of the crash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unloaded_modules: Vec<UnloadedModule>,
    /// What the walker could not make sense of, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub soft_errors: Vec<String>,
    /// What could carry a user's data or help an attacker.
    #[serde(default, skip_serializing_if = "Sensitive::is_empty")]
    pub sensitive: Sensitive,
}

impl Stackwalk {
    /// The stackwalk of a dump that could not be walked.
    #[must_use]
    pub fn failed(status: WalkStatus, error: impl Into<String>) -> Self {
        Self {
            status,
            error: Some(error.into()),
            system_info: SystemInfo::default(),
            pid: None,
            dumped_at: None,
            process_uptime: None,
            crash_info: None,
            crashing_thread: None,
            threads: vec![],
            main_module: None,
            modules: vec![],
            unloaded_modules: vec![],
            soft_errors: vec![],
            sensitive: Sensitive::default(),
        }
    }

    /// The thread that crashed, if the dump says which.
    #[must_use]
    pub fn crashing(&self) -> Option<&Thread> {
        self.threads.get(self.crashing_thread?)
    }
}

/// The system that the process ran on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SystemInfo {
    /// `Windows NT`, `Linux`, `Mac OS X`, `Android`, `iOS`, ...: as minidump tools call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// Version and build, as the dump has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_ver: Option<String>,
    /// `amd64`, `x86`, `arm64`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_arch: Option<String>,
    /// Vendor, family, model and stepping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_info: Option<String>,
    /// Number of logical processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_count: Option<u32>,
}

/// Why the process stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CrashInfo {
    /// The exception or signal, such as `SIGSEGV / SEGV_MAPERR`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The address that the crash was about: what was accessed, or where the code stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// Text of a failed assertion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertion: Option<String>,
}

/// One thread of the crashed process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Thread {
    /// The system's id of the thread.
    pub thread_id: u32,
    /// The thread's name, where the platform records it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_name: Option<String>,
    /// On Windows the thread's last error, as its symbolic name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_value: Option<String>,
    /// The frames, innermost first.
    #[serde(default)]
    pub frames: Vec<Frame>,
    /// Whether frames were left out because a limit was reached.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// One frame of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Frame {
    /// Index in the thread, 0 the innermost.
    pub frame: usize,
    /// How the frame was found: `context`, `cfi`, `frame_pointer`, `scan`, `prewalked`, `inlined`, `none`.
    pub trust: String,
    /// The instruction's address.
    pub offset: Address,
    /// File name of the module, without folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// The instruction's offset from the module's base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_offset: Option<Address>,
    /// The function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The instruction's offset from the start of the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function_offset: Option<Address>,
    /// The source file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in the source file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Functions that the compiler put in here, innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inlines: Vec<Inline>,
    /// Unloaded modules that the address was once in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unloaded_modules: Vec<UnloadedModule>,
    /// Whether the frame is in a module whose symbols were not found.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing_symbols: bool,
}

/// A function that the compiler put into another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Inline {
    /// The function.
    pub function: String,
    /// The source file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in the source file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// What became of a module's symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SymbolStatus {
    /// No frame asked for them.
    #[default]
    NotNeeded,
    /// Found and used.
    Loaded,
    /// No source has them.
    Missing,
    /// Found, but unreadable.
    Corrupt,
    /// A source could not be asked: the next crash asks again.
    Unavailable,
}

/// One loaded module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Module {
    /// File name of the code file, without folders.
    pub filename: String,
    /// Path of the code file in the crashed process.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code_file: String,
    /// Identifies the code file: build id, or time stamp and size.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code_id: String,
    /// File name of the debug file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub debug_file: String,
    /// Identifies the debug file, in Breakpad's form.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub debug_id: String,
    /// The module's version, where the platform records it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// First address.
    pub base_addr: Address,
    /// First address after the module.
    pub end_addr: Address,
    /// What became of its symbols.
    #[serde(default)]
    pub symbols: SymbolStatus,
}

/// A module that was gone by the time of the crash.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UnloadedModule {
    /// File name, without folders.
    #[serde(alias = "module")]
    pub filename: String,
    /// Identifies the code file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code_id: String,
    /// Where in the module the address was; on a frame only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offsets: Vec<Address>,
}

/// What could carry a user's data or help an attacker; shown to those alone who may see dumps.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sensitive {
    /// Registers of the crashing thread by name.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub registers: std::collections::BTreeMap<String, Address>,
    /// The instruction that crashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// Whether one flipped bit explains the address, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub possible_bit_flips: Vec<String>,
}

impl Sensitive {
    /// Whether there is nothing to hide.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
