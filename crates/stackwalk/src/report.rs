//! From the minidump libraries' types to ours.

use std::{collections::BTreeMap, time::SystemTime};

use crash::{Address, CrashInfo, Frame, Inline, Module, SymbolStatus, SystemInfo, UnloadedModule};
use jiff::Timestamp;
use minidump::{MinidumpAssertion, Module as _};
use minidump_processor::{ExceptionInfo, ProcessState};
use minidump_unwind::{FrameTrust, InlineFrame, StackFrame};

use crate::{
    Limits,
    clean::{self, clean},
    provider::Provider,
};

/// Unloaded modules that one address may be in, and places in each.
const MOST_UNLOADED: usize = 16;
/// Beyond this the unloaded modules are not searched for each frame: the libraries' search goes through them all.
const MOST_SEARCHED: usize = 4096;
const MOST_BIT_FLIPS: usize = 32;
const MOST_SOFT_ERRORS: usize = 100;

pub(crate) fn system_info(state: &ProcessState) -> SystemInfo {
    let system = &state.system_info;
    let text = |text: &str| Some(clean(text, clean::NAME)).filter(|text| !text.trim().is_empty());
    SystemInfo {
        os: text(&system.os.long_name()),
        os_ver: system.format_os_version().and_then(|version| text(version.trim())),
        cpu_arch: text(&system.cpu.to_string()),
        cpu_info: system.cpu_info.as_deref().and_then(text),
        cpu_count: u32::try_from(system.cpu_count).ok().filter(|count| *count > 0),
    }
}

/// When the dump was written, by the client's clock.
pub(crate) fn dumped_at(state: &ProcessState) -> Option<Timestamp> {
    Timestamp::try_from(state.time).ok().filter(|time| *time != Timestamp::UNIX_EPOCH)
}

/// Whole seconds that the process had been running for.
pub(crate) fn process_uptime(state: &ProcessState) -> Option<u64> {
    let started = state.process_create_time.filter(|time| *time != SystemTime::UNIX_EPOCH)?;
    Some(state.time.duration_since(started).ok()?.as_secs())
}

pub(crate) fn crash_info(
    exception: Option<&ExceptionInfo>,
    assertion: Option<&MinidumpAssertion>,
) -> Option<CrashInfo> {
    let assertion = assertion.and_then(self::assertion);
    if exception.is_none() && assertion.is_none() {
        return None;
    }
    Some(CrashInfo {
        reason: exception.map(|exception| clean(&exception.reason.to_string(), clean::NAME)),
        address: exception.map(|exception| Address(exception.address.0)),
        assertion,
    })
}

/// `expression (function, file:line)`, of which a dump may have any part.
fn assertion(assertion: &MinidumpAssertion) -> Option<String> {
    let text =
        |text: Option<String>| text.map(|text| clean(&text, clean::NAME)).filter(|text| !text.is_empty());
    let expression = text(assertion.expression());
    let place = text(assertion.file()).map(|file| format!("{file}:{}", assertion.raw.line));
    let place = [text(assertion.function()), place].into_iter().flatten().collect::<Vec<_>>().join(", ");
    match (expression, place.is_empty()) {
        (Some(expression), true) => Some(expression),
        (Some(expression), false) => Some(format!("{expression} ({place})")),
        (None, true) => None,
        (None, false) => Some(place),
    }
}

/// Instruction and bit flips, which could help an attacker.
pub(crate) fn instruction(exception: Option<&ExceptionInfo>) -> (Option<String>, Vec<String>) {
    let Some(exception) = exception else { return (None, vec![]) };
    let flips = exception.possible_bit_flips.iter().take(MOST_BIT_FLIPS).map(|flip| {
        let address = Address(flip.address.0);
        let source = flip.source_register.map(|register| format!(" in {register}")).unwrap_or_default();
        let confidence = flip.confidence.map(|part| format!(", confidence {part:.2}")).unwrap_or_default();
        format!("{address}{source}{confidence}")
    });
    let instruction = exception.instruction_str.as_deref().map(|text| clean(text, clean::NAME));
    (instruction, flips.collect())
}

/// The loaded modules by address, and which of them is the executable.
pub(crate) fn modules(
    state: &ProcessState,
    provider: &Provider<'_>,
    limits: &Limits,
) -> (Vec<Module>, Option<usize>) {
    // The first one of the dump is the executable.
    let mut order: Vec<_> = state.modules.iter().enumerate().collect();
    order.sort_by_key(|(_, module)| module.base_address());
    order.truncate(limits.max_modules);
    let main = order.iter().position(|(index, _)| *index == 0);
    (order.into_iter().map(|(_, module)| self::module(module, provider)).collect(), main)
}

fn module(module: &minidump::MinidumpModule, provider: &Provider<'_>) -> Module {
    let base = module.base_address();
    Module {
        filename: clean::leaf(&module.code_file()),
        code_file: clean(&module.code_file(), clean::NAME),
        code_id: module.code_identifier().map(|id| id.to_string()).unwrap_or_default(),
        debug_file: module.debug_file().map(|file| clean::leaf(&file)).unwrap_or_default(),
        debug_id: module.debug_identifier().map(|id| id.breakpad().to_string()).unwrap_or_default(),
        version: module.version().map(|version| clean(&version, clean::NAME)),
        base_addr: Address(base),
        end_addr: Address(base.saturating_add(module.size())),
        symbols: provider.status(base),
    }
}

pub(crate) fn unloaded_modules(state: &ProcessState, limits: &Limits) -> Vec<UnloadedModule> {
    state.unloaded_modules.by_addr().take(limits.max_modules).map(|module| unloaded(module, vec![])).collect()
}

fn unloaded(module: &minidump::MinidumpUnloadedModule, offsets: Vec<Address>) -> UnloadedModule {
    UnloadedModule {
        filename: clean::leaf(&module.code_file()),
        code_id: module.code_identifier().map(|id| id.to_string()).unwrap_or_default(),
        offsets,
    }
}

/// What the program that wrote the dump had trouble with.
pub(crate) fn soft_errors(state: &ProcessState) -> Vec<String> {
    let errors = state.soft_errors.as_ref().and_then(|errors| errors.as_array()).into_iter().flatten();
    let text = errors.take(MOST_SOFT_ERRORS).map(|error| match error.as_str() {
        Some(text) => clean(text, clean::NAME),
        None => clean(&error.to_string(), clean::NAME),
    });
    text.collect()
}

pub(crate) fn frame(
    index: usize,
    frame: &StackFrame,
    state: &ProcessState,
    provider: &Provider<'_>,
) -> Frame {
    let offset_from = |base: u64| Address(frame.instruction.wrapping_sub(base));
    let base = frame.module.as_ref().map(minidump::Module::base_address);
    Frame {
        frame: index,
        trust: trust(frame.trust).to_owned(),
        offset: Address(frame.instruction),
        module: frame.module.as_ref().map(|module| clean::leaf(&module.code_file())),
        module_offset: base.map(offset_from),
        function: frame.function_name.as_deref().map(clean::function),
        function_offset: frame.function_base.map(offset_from),
        file: frame.source_file_name.as_deref().map(|file| clean(file, clean::NAME)),
        line: frame.source_line.filter(|line| *line > 0),
        inlines: frame.inlines.iter().map(inline).collect(),
        unloaded_modules: if base.is_none() { unloaded_at(frame.instruction, state) } else { vec![] },
        missing_symbols: base.is_some_and(|base| {
            !matches!(provider.status(base), SymbolStatus::Loaded | SymbolStatus::NotNeeded)
        }),
    }
}

fn inline(frame: &InlineFrame) -> Inline {
    Inline {
        function: clean::function(&frame.function_name),
        file: frame.source_file_name.as_deref().map(|file| clean(file, clean::NAME)),
        line: frame.source_line.filter(|line| *line > 0),
    }
}

fn trust(trust: FrameTrust) -> &'static str {
    match trust {
        FrameTrust::None => "none",
        other => other.as_str(),
    }
}

/// Modules that were once at this address. One may have been loaded and unloaded at several places.
fn unloaded_at(address: u64, state: &ProcessState) -> Vec<UnloadedModule> {
    let modules = &state.unloaded_modules;
    if modules.by_addr().nth(MOST_SEARCHED).is_some() {
        return vec![];
    }
    let mut by_name = BTreeMap::<&str, UnloadedModule>::new();
    for module in modules.modules_at_address(address).take(MOST_UNLOADED) {
        let offset = Address(address.wrapping_sub(module.raw.base_of_image));
        by_name.entry(&module.name).or_insert_with(|| unloaded(module, vec![])).offsets.push(offset);
    }
    by_name.into_values().collect()
}
