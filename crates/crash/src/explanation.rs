//! Why a crash has the signature that it has.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

/// How a signature came about: what became of each frame, and what each rule did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SignatureExplanation {
    /// The whole in a few sentences, for people.
    #[serde(default)]
    pub sentence: String,
    /// Which lists were used: `built-in`, or their folder.
    #[serde(default)]
    pub lists: Arc<str>,
    /// The frames that were looked at, inlined functions first; at most 40. None when a Java stack named the crash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<ExplainedFrame>,
    /// The rules, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<ExplainedRule>,
}

/// What became of one frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedFrame {
    /// Index of the frame in its thread. An inlined function has that of the frame that it is in.
    pub frame: usize,
    /// Whether it is an inlined function.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inlined: bool,
    /// The frame's normalised text; the proto signature is made of these.
    pub text: Arc<str>,
    /// What became of it.
    pub fate: FrameFate,
    /// The line of a list that says so, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Box<ListLine>>,
    /// The line of the list of sentinels that made this the first frame that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins: Option<Box<ListLine>>,
    /// The line of a list that put the line number into the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbered: Option<Box<ListLine>>,
}

/// What can become of a frame on the way to a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameFate {
    /// It comes before the sentinel at which the signature starts.
    BeforeStart,
    /// There is nothing that it could be called.
    Nameless,
    /// A list says that it is irrelevant.
    Skipped,
    /// It is a module, or a place without a name, that stands there already.
    Repeated,
    /// It is in the signature, and a list says that the next one belongs there too.
    Kept,
    /// It is in the signature and ends it.
    Ended,
    /// It is the signature, since no frame was left.
    LastResort,
    /// The signature had ended before it.
    NotReached,
}

/// A line of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListLine {
    /// The list's file name.
    pub list: Cow<'static, str>,
    /// The line in the file, from 1.
    pub line: u32,
    /// What stands there.
    pub entry: Arc<str>,
}

impl std::fmt::Display for ListLine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}", self.list, self.line)
    }
}

/// What one rule did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRule {
    /// Its name.
    pub rule: Cow<'static, str>,
    /// Whether it changed the signature.
    pub outcome: RuleOutcome,
    /// What it did, or why it failed; empty when there was nothing for it to do.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub what: Cow<'static, str>,
}

/// What a rule can do to a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleOutcome {
    /// It changed it.
    Changed,
    /// There was nothing for it to do.
    Unchanged,
    /// It could not make sense of the crash, and left the signature as it was.
    Failed,
}
