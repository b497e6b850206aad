//! Taking out what stands in brackets.

use std::borrow::Cow;

/// One kind of brackets, and when what is in them stays.
pub(super) struct Brackets {
    /// The opening bracket.
    pub(super) open: u8,
    /// The closing bracket.
    pub(super) close: u8,
    /// What stands for the brackets and all that was in them.
    pub(super) replacement: &'static str,
    /// What keeps a bracket that comes right after it: it then is an ordinary character.
    pub(super) stays_after: &'static [&'static str],
    /// Looks at a bracket and all that is in it, and says whether it stays as it is.
    pub(super) stays: fn(&str) -> bool,
    /// How many bytes before a bracket that opens are the name of an operator and no brackets at all.
    pub(super) operator: fn(before: &str, from: &str) -> usize,
}

/// No operator has this kind of brackets in its name.
pub(super) fn no_operator(_: &str, _: &str) -> usize {
    0
}

impl Brackets {
    /// Replaces every outermost pair of brackets. Brackets that are never closed reach to the end.
    pub(super) fn collapse<'a>(&self, text: Cow<'a, str>) -> Cow<'a, str> {
        if !text.as_bytes().contains(&self.open) {
            return text;
        }
        let mut collapsed = String::with_capacity(text.len());
        let mut rest = 0;
        while let Some(start) = self.next_opening(&text, rest) {
            let end = self.end(&text, start);
            let token = text.get(start..end).unwrap_or_default();
            collapsed.push_str(text.get(rest..start).unwrap_or_default());
            collapsed.push_str(if (self.stays)(token) { token } else { self.replacement });
            rest = end;
        }
        collapsed.push_str(text.get(rest..).unwrap_or_default());
        Cow::Owned(collapsed)
    }

    /// Where the next bracket is that opens something to be looked at.
    fn next_opening(&self, text: &str, from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            at += text.as_bytes().get(at..)?.iter().position(|byte| *byte == self.open)?;
            let (before, bracket) = text.split_at_checked(at)?;
            let operator = (self.operator)(before, bracket);
            if operator == 0 && !self.stays_after.iter().any(|word| before.ends_with(word)) {
                return Some(at);
            }
            at += operator.max(1);
        }
    }

    /// Where the brackets that open here end, or the text does.
    fn end(&self, text: &str, start: usize) -> usize {
        let mut depth = 0usize;
        for (index, byte) in text.bytes().enumerate().skip(start) {
            if byte == self.open {
                depth += 1;
            } else if byte == self.close {
                depth -= 1;
                if depth == 0 {
                    return index + 1;
                }
            }
        }
        text.len()
    }
}
