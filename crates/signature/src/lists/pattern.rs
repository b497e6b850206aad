//! Patterns in the dialect of the lists, which is Python's, as the one of our regular expressions.
//!
//! Only what is written differently is changed; what our engine cannot do (looking around, going back) it refuses.

use std::{iter::Peekable, str::CharIndices};

/// Writes a pattern in our dialect.
///
/// - A brace that begins no repetition is a brace: `{{closure}}`.
/// - An escaped character that is neither letter nor digit stands for itself: `\<` is no edge of a word.
/// - Brackets and set operators inside a class are ordinary characters.
/// - `$` is also before a line feed at the very end, and `\Z` is the very end.
pub(super) fn translate(pattern: &str) -> String {
    let mut translated = String::with_capacity(pattern.len() + 8);
    let mut characters = pattern.char_indices().peekable();
    let mut class = Class::Outside;
    while let Some((index, character)) = characters.next() {
        match (character, class) {
            ('\\', _) => {
                if let Some((_, escaped)) = characters.next() {
                    push_escaped(&mut translated, escaped);
                } else {
                    translated.push('\\');
                }
                class = class.after_member();
            }
            ('[', Class::Outside) => {
                translated.push('[');
                if let Some((_, negation)) = characters.next_if(|(_, next)| *next == '^') {
                    translated.push(negation);
                }
                class = Class::First;
            }
            (']', Class::Inside) => {
                translated.push(']');
                class = Class::Outside;
            }
            (member, Class::First | Class::Inside) => {
                if matches!(member, '[' | ']' | '&' | '~') {
                    translated.push('\\');
                }
                translated.push(member);
                class = class.after_member();
            }
            ('{', Class::Outside) => match repetition(pattern, index, &mut characters) {
                Some(repetition) => translated.push_str(&repetition),
                None => translated.push_str("\\{"),
            },
            ('}', Class::Outside) => translated.push_str("\\}"),
            ('$', Class::Outside) => translated.push_str("(?:\\n?\\z)"),
            (other, Class::Outside) => translated.push(other),
        }
    }
    translated
}

/// Whether a character is in a class, and whether one was there before it: `]` is a member where it comes first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Outside,
    First,
    Inside,
}

impl Class {
    fn after_member(self) -> Self {
        if self == Self::Outside { Self::Outside } else { Self::Inside }
    }
}

fn push_escaped(translated: &mut String, escaped: char) {
    match escaped {
        'Z' => translated.push_str("\\z"),
        letter if letter.is_ascii_alphanumeric() => translated.extend(['\\', letter]),
        '<' | '>' => translated.push(escaped),
        symbol if symbol.is_ascii_punctuation() => translated.extend(['\\', symbol]),
        other => translated.push(other),
    }
}

/// Takes the rest of a repetition, such as `{2,}`, where there is one.
fn repetition(pattern: &str, open: usize, rest: &mut Peekable<CharIndices<'_>>) -> Option<String> {
    let (bounds, _) = pattern.get(open + 1..)?.split_once('}')?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let written = match bounds.split_once(',') {
        None if !bounds.is_empty() && is_number(bounds) => format!("{{{bounds}}}"),
        Some(("", most)) if is_number(most) => format!("{{0,{most}}}"),
        Some((least, most)) if is_number(least) && is_number(most) => format!("{{{least},{most}}}"),
        _ => return None,
    };
    for _ in 0..=bounds.len() {
        rest.next();
    }
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::translate;

    #[test]
    fn what_is_written_differently_is_changed_and_nothing_else() {
        for (python, ours) in [
            (r"libc\.so(\.\d+)?", r"libc\.so(\.\d+)?"),
            ("log::{{closure}}", r"log::\{\{closure\}\}"),
            ("{virtual override thunk}", r"\{virtual override thunk\}"),
            ("@0x[0-9a-fA-F]{2,}", "@0x[0-9a-fA-F]{2,}"),
            ("a{,3}b{4}{}", r"a{0,3}b{4}\{\}"),
            (r"\<name omitted\>", "<name omitted>"),
            ("[]a[&]", r"[\]a\[\&]"),
            ("[^]]x]", r"[^\]]x]"),
            ("end$", r"end(?:\n?\z)"),
            (r"\_x\ y\Z", r"\_x y\z"),
        ] {
            assert_eq!(translate(python), ours, "{python}");
        }
    }
}
