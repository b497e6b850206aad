//! Shutdowns that waited for something in vain.

use serde_json::{Map, Value};

use super::{Done, Rule, Why};
use crate::{CrashData, Generator, generate::Making, python};

/// Names a shutdown that took too long by its phase and by what it waited for: the stack only shows the wait.
pub(crate) struct SignatureShutdownTimeout;

impl Rule for SignatureShutdownTimeout {
    fn name(&self) -> &'static str {
        "SignatureShutdownTimeout"
    }

    fn apply(&self, crash: &CrashData<'_>, making: &mut Making, _: &Generator) -> Result<Done, Why> {
        if !python::is_true(&crash.async_shutdown_timeout) {
            return Ok(Done::Nothing);
        }
        let Some(text) = crash.async_shutdown_timeout.as_str() else {
            return Err(Why::Borrowed("what the shutdown waited for is no text"));
        };
        let mut parts = vec!["AsyncShutdownTimeout".to_owned()];
        match serde_json::from_str(text) {
            Ok(Value::Object(waited)) => {
                parts.push(phase(&waited));
                parts.push(conditions(&waited)?.unwrap_or_else(|| {
                    making.note(self, "a condition that the shutdown waited for has no name");
                    "UNKNOWN".to_owned()
                }));
            }
            Ok(_) => return Err(Why::Borrowed("what the shutdown waited for is not a JSON object")),
            Err(_) => {
                making.note(self, "what the shutdown waited for is not JSON");
                parts.push("UNKNOWN".to_owned());
            }
        }
        making.note(self, &format!("replaced the signature `{}`", making.signature));
        making.replace(parts.join(" | "));
        Ok(Done::changed("replaced it: a shutdown took too long, and the stack only shows who waits"))
    }
}

fn phase(waited: &Map<String, Value>) -> String {
    waited.get("phase").and_then(Value::as_str).unwrap_or("(unknown)").to_owned()
}

/// The names of the conditions in order; nothing when one has no name.
fn conditions(waited: &Map<String, Value>) -> Result<Option<String>, Why> {
    let Some(conditions) = waited.get("conditions").filter(|conditions| python::is_true(conditions)) else {
        return Ok(Some("(none)".to_owned()));
    };
    let names: Option<Vec<String>> = match conditions {
        Value::Array(items) => items.iter().map(name).collect(),
        Value::Object(entries) => Some(entries.keys().cloned().collect()),
        Value::String(text) => Some(text.chars().map(String::from).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            return Err(Why::Borrowed("the conditions that the shutdown waited for are no list"));
        }
    };
    Ok(names.map(|mut names| {
        names.sort();
        names.join(",")
    }))
}

fn name(condition: &Value) -> Option<String> {
    let name = match condition {
        Value::Object(parts) => parts.get("name")?,
        name => name,
    };
    Some(python::text(name).into_owned())
}
