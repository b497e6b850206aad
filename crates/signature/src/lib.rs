//! Crash data in, signature and its explanation out: the name under which crashes are grouped, and why it is that.
//!
//! The algorithm is that of Mozilla's public signature generator, so that the same crash has the same name. It goes
//! over the frames of the crashing thread: lists (`lists/`) say which are skipped, which are kept on the way, and where
//! it starts; the first frame that no list knows ends it. Then come the rules (`rules/`), which know what else a crash
//! can be about.
//!
//! Making a signature is pure: the same crash and the same lists give the same one. It must not know where crashes come
//! from; reading a folder of lists is all that it does on a disk. Start reading at [`Generator::generate`], then
//! `stack`, then `normalise`.

mod bucket;
mod crash_data;
mod explain;
mod generate;
mod java;
mod known;
mod lists;
mod normalise;
mod python;
mod rules;
mod stack;

use crash::SignatureExplanation;

pub use bucket::{Bucket, Mix};
pub use crash_data::{CrashData, NoCrashData};
pub use generate::Generator;
pub use known::CacheUse;
pub use lists::{ListError, Lists};

/// The name under which a crash is grouped, and why it is that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The name.
    pub signature: String,
    /// The texts of the first 40 frames, joined by ` | `; empty when there is none.
    pub proto_signature: String,
    /// What a human should know about how the name came about, each beginning with the rule that says it.
    pub notes: Vec<String>,
    /// What became of each frame, and what each rule did.
    pub explanation: SignatureExplanation,
}
