//! `crashmill sql`: the facts, by PostgreSQL's own client.

use std::{
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use anyhow::Context;
use url::Url;

use crate::{args::Place, config::Config};

/// PostgreSQL's client.
const CLIENT: &str = "psql";

/// Open psql on the facts, or run one query.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  crashmill sql --data /srv/crashmill
  crashmill sql -- -c 'SELECT crash_day, count(*) FROM fact_crash GROUP BY 1 ORDER BY 1'
  crashmill sql -- --csv -f top_crashers.sql > top.csv")]
pub(crate) struct Args {
    /// Passed on to psql
    #[arg(last = true)]
    psql: Vec<String>,
}

/// Becomes psql, which gets the password by its environment: arguments can be read by everyone on the machine.
pub(crate) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(place)?;
    let whole = config.facts.url.with_password(&config.facts.password);
    let mut url = Url::parse(whole.expose()).context("reading facts.url")?;
    let password = url.password().map(percent_decoded).transpose()?;
    url.set_password(None).ok();

    let mut client = Command::new(CLIENT);
    client.arg(url.as_str()).args(&args.psql);
    client.envs(password.map(|password| ("PGPASSWORD", password)));
    let error = client.exec();
    Err(error)
        .with_context(|| format!("running {CLIENT} (Debian and Ubuntu: apt-get install postgresql-client)"))
}

/// A part of a URL as it was before it was made fit for one.
pub(crate) fn percent_decoded(text: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).context("the password of facts.url is no UTF-8")
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn a_password_reads_as_it_was_before_the_url() {
        assert_eq!(percent_decoded("a%40b%2Fc%").unwrap(), "a@b/c%");
        assert!(percent_decoded("%ff").is_err());
    }
}
