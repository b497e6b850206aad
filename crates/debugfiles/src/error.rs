//! Why a file gives no symbols, and what to do about it.

use std::path::PathBuf;

/// Why a file gives no symbols. Every message names the file and says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}", file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// It is of none of the formats that are known here.
    #[error("{} is no debug file: give a PDB, PE, ELF or Mach-O file, a dSYM bundle, or Breakpad symbols", file.display())]
    UnknownFormat {
        /// The file.
        file: PathBuf,
    },
    /// It names no functions, files or lines.
    #[error("{} has no debug information: {remedy}", file.display())]
    NoDebugInfo {
        /// The file.
        file: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// It has no id of its own, so that nothing could find its symbols again.
    #[error(
        "{} has no {what}, so dumps and symbols of it would be given ids that differ: link it again with {flag}",
        file.display()
    )]
    NoId {
        /// The file.
        file: PathBuf,
        /// What the format calls its id.
        what: &'static str,
        /// The flag of the linker that makes one.
        flag: &'static str,
    },
    /// It holds several architectures, and none or another one was chosen.
    #[error("{} holds {found}: choose one of these architectures", file.display())]
    Architecture {
        /// The file.
        file: PathBuf,
        /// What it holds, separated by commas.
        found: String,
    },
    /// It is of a known format and cannot be understood.
    #[error("cannot make symbols of {}: it is damaged, or of a version that is not known here", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What its reader says.
        source: anyhow::Error,
    },
    /// The first line of its symbols cannot be used.
    #[error("the symbols of {} cannot be used: {reason}", file.display())]
    BadModule {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}
