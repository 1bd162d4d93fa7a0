//! Kubernetes' objects: the types of a pod's fields, values read as those types, and patches of them.

mod field_type;
mod pod_fields;
mod reader;
pub(crate) mod strategic_merge;
mod type_tracer;
mod yaml11;

pub(crate) use field_type::Type;
pub(crate) use pod_fields::{METADATA, POD_SPEC};
pub(crate) use reader::{EMBEDDED, TypedReader, TypedReading, UnquotedTexts, ValueAuthor, ValueNote, ValuePath};
