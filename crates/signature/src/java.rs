//! Java and Kotlin exceptions.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::{python, rules::Why};

const LONGEST: usize = 255;
const ADDRESS: &str = "<addr>";

/// What an exception is called.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) signature: String,
    pub(crate) notes: Vec<&'static str>,
}

impl Named {
    fn empty(signature: &str, note: &'static str) -> Self {
        Self { signature: signature.to_owned(), notes: vec![note] }
    }
}

/// Names an exception that came as text: `Class: description` and, on the next line, `at method(file)`.
pub(crate) fn name_stack_trace(trace: &Value) -> Named {
    let Some(trace) = trace.as_str() else {
        return Named::empty(
            "EMPTY: Java stack trace not in expected format",
            "the Java stack trace is no text",
        );
    };
    let mut notes = Vec::new();
    let mut lines = lines(trace).map(python::trim);
    let first = lines.next().unwrap_or_default();
    let (class, description) = first.split_once(':').unwrap_or_else(|| {
        notes.push("the first line of the Java stack trace is not a class and a description");
        (first, "")
    });
    let (class, description) = (python::trim(class), without_addresses(python::trim(description)));
    let method = without_line(lines.next().unwrap_or_else(|| {
        notes.push("the Java stack trace has no second line");
        ""
    }));

    let mut signature = join(class, &description, &method);
    if signature.chars().count() > LONGEST {
        notes.push("the description of the Java exception was too long and is left out");
        signature = format!("{class}: {method}");
    }
    Named { signature, notes }
}

/// The parts that are there. The form is the one that signatures of Java crashes have always had.
fn join(class: &str, description: &str, method: &str) -> String {
    let head = match (class, description) {
        (class, "") => class.to_owned(),
        ("", description) => description.to_owned(),
        (class, description) => format!("{class}: {description}"),
    };
    match (head.as_str(), method) {
        (_, "") => head,
        ("", method) => method.to_owned(),
        (head, method) if description.is_empty() || description.ends_with(ADDRESS) => {
            format!("{head}: {method}")
        }
        (head, method) => format!("{head} {method}"),
    }
}

/// Lines as the reference parts them: also at a few characters that are no line feeds.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let is_end = |character| {
        matches!(
            character,
            '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut rest = Some(text).filter(|text| !text.is_empty());
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(is_end) else {
            rest = None;
            return Some(text);
        };
        let (line, after) = text.split_at_checked(end)?;
        let after = after.strip_prefix("\r\n").unwrap_or_else(|| {
            let mut characters = after.chars();
            characters.next();
            characters.as_str()
        });
        rest = Some(after).filter(|after| !after.is_empty());
        Some(line)
    })
}

/// Objects without a text of their own are shown by class and address, which is another one every time.
fn without_addresses(description: &str) -> Cow<'_, str> {
    const DIGITS: usize = 8;
    let is_address = |after: &str| {
        after
            .get(..DIGITS)
            .is_some_and(|digits| digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    };
    if !description.contains('@') {
        return Cow::Borrowed(description);
    }
    let mut without = String::with_capacity(description.len());
    let mut rest = description;
    while let Some((before, after)) = rest.split_once('@') {
        without.push_str(before);
        without.push('@');
        rest = after;
        if is_address(after) {
            without.push_str(ADDRESS);
            rest = after.get(DIGITS..).unwrap_or_default();
        }
    }
    without.push_str(rest);
    Cow::Owned(without)
}

/// A method without the number of its line in a file of Java.
fn without_line(method: &str) -> Cow<'_, str> {
    let file = method.strip_suffix(')').and_then(|method| {
        let (before, line) = method.rsplit_once(".java:")?;
        (!line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit())).then_some(before)
    });
    file.map_or(Cow::Borrowed(method), |before| Cow::Owned(format!("{before}.java)")))
}

/// Names an exception that came with its parts: `module.type: at module.function(file)` of its first frame.
pub(crate) fn name_exception(exception: &Value) -> Result<Named, Why> {
    let stack_trace =
        exception.pointer("/exception/values/0/stacktrace").filter(|trace| python::is_true(trace));
    let Some(stack_trace) = stack_trace else {
        return Ok(Named::empty(
            "EMPTY: Java exception not in expected format",
            "the Java exception has no value with a stack trace",
        ));
    };
    let Value::Object(stack_trace) = stack_trace else {
        return Err(Why::Borrowed("the stack trace of the Java exception is no object"));
    };
    let kind = stack_trace.get("type").map_or(Cow::Borrowed("Unknown"), python::text);
    let is_named = stack_trace.get("type").is_none_or(python::is_true);
    let mut signature = match stack_trace.get("module").filter(|module| is_named && python::is_true(module)) {
        Some(module) => format!("{}.{kind}", python::text(module)),
        None => kind.into_owned(),
    };
    if let Some(frames) = stack_trace.get("frames").filter(|frames| python::is_true(frames)) {
        signature = format!("{signature}: at {}", frame(frames)?);
    }
    Ok(Named { signature, notes: vec![] })
}

fn frame(frames: &Value) -> Result<String, Why> {
    let Some(Value::Object(frame)) = frames.as_array().and_then(|frames| frames.first()) else {
        return Err(Why::Borrowed("the frames of the Java exception are no list of objects"));
    };
    let names = [part(frame, "module")?, part(frame, "function")?];
    let place = names.into_iter().flatten().collect::<Vec<_>>().join(".");
    if place.is_empty() {
        return Ok("unknown".to_owned());
    }
    Ok(match frame.get("filename").filter(|file| python::is_true(file)) {
        Some(file) => format!("{place}({})", python::text(file)),
        None => place,
    })
}

fn part<'a>(frame: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Why> {
    match frame.get(name).filter(|part| python::is_true(part)) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Why::Borrowed("a name in the first frame of the Java exception is no text")),
    }
}
