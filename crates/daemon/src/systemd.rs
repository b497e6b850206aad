//! What systemd is told. Everything here is nothing where `NOTIFY_SOCKET` is not set.

use sd_notify::NotifyState;
use tracing::{debug, warn};

pub(crate) fn ready() {
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        warn!(%error, "systemd could not be told that this process is ready; it may stop it as not started");
    }
}

pub(crate) fn stopping() {
    tell(&NotifyState::Stopping);
}

/// A line break would begin another message.
pub(crate) fn status(text: &str) {
    tell(&NotifyState::Status(&text.replace(['\n', '\r'], " ")));
}

/// Pings systemd's watchdog, where it has one for this process, from a task of the runtime that does the
/// work: when that hangs the pings stop, and systemd restarts the process.
pub(crate) async fn keep_watchdog_calm() {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let mut twice_as_often = tokio::time::interval((patience / 2).max(std::time::Duration::from_millis(1)));
    loop {
        twice_as_often.tick().await;
        tell(&NotifyState::Watchdog);
    }
}

fn tell(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        debug!(%error, "systemd could not be told");
    }
}
