//! The domain types of Crashmill and their text forms.
//!
//! A crash goes one way: `Payload -> RawCrash -> [CrashId on the queue] -> RawCrash + Dumps -> Stackwalk ->
//! ProcessedCrash -> CrashFact`. This crate holds the types that more than one stage knows, and how they are
//! written down: the id as text, a raw crash as `crash.json`, a processed crash as JSON.
//!
//! It must not know files, sockets, clocks, SQL or async: time and chance come in as arguments. Start reading at
//! [`CrashId`], from which everything else about a crash's place follows, then [`RawCrash`] and
//! [`ProcessedCrash`].

mod address;
mod annotations;
mod explanation;
mod id;
mod minute;
mod place;
mod processed;
mod raw;
mod stackwalk;

pub use address::Address;
pub use annotations::{AnnotationValue, Annotations};
pub use explanation::{
    ExplainedFrame, ExplainedRule, FrameFate, ListLine, RuleOutcome, SignatureExplanation,
};
pub use id::{CrashId, IdError, ShortId, ThrottleDigit};
pub use minute::{Minute, MinuteError};
pub use place::{Place, PlaceError, QueueName, UnknownQueue};
pub use processed::{
    Cpu, Event, Memory, MissingSymbols, Os, PROCESSED_FORMAT, ProcessedCrash, ProcessedDump, ProcessorNote,
    Times,
};
pub use raw::{Dump, DumpMetadata, MAIN_DUMP, RAW_FORMAT, RawCrash, RawCrashError, RawMetadata, Throttle};
pub use stackwalk::{
    CrashInfo, Frame, Inline, Module, Sensitive, Stackwalk, SymbolStatus, SystemInfo, Thread, UnloadedModule,
    WalkStatus,
};
