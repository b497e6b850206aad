//! The daemons: what each role reads of the configuration.

use std::process::ExitCode;

use stackwalk::WorkerCommand;

use crate::{args::Place, config::Config};

/// Takes crash reports.
pub(crate) fn collector(place: &Place) -> ExitCode {
    let config = match load(place) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let sections = collector::Sections {
        collector: config.collector,
        crashstore: config.crashstore,
        queue: config.queue,
    };
    daemon::run("collector", &config.daemon, sections, collector::run)
}

/// Processes crashes.
pub(crate) fn processor(place: &Place) -> ExitCode {
    let config = match load(place) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let worker = worker_command(&config);
    let facts = facts::Config { application_name: connection_name("processor"), ..config.facts };
    let sections = processor::Sections {
        processor: config.processor,
        crashstore: config.crashstore,
        queue: config.queue,
        facts,
        stackwalk: config.stackwalk,
        worker,
    };
    daemon::run("processor", &config.daemon, sections, processor::run)
}

/// Does timed jobs.
pub(crate) fn scheduler(place: &Place) -> ExitCode {
    let config = match load(place) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let facts = facts::Config { application_name: connection_name("scheduler"), ..config.facts };
    let sections = scheduler::Sections {
        scheduler: config.scheduler,
        retention: config.retention,
        crashstore: config.crashstore,
        queue: config.queue,
        facts,
    };
    daemon::run("scheduler", &config.daemon, sections, scheduler::run)
}

/// Walks dumps for the pool that started this process.
pub(crate) fn stackwalk_worker() -> ExitCode {
    match stackwalk::worker::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crashmill stackwalk-worker: {:#}", anyhow::Error::from(error));
            ExitCode::FAILURE
        }
    }
}

/// How a stackwalk worker is started: this executable, told where symbols come from.
pub(crate) fn worker_command(config: &Config) -> WorkerCommand {
    WorkerCommand {
        program: servers::this_executable(),
        args: vec!["stackwalk-worker".into()],
        symbols: config.symbols.clone(),
    }
}

/// What the server lists a role's connections by. With the version, so that one sees which releases are running.
fn connection_name(role: &str) -> String {
    format!("crashmill-{role} {}", daemon::VERSION.version)
}

fn load(place: &Place) -> Result<Config, ExitCode> {
    Config::load(place).map_err(|error| {
        eprintln!("crashmill: reading the configuration: {error:#}");
        ExitCode::FAILURE
    })
}
