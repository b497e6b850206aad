//! Processes that lost touch with each other.

use serde_json::Value;

use super::{Done, Rule, Why};
use crate::{CrashData, Generator, generate::Making, python};

const BROWSER_DUMP: &str = "upload_file_minidump_browser";
const LONGEST: usize = 100;

/// Names a crash by the error of its channel to another process.
pub(crate) struct SignatureIPCChannelError;

impl Rule for SignatureIPCChannelError {
    fn name(&self) -> &'static str {
        "SignatureIPCChannelError"
    }

    fn apply(&self, crash: &CrashData<'_>, making: &mut Making, _: &Generator) -> Result<Done, Why> {
        if !python::is_true(&crash.ipc_channel_error) {
            return Ok(Done::Nothing);
        }
        let Some(error) = crash.ipc_channel_error.as_str() else {
            return Err(Why::Borrowed("the error of the channel is no text"));
        };
        let side = if names_browser(&crash.additional_minidumps) { "browser" } else { "content" };
        let beginning: String = error.chars().take(LONGEST).collect();
        making.note(self, &format!("replaced the signature `{}`", making.signature));
        making.replace(format!("IPCError-{side} | {beginning}"));
        Ok(Done::changed("replaced it: the channel to another process failed"))
    }
}

fn names_browser(dumps: &Value) -> bool {
    match dumps {
        Value::String(names) => names.contains(BROWSER_DUMP),
        Value::Array(names) => names.iter().any(|name| name == BROWSER_DUMP),
        Value::Object(names) => names.contains_key(BROWSER_DUMP),
        _ => false,
    }
}
