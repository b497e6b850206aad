//! Saving a batch of crashes: once each, whatever is in it and however often it comes.

use std::collections::{BTreeMap, BTreeSet};

use crash::CrashId;
use deadpool_postgres::Object;
use serde::Serialize;

use crate::{
    CrashFact, Error, Facts,
    dimensions::Numbers,
    erasure,
    statement::On,
    write::{self, Written},
};

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Saved {
    /// Crashes that had no row before.
    pub inserted: u64,
    /// Crashes whose row was replaced by this result.
    pub updated: u64,
    /// Crashes of which a newer result was there, or was further on in the same batch.
    pub outdated: u64,
    /// Crashes that are erased, or are to be: nothing of these was saved, and whatever else there is of them has to go.
    pub erased: Vec<CrashId>,
    /// Crashes that the database will never take, and why: nothing of these was saved.
    pub rejected: Vec<(CrashId, String)>,
}

impl Facts {
    /// Saves a batch: one row a crash, of its latest result.
    ///
    /// It may be repeated, also in part, and by several processes at once. Crashes that the database refuses because of what
    /// is in them are told apart and returned in [`Saved::rejected`]; the others are saved.
    ///
    /// # Errors
    /// When the database fails. Some of the batch may have been saved then: save it again.
    pub async fn save(&self, facts: &[CrashFact]) -> Result<Saved, Error> {
        let latest = latest(facts);
        let mut saved = Saved { outdated: (facts.len() - latest.len()) as u64, ..Saved::default() };

        // A part that is refused is halved until what is refused stands alone.
        let mut parts = vec![latest.as_slice()];
        while let Some(part) = parts.pop().filter(|part| !part.is_empty()) {
            match self.save_part(part).await {
                Ok(written) => {
                    let (inserted, updated) = (written.inserted.len(), written.updated.len());
                    saved.inserted += inserted as u64;
                    saved.updated += updated as u64;
                    let erased = written.erased.len();
                    saved.outdated += part.len().saturating_sub(inserted + updated + erased) as u64;
                    saved.erased.extend(written.erased);
                }
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => match part {
                    [fact] => saved.rejected.push((fact.crash_id, error.to_string())),
                    _ => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                },
            }
        }
        Ok(saved)
    }

    async fn save_part(&self, facts: &[&CrashFact]) -> Result<Written, Error> {
        let mut connection = self.connection().await?;
        let numbers = self.dimensions.resolve(&On::connection(&connection, self.how), facts).await?;

        match self.write(&mut connection, facts, &numbers).await {
            Err(error) if error.is_missing_partition() => {
                self.make_partitions_of(&On::connection(&connection, self.how), facts).await?;
                self.write(&mut connection, facts, &numbers).await
            }
            other => other,
        }
    }

    /// All that a batch changes, or nothing of it.
    ///
    /// Every saver takes the tables in this order and the rows of each in the order of their keys. So savers wait for one
    /// another but never in a circle, and what many of them share is taken last and held for the shortest time.
    async fn write(
        &self,
        connection: &mut Object,
        facts: &[&CrashFact],
        numbers: &Numbers<'_>,
    ) -> Result<Written, Error> {
        let transaction = self.how.within("beginning to save", connection.transaction()).await?;
        let on = On::transaction(&transaction, self.how);
        // In a statement of its own, so that the next one sees whatever was written down before the lock was had.
        on.query("sharing the lock of erasures", erasure::SHARE_LOCK, &[]).await?;
        let written = write::crashes(&on, facts, numbers).await?;
        write::dumps(&on, facts, numbers, &written).await?;
        write::no_longer_dead(&on, facts, &written).await?;
        write::degraded(&on, facts, &written).await?;
        write::seen(&on, facts, numbers, &written).await?;
        write::marks(&on, facts, &written).await?;
        self.how.within("committing a save", transaction.commit()).await?;
        Ok(written)
    }

    /// Makes the partitions for days that nobody foresaw: old crashes that are processed now.
    async fn make_partitions_of(&self, on: &On<'_>, facts: &[&CrashFact]) -> Result<(), Error> {
        let days: BTreeSet<_> = facts.iter().map(|fact| fact.crash_id.day()).collect();
        for day in days {
            let made = self.make_partitions_on(on, day, day).await?;
            tracing::info!(%day, made, "partitions that were missing have been made");
        }
        Ok(())
    }
}

/// One result a crash, the latest, in the order of their days and ids.
fn latest(facts: &[CrashFact]) -> Vec<&CrashFact> {
    let mut latest = BTreeMap::<_, &CrashFact>::new();
    for fact in facts {
        let kept = latest.entry((fact.crash_id.day(), fact.crash_id)).or_insert(fact);
        if kept.completed_at <= fact.completed_at {
            *kept = fact;
        }
    }
    latest.into_values().collect()
}
