//! What an agent may send, honest or not, and what follows from it.

use super::*;

fn packet(kind: PacketType, id: u64) -> Packet {
    Packet::new(kind, id)
}

fn offer(id: u64) -> Packet {
    NewConnection { originator_address: "192.0.2.1".to_owned(), originator_port: 7, ..NewConnection::default() }
        .packet(id)
}

fn listening() -> Exchange {
    let mut exchange = Exchange::new(true);
    take(&mut exchange, packet(PacketType::Success, 0));
    take(&mut exchange, packet(PacketType::Error, LISTENS));
    assert!(exchange.is_ready() && exchange.listens());
    exchange
}

fn take(exchange: &mut Exchange, packet: Packet) -> (Received, Option<Packet>) {
    exchange.receive(packet).expect("a packet that may come")
}

const NOTHING: (Received, Option<Packet>) = (Received::Nothing, None);

#[test]
fn offers_of_a_process_that_dials_or_has_stopped_are_declined() {
    let mut dialling = Exchange::new(false);
    let declined = (Received::Nothing, Some(packet(PacketType::Error, 9)));
    assert_eq!(take(&mut dialling, offer(9)), declined);
    let mut exchange = listening();
    assert!(matches!(take(&mut exchange, offer(8)).0, Received::Offered(8, _)));
    let told: Vec<_> = exchange.stop_listening().iter().map(|packet| (packet.kind, packet.connection)).collect();
    let expected = [(PacketType::Error, 8), (PacketType::NoMoreConnections, 0), (PacketType::NewConnection, STOPPED)];
    assert_eq!(told, expected);
    assert_eq!(take(&mut exchange, offer(9)), declined);
    assert!(exchange.accept(8).is_none() && exchange.accept(9).is_none() && !exchange.has_stopped());
    assert_eq!(take(&mut exchange, packet(PacketType::Error, STOPPED)), NOTHING);
    assert!(exchange.has_stopped() && exchange.stop_listening().is_empty());
}

#[test]
fn listener_is_open_once_the_agent_refuses_or_offers_and_not_when_it_says_so() {
    let mut exchange = Exchange::new(true);
    take(&mut exchange, packet(PacketType::Success, 0));
    take(&mut exchange, packet(PacketType::Success, LISTENS));
    take(&mut exchange, packet(PacketType::Error, STOPPED));
    assert!(exchange.is_ready() && !exchange.listens() && !exchange.has_stopped());
    let origin = ("192.0.2.1".to_owned(), 7);
    assert_eq!(take(&mut exchange, offer(1)), (Received::Offered(1, origin), None));
    assert!(exchange.listens());
    assert_eq!(exchange.accept(1), Some(packet(PacketType::Success, 1)));
    assert_eq!(exchange.accept(1), None);
}

#[test]
fn ids_that_do_not_grow_and_packets_that_nobody_awaits_end_the_exchange() {
    for wrong in [offer(5), offer(4), offer(0), offer(LISTENS), offer(STOPPED)] {
        let mut exchange = listening();
        take(&mut exchange, offer(5));
        assert_eq!(exchange.receive(wrong), Err(PacketError::UsedId));
    }
    assert_eq!(listening().receive(packet(PacketType::Setup, 0)), Err(PacketError::Unexpected(0)));
    assert_eq!(listening().receive(packet(PacketType::Error, 0)), Err(PacketError::Unexpected(2)));
    assert_eq!(listening().receive(packet(PacketType::NewConnection, 1)), Err(PacketError::Malformed));
    let mut dialling = Exchange::new(false);
    take(&mut dialling, offer(u64::MAX));
    assert_eq!(dialling.ask(&NewConnection::default()).0, 1, "its ids are not those that the agent chooses");
}

#[test]
fn data_is_only_for_an_open_connection() {
    let data = |id| Packet { payload: Bytes::from_static(b"x"), ..packet(PacketType::Data, id) };
    let mut exchange = Exchange::new(false);
    let (id, asked) = exchange.ask(&NewConnection::default());
    assert_eq!((id, asked.kind), (1, PacketType::NewConnection));
    assert_eq!(take(&mut exchange, data(1)), NOTHING, "before it is accepted");
    assert_eq!(take(&mut exchange, packet(PacketType::Success, 1)), (Received::Opened(1), None));
    assert_eq!(take(&mut exchange, packet(PacketType::Success, 1)), NOTHING, "opened once");
    assert_eq!(take(&mut exchange, data(1)), (Received::Data(1, Bytes::from_static(b"x")), None));
    assert_eq!(take(&mut exchange, data(2)), NOTHING, "of another");
    assert_eq!(exchange.close(1), Some(packet(PacketType::CloseConnection, 1)));
    assert_eq!(exchange.close(1), None, "closed once");
    assert_eq!(take(&mut exchange, data(1)), NOTHING, "after its close");
    assert_eq!(exchange.connections(), 1, "until the agent confirms it");
    take(&mut exchange, packet(PacketType::Success, 1));
    assert_eq!(exchange.connections(), 0);
}

#[test]
fn connection_ends_when_the_agent_closes_or_refuses_it() {
    let mut exchange = Exchange::new(false);
    let (refused, _) = exchange.ask(&NewConnection::default());
    assert_eq!(take(&mut exchange, packet(PacketType::Error, refused)), (Received::Ended(refused), None));
    let (closed, _) = exchange.ask(&NewConnection::default());
    take(&mut exchange, packet(PacketType::Success, closed));
    let answer = Some(packet(PacketType::Success, closed));
    assert_eq!(take(&mut exchange, packet(PacketType::CloseConnection, closed)), (Received::Ended(closed), answer));
    assert_eq!(take(&mut exchange, packet(PacketType::CloseConnection, closed)), NOTHING, "of nothing");
    assert_eq!(exchange.close(closed), None, "the agent knows that it is over");
    assert_eq!(exchange.connections(), 0);
}

#[test]
fn offers_that_nobody_takes_and_connections_that_never_end_are_bounded() {
    let mut exchange = listening();
    for id in 1..=64 {
        assert!(matches!(take(&mut exchange, offer(id)).0, Received::Offered(..)));
    }
    assert_eq!(take(&mut exchange, offer(65)), (Received::Nothing, Some(packet(PacketType::Error, 65))));
    let mut exchange = listening();
    for id in 1..=256 {
        take(&mut exchange, offer(id));
        assert!(exchange.accept(id).is_some() && exchange.close(id).is_some());
    }
    assert_eq!(take(&mut exchange, offer(257)), (Received::Nothing, Some(packet(PacketType::Error, 257))));
}
