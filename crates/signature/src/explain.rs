//! A signature's story in a few sentences.

use std::fmt::Write as _;

use crash::{ExplainedFrame, ExplainedRule, FrameFate, RuleOutcome};

use crate::generate::Making;

/// Rules that only tidy up; they are in the list of rules, and in no sentence.
const TIDYING: [&str; 2] = ["SigFixWhitespace", "SigPrintableCharsOnly"];

/// Says for people why a crash has its signature.
pub(crate) fn sentence(making: &Making, rules: &[ExplainedRule]) -> String {
    let mut story = String::with_capacity(256);
    let told = tell_frames(&mut story, &making.frames).and_then(|()| tell_rules(&mut story, rules));
    told.expect("writing to a text does not fail");
    story
}

fn tell_frames(story: &mut String, frames: &[ExplainedFrame]) -> std::fmt::Result {
    let all = |fate| frames.iter().filter(move |frame| frame.fate == fate);
    let count = |fate| all(fate).count();
    if let Some(start) = frames.iter().find(|frame| frame.begins.is_some()) {
        write!(
            story,
            "The signature starts at frame {}, `{}`, which is a sentinel. ",
            start.frame, start.text
        )?;
    }
    if let Some(skipped) =
        plural(count(FrameFate::Skipped), "was skipped as irrelevant", "were skipped as irrelevant")
    {
        write!(story, "{skipped}. ")?;
    }
    if let Some(kept) = plural(count(FrameFate::Kept), "was kept on the way", "were kept on the way") {
        write!(story, "{kept}. ")?;
    }
    if let Some(last) = all(FrameFate::Ended).next() {
        write!(story, "Frame {}, `{}`, ends the signature: no list knows it.", last.frame, last.text)?;
    } else if let Some(only) = all(FrameFate::LastResort).next() {
        write!(
            story,
            "No frame is left to name the crash by, so frame {}, `{}`, does.",
            only.frame, only.text
        )?;
    } else if !frames.is_empty() {
        write!(story, "The lists know every frame.")?;
    }
    Ok(())
}

/// Nothing for none.
fn plural(count: usize, one: &str, many: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("1 frame {one}")),
        count => Some(format!("{count} frames {many}")),
    }
}

fn tell_rules(story: &mut String, rules: &[ExplainedRule]) -> std::fmt::Result {
    let is_told = |rule: &&ExplainedRule| !TIDYING.contains(&&*rule.rule);
    // Where there are frames they have told what the first rule did.
    let skipped = usize::from(!story.is_empty());
    for rule in rules.iter().filter(is_told).skip(skipped) {
        let between = if story.is_empty() { "" } else { " " };
        match rule.outcome {
            RuleOutcome::Unchanged => Ok(()),
            RuleOutcome::Changed => write!(story, "{between}{} {}.", rule.rule, rule.what),
            RuleOutcome::Failed => {
                write!(story, "{between}{} could not be applied: {}.", rule.rule, rule.what)
            }
        }?;
    }
    Ok(())
}
