//! The rules, one file each, in the order in which they run. Order is meaning; names and effects are the reference's.

mod abort;
mod bad_hardware;
mod generation;
mod hung_process;
mod ipc_channel_error;
mod ipc_message_name;
mod mix;
mod out_of_memory;
mod printable;
mod run_watchdog;
mod shutdown_timeout;
mod stack_overflow;
mod truncate;
mod walk_status;
mod whitespace;

use std::borrow::Cow;

use crate::{CrashData, Generator, generate::Making};

/// One small change to a signature. Pure: what it needs is in its arguments.
pub(crate) trait Rule: Sync {
    /// The name in notes and explanations.
    fn name(&self) -> &'static str;

    /// Makes the change. A rule that fails has changed nothing.
    fn apply(&self, crash: &CrashData<'_>, making: &mut Making, generator: &Generator) -> Result<Done, Why>;
}

/// What a rule did, or why it failed, for people.
pub(crate) type Why = Cow<'static, str>;

/// What a rule did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Done {
    /// There was nothing for it to do.
    Nothing,
    /// It changed the signature.
    Changed(Why),
}

impl Done {
    fn changed(what: &'static str) -> Self {
        Self::Changed(Cow::Borrowed(what))
    }
}

/// All of them, in their order.
pub(crate) const ALL: &[&dyn Rule] = &[
    &generation::SignatureGenerationRule,
    &walk_status::StackwalkerErrorSignatureRule,
    &bad_hardware::BadHardware,
    &out_of_memory::OOMSignature,
    &abort::AbortSignature,
    &shutdown_timeout::SignatureShutdownTimeout,
    &run_watchdog::SignatureRunWatchDog,
    &ipc_channel_error::SignatureIPCChannelError,
    &ipc_message_name::SignatureIPCMessageName,
    &stack_overflow::StackOverflowSignature,
    &hung_process::HungProcess,
    &mix::SignatureMix,
    &printable::SigPrintableCharsOnly,
    &whitespace::SigFixWhitespace,
    &truncate::SigTruncate,
];

impl Making {
    /// Puts words before the signature.
    fn prepend(&mut self, words: &str) {
        self.signature = format!("{words} | {}", self.signature);
    }

    /// Takes another signature, which is not made from the frames.
    fn replace(&mut self, signature: String) {
        self.signature = signature;
        self.has_no_frame_of_its_own = false;
    }

    fn note(&mut self, rule: &dyn Rule, text: &str) {
        self.notes.push(format!("{}: {text}", rule.name()));
    }
}
