//! What was read, value by value, each with the place that it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::error::Fault;

/// Where a value stands, for the person who has to correct it.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    File { path: Arc<str>, line: usize, column: usize },
    Environment { variable: Arc<str> },
}

impl Origin {
    pub(crate) fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Self::Environment { variable } => f.write_str(variable),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A string of the file, or a variable of the environment as it is.
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Array(Vec<Node>),
    Table(Table),
    /// `<key>_file`: the value of `<key>` is what this file holds.
    InFile(String),
}

pub(crate) type Table = BTreeMap<String, Entry>;

/// A value, and where its key stands.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Origin,
    pub(crate) node: Node,
}

/// Reads the text of a configuration file.
pub(crate) fn parse_file(path: &Path, text: &str) -> Result<Node, Fault> {
    let path: Arc<str> = path.display().to_string().into();
    let origin = |offset: usize| {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count()) + 1;
        Origin::File { path: Arc::clone(&path), line: before.matches('\n').count() + 1, column }
    };
    let table = DeTable::parse(text).map_err(|error| {
        Fault::message(error.message()).at(&origin(error.span().map_or(0, |span| span.start)))
    })?;
    Ok(Node { origin: origin(0), value: Value::Table(table_of(table.into_inner(), &origin)?) })
}

/// Reads the text of a variable as a TOML value, if it is one that is no string.
pub(crate) fn parse_variable(text: &str, origin: &Origin) -> Option<Node> {
    let value = DeValue::parse(text.trim()).ok()?;
    match value.get_ref() {
        DeValue::String(_) | DeValue::Datetime(_) => None,
        _ => node_of(value, &|_| origin.clone()).ok(),
    }
}

fn node_of(spanned: Spanned<DeValue<'_>>, origin: &dyn Fn(usize) -> Origin) -> Result<Node, Fault> {
    let place = origin(spanned.span().start);
    let value = match spanned.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Value::Integer(parsed.map_err(|_| Fault::message("the number is too large").at(&place))?)
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().parse();
            Value::Float(parsed.map_err(|_| Fault::message("this is no number").at(&place))?)
        }
        DeValue::Boolean(truth) => Value::Boolean(truth),
        // Types of time read themselves from text.
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(elements) => Value::Array(
            elements.into_iter().map(|element| node_of(element, origin)).collect::<Result<_, _>>()?,
        ),
        DeValue::Table(table) => Value::Table(table_of(table, origin)?),
    };
    Ok(Node { origin: place, value })
}

fn table_of(table: DeTable<'_>, origin: &dyn Fn(usize) -> Origin) -> Result<Table, Fault> {
    let entry = |(key, value): (Spanned<DeString<'_>>, _)| {
        let place = origin(key.span().start);
        let key = key.into_inner().into_owned();
        let node = node_of(value, origin).map_err(|fault| fault.within(&key))?;
        Ok((key, Entry { key: place, node }))
    };
    table.into_iter().map(entry).collect()
}

/// Lays one variable over the tree: `keys` is its name taken apart.
///
/// What stood there is replaced; two variables that contradict each other are an error.
pub(crate) fn overlay(root: &mut Table, keys: &[String], variable: &str, text: String) -> Result<(), Fault> {
    let origin = Origin::Environment { variable: variable.into() };
    let contradiction = |other: &Origin| {
        Fault::message(format!("{other} is set too, and is a part of this or contains it; keep one of them"))
            .at(&origin)
    };
    let Some((last, sections)) = keys.split_last() else { return Ok(()) };

    let mut table = root;
    for section in sections {
        let empty = || Node { origin: origin.clone(), value: Value::Table(Table::new()) };
        let entry =
            table.entry(section.clone()).or_insert_with(|| Entry { key: origin.clone(), node: empty() });
        if !matches!(entry.node.value, Value::Table(_)) {
            if !entry.node.origin.is_file() {
                return Err(contradiction(&entry.node.origin));
            }
            entry.node = empty();
        }
        let Value::Table(next) = &mut entry.node.value else { return Ok(()) };
        table = next;
    }
    match table.get(last) {
        Some(there) if !there.node.origin.is_file() => Err(contradiction(&there.node.origin)),
        _ => {
            let node = Node { origin: origin.clone(), value: Value::Text(text) };
            table.insert(last.clone(), Entry { key: origin, node });
            Ok(())
        }
    }
}
