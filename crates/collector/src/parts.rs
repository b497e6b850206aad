//! The parts of a report: which are annotations, which are dumps, and how much of each is kept.

use bytes::Bytes;
use crash::{AnnotationValue, MAIN_DUMP};
use multer::Field;

use crate::{
    answer::Malformed, config::Config, extra::add_extra, extract::ExtractError, heavy::Heavy, kept::Kept,
    memory::Held, payload::ReceivedDump,
};

/// The first bytes of a minidump.
const MINIDUMP_MAGIC: &[u8] = b"MDMP";
/// The part in which Mozilla's clients send their annotations as one JSON object.
const EXTRA: &str = "extra";

/// The parts that have been read so far, and the memory that they hold.
pub(crate) struct Parts<'a> {
    config: &'a Config,
    heavy: &'a Heavy,
    pub(crate) kept: Kept,
    pub(crate) dumps: Vec<ReceivedDump>,
    pub(crate) memory: Held,
}

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dump,
    Extra,
    Annotation,
}

/// What was kept of a part.
struct Content {
    bytes: Vec<u8>,
    whole: bool,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(config: &'a Config, heavy: &'a Heavy, memory: Held) -> Self {
        Self { config, heavy, kept: Kept::new(config), dumps: Vec::new(), memory }
    }

    /// Reads a part to its end.
    pub(crate) async fn take(&mut self, mut field: Field<'_>) -> Result<(), ExtractError> {
        let Some(name) = field.name().map(|name| self.kept.clean(name)) else {
            self.kept.seen.nameless_parts = true;
            self.read(&mut field, Vec::new(), 0).await?;
            return Ok(());
        };
        let file_name = field.file_name().map(|name| self.kept.clean(name));
        let is_json = field.content_type().is_some_and(|kind| kind.essence_str() == "application/json");

        let start = start(&mut field).await?;
        match kind(&name, &start, is_json, file_name.is_some()) {
            Kind::Dump if self.dumps.len() >= self.config.max_dumps => {
                self.kept.seen.too_many_dumps = true;
                self.read(&mut field, start, 0).await?;
            }
            Kind::Dump => {
                let content = self.read(&mut field, start, usize::MAX).await?;
                self.kept.seen.duplicate_dumps |= self.dumps.iter().any(|dump| dump.name == name);
                self.dumps.push(ReceivedDump { name, file_name, bytes: content.bytes.into() });
            }
            Kind::Extra => self.take_extra(&mut field, start).await?,
            Kind::Annotation => {
                let content = self.read(&mut field, start, self.kept.room(&name)).await?;
                if content.whole {
                    self.kept.add(name, AnnotationValue::from_bytes(content.bytes));
                } else {
                    self.kept.add_start(name, content.bytes);
                }
            }
        }
        Ok(())
    }

    /// Takes a JSON object of annotations. One that is too large is not read further.
    async fn take_extra(&mut self, field: &mut Field<'_>, start: Vec<u8>) -> Result<(), ExtractError> {
        let most = self.config.max_extra.as_usize();
        let mut json = Vec::new();
        let mut next = Some(Bytes::from(start));
        while let Some(chunk) = next {
            if json.len() + chunk.len() > most {
                return Err(Malformed::TooLarge.into());
            }
            self.memory.grow(chunk.len() as u64).await?;
            json.extend_from_slice(&chunk);
            next = field.chunk().await?;
        }
        let mut kept = std::mem::take(&mut self.kept);
        let parsing = self.heavy.run(move || {
            let parsed = add_extra(&mut kept, &json);
            (kept, parsed)
        });
        let (kept, parsed) = parsing.await.map_err(|_| ExtractError::Failed)?;
        self.kept = kept;
        Ok(parsed?)
    }

    /// Reads what is left of a part, and keeps up to so many bytes of the whole.
    async fn read(
        &mut self,
        field: &mut Field<'_>,
        start: Vec<u8>,
        most: usize,
    ) -> Result<Content, ExtractError> {
        let mut content = Content { bytes: Vec::new(), whole: true };
        let mut next = Some(Bytes::from(start));
        while let Some(mut chunk) = next {
            let room = most - content.bytes.len();
            content.whole &= chunk.len() <= room;
            chunk.truncate(room);
            self.memory.grow(chunk.len() as u64).await?;
            content.bytes.extend_from_slice(&chunk);
            next = field.chunk().await?;
        }
        content.bytes.shrink_to_fit();
        Ok(content)
    }
}

/// The first bytes of a part: as many as its magic has, if it has so many.
async fn start(field: &mut Field<'_>) -> Result<Vec<u8>, ExtractError> {
    let mut start = Vec::new();
    while start.len() < MINIDUMP_MAGIC.len()
        && let Some(chunk) = field.chunk().await?
    {
        start.extend_from_slice(&chunk);
    }
    Ok(start)
}

/// Tells a part by its name and its first bytes, never by its content type alone: clients label minidumps in many ways.
fn kind(name: &str, start: &[u8], is_json: bool, is_file: bool) -> Kind {
    if name.starts_with(MAIN_DUMP) || start.starts_with(MINIDUMP_MAGIC) {
        Kind::Dump
    } else if name == EXTRA || is_json {
        Kind::Extra
    } else if is_file {
        Kind::Dump
    } else {
        Kind::Annotation
    }
}
