//! How commands show crashes to people.

use std::io::{self, IsTerminal};

use crash::{Frame, ProcessedCrash, Stackwalk, Thread};
use owo_colors::OwoColorize;
use serde::Serialize;

/// How many frames of a thread are shown to people.
const FRAMES_SHOWN: usize = 40;

/// Runs a future of a command to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(future)
}

/// Prints one JSON document.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Whether colours go to a terminal that shows them.
pub(crate) fn is_coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// A number of bytes for people: three digits and a unit.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn size(bytes: u64) -> String {
    let mut scaled = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if scaled < 1000.0 {
            break;
        }
        scaled /= 1024.0;
        unit = larger;
    }
    if unit == "B" || scaled >= 100.0 { format!("{scaled:.0} {unit}") } else { format!("{scaled:.1} {unit}") }
}

/// A bold text where a terminal shows it.
pub(crate) fn bold(text: &str) -> String {
    if is_coloured() { text.bold().to_string() } else { text.to_owned() }
}

/// A label and its value, in one column each; nothing where there is no value.
pub(crate) fn field(label: &str, value: &str) {
    if !value.is_empty() {
        println!("{label:<16} {value}");
    }
}

/// What somebody decided about a dead letter.
pub(crate) fn decision(label: &str, decision: Option<&facts::Decision>) {
    if let Some(facts::Decision { at, by, why }) = decision {
        let why = why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        field(label, &format!("{at} by {by}{why}"));
    }
}

/// A time as people say it: one unit is enough.
pub(crate) fn rough(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 90.0 * 60.0 => format!("{:.0} m", s / 60.0),
        s if s < 48.0 * 3600.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

/// A processed crash for people: what it is, and the crashing thread.
pub(crate) fn processed(crash: &ProcessedCrash) {
    field("crash id", &crash.crash_id.to_string());
    field("signature", &bold(&crash.signature));
    if let Some(explanation) = &crash.signature_explanation {
        field("because", &explanation.sentence);
    }
    field("product", [crash.product.as_str(), &crash.version, &crash.channel].join(" ").trim());
    field("process", &crash.process_type);
    field("received", &crash.submitted_at.to_string());
    if let Some(dump) = crash.main_dump() {
        stackwalk(&dump.stackwalk);
    }
    for note in &crash.notes {
        field("note", &format!("{}: {}", note.source, note.text));
    }
}

/// A stackwalk for people: reason, system and the crashing thread.
pub(crate) fn stackwalk(stackwalk: &Stackwalk) {
    field("status", stackwalk.status.as_str());
    field("error", stackwalk.error.as_deref().unwrap_or_default());
    if let Some(info) = &stackwalk.crash_info {
        field("reason", info.reason.as_deref().unwrap_or_default());
        field("address", &info.address.map(|address| address.to_string()).unwrap_or_default());
    }
    let system = &stackwalk.system_info;
    let words =
        [&system.os, &system.os_ver, &system.cpu_arch].into_iter().flatten().cloned().collect::<Vec<_>>();
    field("system", &words.join(" "));
    if let (Some(index), Some(thread)) = (stackwalk.crashing_thread, stackwalk.crashing()) {
        println!();
        crashing_thread(index, thread);
    }
}

fn crashing_thread(index: usize, thread: &Thread) {
    let name = thread.thread_name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
    println!("{}", bold(&format!("Thread {index}{name}, crashed")));
    for frame in thread.frames.iter().take(FRAMES_SHOWN) {
        for inline in &frame.inlines {
            println!("      {}  [inlined]{}", inline.function, source(inline.file.as_deref(), inline.line));
        }
        println!("{:>4}  {}", frame.frame, line_of(frame));
    }
    if thread.frames.len() > FRAMES_SHOWN {
        println!("      ... {} more frames", thread.frames.len() - FRAMES_SHOWN);
    }
}

fn line_of(frame: &Frame) -> String {
    let module = frame.module.as_deref().unwrap_or("?");
    match (&frame.function, frame.module_offset) {
        (Some(function), _) => format!("{module}!{function}{}", source(frame.file.as_deref(), frame.line)),
        (None, Some(offset)) => format!("{module} + {offset}"),
        (None, None) => frame.offset.to_string(),
    }
}

fn source(file: Option<&str>, line: Option<u32>) -> String {
    match (file, line) {
        (Some(file), Some(line)) => format!("  {file}:{line}"),
        (Some(file), None) => format!("  {file}"),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_three_digits_and_a_unit() {
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (1536, "1.5 KiB"), (300 << 20, "300 MiB"), (5 << 40, "5.0 TiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
