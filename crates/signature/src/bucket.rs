//! All crashes under one signature, and whether they belong together.
//!
//! A signature is made from one crash and cannot know the others. Some names gather what has nothing in common: a place
//! that every small allocation fails in, a platform's function that the program is called back from. Looked at together,
//! such crashes have many stacks, and the stacks are unlike.

use std::collections::HashSet;

/// How many kinds of stacks are told apart in a bucket; further ones count as crashes alone.
const MOST_KINDS: usize = 64;
/// How many kinds make a mix.
const MANY: usize = 5;
/// How many frames of a stack are compared, besides those that the signature is made of.
const FRAMES: usize = 12;

/// The crashes under one signature, as far as it takes to tell whether they are a mix. Bounded, whatever is added.
#[derive(Debug, Default)]
pub struct Bucket {
    crashes: u64,
    kinds: Vec<Kind>,
}

/// Stacks that are alike: the first one of them, and how many there are.
#[derive(Debug)]
struct Kind {
    frames: HashSet<String>,
    crashes: u64,
}

/// Why a bucket is a mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// No frame of the program is on its stacks.
    NoFrameOfItsOwn,
    /// Its stacks are of so many kinds, and most of them are not of one kind.
    UnlikeStacks {
        /// How many kinds were told apart.
        kinds: usize,
    },
}

impl Bucket {
    /// Adds a crash: its signature, and the texts of its frames.
    pub fn add(&mut self, signature: &str, proto_signature: &str) {
        self.crashes += 1;
        let in_signature: HashSet<&str> = signature.split(" | ").collect();
        let others =
            proto_signature.split(" | ").filter(|frame| !frame.is_empty() && !in_signature.contains(frame));
        let frames: HashSet<String> = others.take(FRAMES).map(str::to_owned).collect();
        if let Some(kind) = self.kinds.iter_mut().find(|kind| are_alike(&kind.frames, &frames)) {
            kind.crashes += 1;
        } else if self.kinds.len() < MOST_KINDS {
            self.kinds.push(Kind { frames, crashes: 1 });
        }
    }

    /// How many crashes were added.
    #[must_use]
    pub fn crashes(&self) -> u64 {
        self.crashes
    }

    /// Whether what was added under this signature is a mix, and why.
    #[must_use]
    pub fn mix(&self, signature: &str) -> Option<Mix> {
        if signature.starts_with("mix | ") {
            return Some(Mix::NoFrameOfItsOwn);
        }
        let largest = self.kinds.iter().map(|kind| kind.crashes).max().unwrap_or_default();
        let is_mix = self.kinds.len() >= MANY && largest.saturating_mul(2) < self.crashes;
        is_mix.then_some(Mix::UnlikeStacks { kinds: self.kinds.len() })
    }
}

/// Whether half of the shorter stack's frames are in the other too. Stacks without further frames are alike.
fn are_alike(one: &HashSet<String>, other: &HashSet<String>) -> bool {
    let shared = one.intersection(other).count();
    shared * 2 >= one.len().min(other.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_with_many_unlike_stacks_is_a_mix() {
        let mut bucket = Bucket::default();
        for number in 0..40 {
            let way = number % 8;
            bucket.add("OOM | small", &format!("malloc | a{way}::f | a{way}::g | a{way}::h | main"));
        }
        assert_eq!(bucket.mix("OOM | small"), Some(Mix::UnlikeStacks { kinds: 8 }));
    }

    #[test]
    fn a_bucket_whose_stacks_are_mostly_alike_is_none() {
        let mut bucket = Bucket::default();
        for number in 0..40 {
            let rest = if number < 10 {
                format!("x{number} | y{number} | z{number}")
            } else {
                "tick | run | main".to_owned()
            };
            bucket.add("game::save", &format!("raise | game::save | {rest}"));
        }
        assert_eq!(bucket.mix("game::save"), None);
        assert_eq!(bucket.crashes(), 40);
    }

    #[test]
    fn a_name_without_a_frame_of_the_program_is_a_mix_by_itself() {
        let mut bucket = Bucket::default();
        bucket.add("mix | abort", "abort | raise");
        assert_eq!(bucket.mix("mix | abort"), Some(Mix::NoFrameOfItsOwn));
    }
}
