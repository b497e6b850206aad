//! Walks the minidumps of one crash.

use crash::{Dump, DumpMetadata, ProcessedDump, RawCrash, Stackwalk, WalkStatus};
use stackwalk::{Pool, WalkFailure};

use crate::{metrics::Metrics, outcome::Failure, transform::is_minidump};

/// Walks every minidump of the crash, in its order.
///
/// A dump that makes its worker fail costs one attempt of the crash; on the last attempt it gets a status that says
/// so, and the other dumps are walked all the same.
pub(crate) async fn walk_dumps(
    pool: &Pool,
    raw: &RawCrash,
    is_last_attempt: impl Fn() -> bool,
) -> Result<Vec<ProcessedDump>, Failure> {
    let mut walked = Vec::new();
    for (dump, metadata) in raw.dumps.iter().zip(&raw.metadata.dumps).filter(|(dump, _)| is_minidump(dump)) {
        let stackwalk = match pool.walk(dump.bytes.clone()).await {
            Ok(walked) => walked.stackwalk,
            // No worker at all says nothing about the dump: the crash waits until there is one.
            Err(failure @ WalkFailure::CouldNotStart(_)) => return Err(Failure::Walk(failure)),
            Err(failure) if is_last_attempt() => given_up(&failure),
            Err(failure) => return Err(Failure::Walk(failure)),
        };
        Metrics::stackwalk(stackwalk.status.as_str());
        walked.push(processed(dump, metadata, stackwalk));
    }
    Ok(walked)
}

/// The stackwalk of a dump that no worker could finish.
fn given_up(failure: &WalkFailure) -> Stackwalk {
    let status = match failure {
        WalkFailure::TimedOut { .. } => WalkStatus::TimedOut,
        _ => WalkStatus::WorkerDied,
    };
    Stackwalk::failed(status, failure.to_string())
}

fn processed(dump: &Dump, metadata: &DumpMetadata, stackwalk: Stackwalk) -> ProcessedDump {
    ProcessedDump {
        name: dump.name.clone(),
        bytes: metadata.bytes,
        sha256: metadata.sha256.clone(),
        stackwalk,
    }
}
