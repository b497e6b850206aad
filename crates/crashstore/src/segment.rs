//! Reading one segment: its headers, its frames, and where it ends.
//!
//! Everything is read at a place and nothing is mapped: a file that another process appends to, cuts or unlinks at
//! the same moment gives short reads at worst.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::header::{self, Header};

/// One read takes the header and the first bytes of the frame, which say whether it is erased.
const PROBE: usize = 128;
/// After a frame below this size the next headers are read in one go.
const SMALL: u32 = 4 << 10;
const AHEAD: usize = 64 << 10;
const CHUNK: usize = 1 << 20;
/// What a reader takes into memory at most: the largest content, and zstd's worst case of making it larger.
pub(crate) const MAX_FRAME: u32 = (1 << 30) + (16 << 20);

/// A frame with a sound header that is inside the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) header: Header,
    pub(crate) erased: bool,
}

/// What stands at a place of a segment.
enum At {
    End,
    Entry(Entry),
    /// A sound header, and less behind it than it promises; or less than a header.
    Unfinished,
    Unreadable,
}

/// What follows the last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing.
    None,
    /// The beginning of a frame, or zeros.
    Unfinished,
    /// Bytes that are no header and have none behind them.
    Unreadable,
}

/// Unreadable bytes with a sound header behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// All headers of a segment.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) entries: Vec<Entry>,
    pub(crate) gaps: Vec<Gap>,
    /// Where the last frame ends.
    pub(crate) end: u64,
    pub(crate) tail: Tail,
    /// Everything before this was durable at some time; what comes after may never have been answered.
    pub(crate) durable: u64,
}

/// What a scan has read ahead: private annotations are a few hundred bytes each, and a minute may have thousands.
struct Window {
    start: u64,
    bytes: Vec<u8>,
    /// How much is read at a time.
    ahead: usize,
    /// The length of the file when it was last asked for.
    len: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { start: 0, bytes: Vec::new(), ahead: PROBE, len: 0 }
    }
}

/// A segment that is open for reading.
pub(crate) struct Segment {
    file: File,
    path: PathBuf,
}

impl Segment {
    /// Opens a segment; nothing when it is not there (any more).
    pub(crate) fn open(path: PathBuf) -> io::Result<Option<Self>> {
        match File::open(&path) {
            Ok(file) => Ok(Some(Self { file, path })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads through a file that was opened for more than reading.
    pub(crate) fn of(file: File, path: PathBuf) -> Self {
        Self { file, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn into_file(self) -> File {
        self.file
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// The frame whose header stands at `offset`, if one does.
    pub(crate) fn entry(&self, offset: u64) -> io::Result<Option<Entry>> {
        Ok(match self.at(offset, &mut Window::default())? {
            At::Entry(entry) => Some(entry),
            At::End | At::Unfinished | At::Unreadable => None,
        })
    }

    /// Reads all headers, over the frames between them.
    pub(crate) fn scan(&self) -> io::Result<Scan> {
        let mut scan = Scan { entries: Vec::new(), gaps: Vec::new(), end: 0, tail: Tail::None, durable: 0 };
        let mut window = Window::default();
        let mut offset = 0;
        loop {
            match self.at(offset, &mut window)? {
                At::Entry(entry) => {
                    offset = entry.header.end();
                    scan.end = offset;
                    scan.durable = scan.durable.max(entry.header.batch);
                    scan.entries.push(entry);
                }
                At::End => return Ok(scan),
                At::Unfinished => {
                    scan.tail = Tail::Unfinished;
                    return Ok(scan);
                }
                At::Unreadable => match self.next_header(offset)? {
                    Ok(next) => {
                        scan.gaps.push(Gap { start: offset, end: next });
                        offset = next;
                    }
                    Err(tail) => {
                        scan.tail = tail;
                        return Ok(scan);
                    }
                },
            }
        }
    }

    fn at(&self, offset: u64, window: &mut Window) -> io::Result<At> {
        if offset >= window.len {
            window.len = self.len()?;
        }
        if offset >= window.len {
            return Ok(At::End);
        }
        let bytes = self.peek(offset, window)?;
        let Some(header) = Header::read(bytes, offset) else {
            return Ok(if bytes.len() < header::FIXED { At::Unfinished } else { At::Unreadable });
        };
        let seen = usize::try_from(header.len).ok().and_then(|len| bytes.get(len..)?.first_chunk().copied());
        let head = match seen {
            Some(head) => head,
            None => {
                let mut head = [0; header::HEAD];
                if self.read(&mut head, header.frame_start())? < head.len() {
                    return Ok(At::Unfinished);
                }
                head
            }
        };
        if header.end() > window.len {
            window.len = self.len()?;
        }
        if header.end() > window.len {
            return Ok(At::Unfinished);
        }
        window.ahead = if header.frame_len < SMALL { AHEAD } else { PROBE };
        Ok(At::Entry(Entry { header, erased: head == header.erasure() }))
    }

    /// What stands at `offset`, from the window if it is there.
    fn peek<'a>(&self, offset: u64, window: &'a mut Window) -> io::Result<&'a [u8]> {
        let inside = |window: &Window| {
            let at = usize::try_from(offset.checked_sub(window.start)?).ok()?;
            (window.bytes.len().checked_sub(at)? >= PROBE).then_some(at)
        };
        let at = match inside(window) {
            Some(at) => at,
            None => {
                window.bytes.resize(window.ahead, 0);
                let read = self.read(&mut window.bytes, offset)?;
                window.bytes.truncate(read);
                window.start = offset;
                0
            }
        };
        Ok(window.bytes.get(at..).unwrap_or_default())
    }

    /// Looks for the next sound header after unreadable bytes. A header names its own place, so that bytes inside a
    /// frame that a client sent are no header by chance.
    fn next_header(&self, after: u64) -> io::Result<Result<u64, Tail>> {
        let mut zeros = true;
        let mut buffer = vec![0; CHUNK];
        let mut start = after;
        loop {
            let read = self.read(&mut buffer, start)?;
            let bytes = buffer.get(..read).unwrap_or_default();
            zeros &= bytes.iter().all(|byte| *byte == 0);
            for (at, _) in
                bytes.windows(header::MAGIC.len()).enumerate().filter(|(_, four)| *four == header::MAGIC)
            {
                let offset = start + at as u64;
                if offset > after && self.entry(offset)?.is_some() {
                    return Ok(Ok(offset));
                }
            }
            if read < buffer.len() {
                return Ok(Err(if zeros { Tail::Unfinished } else { Tail::Unreadable }));
            }
            // The magic may stand on the border of two chunks.
            start += (read - (header::MAGIC.len() - 1)) as u64;
        }
    }

    /// The bytes of a frame; nothing when they are not those that were written, or more than anyone writes.
    pub(crate) fn frame(&self, header: &Header) -> io::Result<Option<Vec<u8>>> {
        if header.frame_len > MAX_FRAME {
            return Ok(None);
        }
        let mut frame = Vec::new();
        let crc = self.walk(header, |chunk| frame.extend_from_slice(chunk))?;
        Ok((crc == Some(header.frame_crc)).then_some(frame))
    }

    /// Whether the bytes of the frame are those that were written, or were erased.
    pub(crate) fn is_whole(&self, entry: &Entry) -> io::Result<bool> {
        Ok(entry.erased || self.walk(&entry.header, |_| ())? == Some(entry.header.frame_crc))
    }

    /// Walks over a frame; its checksum, or nothing when the file has become shorter than it.
    fn walk(&self, header: &Header, mut take: impl FnMut(&[u8])) -> io::Result<Option<u32>> {
        let mut crc = crc32fast::Hasher::new();
        let mut left = header.frame_len as usize;
        let mut buffer = vec![0; left.min(CHUNK)];
        let mut offset = header.frame_start();
        while left > 0 {
            let want = left.min(buffer.len());
            let chunk = buffer.get_mut(..want).unwrap_or_default();
            if self.read(chunk, offset)? < want {
                return Ok(None);
            }
            crc.update(chunk);
            take(chunk);
            left -= want;
            offset += want as u64;
        }
        Ok(Some(crc.finalize()))
    }

    /// Reads until the buffer is full or the file ends.
    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}
