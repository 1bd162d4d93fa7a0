//! The decision on what runs: the client's request passes its own rule first, then `forceCommand` takes its place.

use super::{ENV_BYTES, ENV_COUNT, ensure};
use crate::policy::launch::{Asked, Endpoints, Launch, Start, Terminal, What};
use crate::policy::{Denied, Mode, Permit, Rules};
use crate::types::{EnvName, EnvVar};
use std::collections::HashMap;

impl super::Judge for Start {
    type Granted = Launch;

    fn judge(self, rules: &Rules) -> Result<Launch, Denied> {
        pass(rules, &self.asked)?;
        let client: Vec<EnvVar> = self.env.into_iter().map(Permit::spend).collect();
        ensure(is_bounded(&client), Denied::EnvSize)?;
        let terminal = self.terminal.map(Permit::spend);
        let mut env = client;
        env.extend(ours(rules, &self.asked, terminal.as_ref(), self.endpoints)?);
        Ok(Launch { what: what(rules, self.asked), env: last_of_each(env), terminal })
    }
}

/// Whether the rule of what was asked for lets it pass.
fn pass(rules: &Rules, asked: &Asked) -> Result<(), Denied> {
    match asked {
        Asked::Shell => ensure(rules.effective(rules.shell).is_enable(), Denied::Shell),
        Asked::Command(command) => {
            match rules.effective(rules.command.mode) {
                Mode::Enable => {}
                Mode::Filter => ensure(rules.command.allow.contains(command), Denied::CommandFiltered)?,
                Mode::Unset | Mode::Disable => return Err(Denied::Command),
            }
            ensure(!command.contains('\0'), Denied::CommandNul)
        }
        Asked::Subsystem(name) => {
            let mode = rules.effective(rules.subsystem.mode);
            ensure(rules.subsystem.passes(mode, name) && !name.contains('\0'), Denied::Subsystem)
        }
    }
}

fn what(rules: &Rules, asked: Asked) -> What {
    if let Some(forced) = &rules.force_command {
        return What::Command(forced.clone());
    }
    match asked {
        Asked::Shell => What::Shell,
        Asked::Command(command) => What::Command(command),
        Asked::Subsystem(name) => What::Subsystem(name),
    }
}

/// The variables that Podgate sets itself.
fn ours(rules: &Rules, asked: &Asked, terminal: Option<&Terminal>, ends: Endpoints) -> Result<Vec<EnvVar>, Denied> {
    let (client, server) = (ends.client.ip().to_canonical(), ends.server.ip().to_canonical());
    let (from, to) = (ends.client.port(), ends.server.port());
    let mut env = vec![
        variable("SSH_CONNECTION", format!("{client} {from} {server} {to}"))?,
        variable("SSH_CLIENT", format!("{client} {from} {to}"))?,
    ];
    if let Some(terminal) = terminal.filter(|terminal| !terminal.term.is_empty()) {
        env.push(variable("TERM", terminal.term.clone())?);
    }
    let original = match asked {
        Asked::Shell => None,
        Asked::Command(text) | Asked::Subsystem(text) => Some(text),
    };
    if let (Some(original), Some(_)) = (original, &rules.force_command) {
        env.push(variable("SSH_ORIGINAL_COMMAND", original.clone())?);
    }
    Ok(env)
}

fn variable(name: &str, value: String) -> Result<EnvVar, Denied> {
    let name = EnvName::parse(name).map_err(|_| Denied::EnvName)?;
    EnvVar::new(name, value).map_err(|_| Denied::EnvValue)
}

fn is_bounded(env: &[EnvVar]) -> bool {
    let bytes: usize = env.iter().map(|variable| variable.name().as_str().len() + variable.value().len()).sum();
    env.len() <= ENV_COUNT && bytes <= ENV_BYTES
}

/// Each name once, with its last value, in the order of their first appearance.
fn last_of_each(env: Vec<EnvVar>) -> Vec<EnvVar> {
    let mut at = HashMap::new();
    let mut unique: Vec<EnvVar> = Vec::new();
    for variable in env {
        match at.get(variable.name()) {
            Some(&place) => unique[place] = variable,
            None => {
                at.insert(variable.name().clone(), unique.len());
                unique.push(variable);
            }
        }
    }
    unique
}
