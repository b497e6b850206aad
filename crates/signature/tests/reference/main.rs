//! Our signatures beside the reference's, on its own lists.
//!
//! The reference runs in an environment of its own (`cargo xtask test` installs it and says where); the crash data comes
//! from a generator of ours. Signature and proto signature must be the same but for the differences that are meant,
//! which are counted.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by a panic")]

mod corpus;
mod dice;
mod entries;
mod names;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde::Deserialize;
use serde_json::Value;
use signature::{CrashData, Generator, Lists};

/// Names the Python that has the reference installed.
const PYTHON: &str = "CRASHMILL_TEST_SIGGEN";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/answer.py");

#[derive(Debug, Deserialize)]
struct Made {
    signature: String,
    proto_signature: String,
    #[allow(dead_code, reason = "shown when a comparison fails")]
    notes: Vec<String>,
}

/// The reference, waiting for crash data.
struct Reference {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    lists: PathBuf,
}

impl Reference {
    fn start() -> Self {
        let python = std::env::var_os(PYTHON).unwrap_or_else(|| {
            panic!("{PYTHON} is not set; `cargo xtask test` installs the reference and sets it")
        });
        let mut child =
            Command::new(python).arg(SCRIPT).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut from = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        from.read_line(&mut first).unwrap();
        let lists = serde_json::from_str(&first).unwrap();
        Self { to: child.stdin.take(), child, from, lists }
    }

    /// Its signatures of all crashes, in their order.
    fn answer(mut self, crashes: &[Value]) -> Vec<Made> {
        let mut to = self.to.take().unwrap();
        let lines: Vec<String> = crashes.iter().map(Value::to_string).collect();
        let made = std::thread::scope(|scope| {
            scope.spawn(move || {
                for line in lines {
                    writeln!(to, "{line}").unwrap();
                }
            });
            self.from.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
        });
        assert!(self.child.wait().unwrap().success());
        made
    }
}

/// The differences that are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// Characters that cannot be printed are removed from the signature.
    Unprintable,
    /// `operator<` and its kin keep their names.
    Comparison,
    /// `<X as Y>` stays in frames that are not known to be Rust.
    ImplInCpp,
    /// Arguments are removed also where one is of an anonymous namespace.
    AnonymousArgument,
}

/// Which difference a crash may show, by what is in it.
fn allowed(crash: &Value, theirs: &Made) -> Option<Difference> {
    let threads = crash["threads"].to_string();
    let text = format!("{} {}", theirs.signature, theirs.proto_signature);
    if threads.contains("operator<") {
        return Some(Difference::Comparison);
    }
    if threads.contains(" as ") {
        return Some(Difference::ImplInCpp);
    }
    if threads.contains("anonymous namespace") {
        return Some(Difference::AnonymousArgument);
    }
    let is_unprintable = |character: char| !matches!(character, ' '..='~');
    text.chars().any(is_unprintable).then_some(Difference::Unprintable)
}

#[test]
fn signatures_are_the_reference_s_but_for_the_differences_that_are_meant() {
    let reference = Reference::start();
    let generator = Generator::new(Lists::read(&reference.lists).unwrap());
    let crashes = corpus::corpus(&reference.lists);
    assert!(crashes.len() >= 2000, "{} crashes", crashes.len());
    let made = reference.answer(&crashes);
    assert_eq!(made.len(), crashes.len());

    let mut differences = BTreeMap::new();
    let mut wrong = Vec::new();
    for (crash, theirs) in crashes.iter().zip(&made) {
        let ours = generator.generate(&CrashData::from_json(crash).unwrap());
        let is_same = ours.signature == theirs.signature && ours.proto_signature == theirs.proto_signature;
        if is_same {
            continue;
        }
        match allowed(crash, theirs) {
            Some(difference) if is_meant(difference, &ours, theirs) => {
                *differences.entry(difference).or_insert(0) += 1;
            }
            _ => wrong.push(format!(
                "{crash}\n  ours:   {:?} | {:?} {:?}\n  theirs: {:?} | {:?} {:?}",
                ours.signature,
                ours.proto_signature,
                ours.notes,
                theirs.signature,
                theirs.proto_signature,
                theirs.notes
            )),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        crashes.len(),
        wrong[..wrong.len().min(25)].join("\n")
    );
    insta::assert_debug_snapshot!(differences);
}

/// Whether two signatures differ in what is meant and in nothing else, as far as that can be told.
fn is_meant(difference: Difference, ours: &signature::Signature, theirs: &Made) -> bool {
    let printable =
        |text: &str| text.chars().filter(|character| matches!(character, '!'..='~')).collect::<String>();
    match difference {
        Difference::Unprintable => {
            ours.proto_signature == theirs.proto_signature
                && printable(&ours.signature) == printable(&theirs.signature)
        }
        Difference::Comparison | Difference::ImplInCpp | Difference::AnonymousArgument => true,
    }
}
