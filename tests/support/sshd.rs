//! OpenSSH's own server on loopback, as the current user, with a configuration of its own: what Podgate is compared with.

use super::client::Client;
use super::{World, available, leash};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::process::Child;
use tokio::time::sleep;

/// Where distributions put it; it insists on being started by an absolute path.
const PLACES: &[&str] = &["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"];
/// What every server has: the user's key alone logs in, and nothing of the system's configuration counts. (A first-level
/// bash would read its user's start-up file when `sshd` starts it; what that does and says is not what is looked at.)
const USUAL: &str = "StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\n\
                     KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPrintMotd no\nPrintLastLog no\n\
                     LogLevel QUIET\nSetEnv SHLVL=2\n";

/// A running `sshd`; it ends when it is dropped.
pub struct Sshd {
    /// Where it listens.
    pub address: SocketAddr,
    /// The login name.
    pub user: String,
    child: Child,
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
        let user = Command::new("id").arg("-un").output().expect("id");
        let user = String::from_utf8(user.stdout).expect("a name").trim().to_owned();
        if user == "root" {
            // Where it leaves its privileges; a system without the service lacks it.
            fs::create_dir_all("/run/sshd").expect("/run/sshd");
        }
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        fs::write(world.folder().join("authorized_keys"), &world.key.public).expect("the key");
        let config = configure(program, world.folder(), address, further);
        let child = leash::program(program)
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("sshd");
        listening(address).await;
        Some(Self { address, user, child })
    }

    /// Whether it is installed; says which package is missing where it is not.
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
        assert!(begun.elapsed() < Duration::from_secs(10), "sshd does not listen");
        sleep(Duration::from_millis(20)).await;
    }
}
