//! Finds the other half of a module: debug information and the tables for unwinding are often in two files.
//!
//! Only files in the places where build tools put them are looked at, and only a file with the same debug id is
//! taken.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use symbolic_debuginfo::Archive;

/// Endings of Windows programs whose PDB bears the same name.
const PROGRAMS: [&str; 4] = ["exe", "dll", "sys", "ocx"];
const BUNDLE: &str = "dSYM";

/// The file with the debug information within a dSYM bundle. Nothing where the folder is none, or holds several.
pub(crate) fn within_bundle(bundle: &Path) -> Option<PathBuf> {
    let mut files = std::fs::read_dir(bundle.join("Contents/Resources/DWARF")).ok()?;
    let file = files.next()?.ok()?.path();
    files.next().is_none().then_some(file)
}

/// `app` or `libapp.so` for what is beside `app.debug`, `libapp.so.debug` or in `app.dSYM`, and the other way round.
pub(crate) fn of_dwarf(file: &Path) -> Option<PathBuf> {
    if let Some(bundle) = file.ancestors().find(|folder| folder.extension() == Some(OsStr::new(BUNDLE))) {
        return Some(bundle.with_extension(""));
    }
    if is_separate(file) {
        return Some(file.with_extension(""));
    }
    let debug = with_ending(file, "debug");
    if debug.is_file() { Some(debug) } else { within_bundle(&with_ending(file, BUNDLE)) }
}

/// Whether the name says that the file holds debug information which was separated from its program.
pub(crate) fn is_separate(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "debug" || extension == "dbg")
}

/// Programs that the PDB may be of.
pub(crate) fn of_pdb(file: &Path) -> impl Iterator<Item = PathBuf> {
    PROGRAMS.iter().map(|extension| file.with_extension(extension))
}

/// Where the PDB of a program may be, which calls it `recorded`: usually the path it had on the machine that built it.
pub(crate) fn of_program(file: &Path, recorded: Option<&str>) -> impl Iterator<Item = PathBuf> {
    let name = recorded.and_then(|path| path.rsplit(['/', '\\']).next()).filter(|name| !name.is_empty());
    name.map(|name| file.with_file_name(name)).into_iter().chain([file.with_extension("pdb")])
}

/// The first of `files` that holds an object with this debug id.
pub(crate) fn with_id(
    files: impl IntoIterator<Item = PathBuf>,
    debug_id: &str,
) -> Option<(PathBuf, Vec<u8>)> {
    files.into_iter().filter(|file| file.is_file()).find_map(|file| {
        let bytes = std::fs::read(&file).ok()?;
        let matches = Archive::parse(&bytes)
            .ok()?
            .objects()
            .filter_map(Result::ok)
            .any(|object| object.debug_id().breakpad().to_string() == debug_id);
        matches.then_some((file, bytes))
    })
}

fn with_ending(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}
