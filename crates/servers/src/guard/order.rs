//! A guard's command line: what to run, and how to end it.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    time::Duration,
};

use crate::{account::Account, guarded::StopSignal};

/// What a guard is asked to do.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) lock: PathBuf,
    pub(super) stop_signal: StopSignal,
    pub(super) grace: Duration,
    /// Whom to run the program as; the guard stays who it is.
    pub(super) account: Option<Account>,
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
}

impl Order {
    pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut args = args.into_iter();
        let (mut lock, mut stop_signal, mut grace, mut uid, mut gid) = (None, None, None, None, None);
        loop {
            let flag = args.next().ok_or("no program: it follows --")?;
            if flag == "--" {
                break;
            }
            let value = args.next().ok_or_else(|| format!("{} needs a value", flag.display()))?;
            match flag.to_str() {
                Some("--lock") => lock = Some(PathBuf::from(value)),
                Some("--stop-signal") => stop_signal = Some(signal(&value)?),
                Some("--grace") => grace = Some(Duration::from_secs(number(&value)?.into())),
                Some("--uid") => uid = Some(number(&value)?),
                Some("--gid") => gid = Some(number(&value)?),
                _ => return Err(format!("unknown argument {}", flag.display())),
            }
        }
        let account = match (uid, gid) {
            (None, None) => None,
            (Some(uid), Some(gid)) => Some(Account { uid, gid }),
            _ => return Err("--uid and --gid go together".to_owned()),
        };
        Ok(Self {
            lock: lock.ok_or("--lock is missing")?,
            stop_signal: stop_signal.ok_or("--stop-signal is missing")?,
            grace: grace.ok_or("--grace is missing")?,
            account,
            program: args.next().ok_or("no program after --")?.into(),
            args: args.collect(),
        })
    }
}

fn text(value: &OsStr) -> Result<String, String> {
    value.to_str().map(str::to_owned).ok_or_else(|| format!("{} is not text", value.display()))
}

fn signal(value: &OsStr) -> Result<StopSignal, String> {
    StopSignal::named(&text(value)?)
        .ok_or_else(|| format!("{} is not one of INT, TERM, QUIT", value.display()))
}

fn number(value: &OsStr) -> Result<u32, String> {
    text(value)?.parse().map_err(|_| format!("{} is not a number", value.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Order, String> {
        Order::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn what_follows_the_two_dashes_is_the_programs_own() {
        let order =
            parse("--lock /l --stop-signal QUIT --grace 7 -- /bin/sleep --grace 1").expect("a good line");
        assert_eq!(order.program, PathBuf::from("/bin/sleep"));
        assert_eq!(order.args, ["--grace", "1"]);
        assert_eq!((order.stop_signal, order.grace), (StopSignal::Quit, Duration::from_secs(7)));
        assert!(order.account.is_none());
    }

    #[test]
    fn a_wrong_line_is_refused_with_what_is_wrong() {
        for (line, complaint) in [
            ("--lock /l --stop-signal TERM --grace 1", "no program: it follows --"),
            ("--stop-signal TERM --grace 1 -- /bin/true", "--lock is missing"),
            ("--lock /l --stop-signal HUP --grace 1 -- /bin/true", "HUP is not one of INT, TERM, QUIT"),
            ("--lock /l --stop-signal TERM --grace soon -- /bin/true", "soon is not a number"),
            ("--lock /l --stop-signal TERM --grace 1 --uid 5 -- /bin/true", "--uid and --gid go together"),
        ] {
            assert_eq!(parse(line).expect_err(line), complaint);
        }
    }
}
