//! Starts processes from a thread that stays.

use std::{io, sync::mpsc, thread};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

type Request = (Command, oneshot::Sender<io::Result<Child>>);

/// A thread that starts processes, for as long as this lives.
///
/// A worker asks the system to be killed when its parent dies, and by "parent" Linux means the thread that started it.
/// The threads of a runtime come and go, and would take workers with them.
#[derive(Debug)]
pub(crate) struct Spawner {
    requests: mpsc::Sender<Request>,
}

impl Spawner {
    /// Needs to be called within a tokio runtime, which looks after the processes.
    pub(crate) fn start() -> io::Result<Self> {
        let (requests, received) = mpsc::channel::<Request>();
        let runtime = Handle::current();
        thread::Builder::new().name("worker-spawner".to_owned()).spawn(move || {
            for (mut command, answer) in received {
                let _within = runtime.enter();
                // Where nobody waits any more, the process is killed with its handle.
                answer.send(command.spawn()).ok();
            }
        })?;
        Ok(Self { requests })
    }

    pub(crate) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let gone = || io::Error::other("the thread that starts workers is gone");
        let (answer, child) = oneshot::channel();
        self.requests.send((command, answer)).map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}
