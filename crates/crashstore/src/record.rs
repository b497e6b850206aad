//! The record of a writer: the segments that it has open, and those that it may not append to any more.
//!
//! It is `writers/<name>.segments`, a line a segment (`raw/20261123/1310 node-1+2`), and it is durable before the
//! segments' first byte. A writer that ends in order closes its segments and takes their lines out; so a line that
//! is found at the start is a segment that may have a torn tail, or whose sync may have failed, and that bounds what a
//! start looks at. It is replaced as a whole, by rename: there is no torn record.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use crate::{
    Area, Error,
    disk::{Disk, sync_folder},
    layout::{Layout, Slot, parse_segment_name, segment_name},
};

/// Segments by area, minute and number.
pub(crate) type Lines = BTreeSet<(Slot, u32)>;

/// Reads a writer's record; it is empty when there is none.
pub(crate) fn read(layout: &Layout, writer: &str) -> Result<Lines, Error> {
    let path = layout.record(writer);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lines::new()),
        Err(error) => {
            return Err(Error::io(format!("reading the writer's record {}", path.display()), error));
        }
    };
    Ok(text.lines().filter_map(|line| parse(line, writer)).collect())
}

/// Replaces a writer's record, durably; an empty one is removed.
pub(crate) fn write(disk: &mut dyn Disk, layout: &Layout, writer: &str, lines: &Lines) -> Result<(), Error> {
    let path = layout.record(writer);
    replace(disk, layout, &path, writer, lines)
        .map_err(|error| Error::io(format!("writing the writer's record {}", path.display()), error))
}

fn replace(disk: &mut dyn Disk, layout: &Layout, path: &Path, writer: &str, lines: &Lines) -> io::Result<()> {
    if lines.is_empty() {
        ignore_missing(disk.remove(path))?;
        return sync_folder(disk, &layout.writers());
    }
    let new = path.with_extension("segments.new");
    ignore_missing(disk.remove(&new))?;
    let file = disk.create(&new)?;
    let text: String = lines.iter().map(|(slot, number)| line(*slot, *number, writer)).collect();
    disk.write(&file, &new, text.as_bytes(), 0)?;
    disk.sync(&file, &new)?;
    disk.rename(&new, path)?;
    sync_folder(disk, &layout.writers())
}

pub(crate) fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn line((area, minute): Slot, number: u32, writer: &str) -> String {
    format!("{area}/{minute} {}\n", segment_name(writer, number))
}

fn parse(line: &str, writer: &str) -> Option<(Slot, u32)> {
    let (folder, name) = line.split_once(' ')?;
    let (area, minute) = folder.split_once('/')?;
    let (owner, number) = parse_segment_name(name)?;
    let slot = (area.parse::<Area>().ok()?, minute.parse().ok()?);
    (owner == writer).then_some((slot, number))
}

/// The highest number of each area and minute: all of a writer's segments up to it are closed for good.
pub(crate) fn sealed(lines: &Lines) -> BTreeMap<Slot, u32> {
    lines.iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::LocalDisk;

    #[test]
    fn a_record_reads_back_and_an_empty_one_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().to_owned());
        std::fs::create_dir(layout.writers()).unwrap();
        let lines: Lines = [
            ((Area::Raw, "20261123/1310".parse().unwrap()), 0),
            ((Area::Private, "20261123/1311".parse().unwrap()), 12),
        ]
        .into();
        write(&mut LocalDisk, &layout, "node-1", &lines).unwrap();
        assert_eq!(read(&layout, "node-1").unwrap(), lines);
        assert_eq!(read(&layout, "node-2").unwrap(), Lines::new());

        write(&mut LocalDisk, &layout, "node-1", &Lines::new()).unwrap();
        assert!(!layout.record("node-1").exists());
        assert_eq!(read(&layout, "node-1").unwrap(), Lines::new());
    }

    #[test]
    fn lines_of_other_writers_and_of_nobody_are_passed_over() {
        for line in [
            "",
            "raw/20261123/1310",
            "raw/20261123/1310 node-2",
            "raw/20261123 node-1",
            "x/20261123/1310 node-1",
        ] {
            assert_eq!(parse(line, "node-1"), None, "{line}");
        }
    }
}
