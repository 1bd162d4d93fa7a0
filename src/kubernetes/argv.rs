//! The command line of an exec, made from what was allowed to run. Pure.
//!
//! The exec API has no environment of its own, so without the agent variables go through `env K=V … program`. Their
//! names were parsed, so none of them can be read as an option of `env`.

use crate::guest::Refusal;
use crate::policy::{Launch, What};
use crate::settings::Pod;

/// The variable that tells a forced command what the client asked for: a program that decides by it must not run
/// without it.
const ORIGINAL_COMMAND: &str = "SSH_ORIGINAL_COMMAND";

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The program and its arguments.
    pub(super) argv: Vec<String>,
    /// How many variables the program runs without, because the image has no `env`.
    pub(super) left_out: usize,
}

/// The command line for `launch`; `env_here` says whether the image has an `env` program.
pub(super) fn line(launch: &Launch, pod: &Pod, env_here: bool) -> Result<Line, Refusal> {
    let program = program(&launch.what, pod)?;
    if launch.env.is_empty() {
        return Ok(Line { argv: program, left_out: 0 });
    }
    if !env_here {
        if launch.env.iter().any(|var| var.name().as_str() == ORIGINAL_COMMAND) {
            return Err(Refusal::new(
                "the forced command cannot be told what was asked for: the image has no env program",
            ));
        }
        return Ok(Line { argv: program, left_out: launch.env.len() });
    }
    let variables = launch.env.iter().map(|var| format!("{}={}", var.name(), var.value()));
    let argv = std::iter::once("env".to_owned()).chain(variables).chain(program).collect();
    Ok(Line { argv, left_out: 0 })
}

fn program(what: &What, pod: &Pod) -> Result<Vec<String>, Refusal> {
    match what {
        What::Shell => Ok(pod.shell_command.clone()),
        What::Command(command) => {
            Ok(pod.exec_command.iter().cloned().chain(std::iter::once(command.clone())).collect())
        }
        What::Subsystem(name) => match pod.subsystems.get(name) {
            Some(program) => Ok(vec![program.clone()]),
            None => {
                Err(Refusal::new(format!("the subsystem {} is not available here", crate::types::printable(name, 64))))
            }
        },
    }
}

/// Writes standard input to `path`, readable by its owner alone; the path is an argument, never part of the script.
pub(super) fn write_file(path: &str) -> Vec<String> {
    ["sh", "-c", "umask 077; cat >\"$1\"", "sh", path].map(str::to_owned).to_vec()
}

/// Fails with 127 where there is no `env`, and prints nothing where there is one.
pub(super) fn env_probe() -> Vec<String> {
    ["env", "-i"].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::samples;
    use crate::types::{EnvName, EnvVar};

    fn launch(what: What, env: &[(&str, &str)]) -> Launch {
        let env = env.iter().map(|(name, value)| EnvVar::new(EnvName::parse(name).unwrap(), *value).unwrap()).collect();
        Launch { what, env, terminal: None }
    }

    fn argv(what: What, env: &[(&str, &str)]) -> Vec<String> {
        line(&launch(what, env), &samples::settings().pod, true).unwrap().argv
    }

    #[test]
    fn unknown_subsystem_is_refused() {
        let refused = line(&launch(What::Subsystem("netconf\x1b".into()), &[]), &samples::settings().pod, true);
        assert_eq!(refused.unwrap_err().reason, "the subsystem netconf is not available here");
    }

    #[test]
    fn forced_command_never_runs_without_the_original_command() {
        let launch = launch(What::Command("guard".into()), &[("A", "1"), ("SSH_ORIGINAL_COMMAND", "rm -rf /")]);
        assert!(line(&launch, &samples::settings().pod, false).is_err());
        assert_eq!(line(&launch, &samples::settings().pod, true).unwrap().argv[2], "SSH_ORIGINAL_COMMAND=rm -rf /");
    }

    #[test]
    fn each_request_has_its_command_line() {
        assert_eq!(argv(What::Shell, &[]), ["/bin/bash"]);
        assert_eq!(argv(What::Command("/bin/ls; id".into()), &[]), ["/bin/sh", "-c", "/bin/ls; id"]);
        assert_eq!(argv(What::Command(String::new()), &[]), ["/bin/sh", "-c", ""]);
        assert_eq!(argv(What::Subsystem("sftp".into()), &[]), ["/usr/lib/openssh/sftp-server"]);
        assert_eq!(argv(What::Shell, &[("A", "x y"), ("B", "")]), ["env", "A=x y", "B=", "/bin/bash"]);
    }

    #[test]
    fn image_without_env_runs_without_variables_and_tells_how_many() {
        let line = line(&launch(What::Shell, &[("A", "1"), ("B", "2")]), &samples::settings().pod, false).unwrap();
        assert_eq!(line, Line { argv: vec!["/bin/bash".into()], left_out: 2 });
    }
}
