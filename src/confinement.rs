//! Privileges that the process gives up at its start, because it never needs it: core dumps and the memory's readers (both would see
//! secrets), new privileges, the execution of programs, special files, and signals to other processes.
//!
//! What is given up does not come back, and holds for every thread that begins later.

use crate::telemetry::{Level, Log, codes};
use landlock::{
    AccessFs, BitFlags, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, make_bitflags,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::set_no_new_privs;
use std::path::Path;

/// The result of each part, in words for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// `off`, or the error.
    pub core_dumps: String,
    /// `off`, or the error.
    pub new_privileges: String,
    /// `off`, or the reason why Landlock does not prevent it.
    pub execution: String,
}

impl Confinement {
    /// Gives up all of it, as far as the system can. Call it before the process has a second thread.
    ///
    /// In the folder of `socket` the process may still make sockets.
    pub fn of_process(socket: Option<&Path>) -> Self {
        let no_core = Rlimit { current: Some(0), maximum: Some(0) };
        // A program that takes core dumps (core_pattern) gets them in spite of the limit.
        let core_dumps = setrlimit(Resource::Core, no_core)
            .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable))
            .map_or_else(|error| error.to_string(), |()| OFF.to_owned());
        let new_privileges = set_no_new_privs(true).map_or_else(|error| error.to_string(), |()| OFF.to_owned());
        let execution = match restrict(socket.and_then(Path::parent)) {
            Ok(status) if status.ruleset == RulesetStatus::NotEnforced => "this system has no Landlock".to_owned(),
            Ok(_) => OFF.to_owned(),
            Err(error) => error.to_string(),
        };
        Self { core_dumps, new_privileges, execution }
    }

    /// Logs the result: a warning if something was not given up that every system can give up.
    pub fn record(&self, log: &Log) {
        let Self { core_dumps, new_privileges, execution } = self;
        let details = [("coreDumps", &**core_dumps), ("newPrivileges", new_privileges), ("execution", execution)];
        let (code, text) = match (core_dumps == OFF && new_privileges == OFF, execution == OFF) {
            (false, _) => {
                let text = "the system did not let the process switch off core dumps or new privileges";
                (codes::CORE_CONFINED.at(Level::Warning), text)
            }
            (true, false) => (codes::CORE_CONFINED, "the process leaves no core dumps and can gain no privileges"),
            (true, true) => {
                let text = "the process leaves no core dumps, can gain no privileges and can execute no programs";
                (codes::CORE_CONFINED, text)
            }
        };
        log.write(code, text, &details);
    }
}

const OFF: &str = "off";

/// Has Landlock refuse what no configuration needs; the only exception is the folder of the operators' socket. Reading and writing files is left as
/// it is, since the configuration names the files, and may name others later.
fn restrict(sockets: Option<&Path>) -> Result<RestrictionStatus, RulesetError> {
    let never: BitFlags<AccessFs> =
        make_bitflags!(AccessFs::{Execute | MakeChar | MakeBlock | MakeFifo | MakeSock | MakeSym});
    let ruleset = Ruleset::default().handle_access(never)?.scope(Scope::Signal)?.create()?;
    // A folder that is not there is reported when the socket is made.
    match sockets.and_then(|folder| PathFd::new(folder).ok()) {
        Some(folder) => ruleset.add_rule(PathBeneath::new(folder, AccessFs::MakeSock))?.restrict_self(),
        None => ruleset.restrict_self(),
    }
}
