//! How many signatures a core makes a second, beside the reference: `cargo xtask bench signature` runs it.
//!
//! It makes a thousand crashes with sixty threads of a hundred frames each, whose functions are real ones of C++ and Rust
//! (those that the compiler's own libraries export). Each batch is given to both sides as the same JSON lines; both read
//! it first, and only the making of signatures is timed, explanations included, in time of the processor.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is its result")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may fail by a panic")]

mod crashes;
mod names;
mod reference;

use std::{thread, time::Duration};

use serde_json::{Value, json};
use signature::{CrashData, Generator, Lists};

use crate::{crashes::Crashes, reference::Reference};

const CRASHES: usize = 1000;
/// How many are read before they are named.
const BATCH: usize = 5;

fn main() {
    let python = std::env::args_os().nth(1).expect("the one argument is the Python that has siggen");
    eprintln!("looking for functions of C++ and Rust in the compiler's libraries");
    let names = names::of_the_compiler();
    let mut reference = Reference::start(&python);
    let generator = Generator::new(Lists::read(&reference.lists).unwrap());
    let forgetful = Generator::new(Lists::read(&reference.lists).unwrap());
    let mut crashes = Crashes::new(&names);
    let (mut ours, mut ours_without_memory, mut theirs) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut same = 0;
    // Both sides build a part of what they need when it is first asked for.
    let first: Vec<String> = (0..10).map(|_| crashes.next_line()).collect();
    reference.make(&first);
    for line in &first {
        let json: Value = serde_json::from_str(line).unwrap();
        for warm in [&generator, &forgetful] {
            std::hint::black_box(warm.generate(&CrashData::from_json(&json).unwrap()));
        }
    }
    for batch in 1..=CRASHES / BATCH {
        let lines: Vec<String> = (0..BATCH).map(|_| crashes.next_line()).collect();
        let json: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let read: Vec<CrashData<'_>> = json.iter().map(|json| CrashData::from_json(json).unwrap()).collect();

        // Signatures are made in a thread of its own, whose memory the reading of so much JSON has not cut to pieces.
        let made = thread::scope(|scope| {
            let work = scope.spawn(|| {
                let made = time(&mut ours, || {
                    read.iter().map(|crash| generator.generate(crash)).collect::<Vec<_>>()
                });
                for crash in &read {
                    forgetful.forget();
                    time(&mut ours_without_memory, || std::hint::black_box(forgetful.generate(crash)));
                }
                made
            });
            work.join().unwrap()
        });
        let answer = reference.make(&lines);
        theirs += answer.took;
        same +=
            made.iter().zip(&answer.signatures).filter(|(ours, theirs)| ours.signature == **theirs).count();
        if batch % 20 == 0 {
            eprintln!("{} of {CRASHES} crashes", batch * BATCH);
        }
    }
    reference.end();

    let side = |took: Duration| json!({"crashes_per_second": rate(took), "seconds": took.as_secs_f64()});
    let used = generator.cache_use();
    let mut ours = side(ours);
    ours["cache_hit_rate"] = json!(used.hits as f64 / (used.hits + used.misses) as f64);
    let result = json!({
        "crashes": CRASHES,
        "threads": crashes::THREADS,
        "frames_per_thread": crashes::FRAMES,
        "functions": {"cpp": names.cpp.len(), "rust": names.rust.len()},
        "same_signature": same,
        "ours": ours,
        "ours_without_memory": side(ours_without_memory),
        "siggen": side(theirs),
    });
    println!("{result}");
}

fn rate(took: Duration) -> f64 {
    CRASHES as f64 / took.as_secs_f64()
}

fn time<T>(took: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = processor_time();
    let result = work();
    *took += processor_time() - start;
    result
}

/// How long this thread has had a processor: other work on the machine does not count.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}
