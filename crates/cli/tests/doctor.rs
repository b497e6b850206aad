//! What `doctor` says of what is well, and of what is not.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says why"
)]

mod support;

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

use lapin::{Connection, ConnectionProperties, options::QueueDeclareOptions, types::FieldTable};
use serde_json::Value;
use support::{
    RunToEnd, command, dump_in, folder, printed,
    standalone::{Standalone, setting},
    stderr, stdout,
};
use testing::{Database, Proxy, amqp_url, namespace};

/// How long it may take when nothing answers.
const PATIENCE: Duration = Duration::from_secs(15);

/// A doctor with settings of a test's own.
struct Doctor {
    settings: Vec<(String, String)>,
}

impl Doctor {
    /// With a store and a journal in a folder, the tests' broker, and no database.
    fn new(dir: &Path, name: &str) -> Self {
        let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let settings = vec![
            setting("CRASHMILL__CRASHSTORE__PATH", &path("store")),
            setting("CRASHMILL__QUEUE__JOURNAL", &path("journal")),
            setting("CRASHMILL__QUEUE__URL", &amqp_url()),
            setting("CRASHMILL__QUEUE__NAMESPACE", &namespace(name)),
        ];
        Self { settings }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push(setting(name, value));
        self
    }

    fn run(&self, args: &[&str]) -> Output {
        command().arg("doctor").args(args).envs(self.settings.iter().cloned()).run_to_end()
    }

    /// The findings of one part.
    fn look(&self, only: &str) -> Findings {
        Findings::of(&self.run(&["--json", "--only", only]))
    }
}

/// What it found, and whether it calls that good.
struct Findings {
    good: bool,
    all: Vec<Value>,
}

impl Findings {
    fn of(output: &Output) -> Self {
        let said = printed(output);
        let report: Value =
            serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{}", stderr(output)));
        let good = report["good"].as_bool().unwrap();
        assert_eq!(output.status.code(), Some(i32::from(!good)), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        Self { good, all: report["findings"].as_array().unwrap().clone() }
    }

    #[track_caller]
    fn state(&self, check: &str) -> &str {
        let found = self.all.iter().find(|finding| finding["check"] == check);
        found.unwrap_or_else(|| panic!("no {check} in {:#?}", self.all))["state"].as_str().unwrap()
    }

    /// Holds that the check fails, says this, and advises that.
    #[track_caller]
    fn fails(&self, check: &str, said: &str, advice: &str) {
        let has = |finding: &&Value, key: &str, text: &str| {
            finding[key].as_str().unwrap_or_default().contains(text)
        };
        let found = self.all.iter().find(|finding| {
            finding["check"] == check && finding["state"] == "fail" && has(finding, "found", said)
        });
        let found = found.unwrap_or_else(|| panic!("no failing {check} that says {said:?}: {:#?}", self.all));
        assert!(has(&found, "advice", advice), "{found:#}");
        assert!(!self.good);
    }
}

#[test]
fn a_healthy_standalone_with_servers_of_its_own_has_nothing_that_fails() {
    let dir = folder();
    let data = dir.path().join("data");
    let standalone = Standalone::start(&data, &[setting("CRASHMILL__STACKWALK__WORKERS", "1")]);
    let id = standalone.submit(&dump_in(dir.path()), &["ProductName=Game"]);
    standalone.until_processed(&id);

    let findings = Findings::of(&standalone.crashmill(&["doctor", "--json"]));
    assert!(findings.good, "{:#?}", findings.all);
    for check in [
        "configuration",
        "store.folder",
        "journal.folder",
        "workers.walk",
        "broker.reachable",
        "broker.topology",
        "broker.takes_messages",
        "database.reachable",
        "database.schema",
        "database.rights",
        "database.durability",
        "database.clock",
        "database.sessions",
        "database.partitions",
        "database.scheduler",
        "database.jobs",
        "broker.processors",
        "database.dead_letters",
        "database.versions",
        "roles.submit",
    ] {
        assert_eq!(findings.state(check), "ok", "{check} in {:#?}", findings.all);
    }
    let people = stdout(&standalone.crashmill(&["doctor", "--only", "database.schema"]));
    assert!(people.starts_with("ok    database.schema"), "{people}");
    assert_eq!(people.lines().count(), 1, "{people}");
    assert!(standalone.stop().success());
}

#[test]
fn a_database_that_is_cut_off_refuses_us_or_is_not_there_is_told_apart() {
    let (dir, database) = (folder(), Database::create("doctor_database"));
    let look = |url: &str| {
        Doctor::new(dir.path(), "doctor_database").with("CRASHMILL__FACTS__URL", url).look("database")
    };

    let proxy = Proxy::to_url(database.url());
    proxy.cut();
    look(&proxy.url()).fails("database.reachable", "connecting to PostgreSQL", "start PostgreSQL");

    let with_password = |password: &str| {
        let (login, rest) = database.url().rsplit_once('@').unwrap();
        let (user, _) = login.rsplit_once(':').unwrap();
        format!("{user}:{password}@{rest}")
    };
    look(&with_password("hunter2")).fails("database.reachable", "28P01", "facts.password");
    let nameless = database.url().rsplit_once('/').unwrap().0;
    look(&format!("{nameless}/nothing")).fails("database.reachable", "nothing", "createdb");
}

#[test]
fn a_schema_that_is_missing_or_behind_wants_a_migration() {
    let (dir, database) = (folder(), Database::create("doctor_schema"));
    let doctor = Doctor::new(dir.path(), "doctor_schema").with("CRASHMILL__FACTS__URL", database.url());
    doctor.look("database").fails("database.schema", "empty", "crashmill migrate");

    let (name, url) = setting("CRASHMILL__FACTS__URL", database.url());
    stdout(&command().arg("migrate").env(name, url).run_to_end());
    assert_eq!(doctor.look("database").state("database.schema"), "ok");
    assert_eq!(doctor.look("database.scheduler").state("database.scheduler"), "warn", "none runs on it");
    let forgotten = "WITH newest AS (DELETE FROM schema_compatibility WHERE version > 1 RETURNING 1) \
                     SELECT count(*) FROM newest";
    assert!(database.number(forgotten) > 0);
    doctor.look("database").fails("database.schema", "version 1", "crashmill migrate");
}

#[test]
fn a_store_that_cannot_be_used_is_named_with_what_is_in_the_way() {
    let dir = folder();
    let doctor = Doctor::new(dir.path(), "doctor_store");
    assert_eq!(doctor.look("store").state("store.folder"), "warn", "the first role makes it");

    fs::write(dir.path().join("store"), "in the way").unwrap();
    doctor.look("store").fails("store.folder", "no folder", "move the file");
    let below = Doctor::new(&dir.path().join("store"), "doctor_store");
    below.look("store").fails("store.folder", "below a file", "move the file");

    fs::remove_file(dir.path().join("store")).unwrap();
    fs::create_dir(dir.path().join("store")).unwrap();
    let findings = doctor.look("store");
    assert_eq!(findings.state("store.folder"), "ok", "{:#?}", findings.all);
    assert_eq!(fs::read_dir(dir.path().join("store")).unwrap().count(), 0, "nothing is left of the trial");
}

#[test]
fn a_disk_is_judged_by_the_marks_of_the_configuration() {
    let dir = folder();
    fs::create_dir(dir.path().join("store")).unwrap();
    let doctor = Doctor::new(dir.path(), "doctor_marks").with("CRASHMILL__CRASHSTORE__REFUSE_BELOW", "100%");
    doctor.look("store").fails("store.space", "refuse_below", "crashmill expire");
}

#[test]
fn an_object_store_that_is_not_there_is_named_and_its_spool_is_looked_at() {
    let dir = folder();
    let spool = dir.path().join("spool");
    fs::create_dir(&spool).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let doctor = Doctor::new(dir.path(), "doctor_objects")
        .with("CRASHMILL__CRASHSTORE__URL", "s3://crashes/production")
        .with("CRASHMILL__CRASHSTORE__ENDPOINT", &format!("http://{free}"))
        .with("CRASHMILL__CRASHSTORE__ALLOW_HTTP", "true")
        .with("CRASHMILL__CRASHSTORE__KEY_ID", "crashmill")
        .with("CRASHMILL__CRASHSTORE__KEY", "hunter2")
        .with("CRASHMILL__CRASHSTORE__SPOOL", spool.to_str().unwrap());
    let findings = doctor.look("store");
    findings.fails("store.objects", "s3://crashes/production", "crashstore.endpoint");
    assert_eq!(findings.state("store.spool"), "ok");
}

#[test]
fn a_queue_that_somebody_declared_otherwise_is_told_with_the_difference() {
    let dir = folder();
    let doctor = Doctor::new(dir.path(), "doctor_topology");
    let findings = doctor.look("broker");
    assert_eq!(findings.state("broker.topology"), "warn", "nothing is there, and nothing was made");
    assert_eq!(doctor.look("broker").state("broker.topology"), "warn", "still not");

    let namespace = &doctor.settings.iter().find(|(name, _)| name.ends_with("NAMESPACE")).unwrap().1;
    declare_classic(&format!("{namespace}.standard"));
    doctor.look("broker").fails("broker.topology", "x-queue-type", "delete it");
}

/// Declares a queue of the kind that is the broker's own default.
fn declare_classic(name: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = Connection::connect(&amqp_url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel
            .queue_declare(name.into(), QueueDeclareOptions::durable(), FieldTable::default())
            .await
            .unwrap();
        connection.close(200, "done".into()).await.unwrap();
    });
}

#[test]
fn a_broker_that_refuses_us_is_told_from_one_that_is_not_there() {
    let dir = folder();
    let look = |url: &str| {
        Doctor::new(dir.path(), "doctor_broker").with("CRASHMILL__QUEUE__URL", url).look("broker")
    };
    look("amqp://crashmill:hunter2@127.0.0.1:1/%2f").fails(
        "broker.reachable",
        "127.0.0.1:1",
        "start RabbitMQ",
    );

    let (login, rest) = amqp_url().rsplit_once('@').map(|(l, r)| (l.to_owned(), r.to_owned())).unwrap();
    let (user, _) = login.rsplit_once(':').unwrap();
    look(&format!("{user}:hunter2@{rest}")).fails("broker.reachable", "ACCESS", "queue.password");
}

#[test]
fn servers_that_never_answer_are_not_waited_for_for_long() {
    let dir = folder();
    // The kernel takes connections for it, and nobody else does.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let doctor = Doctor::new(dir.path(), "doctor_silent")
        .with("CRASHMILL__FACTS__URL", &format!("postgres://crashmill:hunter2@{address}/crashmill"))
        .with("CRASHMILL__QUEUE__URL", &format!("amqp://crashmill:hunter2@{address}/%2f"))
        .with("CRASHMILL__SYMBOLS__SERVERS", &format!("[\"http://{address}/\"]"))
        .with("CRASHMILL__SYMBOLS__CACHE", dir.path().to_str().unwrap())
        .with("CRASHMILL__COLLECTOR__LISTEN", &address.to_string());

    let began = Instant::now();
    let findings = Findings::of(&doctor.run(&["--json"]));

    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    findings.fails("database.reachable", "", "start PostgreSQL");
    findings.fails("broker.reachable", "", "start RabbitMQ");
    findings.fails("roles.submit", "another program", "collector.listen");
    assert_eq!(findings.state("symbols.server"), "warn");
    assert_eq!(findings.state("workers.walk"), "ok");
}

#[test]
fn a_configuration_that_does_not_read_is_the_only_finding() {
    let dir = folder();
    let doctor =
        Doctor::new(dir.path(), "doctor_configuration").with("CRASHMILL__STACKWALK__WORKERS", "many");
    let findings = Findings::of(&doctor.run(&["--json"]));
    findings.fails("configuration", "stackwalk.workers", "config check");
    assert_eq!(findings.all.len(), 1);
}

#[test]
fn a_health_check_is_one_look_that_takes_no_maybe() {
    let dir = folder();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let doctor = Doctor::new(dir.path(), "doctor_health").with("CRASHMILL__DAEMON__METRICS_LISTEN", &free);
    assert_eq!(doctor.run(&["--only", "roles.health"]).status.code(), Some(0));
    assert_eq!(doctor.run(&["--only", "roles.health", "--strict"]).status.code(), Some(1));
    assert_eq!(doctor.run(&["--only", "no.such.check"]).status.code(), Some(1));
}
