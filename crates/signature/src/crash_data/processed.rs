//! Crash data from a processed crash.

use std::borrow::Cow;

use crash::{Annotations, Frame, Inline, ProcessedCrash, Stackwalk, WalkStatus};
use serde_json::Value;

use super::{CrashData, FrameData, Line, MAX_FRAMES, Offset, Origin, System, ThreadData};

impl<'a> CrashData<'a> {
    /// Takes the main dump's stacks, and the public annotations that signatures know.
    #[must_use]
    pub fn from_processed(crash: &'a ProcessedCrash) -> Self {
        let stackwalk = crash.main_dump().map(|dump| &dump.stackwalk);
        let annotation = |name: &str| Value::from(crash.annotations.get(name));
        Self {
            origin: Origin::Processed,
            crashing_thread: stackwalk
                .and_then(|walk| walk.crashing_thread)
                .map_or(0, |index| i64::try_from(index).unwrap_or(i64::MAX)),
            threads: stackwalk.map(threads).unwrap_or_default(),
            system: System::of(stackwalk.and_then(|walk| walk.system_info.os.as_deref())),
            reason: crash.reason.as_deref().map(Cow::Borrowed),
            walk_status: stackwalk
                .map(|walk| walk.status)
                .filter(|status| *status != WalkStatus::Ok)
                .map_or(Value::Null, |status| Value::from(status.as_str())),
            java_stack_trace: annotation("JavaStackTrace"),
            java_exception: java_exception(&crash.annotations),
            oom_allocation_size: annotation("OOMAllocationSize"),
            js_large_allocation_failure: annotation("JSLargeAllocationFailure"),
            abort_message: annotation("AbortMessage"),
            hang: hang(&crash.annotations),
            async_shutdown_timeout: annotation("AsyncShutdownTimeout"),
            ipc_channel_error: annotation("ipc_channel_error"),
            ipc_message_name: annotation("IPCMessageName"),
            additional_minidumps: crash.dumps.iter().skip(1).map(|dump| dump.name.as_str()).collect(),
        }
    }
}

/// The exception is JSON in a text; text that is none cannot be what it should be, and says so in the signature.
fn java_exception(annotations: &Annotations) -> Value {
    annotations
        .get("JavaException")
        .map_or(Value::Null, |text| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)))
}

/// Clients say 0 for a crash that is no hang.
fn hang(annotations: &Annotations) -> Value {
    let value = annotations.get("Hang").map(str::trim);
    Value::from(value.filter(|value| !value.is_empty() && *value != "0"))
}

/// Only the frames that a signature looks at are taken, and only those of threads that it may ask for.
fn threads(walk: &Stackwalk) -> Vec<ThreadData<'_>> {
    let is_asked_for = |index: usize| index == 0 || Some(index) == walk.crashing_thread;
    let threads = walk.threads.iter().enumerate().map(|(index, thread)| {
        let frames = if is_asked_for(index) { thread.frames.as_slice() } else { &[] };
        let expanded = frames.iter().flat_map(|frame| expand(frame, walk)).take(MAX_FRAMES);
        ThreadData {
            frames: Some(expanded.collect()),
            last_error: thread.last_error_value.as_deref().map(Cow::Borrowed),
        }
    });
    threads.collect()
}

fn expand<'a>(frame: &'a Frame, walk: &'a Stackwalk) -> impl Iterator<Item = FrameData<'a>> {
    frame.inlines.iter().map(|inline| inlined(frame, inline)).chain([outer(frame, walk)])
}

fn inlined<'a>(frame: &'a Frame, inline: &'a Inline) -> FrameData<'a> {
    FrameData {
        index: frame.frame,
        inlined: true,
        function: Some(Cow::Borrowed(&inline.function)),
        module: frame.module.as_deref().map(Cow::Borrowed),
        file: inline.file.as_deref().map(Cow::Borrowed),
        line: line(inline.line),
        ..FrameData::default()
    }
}

fn outer<'a>(frame: &'a Frame, walk: &'a Stackwalk) -> FrameData<'a> {
    FrameData {
        index: frame.frame,
        inlined: false,
        function: frame.function.as_deref().map(Cow::Borrowed),
        module: frame.module.as_deref().map(Cow::Borrowed),
        file: frame.file.as_deref().map(Cow::Borrowed),
        line: line(frame.line),
        offset: Some(Offset::Address(frame.offset)),
        unloaded_module: frame.unloaded_modules.first().map(|module| Cow::Borrowed(&*module.filename)),
        place_in_module: place_in_module(frame, walk),
    }
}

fn line<'a>(line: Option<u32>) -> Line<'a> {
    line.map_or(Line::Missing, |line| Line::Number(line.into()))
}

/// Where in the module, and in which build of it: another build has another function there.
fn place_in_module(frame: &Frame, walk: &Stackwalk) -> Option<String> {
    if frame.function.is_some() {
        return None;
    }
    let offset = frame.module_offset?;
    let module = walk.modules.iter().find(|module| {
        (module.base_addr..module.end_addr).contains(&frame.offset)
            && frame.module.as_deref() == Some(module.filename.as_str())
    });
    let build = module.and_then(|module| {
        let ids = [&module.debug_id, &module.code_id];
        ids.into_iter().find_map(|id| id.get(..BUILD_CHARACTERS).filter(|id| id.bytes().any(|b| b != b'0')))
    });
    Some(match build {
        Some(build) => format!("@{offset} ({})", build.to_ascii_lowercase()),
        None => format!("@{offset}"),
    })
}

/// How much of a module's id is enough to tell its builds apart, and short enough for people.
const BUILD_CHARACTERS: usize = 8;
