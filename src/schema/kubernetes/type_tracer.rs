//! The type of a Kubernetes object, found by reading one: a deserializer that offers every field which the object asks
//! for and notes the type that it is asked for with.
//!
//! Objects of `k8s-openapi` name all of their fields, and read a field by its type without regard to the others.

use super::field_type::Type;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// A text that every reader of a text takes, the reader of a time too.
const TEXT: &str = "1970-01-01T00:00:00Z";

/// The number of objects in each other that are followed, far more than a pod has.
const DEPTH: usize = 32;

/// The type of an object. What cannot be followed is [`Type::Any`].
pub(super) fn trace<T: DeserializeOwned>() -> Type {
    let mut found = Type::Any;
    match T::deserialize(Tracer { found: &mut found, depth: 0 }) {
        Ok(_) => found,
        Err(_) => Type::Any,
    }
}

struct Tracer<'t> {
    found: &'t mut Type,
    depth: usize,
}

impl Tracer<'_> {
    fn note(self, found: Type) {
        *self.found = found;
    }
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let expected: &dyn Expected = &visitor;
        let found = if expected.to_string() == "IntOrString" { Type::IntegerOrText } else { Type::Any };
        self.note(found);
        visitor.visit_str(TEXT)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note(Type::Flag);
        visitor.visit_bool(false)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note(Type::Integer32);
        visitor.visit_i32(0)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note(Type::Integer64);
        visitor.visit_i64(0)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note(Type::Text);
        visitor.visit_str(TEXT)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &str, visitor: V) -> Result<V::Value, Error> {
        let known = match name {
            "Quantity" => Type::Quantity,
            "Time" | "MicroTime" => Type::Time,
            "FieldsV1" | "RawExtension" => Type::Any,
            _ => return visitor.visit_newtype_struct(self),
        };
        self.note(known);
        visitor.visit_newtype_struct(Tracer { found: &mut Type::Any, depth: 0 })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut inner = Type::Any;
        let value = visitor.visit_seq(SingleEntry { key: None, found: Some(&mut inner), depth: self.depth })?;
        self.note(Type::List(Box::new(inner)));
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut inner = Type::Any;
        let value = visitor.visit_map(SingleEntry { key: Some("a"), found: Some(&mut inner), depth: self.depth })?;
        self.note(Type::Map(Box::new(inner)));
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut found = Vec::with_capacity(fields.len());
        if self.depth == DEPTH {
            return visitor.visit_map(FieldAccess { left: &[], found: &mut found, depth: self.depth });
        }
        let value = visitor.visit_map(FieldAccess { left: fields, found: &mut found, depth: self.depth + 1 })?;
        self.note(Type::Object(found));
        Ok(value)
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
        ignored_any
    }
}

/// One element of a list, or one entry of a mapping.
struct SingleEntry<'t> {
    key: Option<&'static str>,
    found: Option<&'t mut Type>,
    depth: usize,
}

impl<'de> SeqAccess<'de> for SingleEntry<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let depth = self.depth;
        self.found.take().map(|found| seed.deserialize(Tracer { found, depth })).transpose()
    }
}

impl<'de> MapAccess<'de> for SingleEntry<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.key.take().map(|key| seed.deserialize(StrDeserializer::new(key))).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        match self.found.take() {
            Some(found) => seed.deserialize(Tracer { found, depth: self.depth }),
            None => Err(serde::de::Error::custom("one entry was asked for twice")),
        }
    }
}

/// An object's fields, one after the other.
struct FieldAccess<'t> {
    left: &'static [&'static str],
    found: &'t mut Vec<(&'static str, Type)>,
    depth: usize,
}

impl<'de> MapAccess<'de> for FieldAccess<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((name, left)) = self.left.split_first() else { return Ok(None) };
        self.left = left;
        self.found.push((name, Type::Any));
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        match self.found.last_mut() {
            Some((_, found)) => seed.deserialize(Tracer { found, depth: self.depth }),
            None => Err(serde::de::Error::custom("a value was asked for before its field")),
        }
    }
}
