//! What a signature is made from.

mod json;
mod processed;

use std::borrow::Cow;

use serde_json::Value;

pub use json::NoCrashData;

/// How many frames of a stack a signature looks at, inlined functions included.
pub(crate) const MAX_FRAMES: usize = 40;

/// A crash as signatures see it.
///
/// It is made [from JSON](Self::from_json), in the form that the reference takes, or
/// [from a processed crash](Self::from_processed). Values that the reference takes in whatever type they come are kept
/// as they came.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CrashData<'a> {
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// Index of the crashing thread; a negative one counts from the last.
    pub(crate) crashing_thread: i64,
    /// The threads.
    pub(crate) threads: Vec<ThreadData<'a>>,
    /// The system, as far as it matters.
    pub(crate) system: System,
    /// Why the process stopped.
    pub(crate) reason: Option<Cow<'a, str>>,
    /// How the stackwalk ended.
    pub(crate) walk_status: Value,
    /// A Java exception as text.
    pub(crate) java_stack_trace: Value,
    /// A Java exception with its parts.
    pub(crate) java_exception: Value,
    /// How much the allocation that failed asked for.
    pub(crate) oom_allocation_size: Value,
    /// What became of a large allocation of a script.
    pub(crate) js_large_allocation_failure: Value,
    /// Why the program gave up.
    pub(crate) abort_message: Value,
    /// Whether and how the process hung.
    pub(crate) hang: Value,
    /// What a shutdown waited for in vain, as JSON in a text.
    pub(crate) async_shutdown_timeout: Value,
    /// An error in talking to another process.
    pub(crate) ipc_channel_error: Value,
    /// The message to another process that was being handled.
    pub(crate) ipc_message_name: Value,
    /// The names of further dumps.
    pub(crate) additional_minidumps: Value,
}

/// Where crash data comes from, which decides how far its signature may go beyond the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Origin {
    /// Somebody else's; the signature is the reference's.
    #[default]
    Reference,
    /// Our own stackwalk: programs without symbols are told apart, and mixes are named so.
    Processed,
}

/// The systems that make a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum System {
    /// Module names are the same in upper and lower case.
    Windows,
    /// They are not.
    #[default]
    Other,
}

impl System {
    /// The system by the name that minidump tools give it.
    pub(crate) fn of(name: Option<&str>) -> Self {
        if name == Some("Windows NT") { Self::Windows } else { Self::Other }
    }
}

/// One thread.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ThreadData<'a> {
    /// Its frames, innermost first; nothing when what is there is no list of frames.
    pub(crate) frames: Option<Vec<FrameData<'a>>>,
    /// On Windows its last error.
    pub(crate) last_error: Option<Cow<'a, str>>,
}

/// One frame, or one inlined function.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct FrameData<'a> {
    /// Index in the thread; that of the outer frame for an inlined function.
    pub(crate) index: usize,
    /// Whether it is an inlined function.
    pub(crate) inlined: bool,
    pub(crate) function: Option<Cow<'a, str>>,
    pub(crate) module: Option<Cow<'a, str>>,
    pub(crate) file: Option<Cow<'a, str>>,
    pub(crate) line: Line<'a>,
    /// The address.
    pub(crate) offset: Option<Offset<'a>>,
    /// The first of the unloaded modules that the address was in.
    pub(crate) unloaded_module: Option<Cow<'a, str>>,
    /// What to put behind the module's name: which build of it, and where in it.
    pub(crate) place_in_module: Option<String>,
}

/// An address in the crashed process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Offset<'a> {
    /// As it is.
    Address(crash::Address),
    /// As text in hexadecimal, or what should be it.
    Text(Cow<'a, str>),
    /// Something else, which is shown as it came.
    Shown(Cow<'a, str>),
}

/// A line in a source file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Line<'a> {
    #[default]
    Missing,
    Number(i64),
    Text(Cow<'a, str>),
}

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => formatter.write_str("None"),
            Self::Number(number) => number.fmt(formatter),
            Self::Text(text) => text.fmt(formatter),
        }
    }
}

impl<'a> CrashData<'a> {
    /// A thread by its index; a negative one counts from the last.
    pub(crate) fn thread(&self, index: i64) -> Option<&ThreadData<'a>> {
        match usize::try_from(index) {
            Ok(index) => self.threads.get(index),
            Err(_) => {
                let from_end = usize::try_from(index.unsigned_abs()).ok()?;
                self.threads.get(self.threads.len().checked_sub(from_end)?)
            }
        }
    }
}
