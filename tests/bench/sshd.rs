//! The rival: OpenSSH's own server on loopback, as the current user, with a configuration of its own.

use super::server::Server;
use crate::support::World;
use crate::support::leash;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::process::Child;
use tokio::time::sleep;

/// Where distributions put it; it insists on being started by an absolute path.
const PLACES: &[&str] = &["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"];

/// A running `sshd`; it ends when it is dropped.
pub(crate) struct Sshd {
    /// How it is reached.
    pub(crate) server: Server,
    child: Child,
}

impl Sshd {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Starts it with the host key and the user's key of `world`; `None` where it is not installed.
    pub(crate) async fn start(world: &World) -> Option<Self> {
        let program = PLACES.iter().find(|place| Path::new(place).exists())?;
        let user = Command::new("id").arg("-un").output().expect("id");
        let user = String::from_utf8(user.stdout).expect("a name").trim().to_owned();
        if user == "root" {
            // Where it leaves its privileges; a system without the service lacks it.
            fs::create_dir_all("/run/sshd").expect("/run/sshd");
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let config = world.folder().join("sshd_config");
        fs::write(world.folder().join("authorized_keys"), &world.key.public).expect("the key");
        fs::write(&config, configuration(world.folder(), port)).expect("the configuration");
        let child = leash::program(program)
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("sshd");
        listening(port).await;
        let name = "sshd";
        Some(Self { server: Server { name, user, port, key: world.key.file.clone() }, child })
    }
}

/// A first-level bash reads its user's start-up file when `sshd` starts it; what that does is not what is measured.
fn configuration(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n\
         StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\nPrintMotd no\nPrintLastLog no\nLogLevel FATAL\nSetEnv SHLVL=2\n"
    )
}

/// There is no line to wait for at this log level: asks until it answers.
async fn listening(port: u16) {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "sshd does not listen");
        sleep(Duration::from_millis(20)).await;
    }
}
