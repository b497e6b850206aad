//! A writer that is killed, again and again: what it answered is whole, and everything else is whole or absent.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

mod support;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crash::CrashId;
use crashstore::Area;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use support::{id, processed, raw, store};

const FOLDER: &str = "CRASHSTORE_TEST_FOLDER";
const FIRST: &str = "CRASHSTORE_TEST_FIRST";
/// So many crashes has a life of the writer to save; it is killed before it is through.
const LIFE: u64 = 200;

const LIVES: u64 = 12;

/// Which crash `number` is: of several minutes and sizes, the same in both processes.
fn crash_id(number: u64) -> CrashId {
    id(i64::try_from(number % 3).unwrap(), number)
}

fn size(number: u64) -> usize {
    usize::try_from(number * 7919 % 50_000).unwrap()
}

/// The process that is killed. Without its environment it is an empty test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_writer_that_is_killed() {
    let (Ok(folder), Ok(first)) = (std::env::var(FOLDER), std::env::var(FIRST)) else { return };
    let first: u64 = first.parse().unwrap();
    let writer = store(&PathBuf::from(folder)).writer("node-1").unwrap();
    let mut saves = tokio::task::JoinSet::new();
    for lane in 0..8 {
        let writer = writer.clone();
        saves.spawn(async move {
            for number in (first + lane..first + LIFE).step_by(8) {
                let id = crash_id(number);
                writer.save_raw(&raw(id, size(number))).await.unwrap();
                say('r', number);
                writer.save_processed(&processed(id, 1, &id.to_string())).await.unwrap();
                say('p', number);
            }
        });
    }
    saves.join_all().await;
}

/// One write, so that the parent reads whole lines.
fn say(what: char, number: u64) {
    std::io::stdout().lock().write_all(format!("\n@{what} {number}\n").as_bytes()).unwrap();
}

fn start(folder: &Path, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["the_writer_that_is_killed", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Runs a writer until it has answered so often, kills it, and returns what it answered.
fn run_and_kill(folder: &Path, first: u64, answers: usize) -> Vec<(char, u64)> {
    let mut child = start(folder, first);
    let mut answered = Vec::new();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        let Some((what, number)) = line.strip_prefix('@').and_then(|line| line.split_once(' ')) else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        answered.push((what.chars().next().unwrap(), number));
        if answered.len() == answers {
            // SIGKILL; the other lanes are anywhere at this moment. What they still say is read to the end.
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(answered.len() >= answers, "the writer ended by itself");
    answered
}

#[tokio::test]
async fn what_a_killed_writer_answered_is_whole_and_the_rest_is_whole_or_absent() {
    let folder = tempfile::tempdir().unwrap();
    let reader = store(folder.path());
    let mut chance = StdRng::seed_from_u64(20_261_123);
    let mut answered = BTreeSet::new();
    for life in 0..LIVES {
        let answers = chance.random_range(1..60);
        answered.extend(run_and_kill(folder.path(), life * LIFE, answers));

        // As the kill left it, while nobody has cut anything; and every third time after a start.
        if life % 3 == 2 {
            reader.writer("node-1").unwrap().close().await;
        }
        let first = if life == LIVES - 1 { 0 } else { life * LIFE };
        for number in first..(life + 1) * LIFE {
            let id = crash_id(number);
            let found = reader.raw(id, None).await.unwrap();
            assert!(
                found.is_some() || !answered.contains(&('r', number)),
                "crash {number} was answered and is lost"
            );
            assert!(found.is_none_or(|found| found == raw(id, size(number))), "crash {number} is not whole");
            let found = reader.processed(id).await.unwrap();
            assert!(
                found.is_some() || !answered.contains(&('p', number)),
                "result {number} was answered and is lost"
            );
        }
        for area in Area::ALL {
            for minute in reader.minutes(area).await.unwrap() {
                assert_eq!(reader.check(area, minute).await.unwrap(), []);
            }
        }
    }
}
