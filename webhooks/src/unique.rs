//! A value of any shape, from JSON or YAML, in which no object has a key twice. Which of the two counts would be a guess,
//! and of `{"success": false, "success": true}` a dangerous one.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value as Json};
use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

/// Characters of a key that an error shows.
const SHOWN: usize = 64;

/// The value. An error names the key that is there twice, and nothing else of the text.
#[derive(Clone, Default)]
pub struct Unique(pub Json);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer)
    }
}

impl<'de> Shape<'de> for Unique {
    type Key = String;
    type Item = Self;

    fn name(key: &String) -> &str {
        key
    }

    fn scalar(value: Json) -> Self {
        Self(value)
    }

    fn list(items: Vec<Self>) -> Self {
        Self(items.into_iter().map(|item| item.0).collect())
    }

    fn object(entries: Vec<(String, Self)>) -> Self {
        Self(entries.into_iter().map(|(key, item)| (key, item.0)).collect())
    }
}

/// The makings of a value whose shape is not known before.
pub(crate) trait Shape<'de>: Sized {
    /// A key of an object.
    type Key: Deserialize<'de>;
    /// An element of a list or an object.
    type Item: Deserialize<'de>;

    fn name(key: &Self::Key) -> &str;
    fn scalar(value: Json) -> Self;
    fn list(items: Vec<Self::Item>) -> Self;
    /// No key is there twice.
    fn object(entries: Vec<(Self::Key, Self::Item)>) -> Self;
}

/// Reads a value of any shape.
pub(crate) fn read<'de, D: Deserializer<'de>, S: Shape<'de>>(deserializer: D) -> Result<S, D::Error> {
    deserializer.deserialize_any(AnyShape(PhantomData))
}

struct AnyShape<S>(PhantomData<S>);

impl<'de, S: Shape<'de>> Visitor<'de> for AnyShape<S> {
    type Value = S;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<S, E> {
        Ok(S::scalar(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<S, E> {
        Ok(S::scalar(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<S, E> {
        Ok(S::scalar(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<S, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number is not finite"))?;
        Ok(S::scalar(number.into()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<S, E> {
        Ok(S::scalar(value.into()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<S, E> {
        Ok(S::scalar(value.into()))
    }

    fn visit_unit<E: Error>(self) -> Result<S, E> {
        Ok(S::scalar(Json::Null))
    }

    fn visit_none<E: Error>(self) -> Result<S, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<S, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<S, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(S::list(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<S, A::Error> {
        let (mut entries, mut keys) = (Vec::new(), BTreeSet::new());
        while let Some(key) = object.next_key::<S::Key>()? {
            if !keys.insert(S::name(&key).to_owned()) {
                let shown: String = S::name(&key).chars().take(SHOWN).collect();
                return Err(A::Error::custom(format_args!("the key {} is there twice", Json::from(shown))));
            }
            entries.push((key, object.next_value()?));
        }
        Ok(S::object(entries))
    }
}
