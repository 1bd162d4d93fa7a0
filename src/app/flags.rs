//! ContainerSSH's command-line flags, as existing unit files use them: Go's syntax, with one dash or two, and switches that
//! may have a value.

use std::ffi::OsString;

/// ContainerSSH's flags that take a value.
const VALUES: [&str; 1] = ["config"];
/// ContainerSSH's flags that are on or off.
const SWITCHES: [&str; 3] = ["dump-config", "healthcheck", "licenses"];

/// Rewrites ContainerSSH's flags with two dashes and drops switches that are off. Other arguments stay unchanged.
pub fn with_two_dashes(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let mut long: Vec<OsString> = arguments.next().into_iter().collect();
    while let Some(argument) = arguments.next() {
        let Some((name, value)) = argument.to_str().and_then(flag) else {
            let is_end = argument == "--";
            long.push(argument);
            if is_end {
                long.extend(arguments);
                break;
            }
            continue;
        };
        match value {
            _ if VALUES.contains(&name) => {
                let bare = value.is_none();
                long.push(value.map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}")).into());
                // The next argument is the value, even if it looks like a flag.
                long.extend(bare.then(|| arguments.next()).flatten());
            }
            None => long.push(format!("--{name}").into()),
            Some(value) => match truth(value) {
                Some(true) => long.push(format!("--{name}").into()),
                Some(false) => {}
                None => long.push(format!("--{name}={value}").into()),
            },
        }
    }
    long
}

/// Splits one of ContainerSSH's flags into its name and the value after `=`.
fn flag(argument: &str) -> Option<(&str, Option<&str>)> {
    let bare = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'))?;
    let (name, value) = bare.split_once('=').map_or((bare, None), |(name, value)| (name, Some(value)));
    (VALUES.contains(&name) || SWITCHES.contains(&name)).then_some((name, value))
}

/// Parses a truth value as Go's `strconv.ParseBool` does.
fn truth(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(arguments: &[&str]) -> Vec<String> {
        let all = std::iter::once("podgate").chain(arguments.iter().copied()).map(OsString::from);
        with_two_dashes(all).into_iter().skip(1).map(|argument| argument.into_string().expect("text")).collect()
    }

    #[test]
    fn what_is_not_containersshs_stays_as_it_is() {
        for arguments in [
            &["-c", "x"][..],
            &["-confg", "x"],
            &["--check-config"],
            &["-check-config"],
            &["migrate", "old.yaml"],
            &["--dump-config=maybe"],
            &["--", "-config", "x"],
            &["-"],
            &["---config", "x"],
        ] {
            assert_eq!(long(arguments), arguments);
        }
        let bytes = std::os::unix::ffi::OsStringExt::from_vec(vec![b'-', 0xff]);
        assert_eq!(with_two_dashes([OsString::new(), bytes]).len(), 2);
    }

    #[test]
    fn one_dash_and_two_mean_the_same() {
        for (arguments, meant) in [
            (&["-config", "x.yaml"][..], &["--config", "x.yaml"][..]),
            (&["-config=x.yaml"], &["--config=x.yaml"]),
            (&["--config", "x.yaml"], &["--config", "x.yaml"]),
            (&["-config", "-dump-config"], &["--config", "-dump-config"]),
            (&["-config", "x", "-dump-config"], &["--config", "x", "--dump-config"]),
            (&["-dump-config=true", "-healthcheck=false"], &["--dump-config"]),
            (&["--healthcheck=0"], &[]),
            (&["-licenses"], &["--licenses"]),
            (&["-healthcheck=ready"], &["--healthcheck=ready"]),
            (&["-healthcheck", "-config", "x"], &["--healthcheck", "--config", "x"]),
        ] {
            assert_eq!(long(arguments), meant);
        }
    }
}
