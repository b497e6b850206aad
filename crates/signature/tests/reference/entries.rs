//! A frame for each entry of a folder of lists.

use std::path::Path;

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::dice::Dice;

/// The entries of a list.
pub(crate) fn of(lists: &Path, list: &str) -> Vec<String> {
    let text = std::fs::read_to_string(lists.join(list)).unwrap();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// A text that an entry matches.
pub(crate) fn matching(entry: &str, dice: &mut Dice) -> String {
    // The lists are in another dialect: here is what their entries make use of.
    let pattern = entry.replace("\\<", "<").replace("\\>", ">");
    let pattern =
        if pattern.contains("{2,}") { pattern } else { pattern.replace('{', "\\{").replace('}', "\\}") };
    let mut text = String::new();
    sample(&regex_syntax::parse(&pattern).unwrap(), dice, &mut text);
    text
}

fn sample(pattern: &Hir, dice: &mut Dice, text: &mut String) {
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(std::str::from_utf8(&literal.0).unwrap()),
        HirKind::Class(Class::Unicode(class)) => text.push(member(class, dice)),
        HirKind::Class(Class::Bytes(_)) => panic!("a list has characters and no bytes"),
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(repetition.min + 4);
            let times = repetition.min as usize + dice.below((most - repetition.min) as usize + 1);
            (0..times).for_each(|_| sample(&repetition.sub, dice, text));
        }
        HirKind::Capture(capture) => sample(&capture.sub, dice, text),
        HirKind::Concat(parts) => parts.iter().for_each(|part| sample(part, dice, text)),
        HirKind::Alternation(ways) => sample(&ways[dice.below(ways.len())], dice, text),
    }
}

/// One character of a class: a letter where it has one, as `.` does.
fn member(class: &regex_syntax::hir::ClassUnicode, dice: &mut Dice) -> char {
    let has = |wanted: char| class.iter().any(|range| (range.start()..=range.end()).contains(&wanted));
    let usual: Vec<char> = "abcXYZ019_".chars().filter(|wanted| has(*wanted)).collect();
    match usual.len() {
        0 => class.iter().next().unwrap().start(),
        count => usual[dice.below(count)],
    }
}
