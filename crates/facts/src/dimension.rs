//! One dimension: names in, the numbers of their rows out.
//!
//! Numbers are looked up for a whole batch at once, before its facts are written: what is remembered costs nothing, what is
//! not is selected, and what is not there is inserted. Each statement is a transaction of its own and takes its rows in the
//! order of their names, so that savers which meet on the same new names wait for one another and never in a circle.

use std::{
    collections::{BTreeMap, HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Mutex, PoisonError},
};

use tokio_postgres::types::Type;

use crate::{
    Error,
    statement::{On, Param},
};

/// How many names go into one statement.
const CHUNK: usize = 2_000;

/// One dimension, whose rows are found by `K` texts. `E` further texts are written when a row is new.
pub(crate) struct Dimension<const K: usize, const E: usize> {
    sql: Sql,
    cache: Mutex<Cache>,
    /// Keys are remembered by two hashes of 64 bits with random secrets: a twentieth of the memory that the texts would take,
    /// and nobody outside can make two names meet.
    hashers: [RandomState; 2],
}

/// The statements of a dimension. Parameters are arrays of text, one for each part.
pub(crate) struct Sql {
    /// What is being done, for errors.
    pub(crate) doing: &'static str,
    /// Key parts in; place in the arrays, from 1, and number of the row out.
    pub(crate) select: &'static str,
    /// Key parts and further texts in. Rows are taken in the order given, and those that are there already are passed over.
    pub(crate) insert: &'static str,
}

/// The names that a batch needs, with what to write for a new one.
pub(crate) type Wanted<'a, const K: usize, const E: usize> = BTreeMap<[&'a str; K], [String; E]>;

/// The numbers that were found. What is absent could not be had: some dimensions have a limit.
pub(crate) type Found<'a, const K: usize> = HashMap<[&'a str; K], i32>;

impl<const K: usize, const E: usize> Dimension<K, E> {
    pub(crate) fn new(sql: Sql, remembered: usize) -> Self {
        Self {
            sql,
            cache: Mutex::new(Cache { remembered, ..Cache::default() }),
            hashers: [RandomState::new(), RandomState::new()],
        }
    }

    /// Finds or makes the rows of all these names.
    pub(crate) async fn resolve<'a>(
        &self,
        on: &On<'_>,
        mut wanted: Wanted<'a, K, E>,
    ) -> Result<Found<'a, K>, Error> {
        let mut found = self.recall(&wanted);
        wanted.retain(|key, _| !found.contains_key(key));

        let mut missing = wanted.into_iter();
        loop {
            let mut chunk: Vec<_> = missing.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                return Ok(found);
            }
            self.select(on, &chunk, &mut found).await?;
            chunk.retain(|(key, _)| !found.contains_key(key));
            if !chunk.is_empty() {
                self.insert(on, &chunk).await?;
                // Also when another saver was first: its row is committed by now.
                self.select(on, &chunk, &mut found).await?;
            }
        }
    }

    pub(crate) fn forget(&self) {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).forget();
    }

    fn recall<'a>(&self, wanted: &Wanted<'a, K, E>) -> Found<'a, K> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.keys().filter_map(|key| Some((*key, cache.get(self.fingerprint(key))?))).collect()
    }

    fn fingerprint(&self, key: &[&str; K]) -> Fingerprint {
        let [first, second] = &self.hashers;
        (first.hash_one(key), second.hash_one(key))
    }

    async fn select<'a>(
        &self,
        on: &On<'_>,
        chunk: &[([&'a str; K], [String; E])],
        found: &mut Found<'a, K>,
    ) -> Result<(), Error> {
        let parts = key_parts(chunk);
        let params: Vec<Param<'_>> = parts.iter().map(|part| (part as _, Type::TEXT_ARRAY)).collect();
        let rows = on.query(self.sql.doing, self.sql.select, &params).await?;

        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            let (place, number): (i64, i32) = (row.get(0), row.get(1));
            let key = usize::try_from(place - 1).ok().and_then(|place| chunk.get(place)).map(|(key, _)| *key);
            if let Some(key) = key {
                cache.put(self.fingerprint(&key), number);
                found.insert(key, number);
            }
        }
        Ok(())
    }

    async fn insert(&self, on: &On<'_>, chunk: &[([&str; K], [String; E])]) -> Result<(), Error> {
        let keys = key_parts(chunk);
        let more = further_parts(chunk);
        let params: Vec<Param<'_>> =
            keys.iter().chain(&more).map(|part| (part as _, Type::TEXT_ARRAY)).collect();
        on.query(self.sql.doing, self.sql.insert, &params).await?;
        Ok(())
    }
}

fn key_parts<'a, const K: usize, const E: usize>(chunk: &[([&'a str; K], [String; E])]) -> [Vec<&'a str>; K] {
    std::array::from_fn(|part| chunk.iter().filter_map(|(key, _)| key.get(part).copied()).collect())
}

fn further_parts<'a, const K: usize, const E: usize>(
    chunk: &'a [([&'a str; K], [String; E])],
) -> [Vec<&'a str>; E] {
    std::array::from_fn(|part| {
        chunk.iter().filter_map(|(_, more)| more.get(part).map(String::as_str)).collect()
    })
}

type Fingerprint = (u64, u64);

/// A bounded memory in two generations: when the young one is full it becomes the old one, and what is asked for in the old
/// one is young again. So what is in use stays, without a list to keep in order.
#[derive(Default)]
struct Cache {
    remembered: usize,
    young: HashMap<Fingerprint, i32>,
    old: HashMap<Fingerprint, i32>,
}

impl Cache {
    fn get(&mut self, key: Fingerprint) -> Option<i32> {
        if let Some(number) = self.young.get(&key) {
            return Some(*number);
        }
        let number = self.old.remove(&key)?;
        self.put(key, number);
        Some(number)
    }

    fn put(&mut self, key: Fingerprint, number: i32) {
        if self.young.len() >= self.remembered {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, number);
    }

    fn forget(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_and_the_memory_is_bounded() {
        let mut cache = Cache { remembered: 10, ..Cache::default() };
        for number in 0..1000 {
            cache.put((1, u64::try_from(number).unwrap()), number);
            cache.put((0, 0), -1);
            assert_eq!(cache.get((0, 0)), Some(-1));
            assert!(cache.young.len() + cache.old.len() <= 20);
        }
        assert_eq!(cache.get((1, 0)), None);
        cache.forget();
        assert_eq!(cache.get((0, 0)), None);
    }
}
