//! Objects as the API server reads them: into the types of Kubernetes' own schema, and back. So what is stored has only
//! fields that every client can read, each of its right type. Errors are worded as Go's `encoding/json` words them.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Expected, IntoDeserializer};
use serde::de::{MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::fmt::Display;

/// An object that was read into its type.
#[derive(Debug)]
pub(crate) struct TypedObject {
    /// The object without the fields that its type does not have.
    pub(crate) object: Value,
    /// Paths of the fields that its type does not have.
    pub(crate) unknown: Vec<String>,
}

/// A field of the wrong type, in Go's words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongType(String);

impl serde::de::Error for WrongType {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn invalid_type(given: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let given = match given {
            Unexpected::Bool(_) => "bool",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "number",
            Unexpected::Str(_) | Unexpected::Char(_) => "string",
            Unexpected::Seq => "array",
            _ => "object",
        };
        Self(format!("json: cannot unmarshal {given} into Go value of type {expected}"))
    }
}

/// Reads an object as one of the type `T`.
pub(crate) fn read<T: DeserializeOwned + Serialize>(object: &Value) -> Result<TypedObject, WrongType> {
    let unknown = RefCell::new(Vec::new());
    let at = TypedReader { value: object, place: FieldPlace::default(), unknown: &unknown };
    let typed = T::deserialize(at)?;
    let object = serde_json::to_value(typed).map_err(WrongType::custom)?;
    Ok(TypedObject { object, unknown: unknown.into_inner() })
}

/// Place of a value in its object.
#[derive(Debug, Clone, Default)]
struct FieldPlace {
    /// Go name of the innermost struct.
    owner: &'static str,
    /// The fields on the way, as Go tells them: without indices and keys.
    fields: String,
    /// The way with indices, as strict decoding tells it.
    exact: String,
}

impl FieldPlace {
    fn field(&self, owner: &'static str, name: &str) -> Self {
        let below = |path: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        Self { owner, fields: below(&self.fields), exact: below(&self.exact) }
    }

    fn element(&self, index: usize) -> Self {
        Self { exact: format!("{}[{index}]", self.exact), ..self.clone() }
    }
}

/// A value that is to be read.
#[derive(Debug, Clone)]
struct TypedReader<'a> {
    value: &'a Value,
    place: FieldPlace,
    unknown: &'a RefCell<Vec<String>>,
}

impl TypedReader<'_> {
    fn wrong(&self, expected: &str) -> WrongType {
        let given = match self.value {
            Value::String(_) => "string".to_owned(),
            Value::Number(number) if expected.starts_with("int") => format!("number {number}"),
            Value::Number(_) => "number".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) | Value::Null => "object".to_owned(),
        };
        let FieldPlace { owner, fields, .. } = &self.place;
        WrongType(if fields.is_empty() {
            format!("json: cannot unmarshal {given} into Go value of type {expected}")
        } else {
            format!("json: cannot unmarshal {given} into Go struct field {owner}.{fields} of type {expected}")
        })
    }

    fn integer(&self, expected: &str) -> Result<i64, WrongType> {
        match self.value {
            Value::Null => Ok(0),
            value => value.as_i64().ok_or_else(|| self.wrong(expected)),
        }
    }
}

static NULL: Value = Value::Null;

impl<'de> Deserializer<'de> for TypedReader<'de> {
    type Error = WrongType;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongType> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::String(text) => visitor.visit_str(text),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
            Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_i64(number),
                (_, Some(number), _) => visitor.visit_u64(number),
                (_, _, number) => visitor.visit_f64(number.unwrap_or_default()),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongType> {
        match self.value {
            Value::Null => visitor.visit_bool(false),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            _ => Err(self.wrong("bool")),
        }
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongType> {
        let number = self.integer("int32")?;
        visitor.visit_i32(i32::try_from(number).map_err(|_| self.wrong("int32"))?)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongType> {
        visitor.visit_i64(self.integer("int64")?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongType> {
        match self.value {
            Value::Null => visitor.visit_str(""),
            Value::String(text) => visitor.visit_str(text),
            _ => Err(self.wrong("string")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongType> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongType> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, WrongType> {
        match (name, self.value) {
            // A number is a quantity, and stored as the text that it is told as.
            ("Quantity", Value::Number(number)) => {
                visitor.visit_newtype_struct(IntoDeserializer::<WrongType>::into_deserializer(number.to_string()))
            }
            ("Quantity", Value::Null) => visitor.visit_newtype_struct(StrDeserializer::<WrongType>::new("0")),
            ("Quantity", Value::String(text)) if is_quantity(text) => visitor.visit_newtype_struct(self),
            ("Quantity", Value::String(_)) => Err(WrongType(QUANTITY.to_owned())),
            ("Time" | "MicroTime", Value::String(text)) => visitor.visit_newtype_struct(self.clone()).map_err(|_| {
                let layout =
                    if name == "Time" { "2006-01-02T15:04:05Z07:00" } else { "2006-01-02T15:04:05.000000Z07:00" };
                WrongType(format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""))
            }),
            ("Time" | "MicroTime" | "Quantity", _) => Err(self.wrong("string")),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongType> {
        match self.value {
            Value::Array(items) => visitor.visit_seq(ListReader { at: self.clone(), items: items.iter().enumerate() }),
            Value::Null => visitor.visit_seq(ListReader { at: self.clone(), items: [].iter().enumerate() }),
            _ => {
                let asked = Cell::new("");
                drop(visitor.visit_seq(TypeQuestion(&asked)));
                Err(self.wrong(&format!("[]{}", go_type(asked.get()))))
            }
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongType> {
        let entries = match self.value {
            Value::Object(map) => Some(map.iter()),
            Value::Null => None,
            _ => {
                let asked = Cell::new("");
                drop(visitor.visit_map(TypeQuestion(&asked)));
                return Err(self.wrong(&format!("map[string]{}", go_type(asked.get()))));
            }
        };
        visitor.visit_map(MapReader { at: self, entries, value: &NULL, known: None, key: String::new() })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WrongType> {
        let entries = match self.value {
            Value::Object(map) => Some(map.iter()),
            Value::Null => None,
            _ => return Err(self.wrong(&go_type(name))),
        };
        visitor.visit_map(MapReader {
            at: self,
            entries,
            value: &NULL,
            known: Some((name, fields)),
            key: String::new(),
        })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongType> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 u8 u16 u32 u64 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

/// The fields of a struct, or the entries of a map.
struct MapReader<'a> {
    at: TypedReader<'a>,
    entries: Option<serde_json::map::Iter<'a>>,
    key: String,
    value: &'a Value,
    /// A struct's name and fields.
    known: Option<(&'static str, &'static [&'static str])>,
}

impl<'de> MapAccess<'de> for MapReader<'de> {
    type Error = WrongType;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, WrongType> {
        let Some((key, value)) = self.entries.as_mut().and_then(Iterator::next) else { return Ok(None) };
        (self.key, self.value) = (key.clone(), value);
        if self.known.is_some_and(|(_, fields)| !fields.contains(&key.as_str())) {
            self.at.unknown.borrow_mut().push(self.at.place.field("", key).exact);
        }
        seed.deserialize(StrDeserializer::<WrongType>::new(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, WrongType> {
        let place = match self.known {
            Some((owner, _)) => self.at.place.field(owner, &self.key),
            None => self.at.place.clone(),
        };
        seed.deserialize(TypedReader { value: self.value, place, unknown: self.at.unknown })
    }
}

/// The elements of a list.
struct ListReader<'a> {
    at: TypedReader<'a>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Value>>,
}

impl<'de> SeqAccess<'de> for ListReader<'de> {
    type Error = WrongType;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, WrongType> {
        let Some((index, value)) = self.items.next() else { return Ok(None) };
        seed.deserialize(TypedReader { value, place: self.at.place.element(index), unknown: self.at.unknown }).map(Some)
    }
}

/// Finds the type of the elements of a list or map.
#[derive(Clone, Copy)]
struct TypeQuestion<'a>(&'a Cell<&'static str>);

impl TypeQuestion<'_> {
    fn told<T>(self, name: &'static str) -> Result<T, WrongType> {
        self.0.set(name);
        Err(WrongType(String::new()))
    }
}

impl<'de> SeqAccess<'de> for TypeQuestion<'_> {
    type Error = WrongType;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, WrongType> {
        seed.deserialize(*self).map(Some)
    }
}

impl<'de> MapAccess<'de> for TypeQuestion<'_> {
    type Error = WrongType;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, WrongType> {
        seed.deserialize(StrDeserializer::<WrongType>::new("")).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, WrongType> {
        seed.deserialize(*self)
    }
}

impl<'de> Deserializer<'de> for TypeQuestion<'_> {
    type Error = WrongType;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, WrongType> {
        self.told("interface {}")
    }

    fn deserialize_string<V: Visitor<'de>>(self, _: V) -> Result<V::Value, WrongType> {
        self.told("string")
    }

    fn deserialize_i64<V: Visitor<'de>>(self, _: V) -> Result<V::Value, WrongType> {
        self.told("int64")
    }

    fn deserialize_i32<V: Visitor<'de>>(self, _: V) -> Result<V::Value, WrongType> {
        self.told("int32")
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, WrongType> {
        self.told(name)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, _: V) -> Result<V::Value, WrongType> {
        self.told(name)
    }

    forward_to_deserialize_any! {
        bool i8 i16 u8 u16 u32 u64 f32 f64 char str bytes byte_buf option unit unit_struct seq tuple tuple_struct map
        enum identifier ignored_any
    }
}

/// A type as Go calls it; the structs are in packages whose import is called `v1`.
fn go_type(name: &str) -> String {
    match name {
        "Quantity" => "resource.Quantity".to_owned(),
        name if name.starts_with(char::is_uppercase) => format!("v1.{name}"),
        name => name.to_owned(),
    }
}

const QUANTITY: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

fn is_quantity(text: &str) -> bool {
    let unsigned = |text: &str| text.strip_prefix(['+', '-']).unwrap_or(text).to_owned();
    let unsigned_text = unsigned(text);
    let suffix = unsigned_text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let exponent = unsigned(suffix.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c)));
    suffix.len() < unsigned_text.len() && exponent.chars().all(|c| c.is_ascii_digit())
}
