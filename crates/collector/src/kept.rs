//! The annotations of a report that are kept, within their limits.

use crash::{AnnotationValue, Annotations};

use crate::config::Config;

/// The longest name of an annotation or a dump, in bytes.
const MAX_NAME: usize = 256;

/// Annotations that have been read so far, and what a human should know about how they were read.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    annotations: Annotations,
    most: usize,
    /// How much more text the annotations may have, in bytes, names included.
    text_left: usize,
    pub(crate) seen: Seen,
}

/// What happened to a report while it was read; [`Seen::notes`] tells it.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) nameless_parts: bool,
    pub(crate) duplicate_annotations: bool,
    pub(crate) duplicate_dumps: bool,
    pub(crate) too_many_annotations: bool,
    pub(crate) too_many_dumps: bool,
    pub(crate) too_much_text: bool,
    pub(crate) cleaned_names: bool,
}

impl Seen {
    fn notes(&self) -> Vec<String> {
        [
            (self.nameless_parts, "nameless_part_dropped"),
            (self.duplicate_annotations, "duplicate_annotation"),
            (self.duplicate_dumps, "duplicate_dump"),
            (self.too_many_annotations, "too_many_annotations"),
            (self.too_many_dumps, "too_many_dumps"),
            (self.too_much_text, "annotation_text_cut"),
            (self.cleaned_names, "name_cleaned"),
        ]
        .into_iter()
        .filter(|(seen, _)| *seen)
        .map(|(_, note)| note.to_owned())
        .collect()
    }
}

impl Kept {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            annotations: Annotations::default(),
            most: config.max_annotations,
            text_left: config.max_annotation_text.as_usize(),
            seen: Seen::default(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.annotations.is_empty()
    }

    /// The annotations, and the notes about the whole report.
    pub(crate) fn finish(self) -> (Annotations, Vec<String>) {
        (self.annotations, self.seen.notes())
    }

    /// A name without control characters, which would make trouble wherever it is shown, and not too long.
    pub(crate) fn clean(&mut self, name: &str) -> String {
        let start = name.get(..name.floor_char_boundary(MAX_NAME)).unwrap_or_default();
        let cleaned: String = start.chars().filter(|character| !character.is_control()).collect();
        self.seen.cleaned_names |= cleaned != name;
        cleaned
    }

    /// How long a value of that name may be, in bytes: what is more need not be read.
    pub(crate) fn room(&self, name: &str) -> usize {
        let before = self.cost(name);
        if before.is_none() && self.annotations.len() >= self.most {
            return 0;
        }
        (self.text_left + before.unwrap_or(0)).saturating_sub(name.len())
    }

    /// Keeps a value of which the end was left out already.
    pub(crate) fn add_start(&mut self, name: String, mut start: Vec<u8>) {
        self.seen.too_much_text |= self.annotations.len() < self.most || self.cost(&name).is_some();
        // The cut may have gone through a character, which would make bytes of a text.
        if let Err(error) = std::str::from_utf8(&start)
            && error.error_len().is_none()
        {
            start.truncate(error.valid_up_to());
        }
        if start.is_empty() && self.cost(&name).is_none() && self.annotations.len() < self.most {
            return;
        }
        self.add(name, AnnotationValue::from_bytes(start));
    }

    /// Keeps an annotation, or what there is room for. Of one name the last wins.
    pub(crate) fn add(&mut self, name: String, value: AnnotationValue) {
        let before = self.cost(&name);
        if before.is_none() && self.annotations.len() >= self.most {
            self.seen.too_many_annotations = true;
            return;
        }
        let room = self.room(&name);
        let fits = name.len() <= self.text_left + before.unwrap_or(0);
        if !fits || (room == 0 && !value.as_bytes().is_empty()) {
            self.seen.too_much_text = true;
            return;
        }
        let value = self.cut(value, room);
        self.text_left = room - value.as_bytes().len();
        self.seen.duplicate_annotations |= self.annotations.insert(name, value).is_some();
    }

    /// What an annotation takes of the text.
    fn cost(&self, name: &str) -> Option<usize> {
        self.annotations.value(name).map(|value| name.len() + value.as_bytes().len())
    }

    fn cut(&mut self, value: AnnotationValue, room: usize) -> AnnotationValue {
        if value.as_bytes().len() <= room {
            return value;
        }
        self.seen.too_much_text = true;
        match value {
            AnnotationValue::Text(mut text) => {
                text.truncate(text.floor_char_boundary(room));
                text.shrink_to_fit();
                AnnotationValue::Text(text)
            }
            AnnotationValue::Bytes(mut bytes) => {
                bytes.truncate(room);
                bytes.shrink_to_fit();
                AnnotationValue::Bytes(bytes)
            }
        }
    }
}
