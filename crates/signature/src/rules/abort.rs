//! Programs that gave up, and said why.

use super::{Done, Rule, Why};
use crate::{CrashData, Generator, generate::Making, python};

const MARK: &str = "###!!! ABORT:";
/// The message says only where it was.
const MARK_WITHOUT_MESSAGE: &str = "###!!! ABORT: file ";
/// The font that is named then is another one on every machine.
const FONT_MESSAGE: &str = "unable to find a usable font";
const LONGEST: usize = 80;

/// Puts the program's last words before the signature.
pub(crate) struct AbortSignature;

impl Rule for AbortSignature {
    fn name(&self) -> &'static str {
        "AbortSignature"
    }

    fn apply(&self, crash: &CrashData<'_>, making: &mut Making, _: &Generator) -> Result<Done, Why> {
        if !python::is_true(&crash.abort_message) {
            return Ok(Done::Nothing);
        }
        let Some(message) = crash.abort_message.as_str() else {
            return Err(Why::Borrowed("the abort message is no text"));
        };
        if message.contains(MARK_WITHOUT_MESSAGE) {
            making.prepend("Abort");
            return Ok(Done::changed("put `Abort` before it: the program gave up without saying why"));
        }
        making.prepend(&format!("Abort | {}", shorten(&essence(message))));
        Ok(Done::changed("put the program's abort message before it"))
    }
}

/// The message without its mark, its place in the source, and what differs from machine to machine.
fn essence(message: &str) -> String {
    let message = message.split_once(MARK).map_or(message, |(_, message)| message);
    let message = message.split_once(": file ").map_or(message, |(message, _)| message);
    let message =
        if message.contains(FONT_MESSAGE) { without_parentheses(message) } else { message.to_owned() };
    let printable: String = message.chars().filter(|character| matches!(character, ' '..='~')).collect();
    printable.trim().to_owned()
}

/// Takes out all from the first parenthesis to the last.
fn without_parentheses(message: &str) -> String {
    let between = message.split_once('(').and_then(|(before, rest)| Some((before, rest.rsplit_once(')')?.1)));
    between.map_or_else(|| message.to_owned(), |(before, after)| format!("{before}{after}"))
}

fn shorten(message: &str) -> String {
    // It is ASCII by now.
    match message.get(..LONGEST - 3) {
        Some(beginning) if message.len() > LONGEST => format!("{beginning}..."),
        _ => message.to_owned(),
    }
}
