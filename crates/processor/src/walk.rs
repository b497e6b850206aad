//! Walks the minidumps of one crash.

use crash::{Dump, DumpMetadata, ProcessedDump, RawCrash, Stackwalk, WalkStatus};
use stackwalk::{Pool, WalkFailure};

use crate::{
    metrics::Metrics,
    outcome::Failure,
    patience::{Ended, Patience},
    transform::is_minidump,
};

/// Walks every minidump of the crash, in its order.
///
/// A dump that makes its worker fail costs one attempt of the crash; on the last attempt it gets a status that says
/// so, and the other dumps are walked all the same. That no worker can be had says nothing about the dump: the crash
/// waits for one.
pub(crate) async fn walk_dumps(
    pool: &Pool,
    patience: &Patience,
    raw: &RawCrash,
    is_last_attempt: impl Fn() -> bool,
) -> Result<Vec<ProcessedDump>, Failure> {
    let no_worker = |failure: &WalkFailure| matches!(failure, WalkFailure::CouldNotStart(_));
    let mut walked = Vec::new();
    for (dump, metadata) in raw.dumps.iter().zip(&raw.metadata.dumps).filter(|(dump, _)| is_minidump(dump)) {
        let stackwalk = match patience.run(|| pool.walk(dump.bytes.clone()), no_worker).await {
            Ok(walked) => walked.stackwalk,
            Err(Ended::Failed(failure)) if is_last_attempt() => given_up(&failure),
            Err(ended) => return Err(ended.into()),
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
