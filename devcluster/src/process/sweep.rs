//! Finding and killing everything that ran in a container. A process belongs to one if its environment carries the
//! container's mark, or its parent or its group's leader does, or if it emptied its environment and still sits in the
//! container's directory. (A cgroup would be exact, but needs rights that a developer's machine does not give.)

use rustix::process::{Pid, Signal};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The environment variable that marks every program of a container.
pub(crate) const VARIABLE: &str = "PODGATE_DEVCLUSTER";

/// Limit of rounds. A process that was forked during one round is found in a later one; more rounds than this mean a process
/// that we may not kill.
const ROUNDS: u32 = 200;

/// The marks of the processes of one container, or of all of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct ProcessMark {
    /// The whole value of [`VARIABLE`], or its beginning.
    pub(crate) value: String,
    /// The directory below which only those processes work.
    pub(crate) directory: PathBuf,
}

struct FoundProcess {
    pid: i32,
    parent: i32,
    group: i32,
    started: u64,
    belongs: bool,
}

/// The processes of a mark.
pub(crate) fn find(mark: &ProcessMark) -> Vec<i32> {
    matching(mark).into_iter().map(|process| process.pid).collect()
}

/// Kills until nothing is left; blocks, for some milliseconds at most times. Says what could not be killed.
pub(crate) fn kill_all(mark: &ProcessMark) -> Vec<i32> {
    for _ in 0..ROUNDS {
        let found = matching(mark);
        if found.is_empty() {
            return Vec::new();
        }
        // All stop before the first is killed: as where a kernel ends a container, no parent sees the end of its child.
        for signal in [Signal::STOP, Signal::KILL] {
            for process in &found {
                // The number could have been given to another process since the scan.
                let same = stat(process.pid).is_some_and(|(now, _)| now.started == process.started);
                if let (true, Some(pid)) = (same, Pid::from_raw(process.pid)) {
                    let _ended = rustix::process::kill_process(pid, signal);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    find(mark)
}

fn matching(mark: &ProcessMark) -> Vec<FoundProcess> {
    let mut processes = scan(mark);
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let mut members: HashSet<i32> = processes.iter().filter(|p| p.belongs).map(|p| p.pid).collect();
    loop {
        let before = members.len();
        for process in &mut processes {
            let related = members.contains(&process.parent) || members.contains(&process.group);
            if !process.belongs && related && process.pid != own {
                process.belongs = true;
                members.insert(process.pid);
            }
        }
        if members.len() == before {
            break;
        }
    }
    processes.retain(|process| process.belongs);
    processes
}

fn scan(mark: &ProcessMark) -> Vec<FoundProcess> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let (mut process, zombie) = stat(pid)?;
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok();
        process.belongs = !zombie && environment.is_some_and(|env| marked(&env, mark) || adrift(pid, &env, mark));
        (!zombie).then_some(process)
    })
    .collect()
}

fn marked(environment: &[u8], mark: &ProcessMark) -> bool {
    let mut values = environment
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"="));
    values.any(|value| value.starts_with(mark.value.as_bytes()))
}

/// A program that was started with no environment at all keeps its directory.
fn adrift(pid: i32, environment: &[u8], mark: &ProcessMark) -> bool {
    let directory = || std::fs::read_link(format!("/proc/{pid}/cwd"));
    environment.is_empty() && directory().is_ok_and(|cwd| inside(&cwd, &mark.directory))
}

fn inside(path: &Path, directory: &Path) -> bool {
    !directory.as_os_str().is_empty() && path.starts_with(directory)
}

/// The numbers of `/proc/PID/stat`, and whether it is a zombie.
fn stat(pid: i32) -> Option<(FoundProcess, bool)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also spaces and parentheses.
    let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let group = fields.get(2)?.parse().ok()?;
    let started = fields.get(19)?.parse().ok()?;
    Some((FoundProcess { pid, parent, group, started, belongs: false }, *fields.first()? == "Z"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_daemon_without_environment_is_found_and_killed() {
        let directory = tempfile::tempdir().unwrap();
        let directory_path = directory.path().canonicalize().unwrap();
        let value = format!("test-{}", crate::objects::store::random_uid());
        let mark = ProcessMark { value: value.clone(), directory: directory_path.clone() };
        let script = "setsid sleep 300 & env -i setsid /bin/sleep 300 & (setsid sh -c 'sleep 300; :' &) ; sleep 300";
        let mut root =
            Command::new("sh").args(["-c", script]).env(VARIABLE, &value).current_dir(&directory_path).spawn().unwrap();
        while find(&mark).len() < 5 {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(kill_all(&mark), Vec::<i32>::new());
        root.wait().unwrap();
        assert_eq!(find(&mark), Vec::<i32>::new());
    }

    #[test]
    fn an_unmarked_process_is_left_alone() {
        let mark = ProcessMark { value: "nothing-has-this-mark".to_owned(), directory: PathBuf::new() };
        assert_eq!(find(&mark), Vec::<i32>::new());
    }
}
