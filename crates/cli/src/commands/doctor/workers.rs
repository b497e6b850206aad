//! A stackwalk worker, started and given a dump as a processor does.

use crash::WalkStatus;

use super::findings::Findings;
use crate::{commands::stackwalk::walk_in_worker, config::Config};

pub(super) async fn look(config: Config) -> Findings {
    let mut findings = Findings::default();
    match walk_in_worker(&config, smallest_dump().into()).await {
        Ok(walked) if walked.status == WalkStatus::Ok => {
            findings.ok("workers.walk", "a worker starts within its limits, and walks a dump");
        }
        Ok(walked) => findings.fail(
            "workers.walk",
            format!("a worker does not walk a good dump: {}", walked.error.unwrap_or_default()),
            "this is a mistake in the program: tell its makers, with this line",
        ),
        Err(error) => findings.fail(
            "workers.walk",
            format!("{error:#}"),
            "see that this executable may be run by the user of the roles, and that stackwalk.memory is enough",
        ),
    }
    findings
}

/// A minidump of a system without threads: the header, the list of its two streams, and these.
///
/// Laid out as Microsoft's `minidumpapiset.h` says: `MINIDUMP_HEADER`, `MINIDUMP_DIRECTORY`, `MINIDUMP_SYSTEM_INFO`,
/// `MINIDUMP_THREAD_LIST`. Numbers are little-endian.
fn smallest_dump() -> Vec<u8> {
    const HEADER: u32 = 32;
    const DIRECTORY: u32 = 2 * 12;
    const SYSTEM_INFO: u32 = 56;
    const AMD64: u16 = 9;
    const LINUX: u32 = 0x8201;
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let system = HEADER + DIRECTORY;
    let threads = system + SYSTEM_INFO;

    let mut dump = b"MDMP".to_vec();
    // Version, streams, where their list is, checksum, time, flags in eight bytes.
    dump.extend(words(&[0xa793, 2, HEADER, 0, 0, 0, 0]));
    // Each stream: its kind, its length, where it is.
    dump.extend(words(&[7, SYSTEM_INFO, system]));
    dump.extend(words(&[3, 4, threads]));
    dump.extend(AMD64.to_le_bytes());
    // Level and revision of the processor, how many there are, and the kind of product.
    dump.extend([0; 6]);
    // The system's version, its kind, its name (nowhere), its suite, and what is known of the processor.
    dump.extend(words(&[0, 0, 0, LINUX, 0, 0, 0, 0, 0, 0, 0, 0]));
    dump.extend(words(&[0]));
    dump
}
