//! One worker process, seen from the pool.

use std::{fs, io, os::unix::process::ExitStatusExt as _, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    Exit, WalkFailure, Walked,
    clean::{self, clean},
    wire,
};

/// How long a process may take to end once it was told to.
const END_WITHIN: Duration = Duration::from_secs(2);
/// What is kept of a worker's last words, in lines.
const LAST_WORDS: usize = 5;

/// A worker process that was set up.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    dumps: ChildStdin,
    answers: BufReader<ChildStdout>,
    last_words: JoinHandle<String>,
}

impl Process {
    /// Sends the setup and waits until the worker is ready.
    pub(crate) async fn set_up(mut child: Child, setup: &[u8]) -> Result<Self, String> {
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(dumps), Some(answers), Some(stderr)) = pipes else {
            return Err("it has no pipes".to_owned());
        };
        let last_words = tokio::spawn(listen(stderr, child.id()));
        let mut process = Self { child, dumps, answers: BufReader::new(answers), last_words };
        let ready = match wire::write(&mut process.dumps, setup).await {
            Ok(()) => wire::read(&mut process.answers, 0).await,
            Err(error) => Err(error),
        };
        match ready {
            Ok(Some(_)) => Ok(process),
            Ok(None) | Err(_) => {
                let (exit, stderr) = process.ended().await;
                Err(if stderr.is_empty() { format!("it ended {exit}") } else { stderr })
            }
        }
    }

    /// Has a dump walked. After a failure the process is gone.
    pub(crate) async fn walk(&mut self, dump: &[u8], deadline: Duration) -> Result<Walked, WalkFailure> {
        match timeout(deadline, self.ask(dump)).await {
            Ok(Ok(walked)) => Ok(walked),
            Ok(Err(broken)) => {
                let (exit, stderr) = self.ended().await;
                // A worker that is still there has said something strange.
                let stderr = if stderr.is_empty() { broken.to_string() } else { stderr };
                Err(WalkFailure::WorkerDied { exit, stderr })
            }
            Err(_) => {
                self.child.start_kill().ok();
                self.ended().await;
                Err(WalkFailure::TimedOut { after: deadline })
            }
        }
    }

    async fn ask(&mut self, dump: &[u8]) -> io::Result<Walked> {
        wire::write(&mut self.dumps, dump).await?;
        let answer = wire::read(&mut self.answers, wire::LONGEST_ANSWER).await?;
        let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Makes sure that the process is gone; how it went, and its last words.
    async fn ended(&mut self) -> (Exit, String) {
        // One that closed its pipes is about to end by itself, and how it does is of interest.
        let exit = match timeout(Duration::from_millis(100), self.child.wait()).await {
            Ok(Ok(status)) => match (status.signal(), status.code()) {
                (Some(signal), _) => Exit::Signal(signal),
                (None, Some(code)) => Exit::Code(code),
                (None, None) => Exit::Unknown,
            },
            Ok(Err(_)) => Exit::Unknown,
            Err(_) => {
                self.child.start_kill().ok();
                timeout(END_WITHIN, self.child.wait()).await.ok();
                Exit::Killed
            }
        };
        let last_words = timeout(END_WITHIN, &mut self.last_words).await;
        (exit, last_words.ok().and_then(Result::ok).unwrap_or_default())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Bytes of memory that the process holds for itself; files that it shares with others do not count.
    pub(crate) fn memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kilobytes.checked_mul(1024)
    }

    /// Closes the pipes, upon which the process ends; kills it if it does not.
    pub(crate) async fn end(self) {
        let Self { mut child, dumps, answers, .. } = self;
        drop((dumps, answers));
        if timeout(END_WITHIN, child.wait()).await.is_err() {
            child.kill().await.ok();
        }
    }
}

/// Logs what a worker says and returns the last of it.
async fn listen(stderr: ChildStderr, pid: Option<u32>) -> String {
    let mut lines = Vec::<String>::new();
    let mut stderr = BufReader::new(stderr);
    let mut line = vec![];
    // A line without an end is cut into many.
    while let Ok(1..) = (&mut stderr).take(clean::NAME as u64).read_until(b'\n', &mut line).await {
        let text = clean(String::from_utf8_lossy(&line).trim_end(), clean::NAME);
        line.clear();
        tracing::debug!(pid, text, "a stackwalk worker says something");
        if lines.len() == LAST_WORDS {
            lines.remove(0);
        }
        lines.push(text);
    }
    lines.join("; ")
}
