//! Everything that a dump says apart from its stacks.

use minidump::{Minidump, MinidumpStream as _, MinidumpThreadList, Module};
use minidump_processor::{ProcessError, ProcessState, ProcessorOptions, process_minidump_with_options};
use minidump_unwind::{FileError, FileKind, FillSymbolError, FrameSymbolizer, FrameWalker, SymbolProvider};

use std::path::PathBuf;

/// An entry of the directory: the stream's type, size and offset, 32 bits each.
const ENTRY_BYTES: usize = 12;

/// Has the dump processed as if it had no threads.
///
/// The processor walks all threads of a dump before it gives anything back, and nothing limits the memory that
/// takes. So it sees a copy of the dump in which the list of threads is empty, and the stacks are walked by
/// [`crate::threads`], within a budget. What is lost: the instruction analysis does not see the crashing stack, which
/// it wants for `ret` instructions only.
pub(crate) async fn overview(dump: &[u8], read: &Minidump<'_, &[u8]>) -> Result<ProcessState, ProcessError> {
    let copy = without_threads(dump, read).ok_or(ProcessError::MissingThreadList)?;
    let copy = Minidump::read(copy)?;
    process_minidump_with_options(&copy, &NoSymbols, ProcessorOptions::stable_basic()).await
}

/// A copy of the dump whose list of threads is empty.
fn without_threads(dump: &[u8], read: &Minidump<'_, &[u8]>) -> Option<Vec<u8>> {
    let word = |number: u32| match read.endian {
        minidump::Endian::Little => number.to_le_bytes(),
        minidump::Endian::Big => number.to_be_bytes(),
    };
    let count_at = u32::try_from(dump.len()).ok()?;
    let mut copy = Vec::with_capacity(dump.len() + 4);
    copy.extend_from_slice(dump);
    copy.extend_from_slice(&word(0));

    let directory = usize::try_from(read.header.stream_directory_rva).ok()?;
    let length = usize::try_from(read.header.stream_count).ok()?.checked_mul(ENTRY_BYTES)?;
    let entries = copy.get_mut(directory..directory.checked_add(length)?)?;
    for entry in entries.chunks_exact_mut(ENTRY_BYTES) {
        let (stream_type, location) = entry.split_at_mut(4);
        if stream_type == word(MinidumpThreadList::STREAM_TYPE) {
            let (size, offset) = location.split_at_mut(4);
            size.copy_from_slice(&word(4));
            offset.copy_from_slice(&word(count_at));
        }
    }
    Some(copy)
}

/// Nothing asks for symbols where there are no stacks.
struct NoSymbols;

#[async_trait::async_trait]
impl SymbolProvider for NoSymbols {
    async fn fill_symbol(
        &self,
        _: &(dyn Module + Sync),
        _: &mut (dyn FrameSymbolizer + Send),
    ) -> Result<(), FillSymbolError> {
        Err(FillSymbolError {})
    }

    async fn walk_frame(&self, _: &(dyn Module + Sync), _: &mut (dyn FrameWalker + Send)) -> Option<()> {
        None
    }

    async fn get_file_path(&self, _: &(dyn Module + Sync), _: FileKind) -> Result<PathBuf, FileError> {
        Err(FileError::NotFound)
    }
}
