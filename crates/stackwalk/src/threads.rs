//! Walks the stacks of a dump, the crashing thread first, within a budget.

use std::{borrow::Cow, collections::BTreeMap};

use crash::{Address, Thread};
use minidump::{
    Minidump, MinidumpBreakpadInfo, MinidumpContext, MinidumpException, MinidumpMemory, MinidumpMemory64,
    MinidumpMiscInfo, MinidumpSystemInfo, MinidumpThread, MinidumpThreadList, MinidumpThreadNames,
    UnifiedMemory, UnifiedMemoryList, system_info::Os,
};
use minidump_processor::ProcessState;
use minidump_unwind::{CallStack, CallStackInfo, FrameTrust, StackFrame, walk_stack};

use crate::{
    Limits,
    budget::Budget,
    clean::{self, clean},
    provider::Provider,
    report,
};

/// The unwinder takes no frame that is further away than this from the one before.
const LARGEST_FRAME: u64 = 128 * 1024;

/// The walked threads of a dump.
pub(crate) struct Threads {
    pub(crate) threads: Vec<Thread>,
    pub(crate) crashing: Option<usize>,
    /// Registers of the crashing thread.
    pub(crate) registers: BTreeMap<String, Address>,
    /// Why only the crashing thread was walked.
    pub(crate) over_limit: Option<String>,
}

/// What the dump says about its threads.
struct Stacks<'a> {
    list: MinidumpThreadList<'a>,
    names: MinidumpThreadNames,
    system: MinidumpSystemInfo,
    misc: Option<MinidumpMiscInfo>,
    exception: Option<MinidumpException<'a>>,
    memory: UnifiedMemoryList<'a>,
    /// The thread that wrote the dump of its own process: it tells nothing.
    writer: Option<u32>,
    crashing: Option<usize>,
}

impl<'a> Stacks<'a> {
    fn read(dump: &'a Minidump<'a, &'a [u8]>) -> Result<Self, minidump::Error> {
        let list: MinidumpThreadList<'_> = dump.get_stream()?;
        let exception: Option<MinidumpException<'_>> = dump.get_stream().ok();
        let (writer, requesting) = dump.get_stream().map_or((None, None), |info: MinidumpBreakpadInfo| {
            (info.dump_thread_id, info.requesting_thread_id)
        });
        let crashing = exception.as_ref().map(MinidumpException::get_crashing_thread_id).or(requesting);
        Ok(Self {
            names: dump.get_stream().unwrap_or_default(),
            system: dump.get_stream()?,
            misc: dump.get_stream().ok(),
            memory: dump.get_memory().unwrap_or_default(),
            crashing: list.threads.iter().rposition(|thread| {
                Some(thread.raw.thread_id) == crashing && Some(thread.raw.thread_id) != writer
            }),
            list,
            exception,
            writer,
        })
    }

    /// The registers to begin the walk with: where the exception was, not where its handler is.
    fn context<'s>(
        &'s self,
        index: usize,
        thread: &'s MinidumpThread<'a>,
    ) -> Option<Cow<'s, MinidumpContext>> {
        let misc = self.misc.as_ref();
        let exception = self.exception.as_ref().filter(|_| Some(index) == self.crashing);
        exception
            .and_then(|exception| exception.context(&self.system, misc))
            .or_else(|| thread.context(&self.system, misc))
    }

    /// The memory that the stack pointer is in: an exception's may be another one than the thread's.
    fn stack<'s>(&'s self, thread: &'s MinidumpThread<'a>, pointer: u64) -> Option<UnifiedMemory<'s, 'a>> {
        let stack = thread.stack_memory(&self.memory);
        let holds_pointer = stack.is_some_and(|stack| stack.get_memory_at_address::<u64>(pointer).is_some());
        if holds_pointer { stack } else { self.memory.memory_at_address(pointer).or(stack) }
    }

    /// Why the dump's stacks are too many or too large to walk them all.
    fn over_limit(&self, limits: &Limits) -> Option<String> {
        let threads = self.list.threads.len();
        if threads > limits.max_threads {
            let most = limits.max_threads;
            return Some(format!("it has {threads} threads where stackwalk.limits.max_threads is {most}"));
        }
        let bytes = self.list.threads.iter().filter_map(|thread| thread.stack_memory(&self.memory));
        let bytes = bytes.map(|stack| stack.size()).fold(0, u64::saturating_add);
        let most = limits.max_stack_bytes_total;
        (bytes > most.bytes()).then(|| {
            format!("its threads have {bytes} bytes of stack where stackwalk.limits.max_stack_bytes_total is {most}")
        })
    }
}

/// Walks the threads of a dump.
pub(crate) async fn walk_threads(
    dump: &Minidump<'_, &[u8]>,
    overview: &ProcessState,
    provider: &Provider<'_>,
    budget: &Budget,
    limits: &Limits,
) -> Result<Threads, minidump::Error> {
    let stacks = Stacks::read(dump)?;
    let over_limit = stacks.over_limit(limits);
    let walk = Walk { stacks: &stacks, overview, provider, budget, limits };

    let mut registers = BTreeMap::new();
    let mut first = None;
    if let Some((index, thread)) =
        stacks.crashing.and_then(|index| Some((index, stacks.list.threads.get(index)?)))
    {
        if let Some(context) = stacks.context(index, thread) {
            registers =
                context.valid_registers().map(|(name, value)| (name.to_owned(), Address(value))).collect();
        }
        first = Some(walk.thread(index, thread).await);
    }

    let mut threads = Vec::with_capacity(stacks.list.threads.len().min(limits.max_threads));
    let mut crashing = None;
    for (index, thread) in stacks.list.threads.iter().enumerate() {
        if Some(index) == stacks.crashing {
            crashing = Some(threads.len());
            threads.extend(first.take());
        } else if threads.len() < limits.max_threads {
            threads.push(match over_limit {
                None => walk.thread(index, thread).await,
                Some(_) => walk.innermost(index, thread),
            });
        }
    }
    Ok(Threads { threads, crashing, registers, over_limit })
}

struct Walk<'a, 'd> {
    stacks: &'a Stacks<'d>,
    overview: &'a ProcessState,
    provider: &'a Provider<'a>,
    budget: &'a Budget,
    limits: &'a Limits,
}

impl<'d> Walk<'_, 'd> {
    async fn thread(&self, index: usize, thread: &MinidumpThread<'d>) -> Thread {
        let share = self.budget.share();
        if share == 0 {
            return self.innermost(index, thread);
        }
        let mut call_stack = self.begun(index, thread);
        let pointer = call_stack.frames.first().map(|frame| frame.context.get_stack_pointer());
        let memory = pointer.and_then(|pointer| self.stacks.stack(thread, pointer));
        let window = memory.zip(pointer).and_then(|(memory, pointer)| {
            Window::cut(memory, pointer, self.limits.max_stack_bytes_per_thread.bytes())
        });

        let walk = walk_stack(
            index,
            |_: usize, _: &StackFrame| self.budget.frame(),
            &mut call_stack,
            window.as_ref().map(Window::memory).or(memory),
            &self.overview.modules,
            &self.overview.system_info,
            self.provider,
        );
        let ended = self.budget.spend(walk).await;
        let truncated = !ended
            || call_stack.frames.len() > share
            || window.is_some_and(|window| window.may_hide_callers_of(call_stack.frames.last()));
        call_stack.frames.truncate(share);
        self.budget.keep(call_stack.frames.len());
        self.finished(thread, &call_stack, truncated)
    }

    /// The thread where it stood, without the frames that led there.
    fn innermost(&self, index: usize, thread: &MinidumpThread<'d>) -> Thread {
        let mut call_stack = self.begun(index, thread);
        for frame in &mut call_stack.frames {
            frame.module = self.overview.modules.module_at_address(frame.instruction).cloned();
        }
        self.finished(thread, &call_stack, true)
    }

    fn begun(&self, index: usize, thread: &MinidumpThread<'d>) -> CallStack {
        let id = thread.raw.thread_id;
        if self.stacks.writer == Some(id) {
            return CallStack::with_info(id, CallStackInfo::DumpThreadSkipped);
        }
        match self.stacks.context(index, thread) {
            Some(context) => {
                let frame = StackFrame::from_context(context.into_owned(), FrameTrust::Context);
                CallStack { frames: vec![frame], ..CallStack::with_info(id, CallStackInfo::Ok) }
            }
            None => CallStack::with_info(id, CallStackInfo::MissingContext),
        }
    }

    fn finished(&self, thread: &MinidumpThread<'d>, call_stack: &CallStack, truncated: bool) -> Thread {
        let frames = call_stack.frames.iter().enumerate();
        Thread {
            thread_id: thread.raw.thread_id,
            thread_name: self
                .stacks
                .names
                .get_name(thread.raw.thread_id)
                .map(|name| clean(&name, clean::NAME)),
            last_error_value: self.last_error(thread),
            frames: frames
                .map(|(index, frame)| report::frame(index, frame, self.overview, self.provider))
                .collect(),
            truncated: truncated && !call_stack.frames.is_empty(),
        }
    }

    fn last_error(&self, thread: &MinidumpThread<'d>) -> Option<String> {
        if self.overview.system_info.os != Os::Windows {
            return None;
        }
        let error = thread.last_error(self.overview.system_info.cpu, &self.stacks.memory)?;
        Some(clean(&error.to_string(), clean::NAME))
    }
}

/// A part of a large stack.
///
/// A chain of frame pointers through memory of no module can have a frame for every two words, and the unwinder asks
/// nobody on its way, so that nothing but the memory it sees limits what it takes.
enum Window<'d> {
    Memory(MinidumpMemory<'d>),
    Memory64(MinidumpMemory64<'d>),
}

impl<'d> Window<'d> {
    /// Leaves out what is further than `most` bytes above the stack pointer; nothing if there is nothing to leave out.
    fn cut(memory: UnifiedMemory<'_, 'd>, pointer: u64, most: u64) -> Option<Self> {
        let size = pointer.saturating_sub(memory.base_address()).saturating_add(most);
        if size >= memory.size() {
            return None;
        }
        let length = usize::try_from(size).ok()?;
        Some(match memory {
            UnifiedMemory::Memory(memory) => {
                Self::Memory(MinidumpMemory { size, bytes: memory.bytes.get(..length)?, ..memory.clone() })
            }
            UnifiedMemory::Memory64(memory) => Self::Memory64(MinidumpMemory64 {
                size,
                bytes: memory.bytes.get(..length)?,
                ..memory.clone()
            }),
        })
    }

    fn memory(&self) -> UnifiedMemory<'_, 'd> {
        match self {
            Self::Memory(memory) => UnifiedMemory::Memory(memory),
            Self::Memory64(memory) => UnifiedMemory::Memory64(memory),
        }
    }

    /// Whether the walk may have ended only because the window did.
    fn may_hide_callers_of(&self, last: Option<&StackFrame>) -> bool {
        let memory = self.memory();
        let end = memory.base_address().saturating_add(memory.size());
        last.is_some_and(|frame| frame.context.get_stack_pointer().saturating_add(LARGEST_FRAME) >= end)
    }
}
