//! Environment variables. A name matches `[A-Za-z_][A-Za-z0-9_]*`, because without the agent it becomes an argument of
//! `env`, where `--split-string=…` would run a program of the client's choice. A value holds no NUL.
//!
//! Kubernetes allows names that a shell does not (`X-Y`). A client's request for one is refused. A variable from a webhook or
//! the operator's file is left out with a warning, because it must not prevent a login.

use super::{Invalid, printable, quoted};
use std::fmt;

/// A name that matches `[A-Za-z_][A-Za-z0-9_]*`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EnvName(String);

impl EnvName {
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let rest = |c: char| first(c) || c.is_ascii_digit();
        if text.chars().next().is_some_and(first) && text.chars().all(rest) {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid("is not a name of letters, digits and '_'".into()))
    }

    pub(crate) fn as_str(&self) -> &str {
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

/// Names of variables that were left out because they are not [`EnvName`]s.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NamesLeftOut(Vec<String>);

impl NamesLeftOut {
    /// Number of names that a message shows.
    const SHOWN: usize = 10;

    pub(crate) fn add(&mut self, name: impl Into<String>) {
        self.0.push(name.into());
    }

    /// Returns the first names, quoted, on one line for the log; `None` if no name was left out.
    pub(crate) fn shown(&self) -> Option<String> {
        let shown: Vec<_> = self.0.iter().take(Self::SHOWN).map(|name| quoted(&printable(name, 64))).collect();
        let more = self.0.len().saturating_sub(Self::SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!shown.is_empty()).then(|| format!("{}{more}", shown.join(", ")))
    }
}

/// A variable whose value holds no NUL.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct EnvVar {
    name: EnvName,
    value: String,
}

impl EnvVar {
    /// Refuses a value with a NUL, which no process can be given.
    pub(crate) fn new(name: EnvName, value: impl Into<String>) -> Result<Self, Invalid> {
        let value = value.into();
        if value.contains('\0') {
            return Err(Invalid("has a value with a NUL character".into()));
        }
        Ok(Self { name, value })
    }

    pub(crate) fn name(&self) -> &EnvName {
        &self.name
    }

    pub(crate) fn value(&self) -> &str {
        &self.value
    }
}

/// Shows only the name, since values can be secrets.
impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_with_other_characters_is_refused() {
        for text in ["", "1A", "A-B", "--split-string=x", "A=B", "A B", "Ä", "A\n", "-S"] {
            assert!(EnvName::parse(text).is_err(), "{text:?}");
        }
        for text in ["A", "_", "a1_B"] {
            assert!(EnvName::parse(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn names_left_out_are_shown_on_one_bounded_line() {
        let mut left = NamesLeftOut::default();
        assert_eq!(left.shown(), None);
        left.add("X-Y");
        left.add("a\u{1b}[2J\nb");
        assert_eq!(left.shown().as_deref(), Some("\"X-Y\", \"a[2J b\""));
        (0..1000).for_each(|_| left.add("n".repeat(1000)));
        let shown = left.shown().unwrap_or_default();
        assert!(shown.ends_with(" and 992 more") && shown.len() < 1000, "{shown}");
    }

    #[test]
    fn value_with_nul_is_refused() {
        let name = EnvName::parse("A").unwrap_or_else(|e| unreachable!("{e}"));
        assert!(EnvVar::new(name, "a\0b").is_err());
    }
}
