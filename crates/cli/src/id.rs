//! A crash id as people give it: whole, with `bp-`, or the short form.

use std::str::FromStr;

use crash::{CrashId, ShortId};
use crashstore::CrashStore;

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
        match crashes.find_short(short).await?.as_slice() {
            [] => anyhow::bail!("the crash store has no crash with the short id {short}"),
            [id] => Ok(*id),
            several => {
                let ids: Vec<String> = several.iter().map(CrashId::to_string).collect();
                anyhow::bail!(
                    "the short id {short} stands for several crashes; give one of {}",
                    ids.join(", ")
                )
            }
        }
    }
}
