//! Which crashes nothing is known of.

use std::collections::HashSet;

use crash::CrashId;
use jiff::civil::Date;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::{
    Error, Facts,
    statement::{On, Param},
};

const UNACCOUNTED: &str = include_str!("sql/unaccounted.sql");

impl Facts {
    /// Those of these crashes that have neither a fact nor a dead letter and are not erased, in the order in which they were asked for.
    ///
    /// One statement, whatever their number: ask for some hundreds at a time, and best for those of one day.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn unaccounted(&self, crash_ids: &[CrashId]) -> Result<Vec<CrashId>, Error> {
        let days: Vec<Date> = crash_ids.iter().map(|id| id.day()).collect();
        let (Some(first), Some(last)) = (days.iter().min(), days.iter().max()) else { return Ok(Vec::new()) };
        let ids: Vec<Uuid> = crash_ids.iter().map(|id| id.uuid()).collect();
        let params: [Param<'_>; 4] =
            [(&days, Type::DATE_ARRAY), (&ids, Type::UUID_ARRAY), (first, Type::DATE), (last, Type::DATE)];

        let connection = self.connection().await?;
        let on = On::connection(&connection, self.how);
        let rows = on.query("asking which crashes have no result", UNACCOUNTED, &params).await?;
        let unaccounted: HashSet<Uuid> = rows.iter().map(|row| row.get(0)).collect();
        Ok(crash_ids.iter().copied().filter(|id| unaccounted.contains(&id.uuid())).collect())
    }
}
