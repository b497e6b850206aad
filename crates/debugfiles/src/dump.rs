//! From a debug file of any known format to Breakpad text.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::anyhow;
use dump_syms::object_info::ObjectInfo;
use dump_syms::platform::Platform;
use symbolic_debuginfo::pdb::PdbObject;
use symbolic_debuginfo::pe::PeObject;
use symbolic_debuginfo::{Archive, FileFormat, Object, peek};

use crate::{Error, Options, Stripped, SymbolFile, companion, contents};

const UNSTRIPPED: &str = "give the file from before it was stripped, or its .debug file; compile it with -g";
const BUNDLED: &str = "give its dSYM bundle (made by `dsymutil`), and compile it with -g";
const WITH_PDB: &str = "give its PDB, or put that beside it; link it with /DEBUG";

/// Makes Breakpad symbols, inlined functions included, of a PDB, PE, ELF or Mach-O file or a dSYM bundle.
///
/// Debug information and unwinding tables that were separated are joined again where both files are in one
/// folder: `app` with `app.debug` or `app.dSYM`, `app.exe` with its PDB.
///
/// # Errors
/// Says which file gives no symbols and what to do: see [`Error`].
pub fn dump(file: &Path, options: &Options) -> Result<SymbolFile, Error> {
    if file.is_dir() {
        let file =
            companion::within_bundle(file).ok_or_else(|| Error::UnknownFormat { file: file.to_owned() })?;
        return dump_bytes(&file, &contents(&file)?, options);
    }
    dump_bytes(file, &contents(file)?, options)
}

pub(crate) fn dump_bytes(file: &Path, bytes: &[u8], options: &Options) -> Result<SymbolFile, Error> {
    let source = Source { file, bytes, options };
    // The readers of these formats trust the files that compilers write; one that is cut off or hostile can make them
    // panic, and that must cost only this file.
    let symbols = catch_unwind(AssertUnwindSafe(|| source.symbols()))
        .unwrap_or_else(|_| Err(source.damaged(anyhow!("its reader panicked"))))?;
    let mut text = Vec::new();
    symbols.dump(&mut text).map_err(|error| source.damaged(error))?;
    SymbolFile::parse(file, text)
}

/// A file that symbols are made of.
struct Source<'a> {
    file: &'a Path,
    bytes: &'a [u8],
    options: &'a Options,
}

impl Source<'_> {
    fn symbols(&self) -> Result<ObjectInfo, Error> {
        match peek(self.bytes, true) {
            FileFormat::Elf => {
                let object = Object::parse(self.bytes).map_err(|error| self.damaged(error))?;
                if object.code_id().is_none() {
                    return Err(self.without_id("build id", "-Wl,--build-id"));
                }
                self.dwarf(&object, Platform::Linux, UNSTRIPPED)
            }
            FileFormat::MachO => {
                let archive = Archive::parse(self.bytes).map_err(|error| self.damaged(error))?;
                let object = self.chosen(&archive)?;
                if object.debug_id().is_nil() {
                    return Err(self.without_id("LC_UUID", "-Wl,-random_uuid, or without -no_uuid"));
                }
                self.dwarf(&object, Platform::Mac, BUNDLED)
            }
            FileFormat::Pdb => {
                let pdb = PdbObject::parse(self.bytes).map_err(|error| self.damaged(error))?;
                self.pdb(pdb)
            }
            FileFormat::Pe => {
                let pe = PeObject::parse(self.bytes).map_err(|error| self.damaged(error))?;
                self.pe(pe)
            }
            _ => Err(Error::UnknownFormat { file: self.file.to_owned() }),
        }
    }

    /// ELF and Mach-O: DWARF and the unwinding tables, in one file or in two.
    fn dwarf(
        &self,
        object: &Object<'_>,
        platform: Platform,
        remedy: &'static str,
    ) -> Result<ObjectInfo, Error> {
        let debug_id = object.debug_id().breakpad().to_string();
        let whole = object.has_debug_info() && object.has_unwind_info();
        let other = if whole { None } else { companion::with_id(companion::of_dwarf(self.file), &debug_id) };
        let Some((_, other)) = other else {
            if !object.has_debug_info() {
                self.accept_stripped(remedy)?;
            }
            return self.object(object, platform);
        };
        let archive = Archive::parse(&other).map_err(|error| self.damaged(error))?;
        let other =
            archive.objects().filter_map(Result::ok).find(|other| other.debug_id() == object.debug_id());
        let Some(other) = other else { return self.object(object, platform) };
        if !object.has_debug_info() && !other.has_debug_info() {
            self.accept_stripped(remedy)?;
        }
        ObjectInfo::merge(self.object(object, platform)?, self.object(&other, platform)?)
            .map_err(|error| self.damaged(error))
    }

    fn object(&self, object: &Object<'_>, platform: Platform) -> Result<ObjectInfo, Error> {
        let name = self.module_name();
        ObjectInfo::from_object(object, &name, None, None, platform, None, true)
            .map_err(|error| self.damaged(error))
    }

    fn pdb(&self, pdb: PdbObject<'_>) -> Result<ObjectInfo, Error> {
        let debug_id = pdb.debug_id().breakpad().to_string();
        let program = companion::with_id(companion::of_pdb(self.file), &debug_id);
        let (name, bytes) = match &program {
            Some((path, bytes)) => (Some(file_name(path)), Some(bytes)),
            None => (None, None),
        };
        let pe =
            bytes.map(|bytes| PeObject::parse(bytes)).transpose().map_err(|error| self.damaged(error))?;
        self.pdb_with(pdb, &file_name(self.file), name.as_deref(), pe)
    }

    fn pe(&self, pe: PeObject<'_>) -> Result<ObjectInfo, Error> {
        if pe.debug_id().is_nil() {
            return Err(self.without_id("debug id", "/DEBUG (with MinGW: -Wl,--build-id)"));
        }
        let name = file_name(self.file);
        if pe.has_debug_info() {
            let object = Object::Pe(pe);
            return ObjectInfo::from_object(&object, &name, None, Some(&name), Platform::Win, None, true)
                .map_err(|error| self.damaged(error));
        }
        let debug_id = pe.debug_id().breakpad().to_string();
        let recorded = pe.debug_file_name();
        let candidates = companion::of_program(self.file, recorded.as_deref());
        let Some((path, bytes)) = companion::with_id(candidates, &debug_id) else {
            self.accept_stripped(WITH_PDB)?;
            return ObjectInfo::from_pe(&name, pe).map_err(|error| self.damaged(error));
        };
        let pdb = PdbObject::parse(&bytes).map_err(|error| self.damaged(error))?;
        self.pdb_with(pdb, &file_name(&path), Some(&name), Some(pe))
    }

    fn pdb_with(
        &self,
        pdb: PdbObject<'_>,
        name: &str,
        program: Option<&str>,
        pe: Option<PeObject<'_>>,
    ) -> Result<ObjectInfo, Error> {
        ObjectInfo::from_pdb(pdb, name, program, pe, None, true).map_err(|error| self.damaged(error))
    }

    /// The one object of a Mach-O file, or the one of the architecture that was asked for.
    fn chosen<'d>(&self, archive: &Archive<'d>) -> Result<Object<'d>, Error> {
        let mut objects =
            archive.objects().collect::<Result<Vec<_>, _>>().map_err(|error| self.damaged(error))?;
        if objects.len() > 1 {
            let wanted = self.options.architecture.as_deref();
            let position = objects.iter().position(|object| Some(object.arch().name()) == wanted);
            let Some(position) = position else {
                let found = objects.iter().map(|object| object.arch().name()).collect::<Vec<_>>().join(", ");
                return Err(Error::Architecture { file: self.file.to_owned(), found });
            };
            return Ok(objects.swap_remove(position));
        }
        objects.pop().ok_or_else(|| self.damaged(anyhow!("there is nothing in it")))
    }

    /// What dumps call the module, unless the file itself says so. A separate debug file bears its program's name and
    /// an ending.
    fn module_name(&self) -> String {
        if companion::is_separate(self.file) {
            file_name(&self.file.with_extension(""))
        } else {
            file_name(self.file)
        }
    }

    fn accept_stripped(&self, remedy: &'static str) -> Result<(), Error> {
        match self.options.stripped {
            Stripped::Accept => Ok(()),
            Stripped::Refuse => Err(Error::NoDebugInfo { file: self.file.to_owned(), remedy }),
        }
    }

    fn without_id(&self, what: &'static str, flag: &'static str) -> Error {
        Error::NoId { file: self.file.to_owned(), what, flag }
    }

    fn damaged(&self, source: impl Into<anyhow::Error>) -> Error {
        Error::Damaged { file: self.file.to_owned(), source: source.into() }
    }
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
