//! From the frames of one thread to a signature: skip what is the platform's, keep what leads on, stop at the first
//! frame that is neither.

use std::sync::Arc;

use crash::{ExplainedFrame, FrameFate, ListLine};

use crate::{
    crash_data::{CrashData, FrameData, MAX_FRAMES, Origin, System},
    known::{self, Known, KnownFunction, KnownFunctions},
    lists::Lists,
    normalise::{self, Language},
};

/// The signature of a thread without frames.
pub(crate) const NO_FRAMES: &str = "EMPTY: no frame data available";

/// What a thread's frames came to.
#[derive(Debug)]
pub(crate) struct Walked {
    pub(crate) signature: String,
    /// The texts of all frames; nothing when there was none.
    pub(crate) proto_signature: Option<String>,
    pub(crate) frames: Vec<ExplainedFrame>,
    /// Whether the signature ended at a frame that no list knows.
    pub(crate) ended: bool,
    /// Whether at least one frame was taken on the way.
    pub(crate) found: bool,
}

/// Why frames cannot be made a signature of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadStack {
    #[error("the thread's frames are not a list of objects")]
    NoFrames,
    #[error("frame {frame} has a function that is nothing but qualifiers")]
    NoName { frame: usize },
}

/// Walks the frames of a thread.
pub(crate) fn walk(
    crash: &CrashData<'_>,
    thread: i64,
    lists: &Lists,
    known: &mut KnownFunctions,
) -> Result<Walked, BadStack> {
    let frames = match crash.thread(thread) {
        Some(thread) => thread.frames.as_deref().ok_or(BadStack::NoFrames)?,
        None => &[],
    };
    let mut stack = Stack { crash, lists, frames: Vec::with_capacity(frames.len().min(MAX_FRAMES)) };
    for frame in frames.iter().take(MAX_FRAMES) {
        let named = name(frame, crash.system, lists, known)?;
        stack.frames.push(named);
    }
    Ok(stack.walk())
}

/// A frame and what is known about its text.
struct Named<'a> {
    known: Arc<Known>,
    /// The module of a frame whose text does not begin with it.
    module: Option<&'a str>,
    explained: ExplainedFrame,
}

fn name<'a>(
    frame: &'a FrameData<'_>,
    system: System,
    lists: &Lists,
    functions: &mut KnownFunctions,
) -> Result<Named<'a>, BadStack> {
    let mut numbered = None;
    let known = match frame.function.as_deref().filter(|function| !function.is_empty()) {
        None => Arc::new(Known::of(&normalise::place(frame, system), lists)),
        Some(function) => {
            let source =
                frame.file.as_deref().and_then(normalise::source_file).filter(|file| file.ends_with(".rs"));
            let (language, function) = match source {
                Some(source) => (Language::Rust, normalise::with_module(source, function)),
                None => (Language::Cpp, function),
            };
            match functions.name(function, language, lists) {
                KnownFunction::Plain(known) => known,
                KnownFunction::Numbered { stem, entry } => {
                    numbered = lists.numbered.cite(entry);
                    Arc::new(known::at_line(&stem, &frame.line, language, lists))
                }
                KnownFunction::NoName => return Err(BadStack::NoName { frame: frame.index }),
            }
        }
    };
    let explained = ExplainedFrame {
        frame: frame.index,
        inlined: frame.inlined,
        text: Arc::clone(&known.text),
        fate: FrameFate::NotReached,
        because: None,
        begins: None,
        numbered,
    };
    let module =
        frame.module.as_deref().filter(|module| !module.is_empty() && !known.text.starts_with(module));
    Ok(Named { known, module, explained })
}

struct Stack<'a> {
    crash: &'a CrashData<'a>,
    lists: &'a Lists,
    frames: Vec<Named<'a>>,
}

impl Stack<'_> {
    fn walk(mut self) -> Walked {
        if self.frames.is_empty() {
            return Walked {
                signature: NO_FRAMES.to_owned(),
                proto_signature: None,
                frames: vec![],
                ended: false,
                found: false,
            };
        }
        let proto_signature = join(self.frames.iter().map(|frame| &*frame.known.text));
        let start = self.start();
        let mut parts: Vec<Arc<str>> = Vec::new();
        let mut ended = false;
        for frame in self.frames.iter_mut().skip(start) {
            let (fate, because) = fate(frame, parts.last(), self.crash, self.lists);
            frame.explained.fate = fate;
            frame.explained.because = because;
            if matches!(fate, FrameFate::Kept | FrameFate::Ended) {
                parts.push(Arc::clone(&frame.known.text));
            }
            if fate == FrameFate::Ended {
                ended = true;
                break;
            }
        }
        let found = !parts.is_empty();
        let last_resort = self.last_resort(start);
        if !found && let Some(first) = self.frames.get_mut(last_resort) {
            first.explained.fate = FrameFate::LastResort;
            parts.push(Arc::clone(&first.known.text));
        }
        let signature = join(parts.iter().map(|part| &**part));
        let frames = self.frames.into_iter().map(|frame| frame.explained).collect();
        Walked { signature, proto_signature: Some(proto_signature), frames, ended, found }
    }

    /// The frame that names a crash when none is left: the first one. In our own stackwalks an address in no module,
    /// which is another one every time, gives way to a frame that has a name.
    fn last_resort(&self, start: usize) -> usize {
        let is_name = |frame: &Named<'_>| !frame.known.text.is_empty() && !frame.known.text.starts_with('@');
        let named = self.frames.iter().enumerate().skip(start).find(|(_, frame)| is_name(frame));
        match named {
            Some((index, _)) if self.crash.origin == Origin::Processed => index,
            _ => start,
        }
    }

    /// Where the signature starts: at the earliest sentinel, or at the beginning.
    fn start(&mut self) -> usize {
        let Some(start) = self.frames.iter().position(|frame| frame.known.sentinel.is_some()) else {
            return 0;
        };
        for frame in self.frames.iter_mut().take(start) {
            frame.explained.fate = FrameFate::BeforeStart;
        }
        if let Some(frame) = self.frames.get_mut(start) {
            frame.explained.begins = frame.known.sentinel.clone();
        }
        start
    }
}

/// What becomes of a frame after the parts that were taken before it.
fn fate(
    frame: &Named<'_>,
    before: Option<&Arc<str>>,
    crash: &CrashData<'_>,
    lists: &Lists,
) -> (FrameFate, Option<Box<ListLine>>) {
    let known = &frame.known;
    if known.text.is_empty() {
        return (FrameFate::Nameless, None);
    }
    if let Some(line) = known.irrelevant(lists).or_else(|| irrelevant_module(frame, crash, lists)) {
        return (FrameFate::Skipped, Some(line));
    }
    if before == Some(&known.text) && may_be_repeated(&known.text) {
        return (FrameFate::Repeated, None);
    }
    match known.prefix(lists) {
        Some(line) => (FrameFate::Kept, Some(line)),
        None => (FrameFate::Ended, None),
    }
}

/// The line that says that a frame's module is the platform's, whatever its function is called: without full symbols it
/// is called like the nearest one that is exported. For our own stackwalks alone.
fn irrelevant_module(frame: &Named<'_>, crash: &CrashData<'_>, lists: &Lists) -> Option<Box<ListLine>> {
    if crash.origin != Origin::Processed {
        return None;
    }
    let module = match crash.system {
        System::Windows => frame.module?.to_lowercase(),
        System::Other => frame.module?.to_owned(),
    };
    lists.irrelevant.cite(lists.irrelevant.first(&format!("{module}@0x0"))?)
}

/// Whether a frame says so little that it adds nothing when it comes twice.
fn may_be_repeated(text: &str) -> bool {
    let ends_with = |ending: &str| {
        text.len()
            .checked_sub(ending.len())
            .and_then(|at| text.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(ending))
    };
    ends_with(".dll")
        || ends_with(".so")
        || matches!(text, "XUL" | "<name omitted>")
        || text.starts_with("<unknown in")
}

fn join<'a>(parts: impl Iterator<Item = &'a str> + Clone) -> String {
    const BETWEEN: &str = " | ";
    let mut joined = String::with_capacity(parts.clone().map(|part| part.len() + BETWEEN.len()).sum());
    for (index, part) in parts.enumerate() {
        if index > 0 {
            joined.push_str(BETWEEN);
        }
        joined.push_str(part);
    }
    joined
}
