//! A function's name among the words of its declaration.

use std::ops::Range;

use super::NoName;

/// Drops what stands before a function's name: linkage, qualifiers, the type that it returns.
///
/// Words are parted by single spaces outside brackets, and the last word is the name. A word that is only arguments or
/// a compiler's remark (`[clone .cold]`) belongs to the word before it.
pub(super) fn without_prefix(function: &str) -> Result<&str, NoName> {
    if !function.contains(' ') {
        return if function.is_empty() { Err(NoName) } else { Ok(function) };
    }
    let mut words = words(function);
    let last = words.pop().ok_or(NoName)?;
    let mut start = last.start;
    while is_part_of_the_word_before(function.get(start..last.end).unwrap_or_default()) {
        let Some(before) = words.pop() else { break };
        start = before.start;
    }
    Ok(function.get(start..last.end).unwrap_or_default())
}

fn is_part_of_the_word_before(word: &str) -> bool {
    word.starts_with('(') || word.starts_with("[clone")
}

/// Where the words are. Two spaces in a row have an empty word between them; a space at the end has none after it.
fn words(function: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut open = Vec::new();
    let mut start = 0;
    for (index, byte) in function.bytes().enumerate() {
        match byte {
            b' ' if open.is_empty() => {
                words.push(start..index);
                start = index + 1;
            }
            b'(' | b'{' | b'[' | b'<' | b'`' => open.push(byte),
            b')' | b'}' | b']' | b'>' | b'\'' if open.last() == Some(&opening(byte)) => {
                open.pop();
            }
            _ => {}
        }
    }
    if start < function.len() {
        words.push(start..function.len());
    }
    words
}

fn opening(closing: u8) -> u8 {
    match closing {
        b')' => b'(',
        b'}' => b'{',
        b']' => b'[',
        b'>' => b'<',
        _ => b'`',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_outside_brackets_is_the_name() {
        for (declaration, name) in [
            ("static int foo(int, char)", "foo(int, char)"),
            ("std::map<a, b> const& x::y(c d)", "x::y(c d)"),
            ("foo(int) [clone .isra.0]", "foo(int) [clone .isra.0]"),
            ("a b  [clone .x]", " [clone .x]"),
            ("foo ", "foo"),
            ("foo  ", ""),
            ("a {b (c} d) e", "{b (c} d) e"),
            ("void (anonymous namespace)::f()", "void (anonymous namespace)::f()"),
        ] {
            assert_eq!(without_prefix(declaration), Ok(name), "{declaration}");
        }
        assert_eq!(without_prefix(""), Err(NoName));
    }
}
