//! `crashmill symbols`: add symbol files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Subcommand;
use debugfiles::{Options, Stripped};

use crate::{args::Place, config::Config};

pub(crate) const EXAMPLES: &str = "\
Examples:
  crashmill symbols add target/release/game --data /srv/crashmill";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Put debug files (ELF, Mach-O, dSYM, PE, PDB) or Breakpad symbols into the symbol folder
    #[command(after_help = "\
Examples:
  crashmill symbols add target/release/game --data /srv/crashmill
  crashmill symbols add game.pdb libengine.so --to /srv/symbols")]
    Add(Add),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// The files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The symbol folder [default: the first of symbols.paths in the configuration]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Take files without debug information too: exported names, and how to unwind (system libraries)
    #[arg(long)]
    stripped: bool,
    /// The architecture to take out of a universal Mach-O file
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
}

pub(crate) fn run(place: &Place, command: &Command) -> anyhow::Result<ExitCode> {
    let Command::Add(add) = command;
    let folder = match &add.to {
        Some(folder) => folder.clone(),
        None => match Config::load(place)?.symbols.paths.first() {
            Some(folder) => folder.clone(),
            None => bail!(
                "no symbol folder is configured: say --to DIR, or set symbols.paths in the configuration"
            ),
        },
    };
    let options = Options {
        architecture: add.arch.clone(),
        stripped: if add.stripped { Stripped::Accept } else { Stripped::Refuse },
    };
    let mut failed = false;
    for file in &add.files {
        match add_one(file, &folder, &options) {
            Ok(path) => println!("{}", path.display()),
            Err(error) => {
                eprintln!("crashmill: {error:#}");
                failed = true;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Writes the symbols of one file, whole or not at all: workers may be looking for them.
fn add_one(file: &Path, folder: &Path, options: &Options) -> anyhow::Result<PathBuf> {
    let symbols = debugfiles::read(file, options)?;
    let path = folder.join(symbols.relative_path());
    let parent = path.parent().context("a symbol file has a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&unfinished, &symbols.text).with_context(|| format!("writing {}", unfinished.display()))?;
    fs::rename(&unfinished, &path).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
