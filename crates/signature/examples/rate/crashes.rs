//! Crashes with many threads, as lines of JSON.

use std::fmt::Write as _;

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

pub(crate) struct Crashes {
    /// The functions as they stand in JSON.
    cpp: Vec<String>,
    rust: Vec<String>,
    state: u64,
}

impl Crashes {
    pub(crate) fn new(names: &Names) -> Self {
        let escaped =
            |names: &[String]| names.iter().map(|name| serde_json::to_string(name).unwrap()).collect();
        Self { cpp: escaped(&names.cpp), rust: escaped(&names.rust), state: 1 }
    }

    /// The next crash.
    pub(crate) fn next_line(&mut self) -> String {
        let mut line = String::with_capacity(THREADS * FRAMES * 160);
        let crashing = self.below(THREADS);
        write!(line, r#"{{"crashing_thread":{crashing},"os":"Linux","reason":"SIGSEGV","threads":["#)
            .unwrap();
        for thread in 0..THREADS {
            line.push_str(if thread == 0 { "" } else { "," });
            self.write_thread(&mut line);
        }
        line.push_str("]}");
        line
    }

    fn write_thread(&mut self, line: &mut String) {
        let top = TOPS[self.below(TOPS.len())];
        write!(line, r#"{{"frames":[{{"function":"{top}","module":"libc.so.6"}}"#).unwrap();
        for _ in 1..FRAMES {
            let (number, is_rust) = (self.below(2000), self.below(2) == 0);
            let index = self.below(if is_rust { self.rust.len() } else { self.cpp.len() });
            let (function, module, file) = if is_rust {
                (&self.rust[index], "librustc_driver.so", "/src/compiler/a.rs")
            } else {
                (&self.cpp[index], "libLLVM.so", "/src/llvm/lib/a.cpp")
            };
            write!(line, r#",{{"function":{function},"module":"{module}","file":"{file}","line":{number}}}"#)
                .unwrap();
        }
        line.push_str("]}");
    }

    /// A number below a bound; the same ones in every run (xorshift).
    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state % bound as u64).unwrap()
    }
}
