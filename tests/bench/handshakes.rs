//! What a key exchange costs a server: clients that connect, agree on keys by the same algorithms, and leave before they
//! say who they are.

use super::process::cpu_with_children;
use super::table::{Bar, Table};
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use russh::{Preferred, kex};
use std::borrow::Cow;
use std::sync::Arc;

/// A client that trusts: host keys are not what is measured.
struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// So many handshakes a second would keep one core busy.
pub(crate) async fn a_core(pid: u32, port: u16, count: u32) -> f64 {
    // Both servers know this exchange; each would rather take another than the other.
    let preferred = Preferred { kex: Cow::Owned(vec![kex::CURVE25519]), ..Preferred::default() };
    let config = Arc::new(client::Config { preferred, ..client::Config::default() });
    let before = cpu_with_children(pid);
    for _ in 0..count {
        let handle = client::connect(config.clone(), ("127.0.0.1", port), Trusting).await.expect("a key exchange");
        let _refused = handle.disconnect(russh::Disconnect::ByApplication, "", "").await;
        // The server has ended it too, and `sshd` its process, when the connection's task has ended.
        let _ended = handle.await;
    }
    f64::from(count) / (cpu_with_children(pid) - before).as_secs_f64()
}

/// The gateway's figure beside `sshd`'s.
pub(crate) fn row(gateway: f64, sshd: Option<f64>, table: &mut Table) {
    let rival = sshd.map(|sshd| ("sshd", sshd));
    table.row("handshakes (curve25519)", "1/s a core", (gateway, rival), Bar::None);
}
