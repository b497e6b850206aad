use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::de;

use crate::tree::Origin;

/// Why a configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there, may not be read or is not UTF-8.
    #[error("reading the configuration file {}", path.display())]
    Read {
        /// The file that was given, or the default one.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The file or a variable is wrong. The text begins with the place and names the key.
    #[error("{0}")]
    Invalid(String),
}

/// What is wrong with one value, while it travels up from where it was found.
#[derive(Debug)]
pub(crate) struct Fault {
    origin: Option<Origin>,
    path: Vec<Step>,
    problem: Problem,
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

#[derive(Debug)]
pub(crate) enum Problem {
    Message(String),
    UnknownKey { known: &'static [&'static str] },
    SecretInFile,
    PasswordInFile,
}

impl Fault {
    pub(crate) fn new(problem: Problem) -> Self {
        Self { origin: None, path: Vec::new(), problem }
    }

    pub(crate) fn message(text: impl Into<String>) -> Self {
        Self::new(Problem::Message(text.into()))
    }

    /// Says where it happened, unless something further inside has said so.
    pub(crate) fn at(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    pub(crate) fn within(mut self, key: &str) -> Self {
        self.path.push(Step::Key(key.to_owned()));
        self
    }

    pub(crate) fn within_element(mut self, index: usize) -> Self {
        self.path.push(Step::Index(index));
        self
    }

    fn keys(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.path.iter().rev().filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
    }

    fn dotted(&self) -> String {
        let mut dotted = String::new();
        for step in self.path.iter().rev() {
            dotted += &match step {
                Step::Key(key) if dotted.is_empty() => key.clone(),
                Step::Key(key) => format!(".{key}"),
                Step::Index(index) => format!("[{index}]"),
            };
        }
        dotted
    }

    fn variable(&self) -> String {
        let names: Vec<_> = self.keys().map(str::to_ascii_uppercase).collect();
        format!("CRASHMILL__{}", names.join("__"))
    }

    fn explanation(&self) -> String {
        let key = self.keys().next_back().unwrap_or("it");
        match &self.problem {
            Problem::Message(text) => text.clone(),
            Problem::UnknownKey { known } => unknown("key", key, known),
            Problem::SecretInFile => format!(
                "a secret may not stand in the configuration file: set {} in the environment, or name a file \
                 that holds it with `{key}_file = \"/path\"`",
                self.variable()
            ),
            Problem::PasswordInFile => format!(
                "a URL with a password may not stand in the configuration file: set {} in the environment, or \
                 name a file that holds the whole URL with `{key}_file = \"/path\"`",
                self.variable()
            ),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.dotted())?;
        }
        f.write_str(&self.explanation())
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Invalid(fault.to_string())
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::message(message.to_string())
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::message(format!("expected {expected}, found {}", kind(found)))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::message(format!("expected {expected}, found {}", kind(found)))
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Self::message(unknown("value", found, known))
    }

    /// The key itself is added by whoever knows its place.
    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownKey { known })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::message(format!("the key `{field}` is missing"))
    }
}

/// What was found, without texts: a password that was put under the wrong key must not be repeated.
fn kind(found: de::Unexpected<'_>) -> String {
    match found {
        de::Unexpected::Str(_) => "a string".to_owned(),
        de::Unexpected::Map => "a table".to_owned(),
        de::Unexpected::Seq => "an array".to_owned(),
        de::Unexpected::Signed(number) => format!("the number {number}"),
        de::Unexpected::Unsigned(number) => format!("the number {number}"),
        other => other.to_string(),
    }
}

fn unknown(noun: &str, found: &str, known: &[&str]) -> String {
    let distance = |name: &&&str| strsim::osa_distance(found, name);
    let nearest = known.iter().min_by_key(distance);
    match nearest {
        Some(name) if distance(&name) <= 1 + found.len() / 4 => {
            format!("unknown {noun} `{found}`; did you mean `{name}`?")
        }
        Some(_) => format!("unknown {noun} `{found}`; there are {}", known.join(", ")),
        None => format!("unknown {noun} `{found}`"),
    }
}
