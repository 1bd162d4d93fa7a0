//! What a client asks for on a session channel, from its words to the command line that runs.

use super::base;
use crate::kubernetes::fuzz::argv;
use crate::policy::{ListRule, ProgramRequest, ProgramSpec, RuleMode, Rules, SetEnv, StartProgram};
use crate::settings::{BackendSettings, PodSettings, Settings};

const FORCED: &str = "guard";
const ALLOWED: [&str; 2] = ["ls", "id"];

/// The first byte picks the rules and what is asked, the first line is the text that is asked with, the rest are variables.
pub(super) fn requests(data: &[u8]) {
    let (Some((&choice, rest)), Ok(settings)) = (data.split_first(), Settings::resolve(&base(), None)) else { return };
    let BackendSettings::Kubernetes(kubernetes) = settings.backend;
    let text = String::from_utf8_lossy(rest);
    let mut lines = text.split('\n');
    let word = lines.next().unwrap_or_default().to_owned();
    let asked = match choice % 3 {
        0 => ProgramRequest::Exec(word),
        1 => ProgramRequest::Subsystem(word),
        _ => ProgramRequest::Shell,
    };
    let rules = rules(choice / 3);
    let (mut env, mut held_bytes) = (Vec::new(), 0);
    for line in lines {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        let set = SetEnv { name: name.to_owned(), value: value.to_owned(), held: env.len(), held_bytes };
        if let Ok(permit) = rules.decide(set) {
            assert!(!name.starts_with("SSH_") && !name.starts_with("LD_") && name != "ENV" && name != "BASH_ENV");
            held_bytes += name.len() + value.len();
            env.push(permit);
        }
    }
    let ends = ([192, 0, 2, 1], 2).into();
    let endpoints = crate::policy::ConnectionEndpoints { client: ends, server: ends };
    let start = StartProgram { request: asked.clone(), env, terminal: None, endpoints };
    let Ok(permit) = rules.decide(start) else { return };
    allowed(&rules, &asked);
    let launch = permit.spend();
    for env_here in [true, false] {
        if let Some(argv) = argv(&launch, &kubernetes.pod, env_here) {
            runs(&argv, &launch, &rules, &asked, &kubernetes.pod);
        }
    }
}

fn rules(choice: u8) -> Rules {
    let allow = || ListRule { mode: RuleMode::Filter, allow: ALLOWED.map(str::to_owned).to_vec(), deny: Vec::new() };
    match choice % 4 {
        0 => Rules::default(),
        1 => Rules { command: allow(), subsystem: allow(), env: allow(), shell: RuleMode::Disable, ..Rules::default() },
        2 => Rules { force_command: Some(FORCED.to_owned()), ..Rules::default() },
        _ => Rules { default_mode: RuleMode::Disable, command: allow(), ..Rules::default() },
    }
}

fn allowed(rules: &Rules, asked: &ProgramRequest) {
    match asked {
        ProgramRequest::Exec(text) if rules.command.mode == RuleMode::Filter => {
            assert!(ALLOWED.contains(&text.as_str()))
        }
        ProgramRequest::Subsystem(text) if rules.subsystem.mode == RuleMode::Filter => {
            assert!(ALLOWED.contains(&text.as_str()))
        }
        ProgramRequest::Shell => assert!(rules.shell != RuleMode::Disable && rules.default_mode != RuleMode::Disable),
        ProgramRequest::Exec(_) | ProgramRequest::ExecBytes(_) | ProgramRequest::Subsystem(_) => {}
    }
}

/// The program is what the rules made of the request, and before it stand variables alone.
fn runs(argv: &[String], launch: &ProgramSpec, rules: &Rules, asked: &ProgramRequest, pod: &PodSettings) {
    assert!(argv.iter().all(|word| !word.contains('\0')));
    assert!(!launch.has_bytes(), "what is no text is an argument of an exec");
    let program: Vec<String> = match (&rules.force_command, asked) {
        (Some(forced), _) => [pod.exec_command.clone(), vec![forced.clone()]].concat(),
        (None, ProgramRequest::Exec(text)) => [pod.exec_command.clone(), vec![text.clone()]].concat(),
        (None, ProgramRequest::ExecBytes(_)) => Vec::new(),
        (None, ProgramRequest::Subsystem(name)) => pod.subsystems.get(name).cloned().into_iter().collect(),
        (None, ProgramRequest::Shell) => pod.shell_command.clone().unwrap_or_default(),
    };
    assert!(argv.ends_with(&program), "{argv:?} does not run {program:?}");
    let before = &argv[..argv.len() - program.len()];
    if let Some((env, variables)) = before.split_first() {
        assert_eq!(env, "env");
        assert_eq!(variables.len(), launch.env.len());
        for variable in variables {
            let name = variable.split_once('=').map(|(name, _)| name).unwrap_or_default();
            assert!(name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'), "{variable:?}");
        }
    }
    if let (Some(_), ProgramRequest::Exec(text)) = (&rules.force_command, asked) {
        assert!(before.contains(&format!("SSH_ORIGINAL_COMMAND={text}")));
    }
}
