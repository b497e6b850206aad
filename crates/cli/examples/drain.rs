//! Drains a large backlog and measures it: `cargo xtask chaos drain` builds and runs this.
//!
//! Servers, scheduler and processors are real and their own. Crashes are stored and published without a collector, since a
//! client for each of a million would be what is measured. Then processors are started, and every few seconds it is looked how
//! many crashes wait and how much memory is taken. In the middle some priority crashes come; all along, reprocessing waits too.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for developers, which ends where it cannot go on"
)]

#[path = "../tests/support/backlog.rs"]
mod backlog;
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../tests/support/processes.rs"]
mod processes;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use backlog::{Backlog, Batch};
use clap::Parser;
use crash::{CrashId, QueueName};
use facts::Facts;
use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde::Serialize;
use servers::{Durability, Layout, Servers};

/// A rate that is lower than this share of the first one sags.
const STEADY: f64 = 0.8;
/// Memory that is more than so many times the first grows.
const FLAT: f64 = 1.2;
/// "Within seconds", for a priority crash that comes while all others wait.
const SECONDS: f64 = 10.0;
/// What reprocessing may have beside its share of one in ten, since what is in hands is not waiting any more.
const SHARE: std::ops::RangeInclusive<f64> = 0.05..=0.15;
/// How often it is looked for the facts of priority crashes.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The backlog came in during so many hours before now.
const HOURS: i64 = 4;
/// How long nothing may move.
const STUCK: Duration = Duration::from_secs(120);
/// Crashes may be in hands while nothing waits, for so long at the end.
const LAST: Duration = Duration::from_secs(120);

/// Drains a backlog of crashes, and measures it.
#[derive(Debug, Parser)]
struct Args {
    /// How many crashes wait
    #[arg(long, default_value_t = 750_000)]
    crashes: usize,
    /// How many priority crashes come in the middle
    #[arg(long, default_value_t = 100)]
    priority: usize,
    /// How many wait to be reprocessed [default: a twentieth of the crashes]
    #[arg(long)]
    reprocessing: Option<usize>,
    /// How many processors are started
    #[arg(long, default_value_t = 1)]
    processors: usize,
    /// Seconds between two looks
    #[arg(long, default_value_t = 5)]
    every: u64,
    /// The executable
    #[arg(long)]
    crashmill: PathBuf,
    /// A folder for everything; what is in it is removed before, and after
    #[arg(long)]
    data: PathBuf,
    /// Leave the folder as it is in the end
    #[arg(long)]
    keep: bool,
    /// The figures as one JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Figures {
    crashes: usize,
    processors: usize,
    /// How long storing and publishing them took.
    seeding_s: f64,
    drain_s: f64,
    /// Crashes a second: of all, and of each third.
    rate: f64,
    rate_thirds: [f64; 3],
    /// Processor time for one crash, of everything together; unlike the rate it does not depend on what else the machine does.
    cpu_ms_thirds: [f64; 3],
    /// Of processors and their workers together, as a mean of each third.
    memory_mib_thirds: [f64; 3],
    scheduler_mib_max: f64,
    /// From when a priority crash was published until its fact was there.
    priority_p50_s: f64,
    priority_max_s: f64,
    /// Reprocessing's part of what was taken while others waited too.
    reprocessing_share: f64,
    /// How long `crashmill status` and `crashmill where` took at most.
    status_max_s: f64,
    where_max_s: f64,
    ratios: Ratios,
    /// What is not as it should be.
    failures: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Ratios {
    /// The last third's rate over the first's.
    rate_last_over_first: f64,
    /// The first third's processor time for a crash over the last's.
    cpu_first_over_last: f64,
    /// The first third's memory over the last's.
    memory_first_over_last: f64,
}

/// One look.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: f64,
    standard: usize,
    priority: usize,
    reprocessing: usize,
    /// Processors and workers, in MiB.
    memory: f64,
    scheduler: f64,
    /// What everything has computed so far, the servers included, in seconds.
    cpu: f64,
}

impl Look {
    fn waiting(&self) -> usize {
        self.standard + self.priority + self.reprocessing
    }
}

fn main() -> ExitCode {
    let mut raw = env::args_os().skip(1);
    if raw.next().is_some_and(|first| first == "guard") {
        return servers::guard::main(raw);
    }
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(run(&args)) {
        Ok(figures) => {
            if args.json {
                println!("{}", serde_json::to_string_pretty(&figures).expect("figures are JSON"));
            } else {
                print(&figures);
            }
            if figures.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> anyhow::Result<Figures> {
    let folder = Folder::fresh(args)?;
    let place = &folder.0;
    let layout = Layout::at(&place.join("servers")).context("claiming a folder for the servers")?;
    let servers = tokio::task::spawn_blocking(move || Servers::start(&layout, Durability::Full))
        .await?
        .context("starting the servers")?;
    let settings = Settings::new(place, &servers)?;
    let to_migrate = settings.facts.clone();
    tokio::task::spawn_blocking(move || facts::migrate(&to_migrate)).await??;

    let drain = Drain { args, settings };
    let figures = drain.measure().await;
    tokio::task::spawn_blocking(move || servers.stop()).await??;
    figures
}

/// The folder of a run. What was in it goes before the run, and after.
struct Folder(PathBuf, bool);

impl Folder {
    fn fresh(args: &Args) -> anyhow::Result<Self> {
        let folder = Self(std::path::absolute(&args.data)?, args.keep);
        folder.remove().with_context(|| format!("removing what was in {}", folder.0.display()))?;
        fs::create_dir_all(&folder.0)?;
        Ok(folder)
    }

    fn remove(&self) -> std::io::Result<()> {
        // Data may be elsewhere, where the servers' users can reach it: that is known to the layout alone.
        if self.0.join("servers").exists() {
            let layout = Layout::at(&self.0.join("servers")).map_err(std::io::Error::other)?;
            layout.wipe().map_err(std::io::Error::other)?;
        }
        if self.0.exists() { fs::remove_dir_all(&self.0) } else { Ok(()) }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.1
            && let Err(error) = self.remove()
        {
            eprintln!("{} could not be removed: {error}", self.0.display());
        }
    }
}

/// Where everything is, for us and as environment variables.
struct Settings {
    crashstore: crashstore::Config,
    queue: queue::Config,
    facts: facts::Config,
    variables: Vec<(String, String)>,
    logs: PathBuf,
}

impl Settings {
    fn new(place: &Path, servers: &Servers) -> anyhow::Result<Self> {
        let (store, journal) = (place.join("store"), place.join("journal"));
        let (postgres, amqp) = (servers.postgres.url(), servers.rabbitmq.url());
        let variables = [
            ("CRASHMILL__CRASHSTORE__PATH", store.display().to_string()),
            ("CRASHMILL__QUEUE__JOURNAL", journal.display().to_string()),
            ("CRASHMILL__QUEUE__URL", amqp.clone()),
            ("CRASHMILL__FACTS__URL", postgres.clone()),
            ("CRASHMILL__SYMBOLS__CACHE", place.join("symbols-cache").display().to_string()),
            ("CRASHMILL__DAEMON__LOG__FORMAT", "json".to_owned()),
        ];
        Ok(Self {
            crashstore: crashstore::Config { path: store, ..Default::default() },
            queue: queue::Config { url: amqp.parse()?, journal, ..Default::default() },
            facts: facts::Config { url: postgres.parse()?, ..Default::default() },
            variables: variables.map(|(name, value)| (name.to_owned(), value)).into(),
            logs: place.to_owned(),
        })
    }
}

/// A role's process; it ends with this.
struct Role(Child);

impl Role {
    /// What it and all that it has started take, each page once, in MiB.
    fn memory(&self) -> f64 {
        let below = processes::descendants(self.0.id());
        let all = below.iter().map(|process| process.pid).chain([self.0.id()]);
        all.filter_map(pss_kib).sum::<u64>() as f64 / 1024.0
    }

    fn stop(mut self) -> anyhow::Result<()> {
        processes::signal(self.0.id(), Signal::TERM);
        let ended = self.0.wait()?;
        ensure!(ended.success(), "a role ended with {ended}");
        Ok(())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A process's proportional share of memory; nothing when it has just ended.
fn pss_kib(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pss:"))?.split_whitespace().next()?.parse().ok()
}

/// The processor time of a process and of its children that have ended, in seconds; nothing when it has just ended.
fn cpu_s(pid: u32) -> Option<f64> {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let times = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(4);
    Some(times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_A_SECOND)
}

struct Drain<'a> {
    args: &'a Args,
    settings: Settings,
}

impl Drain<'_> {
    async fn measure(&self) -> anyhow::Result<Figures> {
        let Args { crashes, priority, .. } = *self.args;
        let reprocessing = self.args.reprocessing.unwrap_or(crashes / 20);
        let since = Timestamp::now() - SignedDuration::from_hours(HOURS);
        let facts = Facts::connect(&self.settings.facts).await?;

        let began = Instant::now();
        let backlog = Backlog::open(&self.settings.crashstore, &self.settings.queue).await;
        let standard = Batch { queue: QueueName::Standard, product: "Game", crashes, since };
        let again = Batch { queue: QueueName::Reprocessing, product: "Again", crashes: reprocessing, since };
        let some_id = *backlog.add(standard, told("stored")).await.last().context("no crash")?;
        backlog.add(again, told("stored for reprocessing")).await;
        let seeding_s = began.elapsed().as_secs_f64();
        eprintln!("{} crashes were stored and published in {seeding_s:.0} s", crashes + reprocessing);

        let scheduler = self.start("scheduler", "scheduler")?;
        let processors = (1..=self.args.processors)
            .map(|number| self.start("processor", &format!("processor-{number}")))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let began = Instant::now();
        let mut looks = vec![self.look(began, &processors, &scheduler).await?];
        let (mut overtaking, mut moved) = (None, Instant::now());
        let (mut status_max_s, mut where_max_s) = (0.0_f64, 0.0_f64);
        loop {
            tokio::time::sleep(Duration::from_secs(self.args.every)).await;
            let look = self.look(began, &processors, &scheduler).await?;
            self.tell(&look, looks.last());
            if looks.last().is_none_or(|last| last.waiting() != look.waiting()) {
                moved = Instant::now();
            }
            ensure!(moved.elapsed() < STUCK, "nothing has moved for {STUCK:?}");
            looks.push(look);
            if look.waiting() == 0 {
                break;
            }
            if overtaking.is_none() && look.standard < crashes / 2 {
                overtaking = Some(self.overtake(&backlog, priority, &facts).await?);
            }
            if looks.len() % 10 == 0 {
                status_max_s = status_max_s.max(self.time(&["status", "--json"])?);
                where_max_s = where_max_s.max(self.time(&["where", &some_id.to_string(), "--json"])?);
            }
        }
        let drain_s = began.elapsed().as_secs_f64();
        backlog.close().await;
        self.until_all_have_facts(&facts, since, crashes + reprocessing + priority).await?;
        for role in processors.into_iter().chain([scheduler]) {
            role.stop()?;
        }
        let mut waits = overtaking.context("the backlog was too small for anybody to overtake it")?;
        waits.sort_by(f64::total_cmp);
        Ok(figures(self.args, reprocessing, &looks, &waits, [seeding_s, drain_s, status_max_s, where_max_s]))
    }

    fn start(&self, role: &str, name: &str) -> anyhow::Result<Role> {
        let log = fs::File::create(self.settings.logs.join(format!("{name}.log")))?;
        let mut command = self.crashmill();
        command.arg(role).env("CRASHMILL__DAEMON__NODE", name).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(log);
        Ok(Role(command.spawn().with_context(|| format!("starting the {role}"))?))
    }

    /// The executable, without any setting of the developer's own.
    fn crashmill(&self) -> Command {
        let mut command = Command::new(&self.args.crashmill);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("CRASHMILL") {
                command.env_remove(name);
            }
        }
        command.envs(self.settings.variables.iter().cloned());
        command
    }

    async fn look(&self, began: Instant, processors: &[Role], scheduler: &Role) -> anyhow::Result<Look> {
        let depths = queue::depths(&self.settings.queue).await.context("asking the broker how much waits")?;
        let ready = |name: &str| {
            depths.iter().find(|depth| depth.name == name).map_or(0, |depth| depth.ready as usize)
        };
        Ok(Look {
            at: began.elapsed().as_secs_f64(),
            standard: ready("standard"),
            priority: ready("priority"),
            reprocessing: ready("reprocessing"),
            memory: processors.iter().map(Role::memory).sum(),
            scheduler: scheduler.memory(),
            cpu: processes::descendants(std::process::id()).iter().filter_map(|it| cpu_s(it.pid)).sum(),
        })
    }

    fn tell(&self, look: &Look, last: Option<&Look>) {
        let rate = last.map_or(0.0, |last| rate(last, look));
        eprintln!(
            "{:7.0} s  {:>8} standard {:>6} reprocessing wait  {rate:7.0}/s  {:6.0} MiB, scheduler {:4.0} MiB",
            look.at, look.standard, look.reprocessing, look.memory, look.scheduler
        );
    }

    /// Publishes priority crashes, all at once; how long each took until its fact was there.
    async fn overtake(&self, backlog: &Backlog, crashes: usize, facts: &Facts) -> anyhow::Result<Vec<f64>> {
        let began = Instant::now();
        let since = Timestamp::now() - SignedDuration::from_secs(1);
        let batch = Batch { queue: QueueName::Priority, product: "Urgent", crashes, since };
        let mut waiting: Vec<CrashId> = backlog.add(batch, |_| {}).await;
        let mut waits = Vec::new();
        while !waiting.is_empty() {
            ensure!(began.elapsed() < STUCK, "{} priority crashes wait for too long", waiting.len());
            tokio::time::sleep(LOOK_EVERY).await;
            let left = facts.unaccounted(&waiting).await?;
            waits.extend(std::iter::repeat_n(began.elapsed().as_secs_f64(), waiting.len() - left.len()));
            waiting = left;
        }
        Ok(waits)
    }

    /// How long a command takes.
    fn time(&self, args: &[&str]) -> anyhow::Result<f64> {
        let began = Instant::now();
        let output = self.crashmill().args(args).output()?;
        ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(began.elapsed().as_secs_f64())
    }

    async fn until_all_have_facts(
        &self,
        facts: &Facts,
        since: Timestamp,
        expected: usize,
    ) -> anyhow::Result<()> {
        let day = |at: Timestamp| at.to_zoned(jiff::tz::TimeZone::UTC).date();
        let began = Instant::now();
        loop {
            let mut days = vec![day(since), day(Timestamp::now())];
            days.dedup();
            let mut count = 0;
            for day in days {
                count += facts.count_on(day).await?;
            }
            if usize::try_from(count)? == expected {
                return Ok(());
            }
            if began.elapsed() > LAST {
                bail!("{count} facts of {expected} crashes");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Tells how far it is, now and then.
fn told(what: &'static str) -> impl Fn(usize) {
    move |done| {
        if done % 50_000 == 0 {
            eprintln!("{done} crashes {what}");
        }
    }
}

/// Crashes a second between two looks.
fn rate(from: &Look, to: &Look) -> f64 {
    (from.waiting() as f64 - to.waiting() as f64) / (to.at - from.at).max(f64::EPSILON)
}

fn figures(
    args: &Args,
    reprocessing: usize,
    looks: &[Look],
    waits: &[f64],
    [seeding_s, drain_s, status_max_s, where_max_s]: [f64; 4],
) -> Figures {
    let all = args.crashes + reprocessing;
    let thirds = thirds(looks, all);
    let rate_thirds = thirds.map(|part| match part {
        [first, .., last] => rate(first, last),
        _ => 0.0,
    });
    let cpu_ms_thirds = thirds.map(|part| match part {
        [first, .., last] => {
            1000.0 * (last.cpu - first.cpu) / (first.waiting() as f64 - last.waiting() as f64)
        }
        _ => 0.0,
    });
    let memory_mib_thirds =
        thirds.map(|part| part.iter().map(|look| look.memory).sum::<f64>() / part.len().max(1) as f64);
    let [first_rate, _, last_rate] = rate_thirds;
    let [first_cpu, _, last_cpu] = cpu_ms_thirds;
    let [first_memory, _, last_memory] = memory_mib_thirds;
    let ratios = Ratios {
        rate_last_over_first: last_rate / first_rate,
        cpu_first_over_last: first_cpu / last_cpu,
        memory_first_over_last: first_memory / last_memory,
    };
    let mut figures = Figures {
        crashes: args.crashes,
        processors: args.processors,
        seeding_s,
        drain_s,
        rate: all as f64 / drain_s,
        rate_thirds,
        cpu_ms_thirds,
        memory_mib_thirds,
        scheduler_mib_max: looks.iter().map(|look| look.scheduler).fold(0.0, f64::max),
        priority_p50_s: waits.get(waits.len() / 2).copied().unwrap_or_default(),
        priority_max_s: waits.last().copied().unwrap_or_default(),
        reprocessing_share: share(looks, reprocessing),
        status_max_s,
        where_max_s,
        ratios,
        failures: Vec::new(),
    };
    figures.failures = failures(&figures, last_memory / first_memory);
    figures
}

/// The looks of each third of the backlog.
fn thirds(looks: &[Look], all: usize) -> [&[Look]; 3] {
    let until = |left: usize| looks.iter().position(|look| look.waiting() <= left).unwrap_or(looks.len());
    // The first looks are of processors that start.
    let begin = looks.iter().position(|look| look.waiting() < all - all / 100).unwrap_or_default();
    let [first, second] = [until(all * 2 / 3), until(all / 3)];
    // Each begins with the look at which the one before it ended.
    let part = |from: usize, to: usize| looks.get(from..(to + 1).min(looks.len())).unwrap_or_default();
    [part(begin, first), part(first, second), part(second, looks.len())]
}

/// Which part of what was taken came from `reprocessing`, until it was nearly empty. At the first look nothing was in hands.
fn share(looks: &[Look], reprocessing: usize) -> f64 {
    let Some(first) = looks.get(1) else { return 0.0 };
    let last = looks.iter().take_while(|look| look.reprocessing > reprocessing / 10).last().unwrap_or(first);
    let taken = |of: fn(&Look) -> usize| of(first) as f64 - of(last) as f64;
    taken(|look| look.reprocessing) / taken(Look::waiting)
}

fn failures(figures: &Figures, growth: f64) -> Vec<String> {
    let mut failures = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            failures.push(what);
        }
    };
    let Figures { priority_max_s, reprocessing_share, .. } = *figures;
    let sagging = figures.ratios.rate_last_over_first;
    expect(sagging >= STEADY, format!("the rate sags: the last third's is {sagging:.2} of the first's"));
    let cost = figures.ratios.cpu_first_over_last;
    expect(
        cost >= STEADY,
        format!("a crash of the first third takes {cost:.2} of the processor time of the last's"),
    );
    expect(growth <= FLAT, format!("memory grows: the last third has {growth:.2} times the first's"));
    expect(priority_max_s <= SECONDS, format!("a priority crash took {priority_max_s:.1} s"));
    expect(SHARE.contains(&reprocessing_share), format!("reprocessing's share was {reprocessing_share:.3}"));
    failures
}

fn print(figures: &Figures) {
    let [first, second, third] = figures.rate_thirds;
    let [early, middle, late] = figures.memory_mib_thirds;
    println!("crashes                {:>10}", figures.crashes);
    println!("stored in              {:>10.0} s", figures.seeding_s);
    println!("drained in             {:>10.0} s, {:.0} a second", figures.drain_s, figures.rate);
    println!("rate, by thirds        {first:>10.0} {second:>10.0} {third:>10.0} a second");
    let [cheap, costly, dear] = figures.cpu_ms_thirds;
    println!("processor time         {cheap:>10.1} {costly:>10.1} {dear:>10.1} ms a crash");
    println!("memory, by thirds      {early:>10.0} {middle:>10.0} {late:>10.0} MiB");
    println!("scheduler's memory     {:>10.0} MiB at most", figures.scheduler_mib_max);
    println!(
        "priority crashes       {:>10.1} s, at most {:.1} s",
        figures.priority_p50_s, figures.priority_max_s
    );
    println!("reprocessing's share   {:>10.3}", figures.reprocessing_share);
    println!(
        "status, where          {:>10.1} s {:>8.1} s at most",
        figures.status_max_s, figures.where_max_s
    );
    for failure in &figures.failures {
        println!("FAILED: {failure}");
    }
}
