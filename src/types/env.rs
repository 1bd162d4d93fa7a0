//! Environment variables. A name is `[A-Za-z_][A-Za-z0-9_]*` and nothing else, because without the agent it becomes an
//! argument of `env`, where `--split-string=…` would run a program of the client's choice. A value holds no NUL.

use super::Invalid;
use std::fmt;

/// The name of an environment variable.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvName(String);

impl EnvName {
    /// Parses a name.
    ///
    /// # Errors
    /// Anything but `[A-Za-z_][A-Za-z0-9_]*`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let rest = |c: char| first(c) || c.is_ascii_digit();
        if text.chars().next().is_some_and(first) && text.chars().all(rest) {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid("is not a name of letters, digits and '_'".into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EnvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EnvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// One environment variable.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvVar {
    name: EnvName,
    value: String,
}

impl EnvVar {
    /// Joins a name and a value.
    ///
    /// # Errors
    /// A value with a NUL, which no process can be given.
    pub fn new(name: EnvName, value: impl Into<String>) -> Result<Self, Invalid> {
        let value = value.into();
        if value.contains('\0') {
            return Err(Invalid("has a value with a NUL character".into()));
        }
        Ok(Self { name, value })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &EnvName {
        &self.name
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// Values can be secrets: only the name is shown.
impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_name_is_refused() {
        for text in ["", "1A", "A-B", "--split-string=x", "A=B", "A B", "Ä", "A\n", "-S"] {
            assert!(EnvName::parse(text).is_err(), "{text:?}");
        }
        for text in ["A", "_", "a1_B"] {
            assert!(EnvName::parse(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn value_with_nul_is_refused() {
        let name = EnvName::parse("A").unwrap_or_else(|e| unreachable!("{e}"));
        assert!(EnvVar::new(name, "a\0b").is_err());
    }
}
