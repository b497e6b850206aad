//! Debug files in, Breakpad symbols out.
//!
//! What compilers and linkers leave beside a program (PDB, PE, ELF, Mach-O, dSYM bundles) becomes the text by which
//! a stackwalk names functions, files and lines. [`dump`] makes that text, inlined functions included; [`read`] also
//! takes text that another tool made. Either way the result knows where it belongs in a folder of symbols:
//! [`SymbolFile::relative_path`].
//!
//! A module is found again only by its debug id. Where a file carries none, every tool invents another one and
//! the symbols never match a dump: such files are refused, with the linker flag that cures it.
//!
//! Names and ids are checked, so that they are safe as file names whatever a file says. This crate must not know
//! minidumps, the network, or where symbols are kept; it alone links `dump_syms`. Start reading at [`dump`].

mod companion;
mod dump;
mod error;
mod module;

use std::path::{Path, PathBuf};

pub use dump::dump;
pub use error::Error;
pub use module::SymbolFile;

/// How a debug file is dumped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// The architecture to take out of a universal Mach-O file (`x86_64`, `arm64`); files of one architecture need
    /// none, and ignore it.
    pub architecture: Option<String>,
    /// What becomes of files whose debug information was stripped.
    pub stripped: Stripped,
}

/// What becomes of files without debug information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stripped {
    /// They are refused: whoever gives one has most likely taken the wrong file.
    #[default]
    Refuse,
    /// They are dumped for what they have: exported names, and how to unwind. That is all there is of most system
    /// libraries, and it makes stacks that go through them whole.
    Accept,
}

/// Reads a Breakpad symbol file, or dumps any other file that [`dump`] takes.
///
/// # Errors
/// As [`dump`], and [`Error::BadModule`] where a symbol file's first line is not what it must be.
pub fn read(file: &Path, options: &Options) -> Result<SymbolFile, Error> {
    if file.is_dir() {
        return dump(file, options);
    }
    let bytes = contents(file)?;
    if bytes.starts_with(b"MODULE ") {
        return SymbolFile::parse(file, bytes);
    }
    dump::dump_bytes(file, &bytes, options)
}

fn contents(file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(|source| Error::Open { file: PathBuf::from(file), source })
}
