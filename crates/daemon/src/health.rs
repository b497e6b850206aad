use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use metrics::gauge;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Whether a process can do its work: how far it has come, and the state of what it depends on.
///
/// A handle; clones are the same health.
#[derive(Debug, Clone)]
pub struct Health(Arc<Shared>);

/// One thing that a process depends on. It is unknown until the first [`up`](Self::up) or [`down`](Self::down).
///
/// A handle; clones are the same dependency.
#[derive(Debug, Clone)]
pub struct Dependency {
    health: Health,
    name: Arc<str>,
}

/// What becomes of a process whose dependency is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// It cannot do its work: it is not ready.
    Required,
    /// It goes on without, as a collector does without a broker.
    Optional,
}

#[derive(Debug)]
struct Shared {
    role: &'static str,
    node: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    status: String,
    dependencies: BTreeMap<Arc<str>, Reading>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Starting,
    Running,
    Stopping,
}

#[derive(Debug, Clone, Serialize)]
struct Reading {
    need: Need,
    state: Reachable,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Reachable {
    Unknown,
    Up,
    Down,
}

/// What `/__heartbeat__` answers.
#[derive(Debug, Serialize)]
pub(crate) struct Heartbeat {
    pub(crate) ready: bool,
    role: &'static str,
    phase: Phase,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    dependencies: BTreeMap<Arc<str>, Reading>,
}

/// Who asks: reasons name hosts and folders, which are no business of the public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    Operators,
    Public,
}

impl Health {
    /// The health of a process that is starting.
    pub fn new(role: &'static str, node: &str) -> Self {
        let state = State { phase: Phase::Starting, status: String::new(), dependencies: BTreeMap::new() };
        Self(Arc::new(Shared { role, node: node.to_owned(), state: Mutex::new(state) }))
    }

    /// Adds something that the process depends on. The same name twice is the same dependency.
    pub fn dependency(&self, name: &str, need: Need) -> Dependency {
        let name: Arc<str> = name.into();
        let reading = Reading { need, state: Reachable::Unknown, since: now(), reason: None };
        self.state().dependencies.entry(Arc::clone(&name)).or_insert(reading);
        Dependency { health: self.clone(), name }
    }

    /// True from [`Context::ready`](crate::Context::ready) until the process is told to stop, while everything
    /// that is required is up.
    pub fn is_ready(&self) -> bool {
        self.state().is_ready()
    }

    pub(crate) fn ready(&self) {
        let mut state = self.state();
        if state.phase == Phase::Starting {
            state.phase = Phase::Running;
        }
    }

    pub(crate) fn stopping(&self) {
        self.state().phase = Phase::Stopping;
    }

    pub(crate) fn status(&self, text: &str) {
        text.clone_into(&mut self.state().status);
    }

    pub(crate) fn heartbeat(&self, audience: Audience) -> Heartbeat {
        let state = self.state();
        let mut dependencies = state.dependencies.clone();
        if audience == Audience::Public {
            dependencies.values_mut().for_each(|reading| reading.reason = None);
        }
        let private =
            |text: &str| (audience == Audience::Operators && !text.is_empty()).then(|| text.to_owned());
        Heartbeat {
            ready: state.is_ready(),
            role: self.0.role,
            phase: state.phase,
            node: private(&self.0.node),
            status: private(&state.status),
            dependencies,
        }
    }

    /// The state holds together after every statement, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<Health> for Health {
    fn as_ref(&self) -> &Health {
        self
    }
}

impl State {
    fn is_ready(&self) -> bool {
        let blocks = |reading: &Reading| reading.need == Need::Required && reading.state != Reachable::Up;
        self.phase == Phase::Running && !self.dependencies.values().any(blocks)
    }
}

impl Dependency {
    /// It answers.
    pub fn up(&self) {
        if self.turn(Reachable::Up, None) == Some(Reachable::Down) {
            info!(dependency = &*self.name, "a dependency is up again");
        }
    }

    /// It does not answer, and why. Logged when it goes down, not for every time that this is said.
    pub fn down(&self, reason: impl Into<String>) {
        let reason = reason.into();
        if self.turn(Reachable::Down, Some(reason.clone())).is_some() {
            warn!(dependency = &*self.name, reason, "a dependency is down");
        }
    }

    /// Shows a state that somebody else keeps, from now until the shutdown. Needs to be called within the runtime.
    ///
    /// `why_down` reads the state: nothing while all is well, else the reason.
    pub fn follow<T: Send + Sync + 'static>(
        self,
        mut state: watch::Receiver<T>,
        why_down: impl Fn(&T) -> Option<String> + Send + 'static,
        shutdown: CancellationToken,
    ) {
        tokio::spawn(async move {
            loop {
                let reason = why_down(&state.borrow_and_update());
                match reason {
                    None => self.up(),
                    Some(reason) => self.down(reason),
                }
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    changed = state.changed() => if changed.is_err() { break },
                }
            }
        });
    }

    /// Returns what it was before, if that was different.
    fn turn(&self, to: Reachable, reason: Option<String>) -> Option<Reachable> {
        let mut state = self.health.state();
        let reading = state.dependencies.get_mut(&self.name)?;
        reading.reason = reason;
        let before = std::mem::replace(&mut reading.state, to);
        if before == to {
            return None;
        }
        reading.since = now();
        let name = format!("crashmill_{}_dependency_up", self.health.0.role);
        gauge!(name, "dependency" => self.name.to_string()).set(if to == Reachable::Up { 1.0 } else { 0.0 });
        Some(before)
    }
}

fn now() -> String {
    format!("{:.3}", Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Health {
        let health = Health::new("collector", "n1");
        health.ready();
        health
    }

    #[test]
    fn a_process_is_ready_only_between_its_start_and_its_stop() {
        let health = Health::new("collector", "n1");
        assert!(!health.is_ready());
        health.ready();
        assert!(health.is_ready());
        health.stopping();
        assert!(!health.is_ready());
        health.ready();
        assert!(!health.is_ready(), "what stops does not become ready again");
    }

    #[test]
    fn a_required_dependency_that_is_unknown_or_down_makes_it_unready() {
        let health = running();
        let postgresql = health.dependency("postgresql", Need::Required);
        assert!(!health.is_ready());
        postgresql.up();
        assert!(health.is_ready());
        postgresql.down("connection refused");
        assert!(!health.is_ready());
    }

    #[test]
    fn an_optional_dependency_never_makes_it_unready() {
        let health = running();
        let broker = health.dependency("rabbitmq", Need::Optional);
        assert!(health.is_ready());
        broker.down("connection refused");
        assert!(health.is_ready());
    }

    #[test]
    fn saying_the_same_again_keeps_since_and_takes_the_new_reason() {
        let health = running();
        let broker = health.dependency("rabbitmq", Need::Optional);
        broker.down("first");
        health.state().dependencies.get_mut("rabbitmq").unwrap().since = "then".to_owned();
        health.dependency("rabbitmq", Need::Optional).down("second");
        let reading = health.heartbeat(Audience::Operators).dependencies["rabbitmq"].clone();
        assert_eq!((reading.since.as_str(), reading.reason.as_deref()), ("then", Some("second")));
        broker.up();
        let reading = health.heartbeat(Audience::Operators).dependencies["rabbitmq"].clone();
        assert!(reading.since != "then" && reading.reason.is_none());
    }

    #[test]
    fn the_public_sees_states_but_neither_reasons_nor_the_node() {
        let health = running();
        health.status("backlog 12");
        health.dependency("store", Need::Required).down("/srv/secret-folder is full");
        let shown = |audience| serde_json::to_string(&health.heartbeat(audience)).unwrap();
        assert!(
            shown(Audience::Operators).contains("secret-folder") && shown(Audience::Operators).contains("n1")
        );
        assert!(shown(Audience::Operators).contains("backlog 12"));
        let public = shown(Audience::Public);
        assert!(
            public.contains("\"store\":{\"need\":\"required\",\"state\":\"down\",\"since\":"),
            "{public}"
        );
        assert!(!public.contains("secret-folder") && !public.contains("n1") && !public.contains("backlog"));
    }
}
