//! Signals and children: the modes `signal` and `wait-signal`, and the ends of children. As a container's main process,
//! `wait-signal` also reaps what nobody else waits for.

use crate::command_line::{Arguments, WrongArgument, complain, text, unknown};
use rustix::process::{Pid, Signal, WaitOptions, kill_process};
use signal_hook::iterator::Signals;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// Exit code where a signal could not be sent.
const NOT_SENT: u8 = 3;

/// Signals by their names in RFC 4254 section 6.10.
const NAMES: [(&str, Signal); 13] = [
    ("ABRT", Signal::ABORT),
    ("ALRM", Signal::ALARM),
    ("FPE", Signal::FPE),
    ("HUP", Signal::HUP),
    ("ILL", Signal::ILL),
    ("INT", Signal::INT),
    ("KILL", Signal::KILL),
    ("PIPE", Signal::PIPE),
    ("QUIT", Signal::QUIT),
    ("SEGV", Signal::SEGV),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
];

/// The end of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Child {
    /// By itself, with its exit code.
    Exited(u8),
    /// By a signal, by its number; whether a core was dumped.
    Killed(i32, bool),
}

/// Takes the status of every child that has ended.
pub(crate) fn ended_children() -> impl Iterator<Item = (Pid, Child)> {
    /// Bit of a wait status (wait(2)), which the library has no name for.
    const CORE_DUMPED: i32 = 0x80;
    std::iter::from_fn(|| rustix::process::wait(WaitOptions::NOHANG).ok().flatten()).filter_map(|(pid, status)| {
        let exited = status.exit_status().map(|code| Child::Exited(code.to_le_bytes()[0]));
        let killed =
            || status.terminating_signal().map(|signal| Child::Killed(signal, status.as_raw() & CORE_DUMPED != 0));
        exited.or_else(killed).map(|child| (pid, child))
    })
}

/// The name without SIG of a signal that ended a child; RFC 4254 has no number for others.
pub(crate) fn name_of(number: i32) -> String {
    let others = [
        (5, "TRAP"),
        (7, "BUS"),
        (16, "STKFLT"),
        (24, "XCPU"),
        (25, "XFSZ"),
        (26, "VTALRM"),
        (27, "PROF"),
        (29, "IO"),
        (30, "PWR"),
        (31, "SYS"),
    ];
    let known = NAMES.iter().find(|(_, signal)| signal.as_raw() == number).map(|(name, _)| *name);
    let known = known.or_else(|| others.iter().find(|(other, _)| *other == number).map(|(_, name)| *name));
    known.map_or_else(|| format!("RT{number}@podgate"), str::to_owned)
}

/// The signal of a name without SIG.
pub(crate) fn by_name(name: &str) -> Option<Signal> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, signal)| *signal)
}

fn signal_argument(name: &str) -> Result<Signal, WrongArgument> {
    by_name(name).ok_or_else(|| WrongArgument(format!("unknown signal: {name}")))
}

/// Sends a signal to a process.
pub(crate) fn send(mut arguments: Arguments) -> Result<u8, WrongArgument> {
    let (mut pid, mut signal) = (None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_bytes() {
            b"--pid" if pid.is_none() => {
                let number = arguments.text("--pid")?.parse().ok().filter(|number| *number > 0).and_then(Pid::from_raw);
                pid = Some(number.ok_or_else(|| WrongArgument("--pid needs a process id".to_owned()))?);
            }
            b"--signal" if signal.is_none() => signal = Some(signal_argument(&arguments.text("--signal")?)?),
            _ => return Err(unknown(&argument)),
        }
    }
    let (Some(pid), Some(signal)) = (pid, signal) else {
        return Err(WrongArgument("--pid and --signal are needed".to_owned()));
    };
    match kill_process(pid, signal) {
        Ok(()) => Ok(0),
        Err(error) => {
            complain(&format!("cannot send the signal: {}", text(&error.into())));
            Ok(NOT_SENT)
        }
    }
}

/// Waits for one of the signals.
pub(crate) fn wait(mut arguments: Arguments) -> Result<u8, WrongArgument> {
    let (mut wanted, mut message) = (Vec::new(), String::new());
    while let Some(argument) = arguments.next() {
        match argument.as_bytes() {
            b"--signal" => wanted.push(signal_argument(&arguments.text("--signal")?)?.as_raw()),
            b"--message" => message = arguments.text("--message")?,
            _ => return Err(unknown(&argument)),
        }
    }
    if wanted.is_empty() {
        return Err(WrongArgument("--signal is needed".to_owned()));
    }
    // As process 1, signals without a handler would not arrive at all. KILL cannot be waited for.
    let awaited = wanted.iter().copied().filter(|signal| *signal != Signal::KILL.as_raw());
    let mut signals = match Signals::new(awaited.chain([signal_hook::consts::SIGCHLD])) {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format!("cannot wait for signals: {error}"));
            return Ok(NOT_SENT);
        }
    };
    // Children that ended before the handler was there.
    ended_children().for_each(drop);
    for signal in signals.forever() {
        if wanted.contains(&signal) {
            break;
        }
        ended_children().for_each(drop);
    }
    // The container ends: nobody is left to tell.
    let _ = io::stdout().write_all(message.as_bytes());
    Ok(0)
}
