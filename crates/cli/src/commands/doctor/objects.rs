//! An object store: whether it answers, and lets us look.

use std::time::{Duration, Instant};

use crash::{CrashId, ThrottleDigit};
use crashstore::{Area, CrashStore};
use jiff::Timestamp;

use super::findings::Findings;

/// How long it may take to answer one question, which is asked once.
const ANSWER: Duration = Duration::from_secs(8);

pub(super) async fn look(config: crashstore::Config) -> Findings {
    let mut findings = Findings::default();
    let url = config.url.clone().unwrap_or_default();
    let once = crashstore::Config { request_timeout: ANSWER.into(), retries: 0, ..config };
    let began = Instant::now();
    match crashes_of_this_minute(&once).await {
        Ok(crashes) => findings.ok(
            "store.objects",
            format!(
                "{url} answers in {:.0} ms and may be listed; {crashes} crashes of this minute are there. Whether it may \
                 be written is not tried",
                began.elapsed().as_secs_f64() * 1000.0
            ),
        ),
        Err(error) => findings.fail(
            "store.objects",
            format!("{url}: {error:#}"),
            "see crashstore.endpoint, crashstore.region and the key, and that it may list, read, write and delete there. \
             Collectors go on, and keep crashes in their spool",
        ),
    }
    findings
}

async fn crashes_of_this_minute(config: &crashstore::Config) -> anyhow::Result<usize> {
    let minute = CrashId::new(Timestamp::now(), ThrottleDigit::Accept, 0)?.minute();
    Ok(CrashStore::open(config)?.list(Area::Raw, minute).await?.len())
}
