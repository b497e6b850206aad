//! Crash data in JSON, as the reference takes it: everything may be missing, and many things may be of several types.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{CrashData, FrameData, Line, Offset, Origin, System, ThreadData};
use crate::python;

/// JSON that is no crash data, since it is no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("crash data is a JSON object, and this is none")]
pub struct NoCrashData;

impl<'a> CrashData<'a> {
    /// Reads crash data in the form that the reference takes. What it does not know is ignored.
    ///
    /// # Errors
    /// When it is no object.
    pub fn from_json(json: &'a Value) -> Result<Self, NoCrashData> {
        let Value::Object(fields) = json else { return Err(NoCrashData) };
        let value = |key: &str| fields.get(key).cloned().unwrap_or_default();
        Ok(Self {
            origin: Origin::Reference,
            crashing_thread: fields
                .get("crashing_thread")
                .and_then(|value| python::int(value).ok())
                .unwrap_or(0),
            threads: list(fields, "threads").iter().map(thread).collect(),
            system: System::of(fields.get("os").and_then(Value::as_str)),
            reason: text(fields, "reason"),
            walk_status: value("mdsw_status_string"),
            java_stack_trace: value("java_stack_trace"),
            java_exception: value("java_exception"),
            oom_allocation_size: value("oom_allocation_size"),
            js_large_allocation_failure: value("js_large_allocation_failure"),
            abort_message: value("abort_message"),
            hang: value("hang"),
            async_shutdown_timeout: value("async_shutdown_timeout"),
            ipc_channel_error: value("ipc_channel_error"),
            ipc_message_name: value("ipc_message_name"),
            additional_minidumps: value("additional_minidumps"),
        })
    }
}

fn list<'a>(fields: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    fields.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(fields: &'a Map<String, Value>, key: &str) -> Option<Cow<'a, str>> {
    fields.get(key).and_then(Value::as_str).map(Cow::Borrowed)
}

fn thread(json: &Value) -> ThreadData<'_> {
    let Value::Object(fields) = json else { return ThreadData::default() };
    let frames = match fields.get("frames") {
        None => Some(vec![]),
        Some(Value::Array(frames)) => expand(frames),
        Some(_) => None,
    };
    ThreadData { frames, last_error: text(fields, "last_error_value") }
}

/// Frames with the functions that were inlined into them before them; nothing when one of them is no object.
fn expand(frames: &[Value]) -> Option<Vec<FrameData<'_>>> {
    let mut expanded = Vec::with_capacity(frames.len());
    for (index, json) in frames.iter().enumerate() {
        let fields = json.as_object()?;
        for inline in list(fields, "inlines") {
            expanded.push(inlined(index, inline.as_object()?, fields));
        }
        expanded.push(frame(index, fields));
    }
    Some(expanded)
}

fn frame(index: usize, fields: &Map<String, Value>) -> FrameData<'_> {
    FrameData {
        index,
        inlined: false,
        function: text(fields, "function"),
        module: text(fields, "module"),
        file: text(fields, "file"),
        line: fields.get("line").map(line).unwrap_or_default(),
        offset: address(fields),
        unloaded_module: list(fields, "unloaded_modules").first().map(unloaded),
        place_in_module: None,
    }
}

/// A function that was inlined into a frame is in the frame's module, and at its address.
fn inlined<'a>(index: usize, inline: &'a Map<String, Value>, outer: &'a Map<String, Value>) -> FrameData<'a> {
    FrameData {
        index,
        inlined: true,
        function: text(inline, "function"),
        module: text(outer, "module"),
        file: text(inline, "file"),
        line: inline.get("line").map(line).unwrap_or_default(),
        offset: address(outer),
        ..FrameData::default()
    }
}

fn line(json: &Value) -> Line<'_> {
    match json {
        Value::Null => Line::Missing,
        Value::Number(number) => number.as_i64().map_or_else(|| Line::Text(python::text(json)), Line::Number),
        other => Line::Text(python::text(other)),
    }
}

fn address(fields: &Map<String, Value>) -> Option<Offset<'_>> {
    Some(match fields.get("offset").filter(|offset| python::is_true(offset))? {
        Value::String(text) => Offset::Text(Cow::Borrowed(text)),
        other => Offset::Shown(python::text(other)),
    })
}

fn unloaded(json: &Value) -> Cow<'_, str> {
    json.get("module").map_or(Cow::Borrowed("None"), python::text)
}
