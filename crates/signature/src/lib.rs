//! Frames in, signature out: the name under which crashes are grouped.
//!
//! Pure: the same stackwalk gives the same signature. It must not know where frames come from, nor any I/O; what
//! is passed over at the top of a stack is data, in `lists/`. Start reading at [`generate`].

mod frame;
mod lists;

use crash::{Stackwalk, Thread};

/// How many frames of a stack a signature looks at.
const MAX_FRAMES: usize = 40;
/// The longest signature, in characters; a longer one is cut and ends with three points.
const MAX_CHARACTERS: usize = 255;
/// The signature of a crash without a frame.
const NO_FRAMES: &str = "EMPTY: no frame data available";

/// The name under which a crash is grouped, and what it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The name: the first frame of the crashing thread that is the program's own.
    pub signature: String,
    /// The text of every frame that was looked at, joined by ` | `.
    pub proto_signature: String,
    /// What a human should know about how the name came about.
    pub notes: Vec<String>,
}

/// Makes the signature of a crash from the stackwalk of its main dump.
///
/// The frames of the crashing thread are read from the innermost one; frames of the runtime (`lists/`) are passed
/// over, and the first that is left names the crash. Where the dump does not say which thread crashed, the first
/// one is taken.
#[must_use]
pub fn generate(stackwalk: &Stackwalk) -> Signature {
    let mut notes = Vec::new();
    let thread = stackwalk.crashing().or_else(|| {
        let first = stackwalk.threads.first()?;
        notes.push("no crashing thread identified; the first thread is used".to_owned());
        Some(first)
    });
    let frames = thread.map(frames_of).unwrap_or_default();

    let signature = match frames.iter().find(|frame| !frame.is_runtime) {
        Some(frame) => frame.text.clone(),
        None => match frames.first() {
            Some(first) => {
                notes.push("every frame is the runtime's; the first one is used".to_owned());
                first.text.clone()
            }
            None => format!("{NO_FRAMES}; {}", stackwalk.status.as_str()),
        },
    };
    let proto_signature = frames.iter().map(|frame| frame.text.as_str()).collect::<Vec<_>>().join(" | ");
    Signature { signature: fit(signature), proto_signature, notes }
}

/// A frame as signatures see it.
struct NormalisedFrame {
    text: String,
    is_runtime: bool,
}

/// The frames of a thread, inlined functions first, without those that have no text.
fn frames_of(thread: &Thread) -> Vec<NormalisedFrame> {
    let expanded = thread.frames.iter().flat_map(|frame| {
        let inlines = frame.inlines.iter().map(|inline| NormalisedFrame {
            text: printable(&frame::normalise_function(&inline.function)),
            is_runtime: lists::is_runtime_function(&inline.function),
        });
        let outer =
            NormalisedFrame { text: printable(&frame::text_of(frame)), is_runtime: frame::is_runtime(frame) };
        inlines.chain([outer])
    });
    expanded.take(MAX_FRAMES).filter(|frame| !frame.text.is_empty()).collect()
}

/// Removes what cannot be printed, and joins what is left of blanks.
fn printable(text: &str) -> String {
    let printable: String = text.chars().filter(|character| matches!(character, ' '..='~')).collect();
    printable.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cuts to the longest length.
fn fit(signature: String) -> String {
    if signature.len() <= MAX_CHARACTERS {
        return signature;
    }
    let cut: String = signature.chars().take(MAX_CHARACTERS - 3).collect();
    format!("{cut}...")
}

#[cfg(test)]
mod tests {
    use crash::{Address, Frame, Inline, WalkStatus};

    use super::*;

    fn walked(functions: &[&str]) -> Stackwalk {
        let frames =
            functions.iter().map(|name| Frame { function: Some((*name).to_owned()), ..Frame::default() });
        Stackwalk {
            status: WalkStatus::Ok,
            crashing_thread: Some(1),
            threads: vec![Thread::default(), Thread { frames: frames.collect(), ..Thread::default() }],
            ..Stackwalk::failed(WalkStatus::Ok, "")
        }
    }

    #[test]
    fn the_first_frame_past_the_runtime_names_the_crash() {
        let made =
            generate(&walked(&["__pthread_kill_implementation", "raise", "abort", "game::save", "main"]));
        assert_eq!(made.signature, "game::save");
        assert_eq!(made.proto_signature, "__pthread_kill_implementation | raise | abort | game::save | main");
        assert!(made.notes.is_empty());
    }

    #[test]
    fn an_inlined_function_comes_before_the_one_that_holds_it() {
        let mut stackwalk = walked(&["outer"]);
        let inline = Inline { function: "inner".to_owned(), ..Inline::default() };
        stackwalk.threads[1].frames[0].inlines = vec![inline];
        assert_eq!(generate(&stackwalk).signature, "inner");
    }

    #[test]
    fn rust_functions_lose_their_hash() {
        let made = generate(&walked(&[
            "core::panicking::panic_fmt::h0123456789abcdef",
            "app::run::h0123456789abcdef",
        ]));
        assert_eq!(made.signature, "app::run");
    }

    #[test]
    fn frames_without_symbols_are_told_apart_by_module_and_offset() {
        let mut stackwalk = walked(&[]);
        let frame = |module: &str, offset| Frame {
            module: Some(module.to_owned()),
            module_offset: Some(Address(offset)),
            ..Frame::default()
        };
        stackwalk.threads[1].frames = vec![frame("libc.so.6", 0x10), frame("game", 0x1234)];
        assert_eq!(generate(&stackwalk).signature, "game@0x1234");
    }

    #[test]
    fn without_a_crashing_thread_the_first_is_used_and_a_note_says_so() {
        let mut stackwalk = walked(&["other"]);
        stackwalk.crashing_thread = None;
        stackwalk.threads[0].frames = vec![Frame { function: Some("first".to_owned()), ..Frame::default() }];
        let made = generate(&stackwalk);
        assert_eq!((made.signature.as_str(), made.notes.len()), ("first", 1));
    }

    #[test]
    fn a_dump_that_could_not_be_read_has_a_signature_that_says_why() {
        let made = generate(&Stackwalk::failed(WalkStatus::BadMinidump, "no header"));
        assert_eq!(made.signature, "EMPTY: no frame data available; bad_minidump");
    }

    #[test]
    fn a_long_or_unprintable_name_is_cut_and_cleaned() {
        let long = "x".repeat(300);
        let made = generate(&walked(&[&long]));
        assert_eq!((made.signature.len(), made.signature.ends_with("...")), (255, true));
        assert_eq!(generate(&walked(&["a\u{0}b\tc\u{e9}  d"])).signature, "abc d");
        assert_eq!(
            generate(&walked(&["\u{e9}\u{e8}", "next"])).signature,
            "next",
            "a name without a printable character"
        );
    }
}
