//! A value in a message, as CBOR has it (RFC 8949): the part of it that recordings use.

use bytes::Bytes;
use std::collections::HashSet;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Text(String),
    Bytes(Bytes),
    List(Vec<Value>),
    /// Entries in their order.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// An upper limit of the encoded length.
    pub(super) fn size(&self) -> usize {
        /// The longest head of an item (RFC 8949 section 3).
        const HEAD: usize = 9;
        HEAD + match self {
            Self::Null | Self::Bool(_) | Self::Integer(_) => 0,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => items.iter().map(Self::size).sum(),
            Self::Map(fields) => fields.iter().map(|(key, value)| HEAD + key.len() + value.size()).sum(),
        }
    }
}

impl Value {
    /// True if a map in it has a key twice: readers would not agree on its value.
    pub(super) fn repeats_a_key(&self) -> bool {
        match self {
            Self::List(items) => items.iter().any(Self::repeats_a_key),
            Self::Map(fields) => {
                let mut seen = HashSet::new();
                fields.iter().any(|(key, value)| !seen.insert(key) || value.repeats_a_key())
            }
            _ => false,
        }
    }
}

/// A Rust type of a field.
pub(super) trait Field: Sized {
    fn to_value(&self) -> Value;
    /// `None` for a value of another type. Null stands for Go's zero value.
    fn of_value(value: Value) -> Option<Self>;
}

impl Field for String {
    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn of_value(value: Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text),
            Value::Null => Some(Self::new()),
            _ => None,
        }
    }
}

impl Field for Bytes {
    fn to_value(&self) -> Value {
        Value::Bytes(self.clone())
    }

    fn of_value(value: Value) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => Some(bytes),
            Value::Null => Some(Self::new()),
            _ => None,
        }
    }
}

impl Field for bool {
    fn to_value(&self) -> Value {
        Value::Bool(*self)
    }

    fn of_value(value: Value) -> Option<Self> {
        match value {
            Value::Bool(set) => Some(set),
            Value::Null => Some(false),
            _ => None,
        }
    }
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn to_value(&self) -> Value {
                Value::Integer((*self).into())
            }

            fn of_value(value: Value) -> Option<Self> {
                match value {
                    Value::Integer(number) => number.try_into().ok(),
                    Value::Null => Some(0),
                    _ => None,
                }
            }
        }
    )*};
}

integers!(u8 u32 u64 i64);

impl<T: Field> Field for Vec<T> {
    fn to_value(&self) -> Value {
        Value::List(self.iter().map(Field::to_value).collect())
    }

    fn of_value(value: Value) -> Option<Self> {
        match value {
            Value::List(items) => items.into_iter().map(T::of_value).collect(),
            Value::Null => Some(Self::new()),
            _ => None,
        }
    }
}

/// Takes the field of that name out of a map; a field that is not there is null.
pub(super) fn take<T: Field>(fields: &mut Vec<(String, Value)>, name: &str) -> Option<T> {
    let place = fields.iter().position(|(key, _)| key == name);
    T::of_value(place.map_or(Value::Null, |place| fields.swap_remove(place).1))
}
