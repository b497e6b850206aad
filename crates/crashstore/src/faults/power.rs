//! A disk that keeps a log of everything that reached it, so that a test can go back to any moment and pull the plug.
//!
//! After a power cut everything synced is there. Of the rest each sector is there or not, each length, each name.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    memory_folder,
    support::{id, processed, raw, store},
};
use crate::{
    Area, Writer,
    appender::Limits,
    disk::{Disk, LocalDisk},
};

const SECTOR: usize = 512;

#[derive(Debug, Clone)]
enum Step {
    CreateFolder(PathBuf),
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    Cut(PathBuf, u64),
    Sync(PathBuf),
    SyncFolder(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    /// The writer has answered that this crash, or its result, is durable.
    Answered(Area, u64),
}

/// The log, with paths from the store's folder on.
struct Log {
    root: PathBuf,
    steps: Mutex<Vec<Step>>,
}

impl Log {
    fn add(&self, step: impl FnOnce(&dyn Fn(&Path) -> PathBuf) -> Step) {
        let inside = |path: &Path| path.strip_prefix(&self.root).unwrap().to_owned();
        self.steps.lock().unwrap().push(step(&inside));
    }
}

struct LoggedDisk(Arc<Log>);

impl Disk for LoggedDisk {
    fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        self.0.add(|inside| Step::CreateFolder(inside(path)));
        LocalDisk.create_folder(path)
    }

    fn create(&mut self, path: &Path) -> io::Result<File> {
        self.0.add(|inside| Step::Create(inside(path)));
        LocalDisk.create(path)
    }

    fn write(&mut self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.add(|inside| Step::Write(inside(path), offset, bytes.to_vec()));
        LocalDisk.write(file, path, bytes, offset)
    }

    fn sync(&mut self, file: &File, path: &Path) -> io::Result<()> {
        self.0.add(|inside| Step::Sync(inside(path)));
        LocalDisk.sync(file, path)
    }

    fn sync_folder(&mut self, folder: &File, path: &Path) -> io::Result<()> {
        self.0.add(|inside| Step::SyncFolder(inside(path)));
        LocalDisk.sync_folder(folder, path)
    }

    fn cut(&mut self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        self.0.add(|inside| Step::Cut(inside(path), len));
        LocalDisk.cut(file, path, len)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.add(|inside| Step::Rename(inside(from), inside(to)));
        LocalDisk.rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let removed = LocalDisk.remove(path);
        if removed.is_ok() {
            self.0.add(|inside| Step::Remove(inside(path)));
        }
        removed
    }
}

/// What a name stands for: a folder, which is known by its path, or the file of that number.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Node {
    Folder,
    File(usize),
}

#[derive(Default, Clone)]
struct Names {
    now: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
}

#[derive(Default, Clone)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What was done since the last sync: bytes at a place, or a new length.
    since: Vec<(usize, Option<Vec<u8>>)>,
}

/// The disk at one moment of the log.
#[derive(Default)]
struct Image {
    folders: BTreeMap<PathBuf, Names>,
    files: Vec<Content>,
}

impl Image {
    fn at(steps: &[Step]) -> Self {
        let mut image = Self::default();
        image.folders.insert(PathBuf::new(), Names::default());
        for folder in ["raw", "private", "processed", "writers"] {
            image.create_folder(Path::new(folder));
            image.sync_folder(Path::new(""));
        }
        for step in steps {
            image.take(step);
        }
        image
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::CreateFolder(path) => self.create_folder(path),
            Step::Create(path) => {
                self.files.push(Content::default());
                let file = Node::File(self.files.len() - 1);
                self.names(path).now.insert(path.clone(), file);
            }
            Step::Write(path, offset, bytes) => {
                let at = usize::try_from(*offset).unwrap();
                let file = self.file(path);
                write(&mut file.now, at, bytes);
                file.since.push((at, Some(bytes.clone())));
            }
            Step::Cut(path, len) => {
                let len = usize::try_from(*len).unwrap();
                let file = self.file(path);
                file.now.resize(len, 0);
                file.since.push((len, None));
            }
            Step::Sync(path) => {
                let file = self.file(path);
                file.durable = file.now.clone();
                file.since.clear();
            }
            Step::SyncFolder(path) => self.sync_folder(path),
            Step::Rename(from, to) => {
                let names = self.names(from);
                let node = names.now.remove(from).unwrap();
                names.now.insert(to.clone(), node);
            }
            Step::Remove(path) => {
                self.names(path).now.remove(path);
            }
            Step::Answered(..) => {}
        }
    }

    fn names(&mut self, path: &Path) -> &mut Names {
        self.folders.get_mut(path.parent().unwrap()).unwrap()
    }

    fn file(&mut self, path: &Path) -> &mut Content {
        let Some(Node::File(file)) = self.names(path).now.get(path).copied() else { panic!("{path:?}") };
        &mut self.files[file]
    }

    fn create_folder(&mut self, path: &Path) {
        if !self.folders.contains_key(path) {
            self.create_folder(path.parent().unwrap());
            self.names(path).now.insert(path.to_owned(), Node::Folder);
            self.folders.insert(path.to_owned(), Names::default());
        }
    }

    fn sync_folder(&mut self, path: &Path) {
        let names = self.folders.get_mut(path).unwrap();
        names.durable = names.now.clone();
    }

    /// As a killed process leaves it: all that was done is there.
    fn killed(&self, root: &Path) {
        self.write_out(root, Path::new(""), &mut |names| names.now.clone(), &mut |content| {
            content.now.clone()
        });
    }

    /// As a power cut leaves it.
    fn without_power(&self, root: &Path, seed: u64) {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut other = StdRng::seed_from_u64(seed + 1);
        let mut names = |names: &Names| {
            let mut left = BTreeMap::new();
            for path in names.now.keys().chain(names.durable.keys()) {
                let from = if chance.random() { &names.now } else { &names.durable };
                if let Some(node) = from.get(path) {
                    left.entry(path.clone()).or_insert(*node);
                }
            }
            // What both have is there.
            left.extend(
                names
                    .now
                    .iter()
                    .filter(|(path, node)| names.durable.get(*path) == Some(node))
                    .map(|(path, node)| (path.clone(), *node)),
            );
            left
        };
        let mut content = |content: &Content| {
            let mut left = content.durable.clone();
            for (at, bytes) in &content.since {
                let Some(bytes) = bytes else {
                    if other.random() {
                        left.resize(*at, 0);
                    }
                    continue;
                };
                // The length may be there before the bytes are: then they are zeros.
                if other.random() {
                    let end = other.random_range(*at..=at + bytes.len());
                    left.resize(left.len().max(end), 0);
                }
                let first = (SECTOR - at % SECTOR).min(bytes.len());
                let (head, rest) = bytes.split_at(first);
                let mut start = *at;
                for sector in std::iter::once(head).chain(rest.chunks(SECTOR)) {
                    if other.random() {
                        write(&mut left, start, sector);
                    }
                    start += sector.len();
                }
            }
            left
        };
        self.write_out(root, Path::new(""), &mut names, &mut content);
    }

    fn write_out(
        &self,
        root: &Path,
        folder: &Path,
        names: &mut dyn FnMut(&Names) -> BTreeMap<PathBuf, Node>,
        content: &mut dyn FnMut(&Content) -> Vec<u8>,
    ) {
        std::fs::create_dir_all(root.join(folder)).unwrap();
        for (path, node) in names(&self.folders[folder]) {
            match node {
                Node::Folder => self.write_out(root, &path, names, content),
                Node::File(file) => std::fs::write(root.join(&path), content(&self.files[file])).unwrap(),
            }
        }
    }
}

fn write(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    into.resize(into.len().max(at + bytes.len()), 0);
    into[at..at + bytes.len()].copy_from_slice(bytes);
}

const CRASHES: u64 = 14;

/// Sizes below and far above a sector, in two minutes.
fn crash(number: u64) -> crash::RawCrash {
    raw(id(i64::from(number % 5 == 4), number), usize::try_from(number * 977 % 4000).unwrap())
}

/// Two lives of a writer, the first closed in order, with everything that they did to the disk.
async fn logged() -> Vec<Step> {
    let folder = memory_folder();
    let store = store(folder.path());
    let log = Arc::new(Log { root: folder.path().join("store"), steps: Mutex::default() });
    for life in [0..CRASHES / 2, CRASHES / 2..CRASHES] {
        let open =
            || store.writer_on("node-1", Box::new(LoggedDisk(log.clone())), Limits::default()).unwrap();
        let writer = open();
        let mut saves = tokio::task::JoinSet::new();
        for lane in 0..3 {
            let numbers = (life.start + lane..life.end).step_by(3);
            saves.spawn(save(writer.clone(), log.clone(), numbers.collect()));
        }
        saves.join_all().await;
        writer.close().await;
    }
    log.steps.lock().unwrap().clone()
}

async fn save(writer: Writer, log: Arc<Log>, numbers: Vec<u64>) {
    for number in numbers {
        let crash = crash(number);
        writer.save_raw(&crash).await.unwrap();
        log.add(|_| Step::Answered(Area::Raw, number));
        writer.save_processed(&processed(crash.id(), 1, "main")).await.unwrap();
        log.add(|_| Step::Answered(Area::Processed, number));
    }
}

/// Every crash that was answered is whole, every other one whole or absent, and the store goes on.
async fn is_sound(folder: &Path, steps: &[Step]) {
    let store = store(folder);
    // As it was left, then after a start, then after another one, which finds less in the writer's record.
    for starts in 0..3 {
        let answered = |area, number| {
            steps
                .iter()
                .any(|step| matches!(step, Step::Answered(on, which) if (*on, *which) == (area, number)))
        };
        for number in 0..CRASHES {
            let crash = crash(number);
            let found = store.raw(crash.id(), None).await.unwrap();
            assert!(found.is_some() || !answered(Area::Raw, number), "crash {number} is lost");
            assert!(found.is_none_or(|found| found == crash), "crash {number} is not whole");
            let found = store.processed(crash.id()).await.unwrap();
            assert!(found.is_some() || !answered(Area::Processed, number), "result {number} is lost");
        }
        for area in Area::ALL {
            for minute in store.minutes(area).await.unwrap() {
                assert_eq!(store.check(area, minute).await.unwrap(), []);
            }
        }
        let writer = store.writer("node-1").unwrap();
        for number in [100 + starts, 104] {
            writer.save_raw(&crash(number)).await.unwrap();
        }
        writer.close().await;
        assert_eq!(store.raw(crash(100).id(), None).await.unwrap(), Some(crash(100)));
    }
}

#[tokio::test]
async fn nothing_answered_is_lost_by_a_kill_at_any_step() {
    let steps = logged().await;
    for end in 0..=steps.len() {
        let folder = memory_folder();
        Image::at(&steps[..end]).killed(&folder.path().join("store"));
        is_sound(folder.path(), &steps[..end]).await;
        // And in the middle of a write.
        if let Some(Step::Write(path, offset, bytes)) = steps.get(end) {
            for part in [1, bytes.len() / 3, bytes.len() - 1] {
                let half = Step::Write(path.clone(), *offset, bytes[..part].to_vec());
                let folder = memory_folder();
                Image::at(&[&steps[..end], &[half]].concat()).killed(&folder.path().join("store"));
                is_sound(folder.path(), &steps[..end]).await;
            }
        }
    }
}

#[tokio::test]
async fn nothing_answered_is_lost_by_a_power_cut_at_any_step() {
    let steps = logged().await;
    for end in 0..=steps.len() {
        for seed in 0..4 {
            let folder = memory_folder();
            Image::at(&steps[..end]).without_power(&folder.path().join("store"), seed * 1000 + end as u64);
            is_sound(folder.path(), &steps[..end]).await;
        }
    }
}
