//! Types that all modules use. A value of one of these types has been parsed: it cannot hold an invalid text, and nothing
//! behind the boundary checks it again.

mod clock;
mod diagnosis;
mod env;
mod error;
mod id;
mod image;
mod name;
mod notices;
mod recording;
mod secret;
mod terminal;
mod text;

pub(crate) use clock::clock_offset;
pub(crate) use diagnosis::RunningCheck;
pub use diagnosis::{CheckResult, Diagnosis, DoctorCheck};
pub(crate) use env::{EnvName, EnvVar, NamesLeftOut};
pub(crate) use error::{causes, error_chain, root_cause};
pub(crate) use id::ConnectionId;
pub(crate) use image::ImageName;
pub(crate) use name::{ContainerName, Invalid, MetadataKey, Namespace, PodName, Username};
pub(crate) use notices::Notices;
pub(crate) use recording::{Intercept, OnFailure, RecordingFormat, RecordingPlan};
pub use secret::Secret;
pub(crate) use terminal::{Modes, Size};
pub use text::printable;
pub(crate) use text::{is_hidden, quoted, time_text};
