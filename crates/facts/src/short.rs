//! Whole crash ids from short ones.

use std::collections::BTreeSet;

use crash::{CrashId, ShortId};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::{Error, Facts, statement::Param};

const BY_SHORT: &str = "
SELECT crash_id FROM fact_crash WHERE crash_day = $1 AND crash_id BETWEEN $2 AND $3
UNION SELECT crash_id FROM dead_letter WHERE crash_day = $1 AND crash_id BETWEEN $2 AND $3
UNION SELECT crash_id FROM crash_attempt WHERE crash_day = $1 AND crash_id BETWEEN $2 AND $3
UNION SELECT crash_id FROM erased_crash WHERE crash_day = $1 AND crash_id BETWEEN $2 AND $3
LIMIT 100";

impl Facts {
    /// The crashes of which something is known and whose short form this is, in the order of their ids.
    ///
    /// A look into the index of each table: short forms begin as the ids do.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn find_short(&self, short: ShortId) -> Result<Vec<CrashId>, Error> {
        let (first, last) = short.bounds();
        let day = short.minute().start().to_zoned(jiff::tz::TimeZone::UTC).date();
        let params: [Param<'_>; 3] = [(&day, Type::DATE), (&first, Type::UUID), (&last, Type::UUID)];
        let rows = self.ask("looking for a short id", BY_SHORT, &params).await?;
        let ids: BTreeSet<CrashId> =
            rows.iter().filter_map(|row| CrashId::from_uuid(row.get::<_, Uuid>(0)).ok()).collect();
        Ok(ids.into_iter().filter(|id| short.matches(*id)).collect())
    }
}
