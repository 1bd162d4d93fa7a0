//! The language of the configuration, which the file and a config webhook's answer share: documents, sections with typed
//! keys, mistakes by their paths, durations, sizes, PEM, old keys, and the types of the fields of Kubernetes' objects.
//!
//! The objects themselves stay JSON on their way to the API server: nothing here drops a field. A value is changed only
//! into the one that it means as the type of its field; what has no such meaning stays as it is and is reported.

pub(crate) mod byte_size;
mod changes;
pub(crate) mod document;
pub(crate) mod duration;
mod errors;
pub(crate) mod keys;
pub(crate) mod kubernetes;
pub(crate) mod migrate;
pub(crate) mod pem;
pub(crate) mod pod_scalars;
mod recorded_files;
mod report;
mod section;
mod tree;
mod unquoted_texts;
pub(crate) mod yaml;

#[cfg(test)]
pub(crate) use changes::KeyOutcome;
pub use document::Format;
pub use errors::Errors;
pub(crate) use errors::{ConfigError, Notice};
pub use migrate::Migration;
pub use pem::{Disk, Files};
pub(crate) use podgate_webhooks::text::nearest;
pub(crate) use recorded_files::{ContentDigest, FileContents, RecordedFiles};
pub(crate) use report::ConfigReport;
pub(crate) use section::Section;
pub(crate) use tree::{Tree, get, kind, mapping_at, merge, put};
