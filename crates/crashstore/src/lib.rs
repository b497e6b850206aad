//! Raw, private and processed crashes as segments on a local disk, or as objects in an object store.
//!
//! A crash that was saved here is durable when the caller hears of it, and is found again by its id alone, from any
//! process that sees the folder or the object store. This crate must not know what a crash means: it moves bytes, and the types of
//! `crash` say which. It knows no queue, no database and no HTTP. Start reading at [`CrashStore`] and [`Writer`];
//! on a disk, `commit` and `appender` are how a crash gets there, `local` and `segment` how it is found, `tail` what happens
//! after a kill, and `erase` says which locks there are. `objects` is all there is to an object store, and `spool` what a collector does while the store takes no crashes.
//!
//! # Folders
//!
//! ```text
//! raw/<yyyymmdd>/<hhmm>/<segment>.tar.zst         the minute is that of the crash id
//! private/<yyyymmdd>/<hhmm>/<segment>.json.zst
//! processed/<yyyymmdd>/<hhmm>/<segment>.json.zst
//! writers/<writer>.lock                           held (flock) by the process that writes under the name
//! writers/<writer>.segments                       what it has open, and may not append to any more
//! ```
//!
//! A segment is named like its writer. A writer that may not, or does not want to append to a segment any more goes on
//! with `<writer>+1`, `<writer>+2` and so on: after a failed write or sync, after a kill, or at 1 GiB.
//!
//! # Segments
//!
//! A segment is a sequence of headers and frames, each header followed by its frame, with nothing between them. A
//! frame is one zstd frame. In `raw` it holds a tar with `<crash id>/crash.json` and each dump as
//! `<crash id>/<member>`; in `private` the annotations as JSON; in `processed` the processed crash as JSON. A header
//! is a zstd *skippable* frame, so that a segment is an ordinary file for ordinary tools:
//! `tar --zstd --ignore-zeros -tf`, `zstd -t`, `zstd -dc`. All numbers are little-endian:
//!
//! | offset | bytes | meaning |
//! |---|---|---|
//! | 0 | 4 | `0x184D2A5C`, one of zstd's magic numbers of skippable frames |
//! | 4 | 4 | how many bytes of the header follow: 64 and the padding |
//! | 8 | 4 | `CMSF` |
//! | 12 | 2 | version of this format: 1. Later versions add fields after these 72 bytes, and readers go by the length |
//! | 14 | 2 | of a processed crash, the attempt that gave it; else 0 |
//! | 16 | 16 | the crash id, in the order of its text |
//! | 32 | 8 | when it was saved, in microseconds since 1970 (signed). Of several frames of a crash the latest counts |
//! | 40 | 8 | offset of this header in the segment, so that bytes inside a frame cannot pass for a header |
//! | 48 | 8 | offset of the first header of the same batch: all before it was durable when this was written |
//! | 56 | 4 | flags. 1: a private frame of the crash was saved before this raw frame |
//! | 60 | 4 | length of the frame that follows the header |
//! | 64 | 4 | CRC-32 (IEEE) of that frame |
//! | 68 | 4 | CRC-32 (IEEE) of the 68 bytes before |
//! | 72 | 0-7 | zeros, so that the frame starts at a multiple of 8 |
//!
//! Because of the padding the first 8 bytes of a frame are in one sector, and one write of `0x184D2A5D` and of the length
//! of the rest makes the frame skippable: that is an erased crash. Nothing else of what was synced is ever changed.
//!
//! # Objects
//!
//! In an object store each crash has an object in each area, `raw/<yyyymmdd>/<hhmm>/<crash id>.tar.zst` and so on, below
//! the prefix of `crashstore.url`. It is what a segment with this one crash would be: a header for offset 0, and the frame.
//! A crash that is saved again replaces its object; an erased crash has none.
//!
//! # What durable means
//!
//! Saved means: `fdatasync` has returned for the file, and for a new file `fsync` for every folder up to the store's.
//! That is as good as the filesystem and the disk behind it. In an object store it means that the object store has said
//! so. A private frame is durable before its raw frame is
//! written, so that a crash whose raw frame is there is whole.
//!
//! # What is left on the disk
//!
//! A writer takes no raw crash, and then no processed one, once the disk is nearly full: `space` says when, and why.

mod appender;
mod commit;
mod compact;
mod config;
mod content;
mod disk;
mod erase;
mod error;
#[cfg(test)]
mod faults;
mod header;
mod layout;
mod list;
mod local;
mod lock;
mod objects;
mod record;
mod retention;
mod save;
mod segment;
pub mod space;
mod spool;
mod store;
mod tail;
mod upkeep;
mod usage;
mod writer;

// The crashes of the tests are those of `tests/support`, which knows the crate by its name.
#[cfg(test)]
extern crate self as crashstore;

pub use compact::{Compacted, CompactionOrder};
pub use config::Config;
pub use erase::Erased;
pub use error::Error;
pub use layout::{Area, UnknownArea};
pub use list::{Damage, Found};
pub use retention::Freed;
pub use save::Writer;
pub use spool::{
    Mover, Passed, Saved, SpoolDepth, SpoolingWriter, Takes, spool_depth, spooled, spooled_short,
};
pub use store::CrashStore;
pub use tail::Cut;
pub use usage::{DayUsage, Room};
