//! From a raw crash and its stackwalks to a processed crash, without any service.

use crash::{
    Cpu, Dump, Event, MAIN_DUMP, Memory, Os, PROCESSED_FORMAT, ProcessedCrash, ProcessedDump, ProcessorNote,
    RawCrash, Times,
};
use jiff::Timestamp;

use signature::{CrashData, Generator};

use crate::{metrics::Metrics, rules};

/// What a transform must be told, since it knows no clock and no queue.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// The processor's node.
    pub node: String,
    /// How often the crash was tried, this time included.
    pub attempt: u16,
    /// When processing began.
    pub started_at: Timestamp,
    /// When the transform ends.
    pub completed_at: Timestamp,
}

/// Whether a binary of a report is taken for a minidump: by its name, else by its first bytes.
#[must_use]
pub fn is_minidump(dump: &Dump) -> bool {
    dump.name.starts_with(MAIN_DUMP) || dump.bytes.starts_with(b"MDMP")
}

/// Applies the built-in rules, in their order, to a crash and the stackwalks of its minidumps (the main one first), and
/// names it.
///
/// It always gives a processed crash: a rule that fails leaves a note, and the next one runs.
#[must_use]
pub fn transform(
    raw: &RawCrash,
    dumps: Vec<ProcessedDump>,
    circumstances: Circumstances,
    signatures: &Generator,
) -> ProcessedCrash {
    let mut processed = ProcessedCrash {
        format: PROCESSED_FORMAT,
        crash_id: raw.id(),
        submitted_at: raw.metadata.submitted_at,
        started_at: circumstances.started_at,
        completed_at: circumstances.completed_at,
        attempt: circumstances.attempt,
        node: circumstances.node,
        ruleset: rules::version(signatures.lists()),
        success: dumps.first().is_none_or(|dump| dump.status() == crash::WalkStatus::Ok),
        throttle: raw.metadata.throttle,
        sample_rate: raw.metadata.sample_rate,
        product: String::new(),
        version: String::new(),
        channel: String::new(),
        build: String::new(),
        process_type: String::new(),
        event: Event::default(),
        os: Os::default(),
        cpu: Cpu::default(),
        reason: None,
        address: None,
        crashing_thread: None,
        times: Times::default(),
        memory: Memory::default(),
        signature: String::new(),
        proto_signature: String::new(),
        signature_explanation: None,
        dumps,
        missing_symbols: vec![],
        notes: vec![],
        annotations: raw.annotations.clone(),
    };
    for rule in rules::ALL {
        let outcome = rules::apply(*rule, raw, &mut processed);
        Metrics::rule(rule.name(), outcome);
    }
    name(&mut processed, signatures);
    processed
}

/// Names the crash. Comes last: it uses what the rules found.
fn name(processed: &mut ProcessedCrash, signatures: &Generator) {
    let made = signatures.generate(&CrashData::from_processed(processed));
    processed.signature = made.signature;
    processed.proto_signature = made.proto_signature;
    processed.signature_explanation = Some(made.explanation);
    let note = |text| ProcessorNote { source: "signature".to_owned(), text };
    processed.notes.extend(made.notes.into_iter().map(note));
}
