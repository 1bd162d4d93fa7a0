//! The files that the printed commands name, and the commands. `ssh` gets a configuration of its own, so that nothing of
//! the reader's plays a part: the host key is known, and alice's key is in the same directory.

use crate::users::Machine;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The directory of the files; removed by its owner.
#[derive(Debug)]
pub(crate) struct Folder(String);

/// The temporary directory's name cannot be quoted for `ssh`.
#[derive(Debug, thiserror::Error)]
#[error("an ssh configuration cannot contain the path {0:?}; set TMPDIR to a directory with another name")]
pub(crate) struct Unquotable(String);

impl Folder {
    /// Takes a directory whose name ssh_config(5) can hold: there, in quotes, `"` and `\` end or escape and `${` expands.
    pub(crate) fn new(directory: &Path) -> Result<Self, Unquotable> {
        match directory.to_str() {
            Some(name) if !name.contains(|c: char| c.is_control() || matches!(c, '"' | '\\' | '$')) => {
                Ok(Self(name.to_owned()))
            }
            _ => Err(Unquotable(directory.display().to_string())),
        }
    }

    /// Writes the configuration, the known host key and alice's private key.
    pub(crate) fn write_ssh(&self, address: SocketAddr, host_key: &str, user_key: &str) -> io::Result<()> {
        self.write("alice", user_key)?;
        self.write("known_hosts", &format!("podgate-demo {}\n", host_key.trim()))?;
        self.write("config", &self.ssh_config(address))
    }

    /// Writes the development cluster's kubeconfig.
    pub(crate) fn write_kubeconfig(&self, text: &str) -> io::Result<()> {
        self.write("kubeconfig", text)
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        // `ssh` refuses a private key that others can read.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(Path::new(&self.0).join(name));
        file?.write_all(text.as_bytes())
    }

    fn ssh_config(&self, address: SocketAddr) -> String {
        let folder = self.0.replace('%', "%%");
        format!(
            "Host alice bob\n\
             \x20 HostName {}\n\
             \x20 Port {}\n\
             \x20 HostKeyAlias podgate-demo\n\
             \x20 UserKnownHostsFile \"{folder}/known_hosts\"\n\
             \x20 StrictHostKeyChecking yes\n\
             \x20 UpdateHostKeys no\n\
             Host alice\n\
             \x20 User alice\n\
             \x20 IdentityFile \"{folder}/alice\"\n\
             \x20 IdentitiesOnly yes\n\
             Host bob\n\
             \x20 User bob\n\
             \x20 PubkeyAuthentication no\n",
            address.ip(),
            address.port()
        )
    }

    /// Prints what this is and what to paste.
    pub(crate) fn explain(&self, out: &mut impl Write, machine: &Machine, password: &str) -> io::Result<()> {
        let config = shell_word(&format!("{}/config", self.0));
        let copy = shell_word(&format!("{}/hosts", self.0));
        writeln!(
            out,
            "Podgate's demo: gateway, webhook server and development cluster in one process, on loopback.\n\
             The cluster runs a pod's containers as local processes: a login is a shell on this machine, with your permissions.\n\
             \n\
             Paste these commands into another terminal. alice logs in with a key. Her pod stays until the demo ends:\n\
             \n\
             \x20 ssh -F {config} alice\n\
             \x20 scp -F {config} /etc/hosts alice:\n\
             \x20 ssh -F {config} alice cat hosts\n\
             \x20 scp -F {config} alice:hosts {copy}\n\
             \n\
             She may also use sftp, and forward by ssh -L, -R, -D, -A and -X. What she listens on with -R is on loopback, too.\n\
             \n\
             bob logs in with a password. Each connection gets a new pod, and only the commands env and date are allowed:\n\
             \n\
             \x20 ssh -F {config} bob env\n\
             \x20 ssh -F {config} bob cat /etc/hosts\n\
             \n\
             \x20 password: {password}\n"
        )?;
        if machine.kubectl {
            let kubeconfig = shell_word(&format!("{}/kubeconfig", self.0));
            writeln!(out, "The pods:\n\n  kubectl --kubeconfig {kubeconfig} get pods --all-namespaces\n")?;
        }
        writeln!(
            out,
            "Ctrl-C ends everything. This is the operator's log, without client addresses, codes and connection ids:\n"
        )?;
        out.flush()
    }
}

/// A word of a shell's command line.
fn shell_word(text: &str) -> String {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c)) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_ssh_cannot_name_are_refused() {
        for name in ["/tmp/a\"b", "/tmp/a\\b", "/tmp/${HOME}", "/tmp/a\nb"] {
            assert!(Folder::new(Path::new(name)).is_err(), "{name:?}");
        }
        for name in ["/tmp/podgate-x", "/tmp/a b", "/tmp/it's", "/tmp/100%"] {
            assert!(Folder::new(Path::new(name)).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_percent_sign_is_doubled_for_ssh() {
        let config = Folder("/tmp/100%".to_owned()).ssh_config(SocketAddr::from(([127, 0, 0, 1], 2222)));
        assert!(config.contains("IdentityFile \"/tmp/100%%/alice\""), "{config}");
        assert!(config.contains("UserKnownHostsFile \"/tmp/100%%/known_hosts\""), "{config}");
    }

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        let right = [("/tmp/podgate-x/config", "/tmp/podgate-x/config"), ("/a b", "'/a b'"), ("/it's", r"'/it'\''s'")];
        for (text, word) in right {
            assert_eq!(shell_word(text), word);
        }
    }
}
