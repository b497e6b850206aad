//! Which message was being handled.

use super::{Done, Rule, Why};
use crate::{CrashData, Generator, generate::Making, python};

/// Adds the message from another process that was being handled.
pub(crate) struct SignatureIPCMessageName;

impl Rule for SignatureIPCMessageName {
    fn name(&self) -> &'static str {
        "SignatureIPCMessageName"
    }

    fn apply(&self, crash: &CrashData<'_>, making: &mut Making, _: &Generator) -> Result<Done, Why> {
        if !python::is_true(&crash.ipc_message_name) {
            return Ok(Done::Nothing);
        }
        let name = python::text(&crash.ipc_message_name);
        making.signature = format!("{} | IPC_Message_Name={name}", making.signature);
        Ok(Done::changed("added the message from another process that was being handled"))
    }
}
