//! Where a crash is, what was given up, and how far behind everything is: each state reached in earnest.

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
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::Duration,
};

use crash::{CrashId, Dump, DumpMetadata, MAIN_DUMP, RAW_FORMAT, RawCrash, ThrottleDigit};
use crashstore::CrashStore;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use support::{
    printed,
    role::{Installation, SOON, get},
    stderr, stdout,
};
use testing::{Bucket, Proxy, amqp_url, eventually_blocking, report};

/// An id of a crash that nobody has sent.
const UNKNOWN: &str = "0b4d3a6e-72c1-4f0b-8a57-3c9d50261123";

/// And one of a day whose crashes have expired.
const LONG_AGO: &str = "0b4d3a6e-72c1-4f0b-8a57-3c9d50200229";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn a_crash_is_followed_from_the_journal_through_the_queue_to_its_fact() {
    let broker = Proxy::to_url(&amqp_url());
    let installation = Installation::new("followed", None, &broker.url());
    let collector = installation.start("collector");
    broker.cut();
    let id = collector.submit();

    let known = installation.whereabouts(&id);
    assert_eq!((&known["state"], &known["journaled"]), (&"stored".into(), &true.into()), "{known}");
    assert!(text(&known["next"]).contains("in the journal of node-1-collector"), "{known}");

    broker.restore();
    let known = installation.until(&id, "queued");
    assert!(text(&known["next"]).contains("waits for a processor: none is there"), "{known}");
    assert_eq!(known["waiting"]["work"], 1, "{known}");
    assert!(text(&known["uncertain"]).contains("cannot be asked for one id"), "{known}");

    // Whoever cannot ask the broker says so, and what is known all the same.
    broker.cut();
    let unknown = installation.crashmill(&["where", &id, "--json"]);
    assert_eq!(unknown.status.code(), Some(1));
    let known: Value = serde_json::from_str(&printed(&unknown)).unwrap();
    assert!(text(&known["errors"][0]).contains("the broker could not be asked"), "{known}");
    assert!(text(&known["uncertain"]).contains("the broker does not answer"), "{known}");
    broker.restore();

    let processor = installation.start("processor");
    let known = installation.until(&id, "processed");
    assert_eq!(known["next"], "nothing: it is done");
    // Once there is a result the broker is not asked.
    broker.cut();
    assert!(installation.crashmill(&["where", &id]).status.success());
    broker.restore();
    assert!(processor.stop().success() && collector.stop().success());
}

#[test]
fn a_crash_in_the_spool_is_found_by_every_form_of_its_id_and_goes_on_when_the_store_is_back() {
    let mut installation = Installation::new("spooled", None, &amqp_url());
    let bucket = Bucket::create("where_spooled");
    let spool = installation.dir.path().join("spool").to_str().unwrap().to_owned();
    for (key, value) in [
        ("URL", bucket.url().as_str()),
        ("ALLOW_HTTP", "true"),
        ("KEY_ID", "tests"),
        ("KEY", "tests"),
        ("REGION", "us-east-1"),
        ("SPOOL", &spool),
        ("TIMEOUT", "1s"),
        ("RETRIES", "0"),
        // Nobody listens there.
        ("ENDPOINT", "http://127.0.0.1:1"),
    ] {
        installation.set(&format!("CRASHMILL__CRASHSTORE__{key}"), value);
    }
    let id = installation.submit();
    let known = installation.whereabouts(&id);
    assert_eq!(known["state"], "spooled", "{known}");
    assert!(text(&known["next"]).contains("in the spool of node-1 for the object store"), "{known}");
    assert!(text(&known["errors"][0]).contains("the crash store could not be asked"), "{known}");
    assert_eq!(installation.whereabouts(text(&known["short_id"]))["crash_id"], id.as_str());
    assert_eq!(installation.json(&["status", "--json"])["spool"]["crashes"], 1);

    installation.set("CRASHMILL__CRASHSTORE__ENDPOINT", bucket.endpoint());
    let collector = installation.start("collector");
    let known = installation.until(&id, "queued");
    assert_eq!(known["errors"], Value::Array(vec![]), "{known}");
    let processor = installation.start("processor");
    installation.until(&id, "processed");
    assert_eq!(installation.json(&["status", "--json"])["spool"]["crashes"], 0);
    assert!(processor.stop().success() && collector.stop().success());
}

#[test]
fn a_crash_whose_id_got_nowhere_is_stored_and_the_sweep_is_what_comes_next() {
    let mut installation = Installation::new("nowhere", None, &amqp_url());
    let id = written(&installation, ThrottleDigit::Accept);
    let id = id.to_string();
    // As long as its id may be on its way, that is what is said.
    assert_eq!(installation.whereabouts(&id)["state"], "queued");

    installation.set("CRASHMILL__SCHEDULER__SWEEP_AFTER", "1ms");
    // However old it is: the sweep has not come to its minute.
    installation.set("CRASHMILL__SCHEDULER__SWEEP_WINDOW", "1ms");
    let known = installation.until(&id, "stored");
    assert!(text(&known["next"]).contains("once a scheduler runs: none does"), "{known}");
    assert!(text(&known["uncertain"]).contains("nothing waits on the broker"), "{known}");
    let short = installation.whereabouts(text(&known["short_id"]));
    assert_eq!(short["crash_id"], id.as_str());

    let scheduler = installation.start("scheduler");
    let processor = installation.start("processor");
    installation.until(&id, "processed");
    assert!(processor.stop().success() && scheduler.stop().success());
}

#[test]
fn a_deferred_crash_an_erased_one_an_expired_one_and_one_that_nobody_sent_are_told_apart() {
    let installation = Installation::new("apart", None, &amqp_url());
    let [deferred, erased] =
        [ThrottleDigit::Defer, ThrottleDigit::Accept].map(|digit| written(&installation, digit));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { store(&installation).erase(erased).await }).unwrap();

    for (id, state, next) in [
        (deferred.to_string(), "deferred", "nothing: it was deferred"),
        (erased.to_string(), "erased", "nothing: it was erased"),
        (UNKNOWN.to_owned(), "unknown", "nothing: no place has a trace"),
        (LONG_AGO.to_owned(), "expired", "nothing: crashes of its day have expired, they are kept for 182d"),
    ] {
        let known = installation.whereabouts(&id);
        assert_eq!(known["state"], state, "{known}");
        assert!(text(&known["next"]).starts_with(next), "{known}");
        assert_eq!(known["errors"], Value::Array(vec![]));
        let is_sure = !text(&known["next"]).contains("nothing shows whether it was ever here");
        assert_eq!(is_sure, state != "expired", "{known}");
    }
    assert_eq!(installation.crashmill(&["where", UNKNOWN]).status.code(), Some(1));
    assert!(installation.crashmill(&["where", &erased.to_string()]).status.success());
}

#[test]
fn a_crash_that_is_tried_again_says_why_where_and_when_and_ends_without_its_stacks() {
    let mut installation = Installation::new("retrying", None, &amqp_url());
    // It takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers = format!("['http://{}/']", silent.local_addr().unwrap());
    installation.set("CRASHMILL__SYMBOLS__SERVERS", &servers);
    installation.set("CRASHMILL__STACKWALK__DEADLINE", "500ms");
    installation.set("CRASHMILL__QUEUE__RETRY_DELAYS", "['4s']");
    let id = installation.submit();

    let processor = installation.start("processor");
    let known = installation.until(&id, "retrying");
    let failed = &known["attempts"][0];
    assert_eq!((text(&failed["reason"]), text(&failed["node"])), ("walk_timed_out", "node-1"), "{known}");
    assert!(text(&known["next"]).starts_with("attempt 2 "), "{known}");
    let times = ["at", "due_at"].map(|key| text(&failed[key]).parse::<Timestamp>().unwrap());
    let delay = times[1].duration_since(times[0]).as_secs_f64();
    assert!((4.0..=6.1).contains(&delay), "{delay} s, half as long again by chance");

    let known = installation.until(&id, "processed");
    assert_eq!(known["fact"]["dumps"][0]["walk_status"], "timed_out", "{known}");
    assert_eq!(known["degraded"][0]["part"], "stacks", "{known}");
    assert!(text(&known["next"]).contains("it lacks its stacks"), "{known}");
    assert!(known["fact"]["notes"].to_string().contains("saved without these stacks"), "{known}");
    assert!(processor.stop().success());
}

#[test]
fn a_crash_that_was_saved_while_its_symbol_server_was_down_gets_its_symbols_by_itself() {
    let mut installation = Installation::new("degraded", None, &amqp_url());
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    installation.set("CRASHMILL__SYMBOLS__SERVERS", &format!("['http://{address}/']"));
    installation.set("CRASHMILL__QUEUE__DEGRADED_DELAYS", "['1s', '2s', '4s', '8s', '16s']");
    installation.set("CRASHMILL__SCHEDULER__DEGRADED_EVERY", "200ms");
    let id = installation.submit();
    let processor = installation.start("processor");

    let known = installation.until(&id, "processed");
    assert_eq!(known["degraded"][0]["part"], "symbols", "{known}");
    assert!(text(&known["next"]).contains("processed again for its symbols at about"), "{known}");
    assert!(text(&known["next"]).contains("once a scheduler runs"), "{known}");
    assert!(known["fact"]["notes"].to_string().contains("did not answer for game"), "{known}");
    assert_eq!(installation.database.number("SELECT count(*) FROM crash_degraded"), 1);

    serve_symbols(TcpListener::bind(address).unwrap());
    let scheduler = installation.start("scheduler");
    eventually_blocking(SOON, || {
        (installation.database.number("SELECT count(*) FROM crash_degraded") == 0).then_some(())
    });
    let known = installation.whereabouts(&id);
    assert_eq!((&known["state"], &known["next"]), (&"processed".into(), &"nothing: it is done".into()));
    assert!(text(&known["fact"]["signature"]).contains("crash_here"), "{known}");
    assert_eq!(installation.database.number("SELECT count(*) FROM fact_crash"), 1);
    assert!(processor.stop().success() && scheduler.stop().success());
}

#[test]
fn dead_crashes_are_listed_shown_retried_and_dropped() {
    let installation = Installation::new("dead", None, &amqp_url());
    let id = installation.submit();
    let segment = installation.raw_segment();
    let whole = fs::read(&segment).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&segment, &damaged).unwrap();
    let processor = installation.start("processor");
    let known = installation.until(&id, "dead");
    assert_eq!(text(&known["dead_letter"]["reason"]), "damaged", "{known}");
    assert!(text(&known["next"]).contains(&format!("crashmill dead retry {id}")), "{known}");

    let listed = installation.json(&["dead", "list", "--json"]);
    assert_eq!((&listed["total"], &listed["groups"][0]["count"]), (&1.into(), &1.into()), "{listed}");
    assert_eq!(
        (&listed["groups"][0]["reason"], &listed["groups"][0]["examples"][0]),
        (&"damaged".into(), &id.as_str().into())
    );
    let people = stdout(&installation.crashmill(&["dead", "list"]));
    assert!(people.contains("damaged") && people.contains(&id), "{people}");
    assert!(stdout(&installation.crashmill(&["dead", "list", "--all"])).contains(&id));
    assert_eq!(stdout(&installation.crashmill(&["dead", "list", "--reason", "other"])), "none\n");
    let short = text(&known["short_id"]).to_owned();
    let shown = installation.json(&["dead", "show", &short, "--json"]);
    assert_eq!(
        (&shown["stage"], &shown["failed"][0]["outcome"]),
        (&"store".into(), &"dead".into()),
        "{shown}"
    );
    assert_eq!(dead_in_queue(&installation), 1, "it is parked");

    // As long as it is damaged it dies again, and is neither lost nor there twice.
    let died_at = text(&known["dead_letter"]["died_at"]).to_owned();
    let retried = installation.json(&["dead", "retry", &id, "--json"]);
    assert_eq!(
        (&retried["retried"], &retried["left_alone"]),
        (&1.into(), &Value::Array(vec![])),
        "{retried}"
    );
    eventually_blocking(SOON, || {
        let known = installation.whereabouts(&id);
        (known["state"] == "dead" && text(&known["dead_letter"]["died_at"]) != died_at).then_some(())
    });
    assert!(processor.stop().success());

    // Without a processor it waits on its queue, whatever it was before.
    fs::write(&segment, &whole).unwrap();
    assert!(
        stdout(&installation.crashmill(&["dead", "retry", "--reason", "damaged"]))
            .contains("1 crashes were published")
    );
    let known = installation.whereabouts(&id);
    assert_eq!(known["state"], "queued", "{known}");
    assert_eq!(dead_in_queue(&installation), 0, "what is retried is not parked any more");
    assert_eq!(stdout(&installation.crashmill(&["dead", "list"])), "none\n");
    assert!(stdout(&installation.crashmill(&["dead", "list", "--state", "retried"])).contains("damaged"));

    let processor = installation.start("processor");
    installation.until(&id, "processed");
    assert_eq!(installation.database.number("SELECT count(*) FROM dead_letter"), 0);
    let again = installation.crashmill(&["dead", "retry", &id]);
    assert_eq!(again.status.code(), Some(1));
    assert!(printed(&again).contains("it has no dead letter"), "{}", printed(&again));
    assert!(processor.stop().success());
}

#[test]
fn a_crash_that_is_kept_longer_than_its_fact_is_not_missed() {
    let mut installation = Installation::new("outlives_fact", None, &amqp_url());
    let days_ago = Timestamp::now() - SignedDuration::from_hours(40 * 24);
    let id = written_at(&installation, ThrottleDigit::Accept, days_ago).to_string();
    installation.set("CRASHMILL__SCHEDULER__SWEEP_AFTER", "1ms");
    let check = |installation: &Installation| {
        let output = installation.crashmill(&["store", "check", "--publish", "--json"]);
        let report: Value = serde_json::from_str(&printed(&output)).unwrap();
        let facts = &report["facts"];
        (facts["without_result"]["count"].as_u64().unwrap(), facts["published"].as_u64().unwrap())
    };

    installation.set("CRASHMILL__RETENTION__FACTS", "30d");
    assert_eq!(check(&installation), (0, 0));
    let known = installation.until(&id, "stored");
    assert!(text(&known["next"]).starts_with("nothing: facts are kept for 30d"), "{known}");
    installation.set("CRASHMILL__RETENTION__FACTS", "forever");
    assert_eq!(check(&installation), (1, 1));
}

#[test]
fn erase_goes_on_after_a_crash_that_cannot_be_erased_and_says_which_it_was() {
    let installation = Installation::new("erase_stuck", None, &amqp_url());
    let [stuck, erased] = [2, 1].map(|hours| {
        let received = Timestamp::now() - SignedDuration::from_hours(hours);
        written_at(&installation, ThrottleDigit::Accept, received)
    });
    let minute = stuck.minute();
    let raw = installation.dir.path().join("store/raw");
    for segment in fs::read_dir(raw.join(minute.day_folder()).join(minute.minute_folder())).unwrap() {
        let path = segment.unwrap().path();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
    }

    let [stuck, erased] = [stuck, erased].map(|id| id.to_string());
    let output = installation.crashmill(&["erase", &stuck, &erased, "--yes", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_str(&printed(&output)).unwrap();
    let ids = |of: &str| report[of].as_array().unwrap().iter().map(|one| one["crash_id"].clone()).collect();
    let (gone, failed): (Vec<Value>, Vec<Value>) = (ids("crashes"), ids("failed"));
    assert_eq!((gone, failed), (vec![erased.clone().into()], vec![stuck.into()]), "{report}");
    assert_eq!(installation.whereabouts(&erased)["state"], "erased");
}

#[test]
fn a_dropped_crash_stays_dead_and_an_erased_one_is_not_retried() {
    let installation = Installation::new("dropped", None, &amqp_url());
    let [dropped, erased] = [(); 2].map(|()| installation.submit());
    fs::remove_dir_all(installation.dir.path().join("store/raw")).unwrap();
    let processor = installation.start("processor");
    for id in [&dropped, &erased] {
        let known = installation.until(id, "dead");
        assert_eq!(text(&known["dead_letter"]["reason"]), "not_in_store", "{known}");
    }
    // One that was retried and has no result yet.
    let retried = "UPDATE dead_letter SET retried_at = now(), retried_by = 'somebody' WHERE crash_id = ";
    installation.database.number(&format!("{retried}'{dropped}' RETURNING 1::bigint"));
    let shown = installation.crashmill(&["dead", "drop", &dropped, "--why", "the disk is gone"]);
    assert_eq!(stdout(&shown), "1 crashes were dropped\n");
    let known = installation.whereabouts(&dropped);
    assert_eq!(
        (&known["state"], text(&known["dead_letter"]["dropped"]["why"])),
        (&"dead".into(), "the disk is gone")
    );
    assert!(text(&known["next"]).starts_with("nothing: it was given up for good by "), "{known}");
    assert_eq!(installation.crashmill(&["dead", "drop", &dropped]).status.code(), Some(1));
    // The database alone knows of it, and so it can be erased by its short id too.
    let seen = installation.json(&["erase", text(&known["short_id"]), "--dry-run", "--json"]);
    assert_eq!(seen["crashes"][0]["crash_id"], dropped.as_str(), "{seen}");

    let retried = installation.crashmill(&["dead", "retry", "--all", "--json"]);
    assert_eq!(retried.status.code(), Some(1));
    let retried: Value = serde_json::from_str(&printed(&retried)).unwrap();
    assert_eq!(retried["retried"], 0, "{retried}");
    assert_eq!(retried["left_alone"][0]["crash_id"], erased.as_str(), "the dropped one is not even tried");
    assert_eq!(dead_in_queue(&installation), 0, "the letters are what is kept");
    let refused = installation.crashmill(&["dead", "retry"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(processor.stop().success());
}

#[test]
fn status_says_how_far_behind_a_stopped_fleet_is_and_how_a_running_one_gets_on() {
    const CRASHES: u64 = 30;
    let mut installation = Installation::new("behind", None, &amqp_url());
    installation.set("CRASHMILL__SCHEDULER__BACKLOG_EVERY", "500ms");
    let (scheduler, metrics) = installation.start_with_metrics("scheduler");
    let collector = installation.start("collector");
    for _ in 0..CRASHES {
        collector.submit();
    }
    let name = format!("{}.standard", installation.namespace);
    let standard = |status: &Value| -> Value {
        let queues = status["queues"].as_array().unwrap();
        queues.iter().find(|queue| queue["name"] == name.as_str()).unwrap().clone()
    };
    // The scheduler has seen them wait.
    let status = eventually_blocking(SOON, || {
        let status = installation.json(&["status", "--json", "--clear-in", "30m"]);
        standard(&status)["oldest_seconds"].is_number().then_some(status)
    });
    let queue = standard(&status);
    assert_eq!((&queue["ready"], &queue["eta_seconds"]), (&CRASHES.into(), &Value::Null), "{queue}");
    assert_eq!(queue["because"], "no processor is there", "{queue}");
    assert_eq!(status["backlog"]["clear_in"]["more_processors"], Value::Null);
    assert!(status["nodes"].as_array().unwrap().iter().all(|node| node["role"] == "scheduler"), "{status}");
    let people = stdout(&installation.crashmill(&["status"]));
    assert!(people.contains("no ETA: no processor is there"), "{people}");

    eventually_blocking(SOON, || {
        let metrics = get(metrics, "/metrics");
        let line = metrics.lines().find(|line| {
            line.starts_with("crashmill_scheduler_queue_depth{") && line.contains("queue=\"standard\"")
        })?;
        line.ends_with(&format!(" {CRASHES}")).then_some(())
    });

    let (processor, health) = installation.start_with_metrics("processor");
    let status = eventually_blocking(SOON, || {
        let status = installation.json(&["status", "--json"]);
        let nodes = status["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["role"] == "processor")?;
        (node["queues"]["standard"]["done"] == CRASHES).then_some(status)
    });
    let queue = standard(&status);
    assert_eq!((&queue["ready"], &queue["eta_seconds"]), (&0.into(), &0.0.into()), "{queue}");
    assert!(queue["done_per_second"].as_f64().unwrap() > 0.0, "{queue}");
    assert_eq!(status["backlog"]["clear_in"]["more_processors"], 0);
    assert!(status["jobs"].as_array().unwrap().iter().any(|job| job["job"] == "backlog"), "{status}");
    let people = stdout(&installation.crashmill(&["status"]));
    assert!(people.contains("processor        node-1 ("), "{people}");

    // The line that systemd shows is on the health page too.
    assert!(get(health, "/__heartbeat__").contains("backlog"), "{}", get(health, "/__heartbeat__"));

    // Who ends says so.
    assert!(processor.stop().success());
    let status = installation.json(&["status", "--json"]);
    assert!(status["nodes"].as_array().unwrap().iter().all(|node| node["role"] != "processor"), "{status}");
    assert!(collector.stop().success() && scheduler.stop().success());
}

#[test]
fn status_shows_the_rest_when_database_or_broker_is_down() {
    let (database, broker) = (testing::Database::create("half_down"), Proxy::to_url(&amqp_url()));
    let way = Proxy::to_url(database.url());
    let installation = Installation::with(database, "half_down", Some(&way.url()), &broker.url());
    installation.submit();

    way.cut();
    let output = installation.crashmill(&["status", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let status: Value = serde_json::from_str(&printed(&output)).unwrap();
    assert_eq!((&status["queues"][1]["ready"], &status["backlog"]), (&1.into(), &Value::Null), "{status}");
    assert!(text(&status["errors"][0]).contains("the database could not be asked"), "{status}");
    way.restore();

    broker.cut();
    let output = installation.crashmill(&["status", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let status: Value = serde_json::from_str(&printed(&output)).unwrap();
    assert_eq!((&status["queues"], &status["facts_today"]), (&Value::Array(vec![]), &0.into()), "{status}");
    assert!(text(&status["errors"][0]).contains("the broker could not be asked"), "{status}");
    broker.restore();
    assert!(installation.crashmill(&["status"]).status.success());
}

fn store(installation: &Installation) -> CrashStore {
    let config =
        crashstore::Config { path: installation.dir.path().join("store"), ..crashstore::Config::default() };
    CrashStore::open(&config).unwrap()
}

/// Stores a raw crash as a collector does that is killed before it publishes.
fn written(installation: &Installation, digit: ThrottleDigit) -> CrashId {
    written_at(installation, digit, Timestamp::now())
}

fn written_at(installation: &Installation, digit: ThrottleDigit, received: Timestamp) -> CrashId {
    let id = CrashId::new(received, digit, rand::random()).unwrap();
    let dump = Dump { name: MAIN_DUMP.to_owned(), bytes: report::minidump().into() };
    let dumps = [DumpMetadata::of(0, &dump, None)];
    let metadata = serde_json::from_value(serde_json::json!({
        "format": RAW_FORMAT, "crash_id": id, "submitted_at": id.received_at(), "throttle": "accept",
        "sample_rate": 1.0, "dumps": dumps,
    }))
    .unwrap();
    let annotations = [("ProductName", "Game")].into_iter().collect();
    let crash = RawCrash {
        metadata,
        annotations,
        private: std::iter::empty::<(&str, &str)>().collect(),
        dumps: vec![dump],
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let writer = store(installation).writer("node-1-collector").unwrap();
        writer.save_raw(&crash).await.unwrap();
        writer.close().await;
    });
    id
}

/// How many messages are parked.
fn dead_in_queue(installation: &Installation) -> u64 {
    let status = installation.json(&["status", "--json"]);
    let name = format!("{}.dead", installation.namespace);
    let queues = status["queues"].as_array().unwrap();
    queues
        .iter()
        .find(|queue| queue["name"] == name.as_str())
        .and_then(|queue| queue["ready"].as_u64())
        .unwrap()
}

/// A symbol server with the symbols of the one dump that is sent here.
fn serve_symbols(listener: TcpListener) {
    let symbols = format!(
        "MODULE Linux x86_64 {} {}\nFUNC 1000 100 0 crash_here\nFUNC 2000 100 0 main\n",
        report::known::DEBUG_ID,
        report::known::MODULE
    );
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|read| read == 1) {
                head.extend(byte);
            }
            let is_known = String::from_utf8_lossy(&head).contains(report::known::DEBUG_ID);
            let (status, body) = if is_known { ("200 OK", symbols.as_str()) } else { ("404 Not Found", "") };
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            drop(client.write_all(answer.as_bytes()));
        }
    });
}
