//! What is recorded of connections, and where: the section `audit`.

use super::Secret;
use std::path::PathBuf;

/// The data that a recording has beside the events (`audit.intercept`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub struct Intercept {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Passwords and other secrets of the client's.
    pub passwords: bool,
    /// The data of forwarded connections.
    pub forwarding: bool,
}

/// The consequence of a recording that cannot be written (`audit.onFailure`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// The connection ends.
    #[default]
    Required,
    /// The connection goes on without a recording.
    BestEffort,
}

/// The format of recordings (`audit.format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordingFormat {
    /// One file for each connection, with all that happens there.
    Binary,
    /// One file for each program, with what it shows.
    Asciicast,
}

/// The section `audit`, switched on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingPlan {
    pub format: RecordingFormat,
    pub directory: PathBuf,
    /// The private key that signs, in PEM.
    pub key: Option<Secret>,
    pub intercept: Intercept,
    /// That of the file, which counts until a connection has its settings.
    pub on_failure: OnFailure,
}
