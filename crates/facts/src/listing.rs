//! Which crashes have facts, day by day and minute by minute: for whoever compares them with the crash store.

use crash::{CrashId, Minute};
use jiff::civil::Date;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::{Error, Facts, statement::Param};

/// A look into an index for each day, and not at every row.
const DAYS: &str = "
WITH RECURSIVE days (day) AS (
    (SELECT crash_day FROM fact_crash ORDER BY crash_day LIMIT 1)
    UNION ALL
    SELECT (SELECT f.crash_day FROM fact_crash f WHERE f.crash_day > days.day ORDER BY f.crash_day LIMIT 1)
    FROM days WHERE days.day IS NOT NULL
)
SELECT day FROM days WHERE day IS NOT NULL";

/// A crash id begins with the second of the day, in five hex digits.
const MINUTES: &str = "
SELECT DISTINCT ('x' || lpad(left(crash_id::text, 5), 8, '0'))::bit(32)::int / 60
FROM fact_crash WHERE crash_day = $1 ORDER BY 1";

const CRASHES: &str = "
SELECT crash_id FROM fact_crash WHERE crash_day = $1 AND crash_id >= $2 AND crash_id < $3 ORDER BY crash_id";

impl Facts {
    /// The days of which there are facts, in their order.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn days(&self) -> Result<Vec<Date>, Error> {
        let rows = self.ask("listing the days that have facts", DAYS, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The minutes of a day of which there are facts, in their order.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn minutes_of(&self, day: Date) -> Result<Vec<Minute>, Error> {
        let rows = self.ask("listing the minutes that have facts", MINUTES, &[(&day, Type::DATE)]).await?;
        let minute = |of_day: i32| {
            let of_day = of_day.unsigned_abs();
            Minute::new(day, of_day / 60, of_day % 60).ok()
        };
        Ok(rows.iter().filter_map(|row| minute(row.get(0))).collect())
    }

    /// The crashes of a minute that have facts, in the order of their ids.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn crashes_in(&self, minute: Minute) -> Result<Vec<CrashId>, Error> {
        let midnight = Minute::new(minute.day(), 0, 0).map_or(minute.start(), Minute::start);
        let second = u128::try_from(minute.start().duration_since(midnight).as_secs()).unwrap_or(0);
        let bound = |second: u128| Uuid::from_u128(second << 108);
        let params: [Param<'_>; 3] =
            [(&minute.day(), Type::DATE), (&bound(second), Type::UUID), (&bound(second + 60), Type::UUID)];
        let rows = self.ask("listing the facts of a minute", CRASHES, &params).await?;
        Ok(rows.iter().filter_map(|row| CrashId::from_uuid(row.get(0)).ok()).collect())
    }
}
