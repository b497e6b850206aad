//! Whose spool a folder is: a file in it names the store that its crashes go to.
//!
//! What is in a spool is moved into the store of whoever finds it and unlinked, so a folder that is something else, or
//! another installation's spool, must never be taken for one.

use std::{fs, io, io::Write, path::Path};

use crate::{
    Area, Config, Error,
    disk::{self, LocalDisk},
    local::LocalStore,
};

/// The file that names the store.
const FILE: &str = "spool-of";

/// Makes the folder the spool of the configuration's store, or makes sure that it is.
///
/// Killed in the middle it leaves a file that nobody reads, or the whole file.
pub(super) fn take(store: &LocalStore, config: &Config) -> Result<(), Error> {
    is_no_store(store)?;
    let (folder, own) = (store.layout().root(), config.store_name());
    let path = folder.join(FILE);
    let failed = |error| Error::io(format!("writing whose spool it is to {}", path.display()), error);
    let said = match read(&path).map_err(failed)? {
        Some(said) => said,
        None => {
            write(folder, &path, &own).map_err(failed)?;
            // Another one may have been quicker.
            read(&path).map_err(failed)?.unwrap_or_default()
        }
    };
    if said == own {
        return Ok(());
    }
    let (spool, file) = (folder.display(), path.display());
    Err(Error::Spool {
        what: format!(
            "{spool} is the spool of {said}, and the crash store is {own}: name another folder; or, where what is in it \
             does belong into {own}, remove {file}"
        ),
    })
}

/// Results of processing are never spooled: a folder that has any is a crash store.
pub(super) fn is_no_store(store: &LocalStore) -> Result<(), Error> {
    let layout = store.layout();
    for minute in store.minutes(Area::Processed)? {
        let slot = (Area::Processed, minute);
        let failed = |error| Error::io(format!("listing {}", layout.minute(slot).display()), error);
        if !layout.segments(slot).map_err(failed)?.is_empty() {
            let folder = layout.root().display();
            let what = format!("{folder} has processed crashes in it, so it is a crash store and no spool");
            return Err(Error::Spool { what });
        }
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(said) => Ok(Some(said.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whole, or not at all; and never over what another one has written.
fn write(folder: &Path, path: &Path, store: &str) -> io::Result<()> {
    let unfinished = path.with_extension(format!("{:016x}", rand::random::<u64>()));
    let mut file = disk::options().create(true).truncate(true).open(&unfinished)?;
    writeln!(file, "{store}")?;
    file.sync_all()?;
    match fs::hard_link(&unfinished, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => fs::remove_file(&unfinished)?,
    }
    disk::sync_folder(&mut LocalDisk, folder)
}
