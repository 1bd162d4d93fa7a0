//! Both ends of a handshake against each other, and against peers that do not have the secret.

use super::*;

const SECRET: LinkSecret = LinkSecret([7; 32]);

fn hello(purpose: Purpose) -> Hello {
    Hello {
        purpose,
        versions: (1, 1),
        features: 5,
        link: [1; 16],
        nonce: [2; 32],
        epoch: 3,
        received: 400,
        window: 1000,
        streams: 10,
    }
}

fn welcome() -> Welcome {
    Welcome { version: 1, features: 6, nonce: [3; 32], epoch: 3, received: 500, window: 2000, streams: 20 }
}

/// Runs a handshake with a byte at a time; `noise` comes before the agent's answer.
fn shake(purpose: Purpose, agent_secret: LinkSecret, noise: &[u8]) -> Result<(Agreement, Agreement), HandshakeError> {
    let (mut gateway, first) = GatewayHandshake::new(hello(purpose), SECRET);
    let mut agent = AgentHandshake::default();
    let mut asked = None;
    for byte in first.chunks(1) {
        asked = asked.or(agent.receive(&mut Bytes::copy_from_slice(byte))?);
    }
    let (asked, secret) = asked.unwrap();
    assert_eq!(asked, hello(purpose));
    assert_eq!(secret == SECRET, purpose == Purpose::New);
    let (mut awaited, answer) = AgentHandshake::welcome(asked, agent_secret, welcome());
    let mut answer = Bytes::from([noise, &answer].concat());
    let mut agreed = None;
    while agreed.is_none() {
        let mut piece = answer.split_to(1);
        agreed = gateway.receive(&mut piece)?;
    }
    assert!(answer.is_empty());
    let (agreement, mut proof) = agreed.unwrap();
    let theirs = awaited.receive(&mut proof)?.unwrap();
    Ok((agreement, theirs))
}

#[test]
fn both_ends_agree_byte_by_byte_and_behind_noise() {
    for (purpose, noise) in [(Purpose::New, &b""[..]), (Purpose::Attach, b"motd\nPODGATE-POD PODGATE-LIN")] {
        let (gateway, agent) = shake(purpose, SECRET, noise).unwrap();
        assert_eq!((gateway.features, agent.features, gateway.version, agent.version), (4, 4, 1, 1));
        assert_eq!((gateway.peer_received, agent.peer_received), (500, 400));
        let limits = Limits { window: 1000, budget: RECEIVE_BUDGET, peer_window: 2000, peer_streams: 10, streams: 20 };
        assert_eq!(gateway.limits, limits);
        let mirrored =
            Limits { window: 2000, budget: RECEIVE_BUDGET, peer_window: 1000, peer_streams: 20, streams: 10 };
        assert_eq!(agent.limits, mirrored);
    }
}

#[test]
fn peer_without_the_secret_is_no_peer() {
    let error = shake(Purpose::Attach, LinkSecret([8; 32]), b"").unwrap_err();
    assert_eq!(error, HandshakeError::Proof, "an agent");
    let (mut awaited, _) = AgentHandshake::welcome(hello(Purpose::Attach), SECRET, welcome());
    let error = awaited.receive(&mut Bytes::from_static(&[0; MAC])).unwrap_err();
    assert_eq!(error, HandshakeError::Proof, "a gateway");
    // The agent's own proof, sent back, is not the gateway's.
    let echoed = proof(&SECRET, AGENT, &hello(Purpose::Attach), &welcome());
    let (mut awaited, _) = AgentHandshake::welcome(hello(Purpose::Attach), SECRET, welcome());
    assert_eq!(awaited.receive(&mut echoed.clone()).unwrap_err(), HandshakeError::Proof);
}

#[test]
fn secret_is_not_sent_over_a_later_carrier() {
    let (_, first) = GatewayHandshake::new(hello(Purpose::Attach), SECRET);
    assert!(!first.windows(32).any(|part| part == SECRET.0));
    let (_, first) = GatewayHandshake::new(hello(Purpose::New), SECRET);
    assert!(first.windows(32).any(|part| part == SECRET.0));
    assert_eq!(first.len(), 127);
}

#[test]
fn what_is_no_link_is_refused_early() {
    let (mut gateway, _) = GatewayHandshake::new(hello(Purpose::New), SECRET);
    let error = gateway.receive(&mut Bytes::from(vec![b'x'; 70_000])).unwrap_err();
    assert_eq!(error, HandshakeError::NoLink);
    let error = AgentHandshake::default().receive(&mut Bytes::from_static(b"GET / HTTP")).unwrap_err();
    assert_eq!(error, HandshakeError::NoLink);
    let newer = Hello { versions: (2, 9), ..hello(Purpose::New) }.encode(&SECRET).freeze();
    let error = AgentHandshake::default().receive(&mut newer.clone()).unwrap_err();
    assert_eq!(error, HandshakeError::Version { oldest: 2, newest: 9 });
}

#[test]
fn refusal_says_why() {
    let (mut gateway, _) = GatewayHandshake::new(hello(Purpose::Attach), SECRET);
    let error = gateway.receive(&mut AgentHandshake::refusal(2, "no such link")).unwrap_err();
    assert_eq!(error, HandshakeError::Refused { code: 2, reason: "no such link".into() });
}
