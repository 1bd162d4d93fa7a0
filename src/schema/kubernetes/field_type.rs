//! The type of a field of a Kubernetes object.

use std::collections::BTreeSet;

/// Type of a field of a Kubernetes object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    /// A string in JSON.
    Text,
    /// A boolean in JSON.
    Flag,
    /// A whole number of 32 bits.
    Integer32,
    /// A whole number of 64 bits.
    Integer64,
    /// A port: a number, or a name.
    IntegerOrText,
    /// An amount such as `500m` or `1Gi`, also written as a number.
    Quantity,
    /// A time (RFC 3339).
    Time,
    /// A list of one type.
    List(Box<Self>),
    /// A mapping of free names.
    Map(Box<Self>),
    /// An object with fields of its own, by name.
    Object(Vec<(&'static str, Self)>),
    /// A value of any type.
    Any,
}

impl Type {
    /// The type of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        let Self::Object(fields) = self else { return None };
        fields.iter().find(|(field, _)| *field == name).map(|(_, inner)| inner)
    }

    /// The type of a field of a list's elements.
    pub(crate) fn field_of_each(&self, list: &str, name: &str) -> Option<&Self> {
        let Some(Self::List(element)) = self.field(list) else { return None };
        element.field(name)
    }

    /// The names of its fields, and of those of whatever it is made of.
    pub(crate) fn names(&self) -> BTreeSet<&'static str> {
        match self {
            Self::List(inner) | Self::Map(inner) => inner.names(),
            Self::Object(fields) => {
                fields.iter().flat_map(|(name, field)| field.names().into_iter().chain([*name])).collect()
            }
            _ => BTreeSet::new(),
        }
    }
}
