use std::fs;
use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Fault};
use crate::reader::Reader;
use crate::tree::{self, Node, Origin, Table, Value};

/// The file that is read when none is given; it need not be there.
pub const DEFAULT_PATH: &str = "/etc/crashmill/crashmill.toml";

/// The beginning of every variable that is a setting. With one underscore it is somebody else's.
const PREFIX: &str = "CRASHMILL__";

/// Reads the configuration: the file, then the environment laid over it, then the defaults of `T`.
///
/// The file is checked by itself first, so that a mistake in it is named by line and column whatever the
/// environment says. A variable `CRASHMILL__SECTION__KEY` is the key `section.key`; its value is read as TOML
/// where `T` wants a number, a truth value, an array or a table, and is a text otherwise; an empty one takes an
/// optional value away. Every key and every such variable must be known to `T`. Variables that begin otherwise
/// are not looked at.
///
/// # Errors
/// When a given file cannot be read, or something in it or in the environment is wrong.
pub fn load<T: DeserializeOwned>(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<T, Error> {
    let mut root = read(file)?;
    let mut variables: Vec<_> = environment.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    let from_file_alone = T::deserialize(Reader(root.clone()))?;
    if variables.is_empty() {
        return Ok(from_file_alone);
    }
    variables.sort();
    for (name, text) in variables {
        let keys = keys_of(&name)?;
        if let Value::Table(table) = &mut root.value {
            tree::overlay(table, &keys, &name, text)?;
        }
    }
    Ok(T::deserialize(Reader(root))?)
}

/// The variables of this process, for [`load`]. What is no Unicode is passed on with replacement characters.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text.to_string_lossy().into_owned())))
}

fn read(file: Option<&Path>) -> Result<Node, Error> {
    let path = file.unwrap_or(Path::new(DEFAULT_PATH));
    match fs::read_to_string(path) {
        Ok(text) => Ok(tree::parse_file(path, &text)?),
        Err(error) if file.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(nothing()),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

/// What a missing file holds. Only a required key that nobody gave is ever reported from here.
fn nothing() -> Node {
    let origin = Origin::Environment { variable: "the environment, without a configuration file".into() };
    Node { origin, value: Value::Table(Table::new()) }
}

fn keys_of(name: &str) -> Result<Vec<String>, Fault> {
    let keys: Vec<_> =
        name.strip_prefix(PREFIX).unwrap_or_default().split("__").map(str::to_ascii_lowercase).collect();
    if keys.iter().any(String::is_empty) {
        let origin = Origin::Environment { variable: name.into() };
        return Err(Fault::message("expected a name such as CRASHMILL__SECTION__KEY").at(&origin));
    }
    Ok(keys)
}
