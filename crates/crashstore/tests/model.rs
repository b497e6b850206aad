//! Random sequences of everything that can happen to a store, against a map.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

mod support;

use std::{collections::BTreeMap, path::Path};

use crash::{Annotations, CrashId, RawCrash};
use crashstore::{Area, CrashStore, Writer};
use proptest::prelude::*;
use support::{config, id, processed, raw, store};

/// So many crashes there are, on two days and in several minutes.
const CRASHES: u64 = 8;

#[derive(Debug, Clone)]
enum Step {
    SaveRaw {
        crash: u64,
        bytes: usize,
        writer: usize,
    },
    SaveProcessed {
        crash: u64,
        writer: usize,
    },
    Erase {
        crash: u64,
    },
    DropDay {
        area: Area,
        crash: u64,
    },
    /// Close the writer in order, and open it again.
    Reopen {
        writer: usize,
    },
    /// As a kill leaves it: the record names the segments, and a tail follows the last frame of one.
    Tear {
        writer: usize,
        segment: prop::sample::Index,
        tail: Tail,
    },
}

#[derive(Debug, Clone)]
enum Tail {
    Zeros(usize),
    /// So much of another frame of the segment.
    Frame(usize),
    Noise(Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (crash, writer) = (0..CRASHES, 0..2usize);
    let tail = prop_oneof![
        (1..2000usize).prop_map(Tail::Zeros),
        (1..2000usize).prop_map(Tail::Frame),
        prop::collection::vec(any::<u8>(), 1..300).prop_map(Tail::Noise),
    ];
    let step = prop_oneof![
        6 => (crash.clone(), 0..3000usize, writer.clone())
            .prop_map(|(crash, bytes, writer)| Step::SaveRaw { crash, bytes, writer }),
        6 => (crash.clone(), writer.clone()).prop_map(|(crash, writer)| Step::SaveProcessed { crash, writer }),
        2 => crash.clone().prop_map(|crash| Step::Erase { crash }),
        1 => (prop::sample::select(&Area::ALL[..]), crash).prop_map(|(area, crash)| Step::DropDay { area, crash }),
        2 => writer.clone().prop_map(|writer| Step::Reopen { writer }),
        2 => (writer, any::<prop::sample::Index>(), tail)
            .prop_map(|(writer, segment, tail)| Step::Tear { writer, segment, tail }),
    ];
    prop::collection::vec(step, 1..40)
}

fn crash_id(crash: u64) -> CrashId {
    let minutes = [0, 0, 0, 1, 1, 24 * 60, 24 * 60, 24 * 60 + 1];
    id(minutes[usize::try_from(crash).unwrap()], crash)
}

#[derive(Default)]
struct Model {
    raw: BTreeMap<CrashId, RawCrash>,
    private: BTreeMap<CrashId, Annotations>,
    processed: BTreeMap<CrashId, u16>,
}

const NAMES: [&str; 2] = ["node-1", "node-2"];

struct World<'a> {
    folder: &'a Path,
    store: CrashStore,
    writers: Vec<Option<Writer>>,
    model: Model,
    results: u16,
}

impl World<'_> {
    fn writer(&self, writer: usize) -> &Writer {
        self.writers[writer].as_ref().unwrap()
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::SaveRaw { crash, bytes, writer } => {
                let crash = raw(crash_id(crash), bytes);
                self.writer(writer).save_raw(&crash).await.unwrap();
                self.model.private.insert(crash.id(), crash.private.clone());
                self.model.raw.insert(crash.id(), crash);
            }
            Step::SaveProcessed { crash, writer } => {
                self.results += 1;
                let result = processed(crash_id(crash), self.results, "");
                self.writer(writer).save_processed(&result).await.unwrap();
                self.model.processed.insert(result.crash_id, self.results);
            }
            Step::Erase { crash } => {
                let id = crash_id(crash);
                self.store.erase(id).await.unwrap();
                self.model.raw.remove(&id);
                self.model.private.remove(&id);
                self.model.processed.remove(&id);
            }
            Step::DropDay { area, crash } => {
                let day = crash_id(crash).day();
                self.store.drop_day(area, day).await.unwrap();
                match area {
                    Area::Raw => self.model.raw.retain(|id, _| id.day() != day),
                    Area::Private => self.model.private.retain(|id, _| id.day() != day),
                    Area::Processed => self.model.processed.retain(|id, _| id.day() != day),
                }
            }
            Step::Reopen { writer } => {
                self.writers[writer].take().unwrap().close().await;
                self.open(writer);
            }
            Step::Tear { writer, segment, tail } => {
                let record = config(self.folder).path.join(format!("writers/{}.segments", NAMES[writer]));
                let lines = std::fs::read_to_string(&record).unwrap_or_default();
                self.writers[writer].take().unwrap().close().await;
                if !lines.is_empty() {
                    std::fs::write(&record, &lines).unwrap();
                    let lines: Vec<String> = lines.lines().map(str::to_owned).collect();
                    let line: &String = segment.get(&lines);
                    self.tear(line, &tail);
                }
                self.open(writer);
            }
        }
    }

    fn open(&mut self, writer: usize) {
        let opened = self.store.writer(NAMES[writer]).unwrap();
        assert_eq!(opened.name(), NAMES[writer]);
        self.writers[writer] = Some(opened);
    }

    fn tear(&self, line: &str, tail: &Tail) {
        let (minute, name) = line.split_once(' ').unwrap();
        let ending = if line.starts_with("raw") { "tar.zst" } else { "json.zst" };
        let path = config(self.folder).path.join(minute).join(format!("{name}.{ending}"));
        // Its day may have been dropped.
        let Ok(bytes) = std::fs::read(&path) else { return };
        let tail = match tail {
            Tail::Zeros(count) => vec![0; *count],
            Tail::Frame(count) => bytes[..(*count).min(bytes.len())].to_vec(),
            Tail::Noise(noise) => noise.clone(),
        };
        std::fs::write(&path, [bytes, tail].concat()).unwrap();
    }

    async fn agrees(&self) {
        for crash in 0..CRASHES {
            let id = crash_id(crash);
            let expected = self.model.raw.get(&id).map(|crash| RawCrash {
                private: self.model.private.get(&id).cloned().unwrap_or_default(),
                ..crash.clone()
            });
            assert_eq!(self.store.raw(id, None).await.unwrap(), expected);
            assert_eq!(self.store.private(id).await.unwrap().as_ref(), self.model.private.get(&id));
            let attempt = self.store.processed(id).await.unwrap().map(|crash| crash.attempt);
            assert_eq!(attempt.as_ref(), self.model.processed.get(&id));
        }
        for area in Area::ALL {
            for minute in self.store.minutes(area).await.unwrap() {
                assert_eq!(self.store.check(area, minute).await.unwrap(), []);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_agrees_with_a_map_whatever_happens(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let mut world = World {
                folder: folder.path(),
                store: store(folder.path()),
                writers: vec![None, None],
                model: Model::default(),
                results: 0,
            };
            world.open(0);
            world.open(1);
            for step in steps {
                world.take(step).await;
            }
            world.agrees().await;
        });
    }
}
