//! Spaces inside a name.

use std::borrow::Cow;

/// Takes a space away before `*`, `&` and `,`, and puts one after each comma.
pub(super) fn fix(name: Cow<'_, str>) -> Cow<'_, str> {
    let is_fine = !name.contains(',') && !name.contains(" *") && !name.contains(" &");
    if is_fine {
        return name;
    }
    let mut fixed = String::with_capacity(name.len() + 4);
    let mut characters = name.chars().peekable();
    let mut after_comma = false;
    while let Some(character) = characters.next() {
        if character == ' ' && matches!(characters.peek(), Some('*' | '&' | ',')) {
            continue;
        }
        if after_comma && character != ' ' {
            fixed.push(' ');
        }
        fixed.push(character);
        after_comma = character == ',';
    }
    if after_comma {
        fixed.push(' ');
    }
    Cow::Owned(fixed)
}
