//! A crash id as people give it: whole, with `bp-`, or the short form.

use std::{collections::BTreeSet, str::FromStr};

use crash::{CrashId, ShortId};
use crashstore::CrashStore;
use facts::Facts;

use crate::config::Config;

/// What was given on the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) enum GivenId {
    Whole(CrashId),
    Short(ShortId),
}

impl FromStr for GivenId {
    type Err = crash::IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(short) => Ok(Self::Short(short)),
            Err(_) => text.parse().map(Self::Whole),
        }
    }
}

impl GivenId {
    /// The whole id; of a short one, by looking into the crash store.
    pub(crate) async fn find(self, crashes: &CrashStore) -> anyhow::Result<CrashId> {
        let short = match self {
            Self::Whole(id) => return Ok(id),
            Self::Short(short) => short,
        };
        one(short, crashes.find_short(short).await?, "the crash store has no crash")
    }

    /// The whole id; of a short one, by looking into the crash store and the database.
    pub(crate) async fn find_in(self, config: &Config, facts: &Facts) -> anyhow::Result<CrashId> {
        let short = match self {
            Self::Whole(id) => return Ok(id),
            Self::Short(short) => short,
        };
        let stored = CrashStore::open(&config.crashstore)?.find_short(short).await?;
        let known = facts.find_short(short).await?;
        one(short, stored.into_iter().chain(known), "crash store and database have no crash")
    }

    /// The whole id; of a short one, by looking wherever a crash can be. A place that cannot be asked is no failure while
    /// another one has it.
    pub(crate) async fn find_anywhere(
        self,
        config: &Config,
        crashes: &CrashStore,
    ) -> anyhow::Result<CrashId> {
        let short = match self {
            Self::Whole(id) => return Ok(id),
            Self::Short(short) => short,
        };
        let mut found: Vec<CrashId> =
            crashstore::spooled_short(&config.crashstore, short).unwrap_or_default();
        let stored = crashes.find_short(short).await;
        let is_silent = stored.is_err();
        found.extend(stored.unwrap_or_default());
        let database = async { anyhow::Ok(Facts::connect(&config.facts).await?.find_short(short).await?) };
        match database.await {
            Ok(known) => found.extend(known),
            Err(error) if found.is_empty() => {
                let what =
                    format!("the crash store has no crash with the short id {short}, and the database");
                return Err(error.context(format!("{what} could not be asked")));
            }
            Err(_) => {}
        }
        if is_silent && found.is_empty() {
            anyhow::bail!(
                "the database has no crash with the short id {short}, and the crash store could not be asked"
            );
        }
        one(short, found, "crash store and database have no crash")
    }
}

fn one(short: ShortId, found: impl IntoIterator<Item = CrashId>, none: &str) -> anyhow::Result<CrashId> {
    let ids: Vec<CrashId> = found.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    match ids.as_slice() {
        [] => anyhow::bail!("{none} with the short id {short}"),
        [id] => Ok(*id),
        several => {
            let ids: Vec<String> = several.iter().map(CrashId::to_string).collect();
            anyhow::bail!("the short id {short} stands for several crashes; give one of {}", ids.join(", "))
        }
    }
}
