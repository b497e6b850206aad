//! Tells crashes, hangs, exhausted memory and Java exceptions apart.

use crash::{Event, ProcessedCrash, RawCrash};

use super::{Outcome, Rule, RuleError};

/// The annotations that say what happened, the most telling first.
const EVENTS: &[(&str, Event)] = &[
    ("JavaStackTrace", Event::Java),
    ("JavaException", Event::Java),
    ("Hang", Event::Hang),
    ("OOMAllocationSize", Event::Oom),
    ("MozCrashReason", Event::Assert),
];

/// Names what happened by the annotation that a client adds for it.
pub(crate) struct WhatHappened;

impl Rule for WhatHappened {
    fn name(&self) -> &'static str {
        "event"
    }

    fn apply(&self, raw: &RawCrash, processed: &mut ProcessedCrash) -> Result<Outcome, RuleError> {
        let told = |key: &str| raw.annotations.get(key).is_some_and(|text| !text.is_empty() && text != "0");
        match EVENTS.iter().find(|(key, _)| told(key)) {
            Some((_, event)) => {
                processed.event = *event;
                Ok(Outcome::Applied)
            }
            None => Ok(Outcome::Skipped),
        }
    }
}
