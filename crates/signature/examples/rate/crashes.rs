//! Crashes with many threads.

use serde_json::{Value, json};

use crate::names::Names;

pub(crate) const THREADS: usize = 60;
pub(crate) const FRAMES: usize = 100;
/// What stands at the top of stacks.
const TOPS: [&str; 6] = [
    "raise",
    "abort",
    "memcpy",
    "core::panicking::panic_fmt",
    "KiUserExceptionDispatcher",
    "__kernel_vsyscall",
];

pub(crate) struct Crashes<'a> {
    names: &'a Names,
    state: u64,
}

impl<'a> Crashes<'a> {
    pub(crate) fn new(names: &'a Names) -> Self {
        Self { names, state: 1 }
    }

    /// The next crash, as a line of JSON.
    pub(crate) fn next_line(&mut self) -> String {
        let threads: Vec<Value> = (0..THREADS).map(|_| self.thread()).collect();
        json!({"crashing_thread": self.below(THREADS), "os": "Linux", "reason": "SIGSEGV", "threads": threads}).to_string()
    }

    fn thread(&mut self) -> Value {
        let top = json!({"function": TOPS[self.below(TOPS.len())], "module": "libc.so.6"});
        let frames = std::iter::once(top).chain((1..FRAMES).map(|_| self.frame()));
        json!({"frames": frames.collect::<Vec<_>>()})
    }

    fn frame(&mut self) -> Value {
        let line = self.below(2000);
        if self.below(2) == 0 {
            let function = &self.names.cpp[self.below(self.names.cpp.len())];
            json!({"function": function, "module": "libLLVM.so", "file": "/src/llvm/lib/a.cpp", "line": line})
        } else {
            let function = &self.names.rust[self.below(self.names.rust.len())];
            json!({"function": function, "module": "librustc_driver.so", "file": "/src/compiler/a.rs", "line": line})
        }
    }

    /// A number below a bound; the same ones in every run (xorshift).
    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state % bound as u64).unwrap()
    }
}
