//! A client inside the test, for what OpenSSH's does not do on demand: single requests in any order, each with its answer.

use super::World;
use super::client::{PATIENCE, WAITING};
use parking_lot::Mutex;
use russh::client::{self, ChannelOpenHandle, Handle, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::keys::{PrivateKeyWithHashAlg, load_secret_key};
use russh::{Channel, ChannelMsg};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// A logged-in connection.
pub struct Peer {
    /// The connection.
    pub handle: Handle<Watcher>,
    /// The banner that came before the login.
    pub banner: Arc<Mutex<String>>,
    /// The channels that the server opened for forwarded connections.
    pub forwarded: UnboundedReceiver<ForwardedChannel>,
}

/// A channel that the server opened for a connection to a listener of the client's.
pub struct ForwardedChannel {
    /// The channel.
    pub channel: Channel<Msg>,
    /// The listener's address, or its path.
    pub address: String,
    /// The listener's port; `None` for a Unix socket.
    pub port: Option<u32>,
}

/// Trusts the server, notes its banner, and accepts its channels.
pub struct Watcher {
    banner: Arc<Mutex<String>>,
    forwarded: UnboundedSender<ForwardedChannel>,
}

impl client::Handler for Watcher {
    type Error = russh::Error;

    async fn auth_banner(&mut self, banner: &str, _session: &mut Session) -> Result<(), Self::Error> {
        self.banner.lock().push_str(banner);
        Ok(())
    }

    async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        address: &str,
        port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        // A test that is over wants no more of them.
        let _ = self.forwarded.send(ForwardedChannel { channel, address: address.to_owned(), port: Some(port) });
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        let _ = self.forwarded.send(ForwardedChannel { channel, address: path.to_owned(), port: None });
        Ok(())
    }
}

impl World {
    /// Logs in as a user with the world's key.
    pub async fn peer(&self, user: &str) -> Peer {
        self.peer_with(user, client::Config::default()).await
    }

    /// The same with another configuration of the client.
    pub async fn peer_with(&self, user: &str, config: client::Config) -> Peer {
        self.connect(self.gateway.address, user, config).await
    }

    /// Logs in to another server that knows the world's key.
    pub async fn peer_at(&self, address: SocketAddr, user: &str) -> Peer {
        self.connect(address, user, client::Config::default()).await
    }

    async fn connect(&self, address: SocketAddr, user: &str, config: client::Config) -> Peer {
        let banner = Arc::new(Mutex::new(String::new()));
        let (sender, forwarded) = unbounded_channel();
        let watcher = Watcher { banner: banner.clone(), forwarded: sender };
        let connected = client::connect(Arc::new(config), address, watcher).await;
        let mut handle = connected.expect("a connection to the server");
        let key = load_secret_key(&self.key.file, None).expect("the key");
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        assert!(handle.authenticate_publickey(user, key).await.expect("an answer").success());
        Peer { handle, banner, forwarded }
    }
}

impl Peer {
    /// Opens a session channel.
    pub async fn session(&self) -> Channel<Msg> {
        self.handle.channel_open_session().await.expect("a session channel")
    }
}

/// Waits for the answer to a request; what a program says meanwhile must not be there.
pub async fn answered(channel: &mut Channel<Msg>) -> bool {
    loop {
        match timeout(PATIENCE, channel.wait()).await.expect("an answer in time") {
            Some(ChannelMsg::Success) => return true,
            Some(ChannelMsg::Failure) => return false,
            Some(ChannelMsg::WindowAdjusted { .. }) => {}
            Some(ChannelMsg::ExtendedData { data, .. }) if data.starts_with(WAITING.as_bytes()) => {}
            other => panic!("an answer was awaited, not {other:?}"),
        }
    }
}

/// Everything received on a channel until it closed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The exit status.
    pub status: Option<u32>,
    /// The order of what ended the channel.
    pub order: Vec<&'static str>,
}

/// Reads a channel until it is closed.
pub async fn to_the_end(channel: &mut Channel<Msg>) -> Ended {
    let mut ended = Ended::default();
    let reading = async {
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => ended.stdout.push_str(&String::from_utf8_lossy(&data)),
                ChannelMsg::ExtendedData { data, .. } => ended.stderr.push_str(&String::from_utf8_lossy(&data)),
                ChannelMsg::ExitStatus { exit_status } => {
                    ended.status = Some(exit_status);
                    ended.order.push("exit-status");
                }
                ChannelMsg::Eof => ended.order.push("eof"),
                ChannelMsg::Close => ended.order.push("close"),
                _ => {}
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("the channel closes in time");
    // A slow machine has lines there that a fast one has not.
    ended.stderr = ended.stderr.split_inclusive('\n').filter(|line| !line.starts_with(WAITING)).collect();
    ended
}

/// Reads standard output until `wanted` has come.
pub async fn until(channel: &mut Channel<Msg>, wanted: &str) -> String {
    let mut said = String::new();
    let reading = async {
        while !said.contains(wanted) {
            match channel.wait().await {
                Some(ChannelMsg::Data { data }) => said.push_str(&String::from_utf8_lossy(&data)),
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => break,
                Some(_) => {}
            }
        }
    };
    let late = timeout(PATIENCE, reading).await.is_err();
    assert!(!late && said.contains(wanted), "{wanted:?} was awaited, {said:?} came");
    said
}
