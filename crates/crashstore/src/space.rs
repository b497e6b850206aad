//! How much room a filesystem has left, and what may still be written to it.
//!
//! A full disk is more than a store that takes nothing: the journal, the database beside it and what is under way stop
//! too, and erasing needs them. So room is kept back by three marks. Below `warn_below` somebody is told. Below
//! `refuse_below` no new raw crash is taken, before one byte of it is written: what is left is for the journal, for
//! erasures, for crashes in processing and for whatever shares the disk. Below `stop_below` no processed crash is
//! written either. Erasing and dropping days is always allowed.
//!
//! [`Watch`] looks once a second, on a thread of its own: a disk that hangs must hold up no request. What was written
//! since the last look is counted, so that a second's worth of crashes does not pass a mark unseen.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use rustix::fs::statvfs;
use serde::Serialize;
use settings::Portion;
use tokio::sync::watch;

/// How often a filesystem is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What a filesystem has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Room {
    /// Bytes that this process may still write.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
    /// Files that may still be made.
    pub free_inodes: u64,
    /// Files that there may be in all; 0 where the filesystem has no such limit.
    pub inodes: u64,
}

impl Room {
    /// Asks the filesystem on which a path is, or will be: that of the nearest folder above it that is there.
    ///
    /// # Errors
    /// What the operating system refused.
    pub fn of(path: &Path) -> io::Result<Self> {
        let there = path.ancestors().find(|path| path.exists()).filter(|path| !path.as_os_str().is_empty());
        let stat = statvfs(there.unwrap_or(Path::new(".")))?;
        Ok(Self {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_inodes: stat.f_favail,
            inodes: stat.f_files,
        })
    }
}

/// What may still be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Everything.
    Ok,
    /// Everything, but somebody should see to it.
    Low,
    /// No new raw crash.
    Refuse,
    /// No processed crash either.
    Stop,
}

impl State {
    /// Its name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Low => "low",
            Self::Refuse => "refuse",
            Self::Stop => "stop",
        }
    }

    /// A number for metrics, the larger the worse.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Low => 1,
            Self::Refuse => 2,
            Self::Stop => 3,
        }
    }

    /// The key of `[crashstore]` that is the state's mark.
    fn key(self) -> &'static str {
        match self {
            Self::Ok | Self::Low => "warn_below",
            Self::Refuse => "refuse_below",
            Self::Stop => "stop_below",
        }
    }

    /// Files are kept back too: a share in hundredths of a percent, and no more than so many.
    fn inodes(self) -> (u64, u64) {
        match self {
            Self::Ok | Self::Low => (500, 100_000),
            Self::Refuse => (100, 10_000),
            Self::Stop => (20, 1_000),
        }
    }
}

/// How much room is kept back, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Below this somebody is told.
    pub warn_below: Portion,
    /// Below this no new raw crash is taken.
    pub refuse_below: Portion,
    /// Below this no processed crash is written either.
    pub stop_below: Portion,
}

impl Watermarks {
    /// The state of a filesystem that was in another before. A mark that was passed is left behind only with an eighth
    /// of it to spare, so that the state does not change to and fro.
    #[must_use]
    pub fn state(&self, before: State, room: &Room) -> State {
        let spare =
            |state: State, mark: u64| if before >= state { mark.saturating_add(mark / 8) } else { mark };
        let is_below = |state: &State| {
            let (share, most) = state.inodes();
            let inodes = spare(*state, (room.inodes / 10_000 * share).min(most));
            room.free < spare(*state, self.mark(*state, room))
                || (room.inodes > 0 && room.free_inodes < inodes)
        };
        [State::Stop, State::Refuse, State::Low].into_iter().find(is_below).unwrap_or(State::Ok)
    }

    /// The mark of a state in bytes. One that is configured above the mark before it counts as that one.
    fn mark(&self, state: State, room: &Room) -> u64 {
        let warn = self.warn_below.of(room.total);
        let refuse = || self.refuse_below.of(room.total);
        match state {
            State::Ok | State::Low => warn.max(refuse()),
            State::Refuse => refuse(),
            State::Stop => self.stop_below.of(room.total).min(refuse()),
        }
    }
}

/// What a look at a filesystem has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reading {
    /// What was looked at.
    pub path: PathBuf,
    /// What it has.
    pub room: Room,
    /// What may still be written.
    pub state: State,
    /// The mark in bytes that the room is below; the first one while it is below none.
    pub mark: u64,
}

impl Reading {
    /// Looks at the filesystem of a path, now.
    ///
    /// # Errors
    /// What the operating system refused.
    pub fn now(path: &Path, marks: &Watermarks) -> io::Result<Self> {
        Ok(Self::of(path, Room::of(path)?, State::Ok, marks))
    }

    fn of(path: &Path, room: Room, before: State, marks: &Watermarks) -> Self {
        let state = marks.state(before, &room);
        Self { path: path.to_owned(), room, state, mark: marks.mark(state, &room) }
    }

    /// Why something is wrong, and what to do; nothing while there is room.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        (self.state > State::Ok).then(|| self.to_string())
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Room { free, total, free_inodes, inodes } = self.room;
        write!(f, "{} of {} are free at {}", human(free), human(total), self.path.display())?;
        if self.state == State::Ok {
            return Ok(());
        }
        if free < self.mark.saturating_add(self.mark / 8) {
            write!(f, ", below {} in [crashstore] ({})", self.state.key(), human(self.mark))?;
        } else {
            write!(f, ", but only {free_inodes} of {inodes} files")?;
        }
        f.write_str(match self.state {
            State::Ok | State::Low => "",
            State::Refuse => ": no new crash is taken",
            State::Stop => ": no crash is taken or processed",
        })
    }
}

/// A number of bytes for people, in three digits or so.
fn human(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = UNITS.into_iter().find(|(_, shift)| bytes >> shift > 0);
    let Some((name, shift)) = unit else { return format!("{bytes} B") };
    let tenths = (u128::from(bytes) * 10) >> shift;
    if tenths < 100 {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    } else {
        format!("{} {name}", tenths / 10)
    }
}

/// How a look is done; a test's shows it what it likes.
pub(crate) type Look = Box<dyn FnMut(&Path) -> io::Result<Room> + Send>;

/// Looks at a filesystem every second, until the last clone is dropped. Each change of the state is logged once.
#[derive(Debug, Clone)]
pub struct Watch {
    shared: Arc<Shared>,
    /// Dropped with the last clone, which ends the thread.
    _alive: mpsc::Sender<()>,
}

#[derive(Debug)]
struct Shared {
    marks: Watermarks,
    reading: watch::Sender<Reading>,
    /// Bytes that were let in so far.
    claimed: AtomicU64,
    /// Of these, what had been written, or given up, before the last look: the look has seen it.
    seen: AtomicU64,
    /// Of these, what has been written or given up by now.
    finished: AtomicU64,
}

/// What is about to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A new crash, which its client can keep.
    Take,
    /// The result of one that was taken.
    Process,
}

/// Bytes that were let in and are not on the disk yet.
#[derive(Debug)]
pub(crate) struct Claim {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.finished.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

impl Watch {
    /// Looks at the filesystem of a path, and from now on every second.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn start(path: &Path, marks: Watermarks) -> io::Result<Self> {
        Self::start_with(path, marks, Box::new(Room::of))
    }

    pub(crate) fn start_with(path: &Path, marks: Watermarks, mut look: Look) -> io::Result<Self> {
        let first = Reading::of(path, look(path)?, State::Ok, &marks);
        tell(State::Ok, &first);
        let shared = Arc::new(Shared {
            marks,
            reading: watch::Sender::new(first),
            claimed: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            finished: AtomicU64::new(0),
        });
        let (alive, ended) = mpsc::channel::<()>();
        let watching = Arc::clone(&shared);
        std::thread::Builder::new().name("disk-space".to_owned()).spawn(move || {
            let mut is_blind = false;
            while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let looked = watching.look(&mut look);
                match looked {
                    Err(error) if !is_blind => {
                        let path = watching.reading.borrow().path.clone();
                        tracing::warn!(path = %path.display(), %error, "how much room is left cannot be asked; the last answer holds");
                        is_blind = true;
                    }
                    Err(_) => {}
                    Ok(()) => is_blind = false,
                }
            }
        })?;
        Ok(Self { shared, _alive: alive })
    }

    /// What the last look has shown, and each one from now on.
    #[must_use]
    pub fn readings(&self) -> watch::Receiver<Reading> {
        self.shared.reading.subscribe()
    }

    /// Lets so many bytes in, or says why not.
    pub(crate) fn claim(&self, purpose: Purpose, bytes: u64) -> Result<Claim, Reading> {
        let shared = &self.shared;
        let claimed = shared.claimed.fetch_add(bytes, Ordering::AcqRel).saturating_add(bytes);
        let unseen = claimed.saturating_sub(shared.seen.load(Ordering::Acquire));
        let state = match purpose {
            Purpose::Take => State::Refuse,
            Purpose::Process => State::Stop,
        };
        let reading = shared.reading.borrow();
        let left = reading.room.free.saturating_sub(unseen);
        if reading.state < state && left >= shared.marks.mark(state, &reading.room) {
            return Ok(Claim { shared: Arc::clone(shared), bytes });
        }
        shared.claimed.fetch_sub(bytes, Ordering::AcqRel);
        let room = Room { free: left, ..reading.room };
        let state = reading.state.max(state);
        Err(Reading { path: reading.path.clone(), room, state, mark: shared.marks.mark(state, &room) })
    }
}

impl Shared {
    fn look(&self, look: &mut Look) -> io::Result<()> {
        // Asked before the look: what ends in the middle of it may be counted twice, and never not at all.
        let finished = self.finished.load(Ordering::Acquire);
        let (path, before) = {
            let reading = self.reading.borrow();
            (reading.path.clone(), reading.state)
        };
        let reading = Reading::of(&path, look(&path)?, before, &self.marks);
        tell(before, &reading);
        self.reading.send_replace(reading);
        self.seen.store(finished, Ordering::Release);
        Ok(())
    }
}

fn tell(before: State, now: &Reading) {
    if now.state == before {
        return;
    }
    if now.state > before {
        tracing::warn!(
            state = now.state.as_str(),
            "a disk fills up: {now}; free space, or drop old days (crashmill expire)"
        );
    } else {
        tracing::info!(state = now.state.as_str(), "a disk has room again: {now}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn marks() -> Watermarks {
        let [warn_below, refuse_below, stop_below] = ["10%", "5%", "2%"].map(|text| text.parse().unwrap());
        Watermarks { warn_below, refuse_below, stop_below }
    }

    fn room(free: u64) -> Room {
        Room { free: free * MIB, total: 1000 * MIB, free_inodes: 1_000_000, inodes: 1_000_000 }
    }

    #[test]
    fn a_disk_that_fills_up_passes_each_mark_and_leaves_it_with_some_room_to_spare() {
        let mut state = State::Ok;
        let mut go = |free| {
            state = marks().state(state, &room(free));
            state
        };
        let down: Vec<_> = [500, 100, 99, 50, 49, 20, 19, 0].into_iter().map(&mut go).collect();
        use State::{Low, Ok, Refuse, Stop};
        assert_eq!(down, [Ok, Ok, Low, Low, Refuse, Refuse, Stop, Stop]);
        let up: Vec<_> = [20, 22, 23, 50, 56, 57, 100, 112, 113].into_iter().map(&mut go).collect();
        assert_eq!(up, [Stop, Stop, Refuse, Refuse, Refuse, Low, Low, Low, Ok]);
    }

    #[test]
    fn files_run_out_too_and_a_filesystem_without_a_limit_never_does() {
        let with = |free_inodes, inodes| marks().state(State::Ok, &Room { free_inodes, inodes, ..room(500) });
        assert_eq!(with(60_000, 1_000_000), State::Ok);
        assert_eq!(with(40_000, 1_000_000), State::Low);
        assert_eq!(with(9_000, 1_000_000), State::Refuse);
        assert_eq!(with(900, 1_000_000), State::Stop);
        assert_eq!(with(0, 0), State::Ok);
        let few = Reading::of(Path::new("/"), Room { free_inodes: 1, ..room(500) }, State::Ok, &marks());
        assert!(few.to_string().contains("only 1 of 1000000 files"), "{few}");
    }

    #[test]
    fn marks_in_the_wrong_order_count_as_the_one_before() {
        let [warn_below, refuse_below, stop_below] = ["1%", "5%", "50%"].map(|text| text.parse().unwrap());
        let marks = Watermarks { warn_below, refuse_below, stop_below };
        assert_eq!(marks.state(State::Ok, &room(51)), State::Ok);
        assert_eq!(marks.state(State::Ok, &room(49)), State::Stop);
    }

    #[test]
    fn a_reading_says_how_much_is_free_and_which_mark_that_is_below() {
        let reading = Reading::of(Path::new("/srv/store"), room(30), State::Ok, &marks());
        assert_eq!(
            reading.to_string(),
            "30 MiB of 1000 MiB are free at /srv/store, below refuse_below in [crashstore] (50 MiB): no new crash is taken"
        );
        assert_eq!(Reading::of(Path::new("/"), room(300), State::Ok, &marks()).why(), None);
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (10 << 40, "10 TiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn a_path_that_is_not_there_yet_is_on_the_filesystem_of_the_folder_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let [there, not_there] = ["", "a/b/c"].map(|path| Room::of(&folder.path().join(path)).unwrap());
        assert_eq!((there.total, there.inodes), (not_there.total, not_there.inodes));
        assert!(there.total > 0);
    }

    #[test]
    fn what_was_let_in_since_the_last_look_counts_until_a_look_has_seen_it() {
        let free = Arc::new(Mutex::new(room(55)));
        let seen = Arc::clone(&free);
        let look: Look = Box::new(move |_| Ok(*seen.lock().unwrap()));
        let watch = Watch::start_with(Path::new("/"), marks(), look).unwrap();
        let mut look: Look = {
            let free = Arc::clone(&free);
            Box::new(move |_| Ok(*free.lock().unwrap()))
        };

        let first = watch.claim(Purpose::Take, 3 * MIB).unwrap();
        let refused = watch.claim(Purpose::Take, 3 * MIB).unwrap_err();
        assert_eq!((refused.state, refused.room.free, refused.mark), (State::Refuse, 49 * MIB, 50 * MIB));
        // Results of what was taken have room that new crashes have not.
        drop(watch.claim(Purpose::Process, 20 * MIB).unwrap());

        // The first one is on the disk now.
        *free.lock().unwrap() = room(52);
        drop(first);
        watch.shared.look(&mut look).unwrap();
        drop(watch.claim(Purpose::Take, 2 * MIB).unwrap());
        *free.lock().unwrap() = room(10);
        watch.shared.look(&mut look).unwrap();
        assert_eq!(watch.claim(Purpose::Process, 0).unwrap_err().state, State::Stop);
    }
}
