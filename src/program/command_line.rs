//! The command line of an exec or of a container's main process, made from the program that the policy permits. Pure.
//!
//! The exec API has no environment of its own, so without the agent variables go through `env K=V … program`. Their
//! names were parsed, so none of them can be read as an option of `env`.

use super::exit_wrapper::ExitWrapper;
use super::shell_start::{SAY_READY, ShellStart};
use super::{gate, stty};
use crate::guest::{Refusal, RefusalKind};
use crate::policy::{ProgramRequest, ProgramSpec};
use crate::settings::PodSettings;
use crate::types::{EnvVar, Modes};
use bytes::BytesMut;

/// The variable with the client's request for a forced command, which must not run without it: it may decide by it.
pub(crate) const ORIGINAL_COMMAND: &str = "SSH_ORIGINAL_COMMAND";

/// The reason that a command which is no text does not run without the agent: an exec's arguments and a pod's spec are text.
const NO_TEXT: &str = "the command is not UTF-8, and the Kubernetes API takes no other";

/// Limit of one argument or variable on Linux, in bytes (`MAX_ARG_STRLEN` without its NUL).
const WORD_MAX: usize = 128 * 1024 - 1;

/// Reads the rest of the script, one line, in which `$1` stands for the ends of lines.
const READ: &str = "IFS= read -r podgate || exit 126; eval \"$podgate\"";

/// The same on a terminal, whose own rules for lines would change and limit the line.
const READ_RAW: &str = "stty -g >/dev/null 2>&1 || \
     { echo 'podgate: the command is too long for a terminal of an image without stty'; exit 126; }; \
     set -- \"$1\" \"$(stty -g)\"; stty raw -echo; printf '\\0PODGATE: 100\\0'; \
     IFS= read -r podgate || exit 126; stty \"$2\"; eval \"$podgate\"";

/// The helper programs of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ImageTools {
    /// `env`, which sets a program's variables.
    pub(crate) env: bool,
    /// `/bin/sh`, which runs a program's [exit wrapper](ExitWrapper).
    pub(crate) sh: bool,
}

/// An exec of a user's program.
#[derive(Debug)]
pub(crate) struct ExecCommand {
    /// The words of the exec.
    pub(crate) argv: Vec<String>,
    /// Set if the program runs under a shell.
    pub(crate) shell: Option<ShellStart>,
    /// The number of variables that the program runs without, because the image has no `env`.
    pub(crate) dropped_env: usize,
    /// Set if the launcher starts the program and tells its process id.
    pub(crate) launched: bool,
    /// Set if a program that the image lacks is to be refused, not to end with 127.
    pub(crate) proven: bool,
}

/// Makes the exec of a program, with the user's own variables unless the pod has them. In an image with a shell the
/// program runs under its exit wrapper, its terminal gets its modes, and a command line that does not fit into an exec
/// travels on standard input; `fits` is the backend's limit. `launcher` is the path of ContainerSSH's agent in the image.
pub(crate) fn for_exec(
    spec: &ProgramSpec,
    own: &[EnvVar],
    pod: &PodSettings,
    (tools, launcher): (ImageTools, Option<&str>),
    fits: fn(&[String]) -> bool,
) -> Result<ExecCommand, Refusal> {
    let mut line = CommandLine::new(spec, own, pod, tools.env || launcher.is_some())?;
    let launched = launcher.is_some_and(|path| line.launch_by(path, tools.env));
    if !launched && !tools.env {
        line = CommandLine::new(spec, own, pod, false)?;
    }
    let dropped_env = line.dropped_env;
    // The client is told whether it has the subsystem before anything else (RFC 4254 section 6.5).
    let proven = matches!(spec.request, ProgramRequest::Subsystem(_));
    if !tools.sh {
        return Ok(ExecCommand { argv: line.argv, shell: None, dropped_env, launched, proven });
    }
    let (mut argv, mut shell) =
        line.under_shell(spec.terminal.as_ref().map(|terminal| &terminal.modes), ExitWrapper::new(), fits)?;
    if proven {
        shell.prove(&mut argv, &line.required);
    }
    Ok(ExecCommand { argv, shell: Some(shell), dropped_env, launched, proven })
}

/// A program's command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandLine {
    /// The program and its arguments.
    pub(crate) argv: Vec<String>,
    /// The program that the image must have: the user's, or `env` if it looks for that along a `PATH` of its own.
    pub(super) required: String,
    /// The number of variables between `env` and the program; without any there is no `env`.
    pub(super) variables: usize,
    /// The number of variables that the program runs without, because the image has no `env`.
    pub(super) dropped_env: usize,
}

impl CommandLine {
    /// Makes the command line of a program; `has_env` is set if the image has an `env` program.
    pub(crate) fn new(spec: &ProgramSpec, own: &[EnvVar], pod: &PodSettings, has_env: bool) -> Result<Self, Refusal> {
        if spec.has_bytes() {
            return Err(Refusal::new(NO_TEXT));
        }
        let program = requested_program(&spec.request, pod)?.ok_or_else(|| Refusal::new("there is no shell here"))?;
        let own = own.iter().filter(|own| spec.env.iter().all(|var| var.name() != own.name()));
        let env: Vec<&EnvVar> = own.chain(&spec.env).collect();
        let mut required = program.first().cloned().unwrap_or_default();
        if env.is_empty() {
            return Ok(Self { argv: program, required, variables: 0, dropped_env: 0 });
        }
        if !has_env {
            if spec.env.iter().any(|var| var.name().as_str() == ORIGINAL_COMMAND) {
                return Err(Refusal::new(
                    "SSH_ORIGINAL_COMMAND cannot be passed to the forced command: the image has no env program",
                ));
            }
            return Ok(Self { argv: program, required, variables: 0, dropped_env: env.len() });
        }
        if !required.contains('/') && env.iter().any(|var| var.name().as_str() == "PATH") {
            required = "env".to_owned();
        }
        let words = env.iter().map(|var| format!("{}={}", var.name(), var.value()));
        let argv = std::iter::once("env".to_owned()).chain(words).chain(program).collect();
        Ok(Self { argv, required, variables: env.len(), dropped_env: 0 })
    }

    /// Has ContainerSSH's agent start the program and tell its process id (`console --pid`), and set its variables where the
    /// image has no `env`. Returns false, and changes nothing, for a program that is to be looked for along `PATH`, which
    /// that agent does not do.
    fn launch_by(&mut self, agent: &str, has_env: bool) -> bool {
        if !self.required.contains('/') {
            return false;
        }
        let program = self.argv.split_off(if self.variables > 0 { self.variables + 1 } else { 0 });
        let variables = std::mem::take(&mut self.argv);
        let console = [agent, "console", "--pid"].map(str::to_owned);
        self.argv = if has_env {
            variables.into_iter().chain(console).collect()
        } else {
            let variables = variables.into_iter().skip(1).flat_map(|variable| ["--env".to_owned(), variable]);
            console.into_iter().chain(variables).collect()
        };
        self.argv.push("--".to_owned());
        self.argv.extend(program);
        true
    }

    /// Puts the command line under a shell that is `wrapper`, on a terminal with these modes.
    ///
    /// # Errors
    /// No Linux would start it.
    pub(super) fn under_shell(
        &self,
        terminal: Option<&Modes>,
        wrapper: ExitWrapper,
        fits: fn(&[String]) -> bool,
    ) -> Result<(Vec<String>, ShellStart), Refusal> {
        if self.argv.iter().any(|word| word.len() > WORD_MAX) {
            return Err(Refusal::new(
                "the command line is too long: Linux takes at most 128 KiB in one argument or variable",
            ));
        }
        let modes = terminal.map(stty::script).unwrap_or_default();
        let (waits, terminal) = (!modes.is_empty(), terminal.is_some());
        let words = || std::iter::once(&self.required).chain(&self.argv);
        let script = |ready| format!("{modes}{}{}", if ready { SAY_READY } else { "" }, wrapper.script());
        let argv: Vec<String> = shell(&script(waits)).into_iter().chain(words().cloned()).collect();
        if fits(&argv) {
            return Ok((argv, ShellStart { wrapper, rest: None, waits, terminal, proven: None }));
        }
        let words: String = words().map(|word| quoted(word)).collect();
        let rest = format!("set --{words}; unset podgate; {}\n", script(terminal));
        let mut argv = shell(if terminal { READ_RAW } else { READ });
        argv.push("\n".to_owned());
        let rest = Some(BytesMut::from(rest.as_str()));
        Ok((argv, ShellStart { wrapper, rest, waits: terminal, terminal, proven: None }))
    }
}

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script, "podgate"].map(str::to_owned).to_vec()
}

/// Quotes a word for a shell whose `$1` is the end of a line: behind a space, on one line.
fn quoted(word: &str) -> String {
    format!(" '{}'", word.replace('\'', "'\\''").replace('\n', "'\"$1\"'"))
}

/// A program that is a container's main process (mode session).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MainProcess {
    /// The container's command: the program behind the gate that holds it; `None` is the image's own program, which
    /// nothing can hold.
    pub(crate) command: Option<Vec<String>>,
    /// The variables that are set for it beside the user's own.
    pub(crate) env: Vec<EnvVar>,
    pub(crate) terminal: bool,
}

/// Makes the main process of a program.
pub(crate) fn for_main_process(spec: &ProgramSpec, pod: &PodSettings) -> Result<MainProcess, Refusal> {
    if spec.has_bytes() {
        return Err(Refusal::new(NO_TEXT));
    }
    let modes = spec.terminal.as_ref().map(|terminal| terminal.modes.clone()).unwrap_or_default();
    let command = requested_program(&spec.request, pod)?.map(|program| gate::held_command(&program, &modes));
    Ok(MainProcess { command, env: spec.env.clone(), terminal: spec.terminal.is_some() })
}

/// The program of a request; `None` is the image's own.
pub(crate) fn requested_program(request: &ProgramRequest, pod: &PodSettings) -> Result<Option<Vec<String>>, Refusal> {
    match request {
        ProgramRequest::Shell => Ok(pod.shell_command.clone()),
        ProgramRequest::Exec(command) => {
            Ok(Some(pod.exec_command.iter().cloned().chain(std::iter::once(command.clone())).collect()))
        }
        ProgramRequest::ExecBytes(_) => Err(Refusal::new(NO_TEXT)),
        ProgramRequest::Subsystem(name) => match pod.subsystems.get(name) {
            Some(program) => Ok(Some(vec![program.clone()])),
            None => {
                let reason = format!("the subsystem {} is not available here", crate::types::printable(name, 64));
                Err(Refusal::new(reason).kind(RefusalKind::NotFound))
            }
        },
    }
}

/// The program of a request for a guest's agent, to which no command is text; `None` is the image's own.
pub(crate) fn agent_program(request: &ProgramRequest, pod: &PodSettings) -> Result<Option<Vec<Vec<u8>>>, Refusal> {
    let bytes = |words: Vec<String>| words.into_iter().map(String::into_bytes);
    if let ProgramRequest::ExecBytes(command) = request {
        let shell = bytes(pod.exec_command.clone());
        return Ok(Some(shell.chain([command.as_bytes().to_vec()]).collect()));
    }
    Ok(requested_program(request, pod)?.map(|words| bytes(words).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::fixture;
    use crate::types::{EnvName, EnvVar};

    fn spec(request: ProgramRequest, env: &[(&str, &str)]) -> ProgramSpec {
        let env = env.iter().map(|(name, value)| EnvVar::new(EnvName::parse(name).unwrap(), *value).unwrap()).collect();
        ProgramSpec { request, env, original: None, terminal: None }
    }

    fn argv(request: ProgramRequest, env: &[(&str, &str)]) -> Vec<String> {
        CommandLine::new(&spec(request, env), &[], &fixture::kubernetes().pod, true).unwrap().argv
    }

    #[test]
    fn command_that_is_no_text_is_refused_and_so_is_a_forced_one_in_its_place() {
        let ProgramRequest::ExecBytes(original) = ProgramRequest::exec(b"echo \xff") else { panic!("no text") };
        let forced = ProgramSpec { original: Some(original), ..spec(ProgramRequest::Exec("guard".into()), &[]) };
        let pod = fixture::kubernetes().pod;
        for spec in [spec(ProgramRequest::exec(b"echo \xff"), &[]), forced] {
            assert_eq!(CommandLine::new(&spec, &[], &pod, true).unwrap_err().reason, NO_TEXT);
            assert_eq!(for_main_process(&spec, &pod).unwrap_err().reason, NO_TEXT);
        }
        let words = agent_program(&ProgramRequest::exec(b"echo \xff"), &pod).unwrap().unwrap();
        assert_eq!(words, [&b"/bin/sh"[..], b"-c", b"echo \xff"]);
    }

    #[test]
    fn unknown_subsystem_is_refused() {
        let refused = CommandLine::new(
            &spec(ProgramRequest::Subsystem("netconf\x1b".into()), &[]),
            &[],
            &fixture::kubernetes().pod,
            true,
        );
        assert_eq!(refused.unwrap_err().reason, "the subsystem netconf is not available here");
    }

    #[test]
    fn forced_command_never_runs_without_the_original_command() {
        let spec = spec(ProgramRequest::Exec("guard".into()), &[("A", "1"), ("SSH_ORIGINAL_COMMAND", "rm -rf /")]);
        assert!(CommandLine::new(&spec, &[], &fixture::kubernetes().pod, false).is_err());
        assert_eq!(
            CommandLine::new(&spec, &[], &fixture::kubernetes().pod, true).unwrap().argv[2],
            "SSH_ORIGINAL_COMMAND=rm -rf /"
        );
    }

    #[test]
    fn each_request_has_its_command_line() {
        assert_eq!(argv(ProgramRequest::Shell, &[]), ["/bin/bash"]);
        assert_eq!(argv(ProgramRequest::Exec("/bin/ls; id".into()), &[]), ["/bin/sh", "-c", "/bin/ls; id"]);
        assert_eq!(argv(ProgramRequest::Exec(String::new()), &[]), ["/bin/sh", "-c", ""]);
        assert_eq!(argv(ProgramRequest::Subsystem("sftp".into()), &[]), ["/usr/lib/openssh/sftp-server"]);
        assert_eq!(argv(ProgramRequest::Shell, &[("A", "x y"), ("B", "")]), ["env", "A=x y", "B=", "/bin/bash"]);
    }

    #[test]
    fn users_own_variables_stand_behind_the_clients() {
        let var = |name: &str, value: &str| EnvVar::new(EnvName::parse(name).unwrap(), value).unwrap();
        let spec = spec(ProgramRequest::Shell, &[("A", "client"), ("B", "client")]);
        let own = [var("A", "own"), var("C", "own")];
        let argv = CommandLine::new(&spec, &own, &fixture::kubernetes().pod, true).unwrap().argv;
        assert_eq!(argv, ["env", "C=own", "A=client", "B=client", "/bin/bash"]);
    }

    #[test]
    fn main_process_is_held_unless_it_is_the_images_own() {
        let mut pod = fixture::kubernetes().pod;
        let held = for_main_process(&spec(ProgramRequest::Exec("id".into()), &[("A", "1")]), &pod).unwrap();
        let command = held.command.unwrap();
        assert_eq!(command[..2], ["/bin/sh", "-c"]);
        assert_eq!(command[4..], ["/bin/sh", "-c", "id"]);
        assert_eq!((held.env.len(), held.terminal), (1, false));
        pod.shell_command = None;
        assert_eq!(for_main_process(&spec(ProgramRequest::Shell, &[]), &pod).unwrap().command, None);
        assert!(for_main_process(&spec(ProgramRequest::Exec("id".into()), &[]), &pod).unwrap().command.is_some());
        assert!(for_main_process(&spec(ProgramRequest::Subsystem("netconf".into()), &[]), &pod).is_err());
    }

    #[test]
    fn image_without_env_runs_without_variables_and_tells_how_many() {
        let line = CommandLine::new(
            &spec(ProgramRequest::Shell, &[("A", "1"), ("B", "2")]),
            &[],
            &fixture::kubernetes().pod,
            false,
        )
        .unwrap();
        let expected =
            CommandLine { argv: vec!["/bin/bash".into()], required: "/bin/bash".into(), variables: 0, dropped_env: 2 };
        assert_eq!(line, expected);
    }

    #[test]
    fn containerssh_agent_starts_what_has_a_path_and_sets_variables_where_no_env_does() {
        let mut pod = fixture::kubernetes().pod;
        let spec = spec(ProgramRequest::Shell, &[("A", "1"), ("PATH", "/x")]);
        let argv = |pod: &PodSettings, env: bool| {
            let tools = ImageTools { env, sh: false };
            let command = for_exec(&spec, &[], pod, (tools, Some("/agent")), |_| true).unwrap();
            (command.argv.join(" "), command.launched, command.dropped_env)
        };
        let by_env = "env A=1 PATH=/x /agent console --pid -- /bin/bash".to_owned();
        assert_eq!(argv(&pod, true), (by_env, true, 0));
        let by_agent = "/agent console --pid --env A=1 --env PATH=/x -- /bin/bash".to_owned();
        assert_eq!(argv(&pod, false), (by_agent, true, 0));
        pod.shell_command = Some(vec!["bash".to_owned()]);
        assert_eq!(argv(&pod, true), ("env A=1 PATH=/x bash".to_owned(), false, 0));
        assert_eq!(argv(&pod, false), ("bash".to_owned(), false, 2));
    }

    #[test]
    fn program_behind_env_is_what_must_be_there_unless_env_looks_elsewhere_for_it() {
        let mut pod = fixture::kubernetes().pod;
        for (shell, variable, required) in [
            ("/bin/bash", "A", "/bin/bash"),
            ("/bin/bash", "PATH", "/bin/bash"),
            ("bash", "A", "bash"),
            ("bash", "PATH", "env"),
        ] {
            pod.shell_command = Some(vec![shell.to_owned()]);
            let line = CommandLine::new(&spec(ProgramRequest::Shell, &[(variable, "/1")]), &[], &pod, true).unwrap();
            assert_eq!((line.argv[0].as_str(), line.required.as_str()), ("env", required), "{shell} {variable}");
        }
    }
}
