//! What a webhook says about a user, checked once: whoever reads it later finds nothing that cannot be used.

use crate::types::{EnvName, NamesLeftOut, printable, quoted};
use podgate_webhooks::wire::Known;

/// The longest name that an authenticator may give a user, in bytes.
const NAME_BYTES: usize = 1024;

/// The longest reason of a denial that a user is shown, in characters.
const MESSAGE: usize = 400;

/// The reason that a webhook gives a user: one printable line. Nothing is left of a text without a visible character.
pub(crate) fn message(text: Option<&str>) -> Option<String> {
    text.map(|text| printable(text, MESSAGE)).filter(|line| !line.is_empty())
}

/// Checks an answer's `authenticatedUsername` and what it knows, and takes out the variables whose names no shell allows:
/// they are returned. The error names the field, never a value.
pub(crate) fn usable(name: Option<&str>, known: &mut Known) -> Result<NamesLeftOut, String> {
    if name.is_some_and(|name| name.len() > NAME_BYTES || name.chars().any(char::is_control)) {
        return Err(format!("authenticatedUsername: has a control character or more than {NAME_BYTES} bytes"));
    }
    let mut left = NamesLeftOut::default();
    known.environment.retain(|name, _| {
        let is_name = EnvName::parse(name).is_ok();
        if !is_name {
            left.add(name.as_str());
        }
        is_name
    });
    if let Some((name, _)) = known.environment.iter().find(|(_, entry)| entry.value.contains('\0')) {
        return Err(format!("environment: {} has a value with a NUL character", quoted(name)));
    }
    for path in known.files.keys() {
        if path.is_empty() || path.contains('\0') {
            return Err(format!("files: {} is not a path", quoted(path)));
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use podgate_webhooks::wire::{File, Value};

    fn environment(entries: &[(&str, &str)]) -> Known {
        let entries = entries.iter().map(|&(name, value)| (name.to_owned(), Value::secret(value)));
        Known { environment: entries.collect(), ..Known::default() }
    }

    fn files(path: &str) -> Known {
        Known { files: [(path.to_owned(), File::plain(*b"s3cret"))].into(), ..Known::default() }
    }

    #[test]
    fn what_cannot_be_set_or_written_is_refused_without_its_value() {
        let refused = [
            usable(Some("a\nb"), &mut Known::default()),
            usable(Some(&"a".repeat(1025)), &mut Known::default()),
            usable(None, &mut environment(&[("A", "s3cret\0")])),
            usable(None, &mut files("")),
            usable(None, &mut files("/a\0")),
        ];
        for outcome in refused {
            let text = outcome.expect_err("must be refused");
            assert!(!text.contains("s3cret"), "{text}");
        }
        assert_eq!(usable(Some("jo@example.com"), &mut environment(&[("A_1", "a\nb")])), Ok(NamesLeftOut::default()));
        assert_eq!(usable(None, &mut files("/etc/a")), Ok(NamesLeftOut::default()));
    }

    #[test]
    fn variable_whose_name_no_shell_allows_is_left_out_and_the_others_stay() {
        for name in
            ["X-Y", "a.b", "1A", "", "A B", "A=B", "--split-string=id", "-S", "BASH_FUNC_ls%%", "Ä", "A\0", "A\n"]
        {
            let mut known = environment(&[(name, "s3cret\0"), ("A", "1")]);
            let left = usable(None, &mut known).expect("usable");
            assert_eq!(left.shown().map(|shown| shown.matches('"').count()), Some(2), "{name:?}");
            assert_eq!(known.environment.keys().collect::<Vec<_>>(), ["A"], "{name:?}");
        }
    }
}
