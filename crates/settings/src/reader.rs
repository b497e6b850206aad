//! Hands the tree to serde, and puts the place and the key to whatever serde finds wrong.
//!
//! A deserializer of our own, because three things must be known together: what type is wanted (a variable
//! `30` is a number or a text), where the value came from (a secret is refused in the file), and which fields
//! a struct has (`password_file` belongs to `password`).

use std::collections::btree_map;
use std::fs;
use std::vec;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::error::{Fault, Problem};
use crate::secret::SECRET;
use crate::service_url::{SERVICE_URL, ServiceUrl};
use crate::tree::{Entry, Node, Origin, Table, Value, parse_variable};

/// The end of the key that names the file in which a secret stands.
const FILE_SUFFIX: &str = "_file";

pub(crate) struct Reader(pub(crate) Node);

impl Reader {
    /// A variable as the value of TOML that it is, where something else than a text is wanted.
    fn typed(self) -> Self {
        match &self.0 {
            Node { origin: origin @ Origin::Environment { .. }, value: Value::Text(text) } => {
                Self(parse_variable(text, origin).unwrap_or(self.0))
            }
            _ => self,
        }
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Node { origin, value } = self.0;
        let result = match value {
            Value::Text(text) => visitor.visit_string(text),
            Value::Integer(number) => match u64::try_from(number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(number),
            },
            Value::Float(number) => visitor.visit_f64(number),
            Value::Boolean(truth) => visitor.visit_bool(truth),
            Value::Array(elements) => visitor.visit_seq(Elements(elements.into_iter().enumerate())),
            Value::Table(table) => visitor.visit_map(Entries::of(table)),
            Value::InFile(_) => {
                Err(Fault::message("only a secret or a URL can be read from a file of its own"))
            }
        };
        result.map_err(|fault| fault.at(&origin))
    }

    /// The text of a secret, and whether it may be one.
    fn guarded(self) -> Result<(String, Guard), Fault> {
        let Node { origin, value } = self.0;
        match value {
            Value::Text(text) if origin.is_file() => Ok((text, Guard::StoodInFile)),
            Value::Text(text) => Ok((text, Guard::Allowed)),
            Value::InFile(path) => match fs::read_to_string(&path) {
                Ok(text) => Ok((text.trim_end_matches(['\n', '\r']).to_owned(), Guard::Allowed)),
                Err(error) => {
                    Err(Fault::message(format!("reading the secret in {path}: {error}")).at(&origin))
                }
            },
            _ => Err(Fault::message("expected a string").at(&origin)),
        }
    }
}

enum Guard {
    Allowed,
    StoodInFile,
}

impl<'de> Deserializer<'de> for Reader {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.typed().visit(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit(visitor)
    }

    /// An empty variable takes an optional value away.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0 {
            Node { origin: Origin::Environment { .. }, value: Value::Text(text) } if text.is_empty() => {
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name != SECRET && name != SERVICE_URL {
            return visitor.visit_newtype_struct(self);
        }
        let origin = self.0.origin.clone();
        let refused = |problem| Err(Fault::new(problem).at(&origin));
        let (text, guard) = self.guarded()?;
        match guard {
            Guard::StoodInFile if name == SECRET && !text.is_empty() => refused(Problem::SecretInFile),
            Guard::StoodInFile if text.parse().is_ok_and(|url: ServiceUrl| url.has_password()) => {
                refused(Problem::PasswordInFile)
            }
            _ => visitor.visit_string(text).map_err(|fault: Fault| fault.at(&origin)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let mut reader = self.typed();
        if let Value::Table(table) = &mut reader.0.value {
            join_files(table, fields)?;
            refuse_unknown(table, fields)?;
        }
        reader.visit(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let reader = match &self.0.value {
            Value::Text(text) if text.trim_start().starts_with('{') => self.typed(),
            _ => self,
        };
        let origin = reader.0.origin.clone();
        let result = match reader.0.value {
            Value::Text(variant) => visitor.visit_enum(variant.into_deserializer()),
            Value::Table(table) if table.len() == 1 => visitor.visit_enum(Variant(table)),
            _ => Err(Fault::message("expected the name of a choice, or a table with that one key")),
        };
        result.map_err(|fault: Fault| fault.at(&origin))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 bytes byte_buf unit unit_struct seq tuple tuple_struct
        map ignored_any
    }
}

/// Turns each `<key>_file` of a struct that has `<key>` into a value of `<key>`.
fn join_files(table: &mut Table, fields: &'static [&'static str]) -> Result<(), Fault> {
    for &field in fields {
        let name = format!("{field}{FILE_SUFFIX}");
        if fields.contains(&name.as_str()) {
            continue;
        }
        let Some(Entry { key, node }) = table.remove(&name) else { continue };
        let Value::Text(path) = node.value else {
            return Err(Fault::message("expected the path of a file").at(&node.origin).within(&name));
        };
        // The environment wins over the file, whichever of the two forms each uses.
        match table.get(field) {
            Some(there) if there.key.is_file() == key.is_file() => {
                let both = format!("`{field}` and `{name}` are both set; keep one of them");
                return Err(Fault::message(both).at(&key).within(&name));
            }
            Some(there) if !there.key.is_file() => continue,
            _ => {}
        }
        let node = Node { origin: node.origin, value: Value::InFile(path) };
        table.insert(field.to_owned(), Entry { key, node });
    }
    Ok(())
}

fn refuse_unknown(table: &Table, fields: &'static [&'static str]) -> Result<(), Fault> {
    match table.iter().find(|(key, _)| !fields.contains(&key.as_str())) {
        Some((key, entry)) => {
            Err(Fault::new(Problem::UnknownKey { known: fields }).at(&entry.key).within(key))
        }
        None => Ok(()),
    }
}

struct Elements(std::iter::Enumerate<vec::IntoIter<Node>>);

impl<'de> SeqAccess<'de> for Elements {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((index, node)) = self.0.next() else { return Ok(None) };
        let origin = node.origin.clone();
        seed.deserialize(Reader(node)).map(Some).map_err(|fault| fault.at(&origin).within_element(index))
    }
}

struct Entries {
    rest: btree_map::IntoIter<String, Entry>,
    current: Option<(String, Node)>,
}

impl Entries {
    fn of(table: Table) -> Self {
        Self { rest: table.into_iter(), current: None }
    }
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, Entry { key: place, node })) = self.rest.next() else { return Ok(None) };
        let name: StrDeserializer<'_, Fault> = key.as_str().into_deserializer();
        let found = seed.deserialize(name).map_err(|fault| fault.at(&place).within(&key))?;
        self.current = Some((key, node));
        Ok(Some(found))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let (key, node) =
            self.current.take().ok_or_else(|| Fault::message("a value was asked for before its key"))?;
        let origin = node.origin.clone();
        seed.deserialize(Reader(node)).map_err(|fault| fault.at(&origin).within(&key))
    }
}

/// A table with one key: the name of a choice, and what it holds.
struct Variant(Table);

impl<'de> EnumAccess<'de> for Variant {
    type Error = Fault;
    type Variant = Contents;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Contents), Fault> {
        let Some((key, Entry { key: place, node })) = self.0.into_iter().next() else {
            return Err(Fault::message("expected the name of a choice"));
        };
        let name: StrDeserializer<'_, Fault> = key.as_str().into_deserializer();
        let variant = seed.deserialize(name).map_err(|fault| fault.at(&place))?;
        Ok((variant, Contents { key, node }))
    }
}

struct Contents {
    key: String,
    node: Node,
}

impl<'de> de::VariantAccess<'de> for Contents {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Err(Fault::message("this choice holds nothing: give its name as a string")
            .at(&self.node.origin)
            .within(&self.key))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let origin = self.node.origin.clone();
        seed.deserialize(Reader(self.node)).map_err(|fault| fault.at(&origin).within(&self.key))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        Reader(self.node).deserialize_any(visitor).map_err(|fault| fault.within(&self.key))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        Reader(self.node).deserialize_struct("", fields, visitor).map_err(|fault| fault.within(&self.key))
    }
}
