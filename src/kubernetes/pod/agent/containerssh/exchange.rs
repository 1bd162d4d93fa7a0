//! The state of one process of ContainerSSH's agent in the mode `forward-server`: a packet in, and what follows from it out.
//!
//! Invariants: the agent is never believed. A connection that it opens counts only while the listener of its process is
//! open, and so many are kept at most; data is only for a connection that is open at both ends; nothing is answered that
//! nobody asked. What is told to the agent suits ContainerSSH's own: ids only grow, and no id is closed that it does not know.
//!
//! The agent says that it listens before it tries to, and nothing at all when it has stopped. But it refuses a connection
//! that is asked of a listener, and it can do so only once it listens: the refusals of [`LISTENS`] and [`STOPPED`] are the
//! proofs.

use super::packet::{NewConnection, Packet, PacketError, PacketType};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Limit of the connections of one process, the ones included whose end the agent has not confirmed.
const CONNECTIONS_MAX: usize = 256;
/// Limit of the offered connections that nobody has taken.
const OFFERS_MAX: usize = 64;

/// The id of the connection that is asked for as a proof that the agent listens. Its own ids go on from there.
const LISTENS: u64 = 1 << 32;
/// The same, as a proof that it has stopped.
const STOPPED: u64 = 1 << 33;

/// The state of one process.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Set once the agent has taken the set-up.
    ready: bool,
    listener: Listener,
    connections: BTreeMap<u64, Stage>,
    /// The highest id that the agent has used.
    highest: u64,
}

/// The stages of a process's listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listener {
    /// There is none: the process dials.
    None,
    Asked,
    Open,
    Stopping,
    Stopped,
}

/// The stages of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Asked of the agent.
    Asked,
    /// Offered by the agent.
    Offered,
    Open,
    /// Closed at this end, and not yet confirmed by the agent.
    Closing,
}

/// The meaning of a packet for those who use the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Received {
    /// Nothing, or a change of the state alone.
    Nothing,
    /// The agent has made the connection that it was asked for.
    Opened(u64),
    /// A connection came to the listener, from that address and port.
    Offered(u64, (String, u16)),
    /// Bytes of an open connection.
    Data(u64, Bytes),
    /// The end of a connection, both ways.
    Ended(u64),
}

impl Exchange {
    pub(super) fn new(listens: bool) -> Self {
        let listener = if listens { Listener::Asked } else { Listener::None };
        Self { ready: false, listener, connections: BTreeMap::new(), highest: 0 }
    }

    /// The packet that makes a listener prove itself.
    pub(super) fn prove_listening() -> Packet {
        NewConnection { protocol: "tcp".to_owned(), ..NewConnection::default() }.packet(LISTENS)
    }

    /// Takes a packet of the agent. The second value is the answer that it gets.
    pub(super) fn receive(&mut self, packet: Packet) -> Result<(Received, Option<Packet>), PacketError> {
        let id = packet.connection;
        let answer = |kind| Some(Packet::new(kind, id));
        let stage = self.connections.get(&id).copied();
        Ok(match (packet.kind, stage) {
            (PacketType::Success, Some(Stage::Asked)) => {
                self.connections.insert(id, Stage::Open);
                (Received::Opened(id), None)
            }
            (PacketType::Success | PacketType::Error, Some(Stage::Closing)) => {
                self.connections.remove(&id);
                (Received::Nothing, None)
            }
            (PacketType::Error, Some(Stage::Asked | Stage::Open)) => {
                self.connections.remove(&id);
                (Received::Ended(id), None)
            }
            (PacketType::Success, None) if id == 0 => {
                self.ready = true;
                (Received::Nothing, None)
            }
            (PacketType::Error, None) => {
                self.prove(id)?;
                (Received::Nothing, None)
            }
            (PacketType::Data, Some(Stage::Open)) => (Received::Data(id, packet.payload), None),
            (PacketType::CloseConnection, Some(_)) => {
                self.connections.remove(&id);
                (Received::Ended(id), answer(PacketType::Success))
            }
            (PacketType::NewConnection, _) => self.offered(id, &packet.payload)?,
            (PacketType::Setup, _) => return Err(PacketError::Unexpected(0)),
            // Its connection is over at this end, or it is no answer to anything.
            (
                PacketType::Success | PacketType::Error | PacketType::Data | PacketType::CloseConnection,
                Some(Stage::Offered | Stage::Open | Stage::Asked | Stage::Closing) | None,
            )
            | (PacketType::NoMoreConnections, _) => (Received::Nothing, None),
        })
    }

    /// Takes a refusal that is about none of the connections.
    fn prove(&mut self, id: u64) -> Result<(), PacketError> {
        match (id, self.listener) {
            (0, _) => return Err(PacketError::Unexpected(2)),
            (LISTENS, Listener::Asked) => self.listener = Listener::Open,
            (STOPPED, Listener::Stopping) => self.listener = Listener::Stopped,
            _ => {}
        }
        Ok(())
    }

    fn offered(&mut self, id: u64, payload: &[u8]) -> Result<(Received, Option<Packet>), PacketError> {
        if id <= self.highest || id == LISTENS || id == STOPPED {
            return Err(PacketError::UsedId);
        }
        // In a process that dials, the ids of what is asked for go on from the last one asked for.
        if self.listener != Listener::None {
            self.highest = id;
        }
        let new = NewConnection::decode(payload)?;
        if self.listener == Listener::Asked {
            self.listener = Listener::Open;
        }
        let waiting = self.connections.values().filter(|stage| **stage == Stage::Offered).count();
        if self.listener != Listener::Open || waiting >= OFFERS_MAX || self.connections.len() >= CONNECTIONS_MAX {
            return Ok((Received::Nothing, Some(Packet::new(PacketType::Error, id))));
        }
        self.connections.insert(id, Stage::Offered);
        Ok((Received::Offered(id, (new.originator_address, new.originator_port)), None))
    }

    /// Asks the agent for a connection.
    pub(super) fn ask(&mut self, new: &NewConnection) -> (u64, Packet) {
        self.highest += 1;
        self.connections.insert(self.highest, Stage::Asked);
        (self.highest, new.packet(self.highest))
    }

    /// Accepts a connection that was offered; `None` if it is over.
    pub(super) fn accept(&mut self, id: u64) -> Option<Packet> {
        let stage = self.connections.get_mut(&id).filter(|stage| **stage == Stage::Offered)?;
        *stage = Stage::Open;
        Some(Packet::new(PacketType::Success, id))
    }

    /// Closes a connection, or declines one that was offered. The packet is what the agent is told, if it has to be.
    pub(super) fn close(&mut self, id: u64) -> Option<Packet> {
        let stage = self.connections.get_mut(&id)?;
        match *stage {
            Stage::Asked | Stage::Open => {
                *stage = Stage::Closing;
                Some(Packet::new(PacketType::CloseConnection, id))
            }
            Stage::Offered => {
                self.connections.remove(&id);
                Some(Packet::new(PacketType::Error, id))
            }
            Stage::Closing => None,
        }
    }

    /// Ends the listener, and makes the agent prove it. What was offered and not taken is declined.
    pub(super) fn stop_listening(&mut self) -> Vec<Packet> {
        if !matches!(self.listener, Listener::Asked | Listener::Open) {
            return Vec::new();
        }
        self.listener = Listener::Stopping;
        let offered = self.connections.iter().filter(|(_, stage)| **stage == Stage::Offered);
        let offered: Vec<u64> = offered.map(|(id, _)| *id).collect();
        let mut packets: Vec<Packet> = offered.into_iter().filter_map(|id| self.close(id)).collect();
        packets.push(Packet::new(PacketType::NoMoreConnections, 0));
        packets.push(NewConnection { protocol: "tcp".to_owned(), ..NewConnection::default() }.packet(STOPPED));
        packets
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    /// True once the agent was seen to listen.
    pub(super) fn listens(&self) -> bool {
        self.listener == Listener::Open
    }

    /// True once the listener is over and the agent was seen to have stopped.
    pub(super) fn has_stopped(&self) -> bool {
        self.listener == Listener::Stopped
    }

    /// True while data may be sent to a connection.
    pub(super) fn is_open(&self, id: u64) -> bool {
        self.connections.get(&id) == Some(&Stage::Open)
    }

    /// The number of connections that count against the limit.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn connections(&self) -> usize {
        self.connections.len()
    }
}

/// Checks the invariants against a hostile agent's packets; the first byte chooses the role and the size of the pieces.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let listens = first % 2 == 1;
    let (mut exchange, mut reader) = (Exchange::new(listens), super::packet::PacketReader::default());
    let asked = (!listens).then(|| exchange.ask(&NewConnection::default()).0);
    for piece in data.chunks(usize::from(first / 2) + 1) {
        reader.push(piece);
        loop {
            let packet = match reader.next() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(_refused) => return,
            };
            let Ok((received, _answer)) = exchange.receive(packet) else { return };
            match received {
                Received::Nothing => {}
                Received::Opened(id) => assert!(exchange.is_open(id) && asked == Some(id), "nobody asked for it"),
                Received::Offered(id, _) => {
                    assert!(listens && exchange.listens(), "an offer to nobody");
                    // Every third is taken, every third declined.
                    match id % 3 {
                        0 => assert!(exchange.accept(id).is_some() && exchange.is_open(id)),
                        1 => assert!(exchange.close(id).is_some()),
                        _ => {}
                    }
                }
                Received::Data(id, payload) => assert!(exchange.is_open(id) && payload.len() <= 64 * 1024),
                Received::Ended(id) => {
                    assert!(!exchange.is_open(id) && (listens || asked == Some(id)), "the end of nothing");
                }
            }
            assert!(exchange.connections() <= CONNECTIONS_MAX);
        }
    }
}

#[cfg(test)]
mod tests;
