//! The agent's file that the gateway brings into containers: `podgate-agent` beside the gateway's own executable. It is read
//! once, at its first use, and kept.

use crate::telemetry::{ConnectionLog, codes};
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::OnceCell;

const NAME: &str = "podgate-agent";
/// The largest file that is brought, in bytes: far above what an agent without debug information has.
const SIZE_MAX: u64 = 256 * 1024 * 1024;

/// Machines by their number in an ELF header (`e_machine`) and their name in `uname -m`.
const MACHINES: [(u16, &str); 7] =
    [(3, "i686"), (21, "ppc64le"), (22, "s390x"), (40, "armv7l"), (62, "x86_64"), (183, "aarch64"), (243, "riscv64")];

/// The agent's file, once it was looked for.
#[derive(Debug, Default)]
pub(crate) struct AgentFiles(OnceCell<Option<AgentFile>>);

/// The content of the file.
#[derive(Debug, Clone)]
pub(crate) struct AgentFile {
    pub(super) content: Bytes,
    /// The name of the machine that it runs on, as `uname -m` says it; `None` if it is not known.
    machine: Option<&'static str>,
}

/// The error of a file that cannot be used.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("{path}: {error}", path = path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{path}: it is not a program of Linux", path = .0.display())]
    NotAProgram(PathBuf),
    #[error("the gateway's own path is not known: {0}")]
    Nowhere(#[source] io::Error),
}

impl AgentFiles {
    /// The file. The first call reads it; if that fails, the log says so, once.
    pub(super) async fn get(&self, log: &ConnectionLog) -> Option<AgentFile> {
        let read = async {
            let read = match std::env::current_exe() {
                Ok(own) => AgentFile::read(&own.with_file_name(NAME)).await,
                Err(error) => Err(FileError::Nowhere(error)),
            };
            read.inspect_err(|error| {
                let text =
                    "the gateway cannot bring the agent into containers: its file is not beside the gateway's own";
                log.write(codes::AGENT_FILE_MISSING, text, &[("reason", &error.to_string())]);
            })
            .ok()
        };
        self.0.get_or_init(|| read).await.clone()
    }
}

impl AgentFile {
    async fn read(path: &Path) -> Result<Self, FileError> {
        let failed = |error| FileError::Read { path: path.to_owned(), error };
        let size = tokio::fs::metadata(path).await.map_err(failed)?.len();
        if size > SIZE_MAX {
            return Err(FileError::NotAProgram(path.to_owned()));
        }
        let content = tokio::fs::read(path).await.map_err(failed)?;
        Self::parse(content).ok_or_else(|| FileError::NotAProgram(path.to_owned()))
    }

    /// Reads the machine in the file's ELF header; `None` if there is no such header.
    fn parse(content: Vec<u8>) -> Option<Self> {
        let number = content.get(18..20)?.first_chunk()?;
        let number = match content.get(..6)? {
            [0x7F, b'E', b'L', b'F', _, 1] => u16::from_le_bytes(*number),
            [0x7F, b'E', b'L', b'F', _, 2] => u16::from_be_bytes(*number),
            _ => return None,
        };
        let machine = MACHINES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
        Some(Self { content: content.into(), machine })
    }

    /// The machine that the file is for, if it is another than the container's, which `uname -m` names so.
    pub(super) fn other_machine(&self, container: &str) -> Option<&'static str> {
        let known = MACHINES.iter().any(|(_, name)| *name == container);
        self.machine.filter(|own| known && *own != container)
    }

    /// Makes a file of this content.
    #[cfg(test)]
    pub(super) fn for_test(content: Vec<u8>) -> Self {
        Self { content: content.into(), machine: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(data: u8, machine: [u8; 2]) -> Vec<u8> {
        let mut header = vec![0x7F, b'E', b'L', b'F', 2, data];
        header.resize(18, 0);
        header.extend(machine);
        header
    }

    #[test]
    fn what_is_not_a_program_of_linux_is_refused() {
        for content in [&b""[..], b"\x7fELF", b"#!/bin/sh\nexit 0\n#...................", &header(3, [62, 0])] {
            assert!(AgentFile::parse(content.to_vec()).is_none());
        }
    }

    #[test]
    fn another_machine_than_the_containers_is_told_and_an_unknown_one_passes() {
        for (data, machine, container, other) in [
            (1, [62, 0], "aarch64", Some("x86_64")),
            (2, [0, 22], "x86_64", Some("s390x")),
            (1, [62, 0], "x86_64", None),
            (1, [62, 0], "", None),
            (1, [62, 0], "sparc", None),
            (1, [0xFF, 0xFE], "x86_64", None),
        ] {
            let file = AgentFile::parse(header(data, machine)).unwrap();
            assert_eq!(file.other_machine(container), other, "{container}");
        }
    }

    #[tokio::test]
    async fn missing_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = AgentFile::read(&folder.path().join(NAME)).await.unwrap_err().to_string();
        assert!(error.ends_with("podgate-agent: No such file or directory (os error 2)"), "{error}");
    }
}
