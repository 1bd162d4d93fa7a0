//! Mistakes and notices about a configuration. Every mistake of a file is found in one run and named by its key's path; no text
//! here ever holds a secret value.

use std::fmt;

/// A mistake in a configuration and the key that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The key's path, `a.b.c`; empty for the file as a whole.
    pub path: String,
    /// The mistake and, if there is one, the way out.
    pub text: String,
    /// Set for a file that Kubernetes mounts into a pod and that is not on this machine.
    pub is_mounted_elsewhere: bool,
}

impl ConfigError {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), is_mounted_elsewhere: false }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.text);
        }
        write!(f, "{}: {}", self.path, self.text)
    }
}

/// Something about a key that the operator should know but that stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The key's path, `a.b.c`.
    pub path: String,
    /// One sentence about the key.
    pub text: String,
    /// Logged as a warning at each start (true), or only shown by `--check-config` (false).
    pub warn: bool,
}

/// Every mistake of a file or answer, at least one; shown one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors(pub Vec<ConfigError>);

impl Errors {
    /// A mistake of the whole file.
    pub(crate) fn whole(text: impl Into<String>) -> Self {
        Self(vec![ConfigError::new("", text)])
    }

    /// These and those of `others` that are about other values.
    pub(crate) fn and(mut self, others: Vec<ConfigError>) -> Self {
        let new = others.into_iter().filter(|other| self.0.iter().all(|error| error.path != other.path));
        let new: Vec<_> = new.collect();
        self.0.extend(new);
        self
    }

    /// All of them in one line, as the log has them.
    pub(crate) fn in_one_line(&self) -> String {
        let errors: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        errors.join("; ")
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(error, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}
