//! An object store: whether it lets us do what the roles do.

use std::time::{Duration, Instant};

use crashstore::CrashStore;

use super::findings::Findings;

/// How long it may take to answer one question, which is asked once.
const ANSWER: Duration = Duration::from_secs(8);

pub(super) async fn look(config: crashstore::Config) -> Findings {
    let mut findings = Findings::default();
    let url = config.url.clone().unwrap_or_default();
    let once = crashstore::Config { request_timeout: ANSWER.into(), retries: 0, ..config };
    let began = Instant::now();
    let tried = async { CrashStore::open(&once)?.try_out().await };
    match tried.await {
        Ok(()) => findings.ok(
            "store.objects",
            format!(
                "{url}: an object was listed, written, read and deleted in {:.0} ms",
                began.elapsed().as_secs_f64() * 1000.0
            ),
        ),
        Err(error) => findings.fail(
            "store.objects",
            format!("{url}: {:#}", anyhow::Error::from(error)),
            "see crashstore.endpoint, crashstore.region and the key, and that it may list, read, write and delete there. \
             Collectors go on, and keep crashes in their spool",
        ),
    }
    findings
}
