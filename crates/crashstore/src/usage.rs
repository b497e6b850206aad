//! What a store on a disk takes, day by day, and how much room there is.

use std::{io, os::unix::fs::MetadataExt};

use jiff::civil::Date;
use rustix::fs::statvfs;

use crate::{Area, Error, layout::names, local::LocalStore};

/// What one day of an area takes on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayUsage {
    /// The UTC day.
    pub day: Date,
    /// Segments, or objects.
    pub files: u64,
    /// What they take; holes left out.
    pub bytes: u64,
}

/// The room of the filesystem that the store is on, as its users have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// All of it.
    pub total: u64,
    /// What may still be written.
    pub free: u64,
}

impl LocalStore {
    /// The days that an area has folders for, in their order.
    pub(crate) fn days(&self, area: Area) -> Result<Vec<Date>, Error> {
        let folder = self.layout().area(area);
        let found =
            names(&folder).map_err(|error| Error::io(format!("listing {}", folder.display()), error))?;
        Ok(found.iter().filter_map(|name| day_of(name)).collect())
    }

    /// What a day of an area takes: a look at every segment.
    pub(crate) fn usage(&self, area: Area, day: Date) -> Result<DayUsage, Error> {
        let folder = self.layout().day(area, day);
        let mut usage = DayUsage { day, files: 0, bytes: 0 };
        let mut add = || {
            for minute in names(&folder)? {
                let minute = folder.join(minute);
                for file in names(&minute)? {
                    match std::fs::symlink_metadata(minute.join(file)) {
                        Ok(metadata) => {
                            usage.files += 1;
                            usage.bytes += metadata.blocks() * 512;
                        }
                        // Dropped with its day meanwhile.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Ok(())
        };
        add().map_err(|error| Error::io(format!("measuring {}", folder.display()), error))?;
        Ok(usage)
    }

    /// The room of the filesystem that the store is on.
    pub(crate) fn room(&self) -> Result<Room, Error> {
        let root = self.layout().root();
        let room = statvfs(root).map_err(|error| {
            Error::io(format!("asking how much room {} has", root.display()), io::Error::from(error))
        })?;
        Ok(Room { total: room.f_blocks * room.f_frsize, free: room.f_bavail * room.f_frsize })
    }
}

pub(crate) fn day_of(name: &str) -> Option<Date> {
    let digits = name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Date::strptime("%Y%m%d", name).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_day_is_none() {
        assert_eq!(day_of("20261123"), Some(jiff::civil::date(2026, 11, 23)));
        for name in ["", "2026112", "20261323", "2026-1-1", "+2026112", "x0261123"] {
            assert_eq!(day_of(name), None, "{name}");
        }
    }
}
