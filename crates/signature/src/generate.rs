//! From crash data to a signature: the rules, one after the other.

use std::{
    borrow::Cow,
    sync::{Mutex, PoisonError},
};

use crash::{ExplainedFrame, ExplainedRule, RuleOutcome, SignatureExplanation};

use crate::{
    CacheUse, CrashData, Lists, Signature,
    explain::sentence,
    known::KnownFunctions,
    rules::{self, Done, Rule},
    stack,
};

/// Makes signatures. It holds the lists, and remembers the functions that it has seen; one serves all threads.
#[derive(Debug)]
pub struct Generator {
    lists: Lists,
    known: Mutex<KnownFunctions>,
}

/// A signature on its way through the rules.
#[derive(Debug, Default)]
pub(crate) struct Making {
    pub(crate) signature: String,
    pub(crate) proto_signature: String,
    pub(crate) notes: Vec<String>,
    /// What became of the frames that the signature was made from.
    pub(crate) frames: Vec<ExplainedFrame>,
    /// Whether frames were looked at, and none of them is the program's own.
    pub(crate) has_no_frame_of_its_own: bool,
}

impl Generator {
    /// A generator that uses these lists.
    #[must_use]
    pub fn new(lists: Lists) -> Self {
        Self { lists, known: Mutex::default() }
    }

    /// Makes the signature of a crash.
    ///
    /// It always gives one: a rule that fails leaves the signature as it was, and a note.
    #[must_use]
    pub fn generate(&self, crash: &CrashData<'_>) -> Signature {
        let mut making = Making::default();
        let mut explained = Vec::with_capacity(rules::ALL.len());
        for rule in rules::ALL {
            explained.push(self.apply(*rule, crash, &mut making));
        }
        let sentence = sentence(&making, &explained);
        Signature {
            explanation: SignatureExplanation {
                sentence,
                lists: self.lists.name.clone(),
                frames: making.frames,
                rules: explained,
            },
            signature: making.signature,
            proto_signature: making.proto_signature,
            notes: making.notes,
        }
    }

    /// The lists that it uses.
    #[must_use]
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// How often functions were remembered since this generator was made.
    #[must_use]
    pub fn cache_use(&self) -> CacheUse {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).used
    }

    /// Forgets the functions that it has seen. Signatures stay the same; the next ones take longer.
    pub fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = KnownFunctions::default();
    }

    fn apply(&self, rule: &dyn Rule, crash: &CrashData<'_>, making: &mut Making) -> ExplainedRule {
        let (outcome, what) = match rule.apply(crash, making, self) {
            Ok(Done::Nothing) => (RuleOutcome::Unchanged, Cow::Borrowed("")),
            Ok(Done::Changed(what)) => (RuleOutcome::Changed, what),
            Err(why) => {
                making.notes.push(format!("{}: Rule failed: {why}", rule.name()));
                (RuleOutcome::Failed, why)
            }
        };
        ExplainedRule { rule: Cow::Borrowed(rule.name()), outcome, what }
    }

    /// Names a crash by a thread's stack.
    pub(crate) fn walk(&self, crash: &CrashData<'_>, thread: i64) -> Result<stack::Walked, stack::BadStack> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        stack::walk(crash, thread, &self.lists, &mut known)
    }
}
