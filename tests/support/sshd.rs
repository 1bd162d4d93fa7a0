//! OpenSSH's own server on loopback, as the current user, with a configuration of its own: what Podgate is compared with.

use super::client::Client;
use super::gateway::SOON;
use super::{World, available, held_port, leash};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;
use tokio::process::Child;
use tokio::time::sleep;

/// The paths in distributions; `sshd` must be started by an absolute path.
const PLACES: &[&str] = &["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"];
/// The common configuration: only the user's key logs in, and the system's configuration is not used. `SHLVL=2` keeps
/// bash from reading the user's start-up file when `sshd` starts it.
const USUAL: &str = "StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\n\
                     KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPrintMotd no\nPrintLastLog no\n\
                     LogLevel QUIET\nSetEnv SHLVL=2\n";

/// A user whom only a server with a passwd file of its own knows. sshd sends no signals to root's programs.
const ORDINARY: &str = "podgate-guest";

/// A running `sshd`; it ends when it is dropped.
pub struct Sshd {
    /// The listening address.
    pub address: SocketAddr,
    /// The login name.
    pub user: String,
    child: Child,
    /// Keeps the port from other tests until the server listens.
    _held: TcpSocket,
}

impl Sshd {
    /// Its program, where it is installed.
    pub fn program() -> Option<&'static str> {
        PLACES.iter().copied().find(|place| Path::new(place).exists())
    }

    /// Starts it with the host key and the user's key of `world`, and with further lines of configuration; `None` where
    /// it is not installed.
    pub async fn start(world: &World, further: &str) -> Option<Self> {
        let program = Self::program()?;
        Self::start_by(&[program], world, further, current_user()).await
    }

    /// The same for a user who is not root: the current one, or one that this server alone knows. `None` where root may
    /// not change what a program of its own sees of the files.
    pub async fn start_for_ordinary_user(world: &World, further: &str) -> Option<Self> {
        let program = Self::program()?;
        let user = current_user();
        if user != "root" {
            return Self::start_by(&[program], world, further, user).await;
        }
        if !Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: root may not make a mount namespace");
            return None;
        }
        let file = world.folder().join("passwd");
        let all = fs::read_to_string("/etc/passwd").expect("passwd");
        let line = format!("{ORDINARY}:x:65533:65534::/:{}\n", Self::shell());
        fs::write(&file, all + &line).expect("passwd");
        let script = "mount --bind \"$0\" /etc/passwd && exec \"$@\"";
        let line = ["unshare", "-m", "sh", "-c", script, &file.display().to_string(), program].map(str::to_owned);
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        // The user cannot read a folder of root's.
        let keys = world.folder().join("authorized_keys");
        let command = format!("AuthorizedKeysCommand /bin/cat {}\nAuthorizedKeysCommandUser root\n", keys.display());
        Self::start_by(&line, world, &format!("{command}{further}"), ORDINARY.to_owned()).await
    }

    async fn start_by(line: &[&str], world: &World, further: &str, user: String) -> Option<Self> {
        let program = line.last().copied()?;
        if current_user() == "root" {
            // The directory for privilege separation; a system without the service lacks it.
            fs::create_dir_all("/run/sshd").expect("/run/sshd");
        }
        let (held, port) = held_port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        fs::write(world.folder().join("authorized_keys"), &world.key.public).expect("the key");
        let config = configure(program, world.folder(), address, further);
        let child = leash::program(line[0])
            .args(&line[1..])
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("sshd");
        listening(address).await;
        Some(Self { address, user, child, _held: held })
    }

    /// The shell that it starts programs with: the current user's.
    pub fn shell() -> String {
        let passwd = Command::new("sh").args(["-c", "getent passwd \"$(id -u)\""]).output().expect("getent");
        let passwd = String::from_utf8(passwd.stdout).expect("a line");
        passwd.trim().rsplit(':').next().filter(|shell| !shell.is_empty()).unwrap_or("/bin/sh").to_owned()
    }

    /// Returns whether it is installed. If not, prints the missing package.
    pub fn available() -> bool {
        Self::program().is_some() || available(PLACES[0], "openssh-server")
    }

    /// A client's command line, the host not in it.
    pub fn command_line(&self, world: &World) -> String {
        let (port, user, key) = (self.address.port(), &self.user, world.key.file.display());
        format!(
            "ssh -F /dev/null -p {port} -o BatchMode=yes -o User={user} -o IdentitiesOnly=yes -o IdentityAgent=none \
             -o IdentityFile={key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
             -o GlobalKnownHostsFile=/dev/null -o LogLevel=ERROR"
        )
    }

    /// A client; arguments follow as for [`World::ssh`].
    pub fn ssh(&self, world: &World) -> Client {
        let mut command = leash::program("/bin/sh");
        command.args(["-c", &format!("exec {} \"$@\"", self.command_line(world)), "ssh"]);
        Client::of(command)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }
}

/// The name of the user that runs the tests.
fn current_user() -> String {
    let user = Command::new("id").arg("-un").output().expect("id");
    String::from_utf8(user.stdout).expect("a name").trim().to_owned()
}

/// Writes the configuration's file.
fn configure(program: &str, folder: &Path, address: SocketAddr, further: &str) -> PathBuf {
    let (file, at) = (folder.join("sshd_config"), folder.display());
    let own = format!("ListenAddress {address}\nHostKey {at}/host\nAuthorizedKeysFile {at}/authorized_keys\n");
    // Since 9.8 a client that breaks rules is locked out for a while, and a test's client does little else.
    for penalties in ["PerSourcePenalties no\n", ""] {
        fs::write(&file, format!("{own}{USUAL}{further}{penalties}")).expect("the configuration");
        let tried = Command::new(program).arg("-t").arg("-f").arg(&file).output().expect("sshd");
        if tried.status.success() {
            break;
        }
        assert!(!penalties.is_empty(), "{}", String::from_utf8_lossy(&tried.stderr));
    }
    file
}

/// There is no line to wait for at this log level: asks until it answers.
async fn listening(address: SocketAddr) {
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < SOON, "sshd does not listen");
        sleep(Duration::from_millis(20)).await;
    }
}
