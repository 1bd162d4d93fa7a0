//! What comes from a Kubernetes API server or from ContainerSSH's agent, byte by byte as somebody may have made it up, and
//! what must hold of it.

use super::api::exec::fuzz as exec;
use super::api::websocket::fuzz as websocket;
use super::api::websocket::handshake;
use crate::policy::ProgramSpec;
use crate::program::command_line::CommandLine;
use crate::settings::PodSettings;
use http::{HeaderName, HeaderValue, Response};

pub(crate) use super::pod::agent::containerssh::fuzz as forward_packets;
pub(crate) use exec::{status, stream};
pub(crate) use websocket::frames;

/// Header lines of an answer to our handshake. `ACCEPT` in a value stands for the right one.
pub(crate) fn handshake(data: &[u8]) {
    let key = handshake::HandshakeKey::random();
    let mut answer = Response::new(());
    for line in String::from_utf8_lossy(data).lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim().replace("ACCEPT", &key.accept());
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            answer.headers_mut().append(name, value);
        }
    }
    if handshake::check(&answer, &key).is_ok() {
        assert_eq!(answer.headers()["sec-websocket-accept"], key.accept().as_str());
        assert_eq!(answer.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
        assert!(!answer.headers().contains_key("sec-websocket-extensions"));
    }
}

/// The command line of an exec; none where it is refused.
pub(crate) fn argv(launch: &ProgramSpec, pod: &PodSettings, env_here: bool) -> Option<Vec<String>> {
    CommandLine::new(launch, &[], pod, env_here).ok().map(|line| line.argv)
}
