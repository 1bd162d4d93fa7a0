//! The command line of an exec or of a container, made from what was allowed to run. Pure.
//!
//! The exec API has no environment of its own, so without the agent variables go through `env K=V … program`. Their
//! names were parsed, so none of them can be read as an option of `env`.

use super::gate;
use crate::guest::Refusal;
use crate::policy::{Launch, What};
use crate::settings::Pod;
use crate::types::EnvVar;

/// The variable that tells a forced command what the client asked for: a program that decides by it must not run
/// without it.
const ORIGINAL_COMMAND: &str = "SSH_ORIGINAL_COMMAND";

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The program and its arguments.
    pub(super) argv: Vec<String>,
    /// What must be in the image: the user's program, or `env` where that looks for it along a `PATH` of its own.
    pub(super) needs: String,
    /// How many variables the program runs without, because the image has no `env`.
    pub(super) left_out: usize,
}

/// A program that is a container's main process (mode session).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Main {
    /// What the container is to start: the program behind the gate that holds it; `None` is the image's own program,
    /// which nothing can hold.
    pub(super) command: Option<Vec<String>>,
    /// The variables that are set for it beside the user's own.
    pub(super) env: Vec<EnvVar>,
    /// Whether it has a terminal.
    pub(super) terminal: bool,
}

/// The main process for `launch`.
pub(super) fn main(launch: &Launch, pod: &Pod) -> Result<Main, Refusal> {
    let modes = launch.terminal.as_ref().map(|terminal| terminal.modes.clone()).unwrap_or_default();
    let command = program(&launch.what, pod)?.map(|program| gate::hold(&program, &modes));
    Ok(Main { command, env: launch.env.clone(), terminal: launch.terminal.is_some() })
}

/// The command line for `launch`, with the user's own variables where the pod does not have them; `env_here` says
/// whether the image has an `env` program.
pub(super) fn line(launch: &Launch, own: &[EnvVar], pod: &Pod, env_here: bool) -> Result<Line, Refusal> {
    let program = program(&launch.what, pod)?.ok_or_else(|| Refusal::new("there is no shell here"))?;
    let own = own.iter().filter(|own| launch.env.iter().all(|var| var.name() != own.name()));
    let env: Vec<&EnvVar> = own.chain(&launch.env).collect();
    let mut needs = program.first().cloned().unwrap_or_default();
    if env.is_empty() {
        return Ok(Line { argv: program, needs, left_out: 0 });
    }
    if !env_here {
        if launch.env.iter().any(|var| var.name().as_str() == ORIGINAL_COMMAND) {
            return Err(Refusal::new(
                "SSH_ORIGINAL_COMMAND cannot be passed to the forced command: the image has no env program",
            ));
        }
        return Ok(Line { argv: program, needs, left_out: env.len() });
    }
    if !needs.contains('/') && env.iter().any(|var| var.name().as_str() == "PATH") {
        needs = "env".to_owned();
    }
    let variables = env.iter().map(|var| format!("{}={}", var.name(), var.value()));
    let argv = std::iter::once("env".to_owned()).chain(variables).chain(program).collect();
    Ok(Line { argv, needs, left_out: 0 })
}

/// The program that was asked for; `None` is the image's own.
pub(super) fn program(what: &What, pod: &Pod) -> Result<Option<Vec<String>>, Refusal> {
    match what {
        What::Shell => Ok(pod.shell_command.clone()),
        What::Command(command) => {
            Ok(Some(pod.exec_command.iter().cloned().chain(std::iter::once(command.clone())).collect()))
        }
        What::Subsystem(name) => match pod.subsystems.get(name) {
            Some(program) => Ok(Some(vec![program.clone()])),
            None => {
                Err(Refusal::new(format!("the subsystem {} is not available here", crate::types::printable(name, 64))))
            }
        },
    }
}

/// What [`write_file`] ends with when all is written. No program of ours ends with 0 when all is well: a stream that was
/// cut may say 0 too.
pub(super) const WRITTEN: u8 = 3;

/// Writes standard input to `path`, readable by its owner alone; the path is an argument, never part of the script.
pub(super) fn write_file(path: &str) -> Vec<String> {
    ["sh", "-c", "umask 077; cat >\"$1\" && exit 3", "sh", path].map(str::to_owned).to_vec()
}

/// What [`tools_probe`] ends with where there is `/bin/sh` and an `env`, and where there is no `env`.
pub(super) const SH_AND_ENV: u8 = 3;
pub(super) const SH_ALONE: u8 = 4;

/// Tells by its status whether the image has an `env`; fails with 127 where it has no `/bin/sh`.
pub(super) fn tools_probe() -> Vec<String> {
    ["/bin/sh", "-c", "env -i && exit 3; exit 4"].map(str::to_owned).to_vec()
}

/// Exit status of [`life_probe`] in a container that lives and has `/bin/sh`.
pub(super) const ALIVE: u8 = 3;

/// Tells by its end that it was started.
pub(super) fn life_probe() -> Vec<String> {
    ["/bin/sh", "-c", "exit 3"].map(str::to_owned).to_vec()
}

/// A program that no image has: its absence is told only of a container that lives.
pub(super) fn nothing() -> Vec<String> {
    vec!["/podgate-looks-whether-the-container-lives".to_owned()]
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
        line(&launch(what, env), &[], &samples::settings().pod, true).unwrap().argv
    }

    #[test]
    fn unknown_subsystem_is_refused() {
        let refused = line(&launch(What::Subsystem("netconf\x1b".into()), &[]), &[], &samples::settings().pod, true);
        assert_eq!(refused.unwrap_err().reason, "the subsystem netconf is not available here");
    }

    #[test]
    fn forced_command_never_runs_without_the_original_command() {
        let launch = launch(What::Command("guard".into()), &[("A", "1"), ("SSH_ORIGINAL_COMMAND", "rm -rf /")]);
        assert!(line(&launch, &[], &samples::settings().pod, false).is_err());
        assert_eq!(
            line(&launch, &[], &samples::settings().pod, true).unwrap().argv[2],
            "SSH_ORIGINAL_COMMAND=rm -rf /"
        );
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
    fn users_own_variables_stand_behind_the_clients() {
        let var = |name: &str, value: &str| EnvVar::new(EnvName::parse(name).unwrap(), value).unwrap();
        let launch = launch(What::Shell, &[("A", "client"), ("B", "client")]);
        let own = [var("A", "own"), var("C", "own")];
        let argv = line(&launch, &own, &samples::settings().pod, true).unwrap().argv;
        assert_eq!(argv, ["env", "C=own", "A=client", "B=client", "/bin/bash"]);
    }

    #[test]
    fn main_process_is_held_unless_it_is_the_images_own() {
        let mut pod = samples::settings().pod;
        let held = main(&launch(What::Command("id".into()), &[("A", "1")]), &pod).unwrap();
        let command = held.command.unwrap();
        assert_eq!(command[..2], ["/bin/sh", "-c"]);
        assert_eq!(command[4..], ["/bin/sh", "-c", "id"]);
        assert_eq!((held.env.len(), held.terminal), (1, false));
        pod.shell_command = None;
        assert_eq!(main(&launch(What::Shell, &[]), &pod).unwrap().command, None);
        assert!(main(&launch(What::Command("id".into()), &[]), &pod).unwrap().command.is_some());
        assert!(main(&launch(What::Subsystem("netconf".into()), &[]), &pod).is_err());
    }

    #[test]
    fn image_without_env_runs_without_variables_and_tells_how_many() {
        let line = line(&launch(What::Shell, &[("A", "1"), ("B", "2")]), &[], &samples::settings().pod, false).unwrap();
        assert_eq!(line, Line { argv: vec!["/bin/bash".into()], needs: "/bin/bash".into(), left_out: 2 });
    }

    #[test]
    fn program_behind_env_is_what_must_be_there_unless_env_looks_elsewhere_for_it() {
        let mut pod = samples::settings().pod;
        for (shell, variable, needs) in [
            ("/bin/bash", "A", "/bin/bash"),
            ("/bin/bash", "PATH", "/bin/bash"),
            ("bash", "A", "bash"),
            ("bash", "PATH", "env"),
        ] {
            pod.shell_command = Some(vec![shell.to_owned()]);
            let line = line(&launch(What::Shell, &[(variable, "/1")]), &[], &pod, true).unwrap();
            assert_eq!((line.argv[0].as_str(), line.needs.as_str()), ("env", needs), "{shell} {variable}");
        }
    }
}
