//! Dumps that ask for too much, and damaged ones.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

mod synth;

use std::time::{Duration, Instant};

use crash::{Stackwalk, WalkStatus};
use stackwalk::{Limits, Walker, walk};
use symbols::Symbols;

use synth::{Dump, MODULE};

async fn walk_within(dump: Dump, limits: &Limits) -> Stackwalk {
    let symbols = Symbols::open(&symbols::Config::default()).unwrap();
    walk(&dump.bytes(), &symbols, limits).await
}

fn frames(walk: &Stackwalk) -> usize {
    walk.threads.iter().map(|thread| thread.frames.len()).sum()
}

#[tokio::test]
async fn a_thousand_threads_that_share_a_stack_of_return_addresses_end_within_the_budget() {
    let begun = Instant::now();
    let dump = Dump { crashing: Some(1000), ..Dump::sharing_a_stack(1000, 8192) };
    let walk = walk_within(dump, &Limits::default()).await;
    assert_eq!((walk.status, walk.threads.len()), (WalkStatus::Ok, 1000));
    assert!(frames(&walk) <= 21_000, "{}", frames(&walk));
    assert!(walk.threads[0].truncated && walk.threads[500].truncated);
    assert_eq!(walk.threads[500].frames.len(), 1, "it is still said where each thread stood");
    assert_eq!(walk.crashing().unwrap().frames.len(), 2000, "the crashing thread came first");
    assert!(walk.soft_errors.iter().any(|error| error.contains("1000 threads")), "{:?}", walk.soft_errors);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_crashing_thread_has_the_whole_budget_before_the_others() {
    let limits = Limits { max_frames_total: 30, max_frames_per_thread: 25, ..Limits::default() };
    let walk = walk_within(Dump { crashing: Some(3), ..Dump::sharing_a_stack(4, 100) }, &limits).await;
    let lengths: Vec<_> = walk.threads.iter().map(|thread| thread.frames.len()).collect();
    assert_eq!((lengths, walk.crashing_thread), (vec![5, 1, 25, 1], Some(2)));
}

#[tokio::test]
async fn a_stack_that_just_fits_is_whole() {
    let limits = Limits { max_frames_per_thread: 101, ..Limits::default() };
    let walk = walk_within(Dump::sharing_a_stack(1, 100), &limits).await;
    assert_eq!((frames(&walk), walk.threads[0].truncated), (101, false));
    let limits = Limits { max_frames_per_thread: 100, ..Limits::default() };
    let walk = walk_within(Dump::sharing_a_stack(1, 100), &limits).await;
    assert_eq!((frames(&walk), walk.threads[0].truncated), (100, true));
}

/// Such a chain is walked without a question to symbols, so that only the memory in view bounds it.
#[tokio::test]
async fn a_chain_of_frame_pointers_outside_all_modules_is_bounded() {
    let limits = Limits { max_stack_bytes_per_thread: settings::Size::kib(256), ..Limits::default() };
    let walk = walk_within(Dump::chained_outside_modules(1 << 17), &limits).await;
    assert_eq!((walk.threads[0].frames.len(), walk.threads[0].truncated), (2000, true));
    assert_eq!(walk.threads[0].frames[1999].trust, "frame_pointer");
}

#[tokio::test]
async fn of_a_dump_with_too_many_threads_or_too_much_stack_the_crashing_thread_alone_is_walked() {
    let dump = || Dump { crashing: Some(9), ..Dump::sharing_a_stack(10, 100) };
    let few_threads = Limits { max_threads: 4, ..Limits::default() };
    let walk = walk_within(dump(), &few_threads).await;
    assert_eq!(walk.status, WalkStatus::OverLimit);
    assert!(walk.error.as_ref().unwrap().contains("10 threads"), "{:?}", walk.error);
    assert_eq!((walk.threads.len(), walk.crashing_thread), (5, Some(4)));
    assert_eq!((walk.threads[0].frames.len(), walk.crashing().unwrap().frames.len()), (1, 101));

    let little_stack =
        Limits { max_stack_bytes_total: settings::Size::from_bytes(7999), ..Limits::default() };
    let walk = walk_within(dump(), &little_stack).await;
    assert_eq!(walk.status, WalkStatus::OverLimit);
    assert_eq!((walk.threads.len(), frames(&walk)), (10, 9 + 101));

    let small = Limits { max_dump_bytes: settings::Size::from_bytes(100), ..Limits::default() };
    let walk = walk_within(dump(), &small).await;
    assert!(walk.error.unwrap().contains("max_dump_bytes"));
}

#[tokio::test]
async fn modules_are_listed_up_to_their_limit() {
    let limits = Limits { max_modules: 0, ..Limits::default() };
    let walk = walk_within(Dump::called_from(&[MODULE + 0x1000]), &limits).await;
    assert_eq!((walk.modules.len(), walk.main_module), (0, None));
    assert_eq!(walk.threads[0].frames[0].module.as_deref(), Some("app"));
    assert!(walk.soft_errors[0].contains("modules are left out"));
}

#[tokio::test]
async fn damaged_dumps_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    synth::write_symbols(folder.path(), &synth::symbols());
    let config = symbols::Config { paths: vec![folder.path().to_owned()], ..symbols::Config::default() };
    let walker = Walker::new(Symbols::open(&config).unwrap(), Limits::default());
    let whole = Dump {
        unloaded: vec![(0x50_0000, 0x1000, "gone.so".to_owned())],
        thread_names: vec![(1, "main".to_owned())],
        ..Dump::called_from(&[MODULE + 0x1004, MODULE + 0x2010, MODULE + 0x3008])
    }
    .bytes();

    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut read = 0;
    for _ in 0..500 {
        let mut dump = whole.clone();
        for _ in 0..random.below(8) + 1 {
            // The interesting numbers are those that overflow, point nowhere or are off by one.
            let at = random.below(dump.len() - 8) & !3;
            let word = [0, 1, 0x7fff_ffff, 0xffff_ffff, 0xffff_fff0, random.word()][random.below(6)];
            dump[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        dump.truncate(dump.len() - if random.below(4) == 0 { random.below(dump.len()) } else { 0 });
        let walked = walker.walk(&dump).await;
        read += usize::from(walked.stackwalk.status == WalkStatus::Ok);
        serde_json::to_vec(&walked).unwrap();
    }
    assert!((50..500).contains(&read), "the damage is neither always fatal nor always harmless: {read}");
}

/// xorshift64*: a sequence that is the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn word(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).unwrap()
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.word()).unwrap() % bound
    }
}
