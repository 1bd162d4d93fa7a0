//! The windows against russh's account of them, and clients that send all they may.

use super::*;

const LIMIT: usize = 64 * 1024 * 1024;

/// russh's account of one connection's windows, and a client that always sends as much as it may.
struct Connection {
    windows: ReceiveWindows,
    channels: Vec<ChannelWindow>,
    /// As russh counts them.
    russh: Vec<u32>,
    target: u32,
    held: usize,
    granted: usize,
    /// The rest of the process.
    around: QueueUse,
}

impl Connection {
    fn new(channels: usize) -> Self {
        let mut connection = Self {
            windows: ReceiveWindows::new(LIMIT, None),
            channels: (0..channels).map(|_| ChannelWindow::new()).collect(),
            russh: vec![FIRST_WINDOW; channels],
            target: FIRST_WINDOW,
            held: 0,
            granted: 0,
            around: QueueUse::default(),
        };
        connection.granted = connection.promised();
        connection
    }

    fn left(&self) -> usize {
        self.channels.iter().map(ChannelWindow::left).sum()
    }

    fn promised(&self) -> usize {
        self.windows.promised(self.left())
    }

    /// Sends a packet as long as the window and the packet's limit allow, which nobody takes. `others` are the held and the
    /// granted bytes of the identity's other connections.
    fn send(&mut self, channel: usize, most: u32, has_taken: bool, others: (usize, usize)) -> PacketVerdict {
        let length = self.russh[channel].min(most);
        self.russh[channel] -= length;
        let queued = |connection: &Self| QueueUse {
            connection: connection.held,
            identity: connection.held + others.0,
            granted: connection.granted + others.1,
            ..connection.around
        };
        if self.russh[channel] < self.target / 2 {
            self.russh[channel] = self.target;
            self.channels[channel].reopen(self.target);
            let (left, queued) = (self.left(), queued(self));
            self.target = self.windows.next(queued, (left, self.granted), has_taken);
            self.granted = self.promised();
        }
        self.held += length as usize;
        let queued = queued(self);
        let verdict = self.windows.judge(&mut self.channels[channel], length as usize, queued);
        assert_eq!(self.channels[channel].left(), self.russh[channel] as usize, "russh counts the same");
        verdict
    }
}

#[test]
fn client_that_keeps_to_its_windows_is_never_cut_off_and_never_holds_more_than_the_limit() {
    for (channels, most) in [(1, PACKET), (1, 7), (2, 32_000), (64, PACKET), (64, 1), (320, PACKET), (320, 9000)] {
        let mut client = Connection::new(channels);
        for round in 0..(40_000 / channels + 20) {
            for channel in 0..channels {
                let verdict = client.send(channel, most, true, (0, 0));
                assert_ne!(verdict, PacketVerdict::Beyond, "{channels} channels, {most} at once, round {round}");
                assert_ne!(verdict, PacketVerdict::Full);
            }
        }
        assert!(client.held <= CONNECTION_MAX + channels * FIRST_WINDOW as usize + 100_000, "{}", client.held);
    }
}

#[test]
fn program_that_takes_its_data_has_the_whole_window_soon_and_keeps_it() {
    let mut client = Connection::new(1);
    let mut sent = 0;
    while client.russh[0] < WINDOW / 2 {
        sent += client.russh[0].min(PACKET);
        client.send(0, PACKET, true, (0, 0));
        client.held = 0;
    }
    assert!(sent <= 2 * FIRST_WINDOW, "{sent}");
    for _ in 0..10_000 {
        client.send(0, PACKET, true, (0, 0));
        client.held = 0;
        assert!(client.russh[0] >= WINDOW / 2 - PACKET);
    }
}

#[test]
fn channel_whose_program_has_taken_nothing_keeps_a_small_window() {
    let mut client = Connection::new(64);
    for channel in (0..64).cycle().take(10_000) {
        client.send(channel, PACKET, false, (0, 0));
        assert!(client.russh.iter().all(|window| *window <= FIRST_WINDOW));
    }
    assert!(client.held <= HIGH_MARK + 65 * FIRST_WINDOW as usize + 20_000, "{}", client.held);
}

#[test]
fn one_identity_stays_within_its_limit_with_any_number_of_connections() {
    for connections in [1, 7, 40, 250] {
        let mut clients: Vec<_> = (0..connections).map(|_| Connection::new(1)).collect();
        let (mut held, mut granted) = (0, clients.iter().map(|client| client.granted).sum::<usize>());
        for index in (0..connections).cycle().take(60_000) {
            let client = &mut clients[index];
            let others = (held - client.held, granted - client.granted);
            let verdict = client.send(0, PACKET, true, others);
            assert!(matches!(verdict, PacketVerdict::InTime | PacketVerdict::Trickling), "{verdict:?}");
            (held, granted) = (others.0 + client.held, others.1 + client.granted);
        }
        assert!(held <= LIMIT / 16 * 11 + 1_000_000, "{connections}: {held}");
        assert!(held > LIMIT / 32, "{connections}: {held}");
    }
}

#[test]
fn connections_of_an_identity_that_are_too_many_to_be_held_up_end_at_its_limit() {
    let mut clients: Vec<_> = (0..2000).map(|_| Connection::new(1)).collect();
    let (mut held, mut granted) = (0, clients.iter().map(|client| client.granted).sum::<usize>());
    let mut ended = 0;
    for index in (0..clients.len()).cycle().take(40_000) {
        let client = &mut clients[index];
        let others = (held - client.held, granted - client.granted);
        if client.send(0, PACKET, true, others) == PacketVerdict::Full {
            ended += 1;
            (client.held, client.granted) = (0, 0);
        }
        (held, granted) = (others.0 + client.held, others.1 + client.granted);
        assert!(held <= LIMIT / 4 * 3 + PACKET as usize, "{held}");
    }
    assert!(ended > 0);
}

#[test]
fn neighbor_of_stalled_connections_is_not_held_up_while_it_holds_little() {
    let mut client = Connection::new(1);
    for _ in 0..1000 {
        assert_eq!(client.send(0, PACKET, true, (LIMIT / 4 + 1, LIMIT)), PacketVerdict::InTime);
        client.held = 0;
    }
    assert!(client.russh[0] >= FIRST_WINDOW / 2);
}

#[test]
fn upload_of_a_stranger_goes_on_while_a_few_identities_hold_more_than_all_may() {
    let mark = 4 * LIMIT;
    let crowded = QueueUse { crowd: Crowd::TooMany, share: mark / 9, free_in_all: Some(0), ..QueueUse::default() };
    let held = LIMIT / 4 * 3;
    let hog = ReceiveWindows::new(LIMIT, None);
    assert!(hog.is_pressed(QueueUse { connection: held, identity: held, ..crowded }));
    let (mut stranger, mut sent) = (Connection { around: crowded, ..Connection::new(1) }, 0);
    while sent < 10_000_000 {
        sent += stranger.russh[0].min(PACKET);
        assert_eq!(stranger.send(0, PACKET, true, (0, 0)), PacketVerdict::InTime);
        assert_ne!(stranger.target, TRICKLE, "after {sent} bytes");
        // The program takes what its inbox has now and then.
        if stranger.held > SPARED - PACKET as usize {
            stranger.held = 0;
        }
    }
}

#[test]
fn trickle_begins_where_a_mark_is_passed_and_ends_with_it() {
    let queued = |connection, identity, is_crowded| {
        let crowd = if is_crowded { Crowd::Many } else { Crowd::None };
        QueueUse { connection, identity, crowd, ..QueueUse::default() }
    };
    let too_many =
        |connection, identity, share| QueueUse { crowd: Crowd::TooMany, share, ..queued(connection, identity, false) };
    for (seen, is_pressed) in [
        (queued(HIGH_MARK, HIGH_MARK, false), false),
        (QueueUse { is_over_rate: true, ..QueueUse::default() }, true),
        (queued(HIGH_MARK + 1, HIGH_MARK + 1, false), true),
        (queued(SPARED, LIMIT / 4, true), false),
        (queued(SPARED, LIMIT * 5 / 16, false), false),
        (queued(TYPED + 1, LIMIT * 5 / 16 + 1, false), true),
        (queued(TYPED, LIMIT / 2, true), false),
        (queued(SPARED + 1, LIMIT / 4, false), false),
        (queued(SPARED + 1, LIMIT / 4 + 1, false), true),
        (queued(SPARED + 1, CROWDED, true), false),
        (queued(SPARED + 1, CROWDED + 1, true), true),
        (too_many(TYPED, LIMIT / 4, CROWDED), false),
        (too_many(TYPED + 1, CROWDED, CROWDED), false),
        (too_many(TYPED + 1, CROWDED + 1, CROWDED), true),
        (too_many(SPARED, SPARED, 1), false),
        (too_many(TYPED + 1, SPARED + 1, 1), true),
        (too_many(SPARED + 1, CROWDED, CROWDED), true),
        (QueueUse { granted: LIMIT / 8 * 5, ..queued(TYPED + 1, LIMIT / 16, false) }, false),
        (QueueUse { granted: LIMIT, ..queued(TYPED + 1, LIMIT / 16, false) }, false),
        (QueueUse { granted: LIMIT / 8 * 5, ..queued(TYPED + 1, LIMIT / 16 + 1, false) }, true),
    ] {
        let (mut windows, mut channel) = (ReceiveWindows::new(LIMIT, None), ChannelWindow::new());
        assert_eq!(windows.is_pressed(seen), is_pressed, "{seen:?}");
        assert_eq!(windows.judge(&mut channel, 2, seen), PacketVerdict::InTime, "russh was not told of a trickle");
        assert_eq!(windows.next(seen, (0, 0), true) == TRICKLE, is_pressed, "{seen:?}");
        let trickling = if is_pressed { PacketVerdict::Trickling } else { PacketVerdict::InTime };
        assert_eq!(windows.judge(&mut channel, 2, seen), trickling, "{seen:?}");
        assert_eq!(windows.judge(&mut channel, 3, seen), PacketVerdict::InTime);
        assert_eq!(windows.next(QueueUse::default(), (0, 0), true), WINDOW);
    }
}

#[test]
fn client_that_ignores_its_window_is_beyond_it_after_sshd_s_grace() {
    let (mut windows, mut channel) = (ReceiveWindows::new(LIMIT, None), ChannelWindow::new());
    let mut sent = 0;
    while windows.skip(&mut channel, PACKET as usize) == PacketVerdict::InTime {
        sent += PACKET as usize;
    }
    assert!(sent <= FIRST_WINDOW as usize + GRACE, "{sent}");
}

#[test]
fn identity_whose_programs_leave_too_much_is_cut_off_but_for_its_keystrokes() {
    let over = LIMIT - LIMIT / 4 + 1;
    for (connection, identity, verdict) in [
        (TYPED + 1, over - 1, PacketVerdict::InTime),
        (TYPED + 1, over, PacketVerdict::Full),
        (TYPED, over, PacketVerdict::InTime),
    ] {
        let queued = QueueUse { connection, identity, crowd: Crowd::Many, ..QueueUse::default() };
        let (mut windows, mut channel) = (ReceiveWindows::new(LIMIT, None), ChannelWindow::new());
        assert_eq!(windows.judge(&mut channel, 1, queued), verdict, "{queued:?}");
    }
    let queued = QueueUse { connection: 1 << 30, identity: 1 << 40, ..QueueUse::default() };
    let unlimited = ReceiveWindows::new(usize::MAX, None).judge(&mut ChannelWindow::new(), 1, queued);
    assert_eq!(unlimited, PacketVerdict::InTime);
}

#[test]
fn window_of_a_client_with_a_limit_of_bandwidth_is_its_burst() {
    for (burst, most) in [(None, WINDOW), (Some(1), FIRST_WINDOW), (Some(100_000), 100_000), (Some(usize::MAX), WINDOW)]
    {
        assert_eq!(ReceiveWindows::new(LIMIT, burst).next(QueueUse::default(), (0, 0), true), most, "{burst:?}");
    }
}

#[test]
fn windows_of_all_identities_become_small_where_the_process_holds_and_grants_much() {
    for (free, window) in [
        (None, WINDOW),
        (Some(usize::MAX), WINDOW),
        (Some(16 * WINDOW as usize), WINDOW),
        (Some(16 * 100_000), 100_000),
        (Some(0), FIRST_WINDOW),
    ] {
        let queued = QueueUse { free_in_all: free, ..QueueUse::default() };
        assert_eq!(ReceiveWindows::new(LIMIT, None).next(queued, (0, 0), true), window, "{free:?}");
    }
}
