//! The rival: OpenSSH's own server.

use super::server::Server;
use crate::support::World;
use crate::support::sshd;

/// A running `sshd`; it ends when it is dropped.
pub(crate) struct Sshd {
    /// The address and login of the server.
    pub(crate) server: Server,
    running: sshd::Sshd,
}

impl Sshd {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Starts it with the host key and the user's key of `world`; `None` where it is not installed.
    pub(crate) async fn start(world: &World) -> Option<Self> {
        let running = sshd::Sshd::start(world, "Subsystem sftp internal-sftp\n").await?;
        let (user, port, key) = (running.user.clone(), running.address.port(), world.key.file.clone());
        Some(Self { server: Server { name: "sshd", user, port, key }, running })
    }
}
