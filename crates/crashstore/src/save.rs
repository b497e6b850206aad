//! Saving crashes, whatever the store stands on.

use crash::{Place, ProcessedCrash, RawCrash};

use crate::{Error, objects::ObjectWriter, space::Watch, writer::SegmentWriter};

/// Saves crashes. Cheap to clone; made by [`CrashStore::writer`](crate::CrashStore::writer).
///
/// On a disk it has segments of its own; its name is free again when [`Writer::close`] returns, or some moments after
/// the last clone was dropped.
#[derive(Debug, Clone)]
pub struct Writer {
    backend: Backend,
}

#[derive(Debug, Clone)]
enum Backend {
    Segments(SegmentWriter),
    Objects(ObjectWriter),
}

impl Writer {
    pub(crate) fn to_segments(writer: SegmentWriter) -> Self {
        Self { backend: Backend::Segments(writer) }
    }

    pub(crate) fn to_objects(writer: ObjectWriter) -> Self {
        Self { backend: Backend::Objects(writer) }
    }

    /// The name under which it writes; on a disk another than was asked for when that one was held.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.backend {
            Backend::Segments(writer) => writer.name(),
            Backend::Objects(writer) => writer.name(),
        }
    }

    /// How much room the filesystem has left on which it writes; nothing where it writes objects.
    #[must_use]
    pub fn space(&self) -> Option<&Watch> {
        match &self.backend {
            Backend::Segments(writer) => Some(writer.space()),
            Backend::Objects(_) => None,
        }
    }

    /// Saves a raw crash, its private annotations in their own area and before it. When this returns it is durable; the
    /// place is the raw frame's.
    ///
    /// # Errors
    /// Then nothing may be promised to the client. [`Error::NoSpace`] comes before anything is written when the disk is
    /// nearly full. After [`Error::TimedOut`] or [`Error::ObjectStore`] the crash may be
    /// there all the same; saving it again does no harm.
    pub async fn save_raw(&self, crash: &RawCrash) -> Result<Place, Error> {
        match &self.backend {
            Backend::Segments(writer) => writer.save_raw(crash).await,
            Backend::Objects(writer) => writer.save_raw(crash).await,
        }
    }

    /// Saves a processed crash. When this returns it is durable. In an object store it takes the place of an earlier
    /// one.
    ///
    /// # Errors
    /// As for [`Writer::save_raw`].
    pub async fn save_processed(&self, crash: &ProcessedCrash) -> Result<Place, Error> {
        match &self.backend {
            Backend::Segments(writer) => writer.save_processed(crash).await,
            Backend::Objects(writer) => writer.save_processed(crash).await,
        }
    }

    /// Whether a raw crash could be saved now: something small is written that is no crash, and taken away again.
    ///
    /// # Errors
    /// As for [`Writer::save_raw`].
    pub async fn try_out(&self) -> Result<(), Error> {
        match &self.backend {
            Backend::Segments(writer) => writer.try_out().await,
            Backend::Objects(writer) => writer.try_out().await,
        }
    }

    /// Waits until everything that was accepted is durable and answered, and gives the name back. Saves that other
    /// clones begin from now on fail. Gives up after 30 s, which a store that hangs alone makes necessary.
    pub async fn close(self) {
        match self.backend {
            Backend::Segments(writer) => writer.close().await,
            Backend::Objects(writer) => writer.close().await,
        }
    }

    /// How many crashes are compressed and wait for the thread, or for the disk.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        match &self.backend {
            Backend::Segments(writer) => writer.waiting(),
            Backend::Objects(_) => unreachable!("these tests have a local store"),
        }
    }
}
