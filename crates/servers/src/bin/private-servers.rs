//! Starts the private servers of a folder and keeps them until it is told to stop: for working by hand, and for tests.
//!
//! `private-servers [--fast] DIR` prints what tests want in their environment, and stops at ctrl-C or SIGTERM.

use std::{
    env,
    error::Error,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::ExitCode,
};

use servers::{Durability, Layout, Servers};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level::pipe,
};

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1).peekable();
    if args.next_if(|first| first == "guard").is_some() {
        return servers::guard::main(args);
    }
    let durability = match args.next_if(|first| first == "--fast") {
        Some(_) => Durability::Fast,
        None => Durability::Full,
    };
    let Some(dir) = args.next() else {
        complain("usage: private-servers [--fast] DIR");
        return ExitCode::from(2);
    };
    match keep(Path::new(&dir), durability) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            let mut cause = error.source();
            while let Some(error) = cause {
                complain(&format!("  because: {error}"));
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn keep(dir: &Path, durability: Durability) -> Result<(), Box<dyn Error>> {
    let (mut stop, handlers) = UnixStream::pair()?;
    pipe::register(SIGINT, handlers.try_clone()?)?;
    pipe::register(SIGTERM, handlers)?;

    let layout = Layout::at(dir)?;
    let servers = Servers::start(&layout, durability)?;
    let mut stdout = io::stdout();
    writeln!(stdout, "export CRASHMILL_TEST_POSTGRES='{}'", servers.postgres.url())?;
    writeln!(stdout, "export CRASHMILL_TEST_AMQP='{}'", servers.rabbitmq.url())?;
    writeln!(stdout, "export CRASHMILL_TEST_GUARD='{}'", servers::this_executable().display())?;
    stdout.flush()?;

    stop.read_exact(&mut [0])?;
    servers.stop()?;
    Ok(())
}

fn complain(message: &str) {
    // Nobody may be there to read it any more.
    drop(writeln!(io::stderr(), "{message}"));
}
