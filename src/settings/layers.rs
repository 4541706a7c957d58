//! Raw settings in layers, with the source of each value.
//!
//! A value from the environment is text until the type of its field is known; a whole number is then parsed within that
//! field's range and never rounded. An error names the field, its allowed values, and the file and line or the variable
//! that holds the present value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::{MapAccessDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};
use toml::Value;
use toml::de::{DeTable, DeValue};

const PREFIX: &str = "BREAKERBOX_";

/// Source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The embedded defaults.
    Default,
    /// A file and line, from 1.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// A command-line flag.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the defaults"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A table, or a list or value with its source.
///
/// Lists are nodes, too, so that all types are deserialized from one kind of tree: each further one would add code for
/// every type.
#[derive(Clone)]
pub(super) enum Node {
    Table(BTreeMap<String, Node>),
    List(Vec<Node>, Source),
    Leaf(Leaf, Source),
}

#[derive(Clone)]
pub(super) enum Leaf {
    /// A typed value from a file, neither a list nor a table.
    Typed(Value),
    /// Text from the environment.
    Text(String),
}

impl fmt::Debug for Node {
    /// Prints no values, because some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Node(..)")
    }
}

impl Node {
    pub(super) fn empty() -> Self {
        Self::Table(BTreeMap::new())
    }

    /// Parses a text into tables; `source` maps a line number to a source.
    pub(super) fn parse(text: &str, source: &dyn Fn(usize) -> Source) -> Result<Self, String> {
        let line = |at: usize| 1 + text[..at.min(text.len())].matches('\n').count();
        let wrong = |error: &toml::de::Error| {
            let at = error.span().map_or(1, |span| line(span.start));
            format!("{}: {}", source(at), error.message().trim())
        };
        let spans = DeTable::parse(text).map_err(|error| wrong(&error))?;
        let values: toml::Table = text.parse().map_err(|error| wrong(&error))?;
        Ok(Self::table(&values, spans.get_ref(), &|at| source(line(at))))
    }

    fn table(values: &toml::Table, spans: &DeTable<'_>, source: &dyn Fn(usize) -> Source) -> Self {
        let mut table = BTreeMap::new();
        for (key, span) in spans {
            let node = match (values.get(key.get_ref().as_ref()), span.get_ref()) {
                (Some(Value::Table(values)), DeValue::Table(spans)) => Self::table(values, spans, source),
                (Some(value), _) => Self::of(value, &source(key.span().start)),
                // Unreachable in practice: both trees were parsed from the same text.
                (None, _) => continue,
            };
            table.insert(key.get_ref().to_string(), node);
        }
        Self::Table(table)
    }

    fn of(value: &Value, source: &Source) -> Self {
        match value {
            Value::Table(table) => {
                Self::Table(table.iter().map(|(key, value)| (key.clone(), Self::of(value, source))).collect())
            }
            Value::Array(items) => {
                Self::List(items.iter().map(|item| Self::of(item, source)).collect(), source.clone())
            }
            value => Self::Leaf(Leaf::Typed(value.clone()), source.clone()),
        }
    }

    /// Merges `over` into this node: tables are merged, values replaced.
    pub(super) fn lay_over(&mut self, over: Self) {
        match (self, over) {
            (Self::Table(own), Self::Table(over)) => {
                for (key, node) in over {
                    match own.get_mut(&key) {
                        Some(own) => own.lay_over(node),
                        None => {
                            own.insert(key, node);
                        }
                    }
                }
            }
            (own, over) => *own = over,
        }
    }

    /// Sets the value of a variable; `path` is its name without the prefix.
    pub(super) fn set(&mut self, path: &str, text: String) {
        let source = Source::Variable(format!("{PREFIX}{path}"));
        let mut over = Self::Leaf(Leaf::Text(text), source);
        for part in path.rsplit("__") {
            over = Self::Table(BTreeMap::from([(part.to_lowercase().replace('_', "-"), over)]));
        }
        self.lay_over(over);
    }

    /// Records that a flag set the value at `path`.
    pub(super) fn flagged(&mut self, path: &str, flag: &'static str) {
        let mut over = Self::Leaf(Leaf::Text(String::new()), Source::Flag(flag));
        for part in path.rsplit('.') {
            over = Self::Table(BTreeMap::from([(part.to_owned(), over)]));
        }
        self.lay_over(over);
    }

    /// The source of the value at `path`, or of the nearest parent; for a table, the source of its only value that is
    /// not a default.
    fn source(&self, path: &str) -> Option<&Source> {
        let mut node = self;
        for part in path.split('.') {
            // An element of a list, `field[3]`, has the source of its list.
            let part = part.split('[').next().unwrap_or_default();
            match node {
                Self::Table(table) => match table.get(part) {
                    Some(next) => node = next,
                    None => break,
                },
                Self::List(..) | Self::Leaf(..) => break,
            }
        }
        let mut given = node.leaves();
        match (given.next(), given.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }

    /// Sources of the non-default values below this node.
    fn leaves(&self) -> Box<dyn Iterator<Item = &Source> + '_> {
        match self {
            Self::List(_, Source::Default) | Self::Leaf(_, Source::Default) => Box::new(std::iter::empty()),
            Self::List(_, source) | Self::Leaf(_, source) => Box::new(std::iter::once(source)),
            Self::Table(table) => Box::new(table.values().flat_map(Self::leaves)),
        }
    }

    /// Appends the source of the field's value to an error that begins with the path of a field.
    pub(super) fn located(&self, error: String) -> String {
        let path = error.split([' ', ':', '=']).next().unwrap_or_default();
        match self.source(path) {
            Some(source) if !path.is_empty() => format!("{error} (in {source})"),
            _ => error,
        }
    }

    /// Deserializes the whole tree as `T`.
    pub(super) fn read<'de, T: Deserialize<'de>>(&'de self) -> Result<T, String> {
        T::deserialize(self).map_err(|error| self.located(error.to_string()))
    }
}

/// An error about a value, and its path relative to where it was read.
#[derive(Debug)]
pub(super) struct Wrong {
    path: String,
    why: String,
}

impl Wrong {
    fn new(why: String) -> Self {
        Self { path: String::new(), why }
    }

    fn within(self, key: &str) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{key}.{}", self.path) };
        Self { path, why: self.why }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, why } = self;
        if path.is_empty() { f.write_str(why) } else { write!(f, "{path}: {why}") }
    }
}

/// Fields of a table; each error names its field.
struct Fields<'de> {
    left: std::collections::btree_map::Iter<'de, String, Node>,
    value: Option<(&'de str, &'de Node)>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let Some((key, node)) = self.left.next() else { return Ok(None) };
        self.value = Some((key, node));
        let key_of: StrDeserializer<'de, Wrong> = key.as_str().into_deserializer();
        seed.deserialize(key_of).map(Some).map_err(|error| error.within(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let (key, node) = self.value.take().expect("serde asks for a key first");
        seed.deserialize(node).map_err(|error| error.within(key))
    }
}

impl std::error::Error for Wrong {}

impl serde::de::Error for Wrong {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(text.to_string())
    }
}

/// Deserializes a whole number within the range of the field's type.
macro_rules! whole {
    ($($method:ident $visit:ident $ty:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            let number = match self {
                Node::Leaf(Leaf::Typed(Value::Integer(number)), _) => <$ty>::try_from(*number).ok(),
                Node::Leaf(Leaf::Text(text), _) => text.trim().parse().ok(),
                _ => None,
            };
            match number {
                Some(number) => visitor.$visit(number),
                None => Err(Wrong::new(format!("{self} must be a whole number from {} to {}", <$ty>::MIN, <$ty>::MAX))),
            }
        }
    )*};
}

/// Prints the value as written.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaf(Leaf::Text(text), _) => f.write_str(text),
            Self::Leaf(Leaf::Typed(value), _) => write!(f, "{value}"),
            Self::List(items, _) => {
                let items: Vec<_> = items.iter().map(Self::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Table(_) => f.write_str("a table"),
        }
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Wrong;

    whole! {
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Node::Table(table) => visitor.visit_map(Fields { left: table.iter(), value: None }),
            Node::List(items, _) => visitor.visit_seq(SeqDeserializer::new(items.iter())),
            Node::Leaf(Leaf::Typed(value), _) => match value {
                Value::Boolean(truth) => visitor.visit_bool(*truth),
                Value::Integer(number) => visitor.visit_i64(*number),
                Value::Float(number) => visitor.visit_f64(*number),
                Value::String(text) => visitor.visit_str(text),
                other => visitor.visit_string(other.to_string()),
            },
            // Without an expected type, the type is guessed from the text.
            Node::Leaf(Leaf::Text(text), _) => {
                if let Ok(truth) = text.parse::<bool>() {
                    visitor.visit_bool(truth)
                } else if let Ok(number) = text.parse::<i64>() {
                    visitor.visit_i64(number)
                } else if let Ok(number) = text.parse::<u64>() {
                    visitor.visit_u64(number)
                } else if let Ok(number) = text.parse::<f64>() {
                    visitor.visit_f64(number)
                } else {
                    visitor.visit_str(text)
                }
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let truth = match self {
            Node::Leaf(Leaf::Typed(Value::Boolean(truth)), _) => Some(*truth),
            Node::Leaf(Leaf::Text(text), _) => text.trim().parse().ok(),
            _ => None,
        };
        truth
            .map_or_else(|| Err(Wrong::new(format!("{self} must be true or false"))), |truth| visitor.visit_bool(truth))
    }

    #[allow(clippy::cast_precision_loss, reason = "what a file writes as a whole number is a small one")]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let number = match self {
            Node::Leaf(Leaf::Typed(Value::Float(number)), _) => Some(*number),
            Node::Leaf(Leaf::Typed(Value::Integer(number)), _) => Some(*number as f64),
            Node::Leaf(Leaf::Text(text), _) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number: &f64| number.is_finite());
        number.map_or_else(|| Err(Wrong::new(format!("{self} must be a number"))), |number| visitor.visit_f64(number))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Node::Leaf(Leaf::Text(text) | Leaf::Typed(Value::String(text)), _) => visitor.visit_str(text),
            _ => Err(Wrong::new(format!("{self} must be a text"))),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Node::Leaf(Leaf::Text(text), _) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                visitor.visit_seq(SeqDeserializer::new(parts.map(str::to_owned)))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self {
            Node::Leaf(Leaf::Text(text) | Leaf::Typed(Value::String(text)), _) => {
                let text: StrDeserializer<'_, Wrong> = text.as_str().into_deserializer();
                text.deserialize_enum(name, variants, visitor)
            }
            // A variant with fields is a table with one entry.
            Node::Table(table) if table.len() == 1 => {
                let fields = Fields { left: table.iter(), value: None };
                MapAccessDeserializer::new(fields).deserialize_enum(name, variants, visitor)
            }
            _ => Err(Wrong::new(format!("{self} must be one of {}", variants.join(", ")))),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Node::Table(_) => self.deserialize_any(visitor),
            Node::List(..) | Node::Leaf(..) => Err(Wrong::new(format!("{self} must be a table"))),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.deserialize_map(visitor)
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Wrong> for &'de Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Reads and parses a settings file.
pub(super) fn file(path: &Path) -> Result<Node, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Node::parse(&text, &|line| Source::File(path.to_owned(), line))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Shape {
        Point,
        Circle { radius: f64 },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Drawing {
        sizes: Vec<u8>,
        shapes: Vec<Shape>,
    }

    fn read(text: &str) -> Result<Drawing, String> {
        Node::parse(text, &|line| Source::File("drawing.toml".into(), line)).unwrap().read()
    }

    #[test]
    fn lists_hold_values_texts_and_tables() {
        let drawing = read("sizes = [1, 2]\nshapes = ['point', { circle = { radius = 2 } }]").unwrap();
        let shapes = vec![Shape::Point, Shape::Circle { radius: 2.0 }];
        assert_eq!(drawing, Drawing { sizes: vec![1, 2], shapes });
    }

    #[test]
    fn a_wrong_element_is_refused_with_its_field_and_line() {
        for (text, refusal) in [
            ("sizes = [256]\nshapes = []", "sizes: 256 must be a whole number from 0 to 255 (in drawing.toml:1)"),
            ("sizes = 3\nshapes = []", "sizes: invalid type: integer `3`, expected a sequence (in drawing.toml:1)"),
            (
                "sizes = []\nshapes = ['cube']",
                "shapes: unknown variant `cube`, expected `point` or `circle` (in drawing.toml:2)",
            ),
            (
                "sizes = []\nshapes = [{ circle = { radius = true } }]",
                "shapes.circle.radius: true must be a number (in drawing.toml:2)",
            ),
            ("sizes = []\nshapes = [[]]", "shapes: [] must be one of point, circle (in drawing.toml:2)"),
            (
                "sizes = []\nshapes = [{ circle = { radius = 1 }, point = 1 }]",
                "shapes: a table must be one of point, circle (in drawing.toml:2)",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), refusal);
        }
    }
}
