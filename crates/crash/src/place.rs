//! Where a crash is: in which segment, on which queue.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Where in the crash store a raw crash stands: a hint that spares a search, never the only way to find it.
///
/// Area and minute follow from the crash id; what is left is the segment (by its writer's name) and the offset of
/// the frame's header in it. As text `offset@segment`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The segment, by the name of its writer and without its ending.
    pub segment: String,
    /// Bytes from the start of the segment to the frame's header.
    pub offset: u64,
}

/// A text that is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a place in the crash store is written offset@segment")]
pub struct PlaceError;

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.offset, self.segment)
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (offset, segment) = text.split_once('@').ok_or(PlaceError)?;
        let offset = offset.parse().map_err(|_| PlaceError)?;
        if segment.is_empty() || segment.contains('/') || segment.starts_with('.') {
            return Err(PlaceError);
        }
        Ok(Self { segment: segment.to_owned(), offset })
    }
}

/// The queues that processors take crash ids from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueName {
    /// Somebody is waiting for these.
    Priority,
    /// New crashes.
    Standard,
    /// Crashes that were processed before and are to be processed again.
    Reprocessing,
}

/// A text that names no queue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the queues are priority, standard and reprocessing")]
pub struct UnknownQueue;

impl QueueName {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Priority, Self::Standard, Self::Reprocessing];

    /// The name that the broker, metrics and commands use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Priority => "priority",
            Self::Standard => "standard",
            Self::Reprocessing => "reprocessing",
        }
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for QueueName {
    type Err = UnknownQueue;

    fn from_str(text: &str) -> Result<Self, UnknownQueue> {
        Self::ALL.into_iter().find(|queue| queue.as_str() == text).ok_or(UnknownQueue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_from_its_text() {
        let place = Place { segment: "node-1-collector".to_owned(), offset: 4096 };
        assert_eq!(place.to_string().parse(), Ok(place));
    }

    #[test]
    fn a_place_that_points_outside_its_folder_is_refused() {
        for text in ["", "12", "12@", "x@collector", "12@../../etc/passwd", "12@.hidden"] {
            assert_eq!(text.parse::<Place>(), Err(PlaceError), "{text}");
        }
    }
}
