//! A command that is no text. What is UTF-8 never is one, so that a rule on texts misses no command.

use super::ProgramRequest;
use std::borrow::Cow;
use std::fmt;

/// The command of an `exec` request that is not UTF-8.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandBytes(Vec<u8>);

impl CommandBytes {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl ProgramRequest {
    /// Makes the request of an `exec` message, whose command may be any bytes.
    pub(crate) fn exec(command: &[u8]) -> Self {
        match std::str::from_utf8(command) {
            Ok(text) => Self::Exec(text.to_owned()),
            Err(_no_text) => Self::ExecBytes(CommandBytes(command.to_vec())),
        }
    }

    /// Returns the command of an `exec` request as it is shown to an operator.
    pub(crate) fn command(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Exec(command) => Some(command.into()),
            Self::ExecBytes(command) => Some(command.to_string().into()),
            Self::Shell | Self::Subsystem(_) => None,
        }
    }
}

/// Shows the text with each other byte as `\xff`, and a backslash of its own as two.
impl fmt::Display for CommandBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(&chunk.valid().replace('\\', "\\\\"))?;
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for CommandBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_bytes_only_where_it_is_no_text_and_is_shown_so_that_each_byte_can_be_told() {
        assert_eq!(ProgramRequest::exec("echo ä".as_bytes()), ProgramRequest::Exec("echo ä".to_owned()));
        let ProgramRequest::ExecBytes(bytes) = ProgramRequest::exec(b"echo \\xff \xff\xc3 \xc3\xa4") else { panic!() };
        assert_eq!(bytes.to_string(), r"echo \\xff \xff\xc3 ä");
        assert_eq!(bytes.as_bytes(), b"echo \\xff \xff\xc3 \xc3\xa4");
    }
}
