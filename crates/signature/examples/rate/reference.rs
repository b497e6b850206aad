//! The reference, in a process of its own: it reads a batch, then makes its signatures and takes the time.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde::Deserialize;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/rate/reference_rate.py");

pub(crate) struct Reference {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// The folder of its lists.
    pub(crate) lists: PathBuf,
}

/// What it made of a batch.
#[derive(Deserialize)]
pub(crate) struct Answer {
    #[serde(rename = "seconds", deserialize_with = "seconds")]
    pub(crate) took: Duration,
    pub(crate) signatures: Vec<String>,
}

fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    f64::deserialize(deserializer).map(Duration::from_secs_f64)
}

impl Reference {
    pub(crate) fn start(python: &OsStr) -> Self {
        let mut command = Command::new(python);
        let mut child = command.arg(SCRIPT).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut reference = Self { child, to, from, lists: PathBuf::new() };
        reference.lists = serde_json::from_str(&reference.next()).unwrap();
        reference
    }

    /// Gives it a batch, and waits for what it makes of it.
    pub(crate) fn make(&mut self, lines: &[String]) -> Answer {
        writeln!(self.to, "{}", lines.len()).unwrap();
        for line in lines {
            writeln!(self.to, "{line}").unwrap();
        }
        self.to.flush().unwrap();
        serde_json::from_str(&self.next()).unwrap()
    }

    pub(crate) fn end(mut self) {
        drop(self.to);
        assert!(self.child.wait().unwrap().success());
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        line
    }
}
