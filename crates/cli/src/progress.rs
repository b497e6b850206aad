//! How far a long command is: in place on a terminal, a line now and then elsewhere.

use std::{
    io::{self, IsTerminal, Write as _},
    time::{Duration, Instant},
};

/// On a terminal so often, and elsewhere so often.
const TERMINAL: Duration = Duration::from_millis(200);
const LINES: Duration = Duration::from_secs(10);

/// Says on standard error how far something is. What is quick says nothing.
pub(crate) struct Progress {
    what: &'static str,
    of: u64,
    done: u64,
    is_terminal: bool,
    said: Instant,
    has_said: bool,
}

impl Progress {
    pub(crate) fn new(what: &'static str, of: u64) -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { what, of, done: 0, is_terminal, said: Instant::now(), has_said: false }
    }

    pub(crate) fn advance(&mut self, by: u64) {
        self.done += by;
        if self.said.elapsed() >= if self.is_terminal { TERMINAL } else { LINES } {
            self.said = Instant::now();
            self.has_said = true;
            let Self { what, of, done, is_terminal, .. } = self;
            let (begin, end) = if *is_terminal { ("\r", "") } else { ("", "\n") };
            eprint!("{begin}{done} of {of} {what}{end}");
            io::stderr().flush().ok();
        }
    }

    /// Makes room for what is printed next.
    pub(crate) fn clear(&mut self) {
        if self.is_terminal && self.has_said {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
