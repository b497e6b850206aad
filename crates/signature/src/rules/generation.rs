//! The first signature: of a Java exception where there is one, else of the crashing thread's stack.

use std::borrow::Cow;

use super::{Done, Rule, Why};
use crate::{CrashData, Generator, generate::Making, java, python, stack::BadStack};

/// Names the crash by what it crashed in. All other rules change what this one found.
pub(crate) struct SignatureGenerationRule;

impl Rule for SignatureGenerationRule {
    fn name(&self) -> &'static str {
        "SignatureGenerationRule"
    }

    fn apply(&self, crash: &CrashData<'_>, making: &mut Making, generator: &Generator) -> Result<Done, Why> {
        generate(self, crash, crash.crashing_thread, making, generator)
    }
}

/// Names the crash by a Java exception, or by the stack of this thread.
pub(super) fn generate(
    rule: &dyn Rule,
    crash: &CrashData<'_>,
    thread: i64,
    making: &mut Making,
    generator: &Generator,
) -> Result<Done, Why> {
    if python::is_true(&crash.java_stack_trace) {
        let named = java::name_stack_trace(&crash.java_stack_trace);
        return Ok(take_java(rule, named, making));
    }
    if python::is_true(&crash.java_exception) {
        let named = java::name_exception(&crash.java_exception)?;
        return Ok(take_java(rule, named, making));
    }
    let walked = generator.walk(crash, thread).map_err(|error: BadStack| Cow::Owned(error.to_string()))?;
    if !walked.found {
        making.note(rule, &format!("no frame of thread {thread} is left to name the crash by"));
    }
    making.has_no_frame_of_its_own = !walked.frames.is_empty() && !walked.ended;
    making.signature = walked.signature;
    making.frames = walked.frames;
    if let Some(proto_signature) = walked.proto_signature {
        making.proto_signature = proto_signature;
    }
    Ok(Done::changed("made the signature from the frames of the thread"))
}

fn take_java(rule: &dyn Rule, named: java::Named, making: &mut Making) -> Done {
    making.signature = named.signature;
    for note in named.notes {
        making.note(rule, note);
    }
    Done::changed("made the signature from the Java exception")
}
