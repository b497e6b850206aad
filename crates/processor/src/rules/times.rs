//! What the client's clock says: when it crashed, how long it had run, how old the installation is.

use crash::{ProcessedCrash, RawCrash};
use jiff::Timestamp;

use super::{Numbers, Outcome, Rule, RuleError};

const CRASH_TIME: &str = "CrashTime";
const STARTUP_TIME: &str = "StartupTime";
const UPTIME: &str = "UptimeTS";
const INSTALL_TIME: &str = "InstallTime";
const LAST_CRASH: &str = "SecondsSinceLastCrash";

const UNIX_SECONDS: &str = "a time in seconds since 1970";
const SECONDS: &str = "a number of seconds";

/// Takes the client's times from its annotations, and what they do not say from the main dump.
///
/// A difference of two times that comes out negative is no duration and is left out.
pub(crate) struct ClientTimes;

impl Rule for ClientTimes {
    fn name(&self) -> &'static str {
        "times"
    }

    fn apply(&self, raw: &RawCrash, processed: &mut ProcessedCrash) -> Result<Outcome, RuleError> {
        let (dumped_at, process_uptime) = processed
            .main_dump()
            .map_or((None, None), |dump| (dump.stackwalk.dumped_at, dump.stackwalk.process_uptime));
        processed.times.crashed_at = dumped_at;
        processed.times.uptime_s = process_uptime;

        let notes = &mut processed.notes;
        let mut seconds = Numbers { rule: self.name(), raw, expected: SECONDS, notes };
        let told_uptime = seconds.read(UPTIME);
        processed.times.last_crash_s = seconds.read(LAST_CRASH);
        let mut moments = Numbers { rule: self.name(), raw, expected: UNIX_SECONDS, notes };
        let crash_time = moments.read(CRASH_TIME);
        let (startup_time, install_time) = (moments.read(STARTUP_TIME), moments.read(INSTALL_TIME));

        let since = |start: Option<u64>| crash_time?.checked_sub(start?);
        processed.times.install_age_s = since(install_time);
        if let Some(uptime) = told_uptime.or_else(|| since(startup_time)) {
            processed.times.uptime_s = Some(uptime);
        }
        if let Some(second) = crash_time {
            let moment = i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok());
            let moment =
                moment.ok_or(RuleError::BadAnnotation { key: CRASH_TIME, expected: UNIX_SECONDS })?;
            processed.times.crashed_at = Some(moment);
        }
        Ok(Outcome::Applied)
    }
}
