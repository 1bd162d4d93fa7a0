//! What a webhook says about a user, checked once: whoever reads it later finds nothing that cannot be used.

use crate::types::EnvName;
use podgate_webhooks::wire::Known;

/// The longest name that an authenticator may give a user, in bytes.
const NAME_BYTES: usize = 1024;

/// Checks an answer's `authenticatedUsername` and what it knows. The error names the field, never a value.
pub(crate) fn check_answer(name: Option<&str>, known: &Known) -> Result<(), String> {
    if name.is_some_and(|name| name.len() > NAME_BYTES || name.chars().any(char::is_control)) {
        return Err(format!("authenticatedUsername: has a control character or more than {NAME_BYTES} bytes"));
    }
    for (name, entry) in &known.environment {
        EnvName::parse(name).map_err(|invalid| format!("environment: {name:?} {invalid}"))?;
        if entry.value.contains('\0') {
            return Err(format!("environment: {name:?} has a value with a NUL character"));
        }
    }
    for path in known.files.keys() {
        if path.is_empty() || path.contains('\0') {
            return Err(format!("files: {path:?} is not a path"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use podgate_webhooks::wire::{File, Value};

    #[test]
    fn what_cannot_be_set_or_written_is_refused_without_its_value() {
        let environment = |name: &str, value: &str| Known {
            environment: [(name.to_owned(), Value::secret(value))].into(),
            ..Known::default()
        };
        let files =
            |path: &str| Known { files: [(path.to_owned(), File::plain(*b"s3cret"))].into(), ..Known::default() };
        let refused = [
            check_answer(Some("a\nb"), &Known::default()),
            check_answer(Some(&"a".repeat(1025)), &Known::default()),
            check_answer(None, &environment("--split-string=id", "s3cret")),
            check_answer(None, &environment("A-B", "s3cret")),
            check_answer(None, &environment("A", "s3cret\0")),
            check_answer(None, &files("")),
            check_answer(None, &files("/a\0")),
        ];
        for outcome in refused {
            let text = outcome.expect_err("must be refused");
            assert!(!text.contains("s3cret"), "{text}");
        }
        assert_eq!(check_answer(Some("jo@example.com"), &environment("A_1", "a\nb")), Ok(()));
        assert_eq!(check_answer(None, &files("/etc/a")), Ok(()));
    }
}
