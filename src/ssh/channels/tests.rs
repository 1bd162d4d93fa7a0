//! The table with made-up channels: where data goes, what counts, and when a channel ends.

use super::*;
use crate::policy::{ConnectionEndpoints, Denied, OpenTerminal, ProgramRequest, ProgramSpec, Rules, StartProgram};
use crate::session::AllowedProgram;
use crate::session::QueuedBytes;
use crate::session::inbox::InboxItem;
use crate::ssh::window::{FIRST_WINDOW, PACKET, WINDOW};
use crate::types::Modes;
use futures_util::FutureExt;

struct Connection {
    table: ChannelTable<u32>,
    closed: CancellationToken,
}

/// The task's side of an open channel.
struct Task {
    inbox: Inbox,
    guards: ChannelGuards,
    receivers: SessionReceivers,
}

impl Connection {
    fn new() -> Self {
        let identity = QueuedBytes::new(usize::MAX).of("alice");
        let table = ChannelTable::new(ConnectionUse::new(), identity, (64 << 20, None));
        Self { table, closed: CancellationToken::new() }
    }

    fn open(&mut self, id: u32) -> Task {
        let (handle, receivers) = SessionHandle::new(&self.closed);
        let kind = ChannelKind::Session(Box::new(handle));
        let (inbox, guards) = self.table.open(id, kind, &self.closed);
        Task { inbox, guards, receivers }
    }

    /// Sends as much as the client may until it is held up.
    fn fill(&mut self, id: u32) {
        while self.table.window_reopened(&id, FIRST_WINDOW) >= FIRST_WINDOW {
            assert_eq!(self.table.receive(&id, &[0; PACKET as usize]), PacketVerdict::InTime);
        }
        self.table.receive(&id, b"");
    }

    /// Opens a channel whose program takes data.
    fn open_and_begin(&mut self, id: u32) -> Task {
        let task = self.open(id);
        self.table.begin_program(&id, decision(exec("cat")));
        task
    }
}

fn decision(program: Result<Permit<ProgramSpec>, Denied>) -> ProgramDecision {
    let decided = program.map(|program| AllowedProgram { program, listeners: Vec::new() });
    ProgramDecision { decided, is_unanswered: false }
}

fn exec(command: &str) -> Result<Permit<ProgramSpec>, Denied> {
    let end = ([192, 0, 2, 1], 2).into();
    let endpoints = ConnectionEndpoints { client: end, server: end };
    let request = ProgramRequest::Exec(command.to_owned());
    Rules::default().decide(StartProgram { request, env: Vec::new(), terminal: None, endpoints })
}

fn taken(inbox: &Inbox) -> Option<InboxItem> {
    inbox.take().now_or_never()
}

#[tokio::test]
async fn data_for_an_unknown_channel_or_before_a_program_is_dropped_and_does_not_count() {
    let mut connection = Connection::new();
    let task = connection.open(1);
    for id in [1, 7] {
        for _ in 0..1000 {
            assert_eq!(connection.table.window_reopened(&id, FIRST_WINDOW), FIRST_WINDOW);
            assert_eq!(connection.table.receive(&id, &[0; PACKET as usize]), PacketVerdict::InTime);
        }
    }
    assert_eq!(taken(&task.inbox), None);
    connection.table.end_of_data(&7);
    assert!(connection.table.session(&7).is_none());
}

#[tokio::test]
async fn data_goes_to_its_own_channel_and_then_its_end() {
    let mut connection = Connection::new();
    let (one, other) = (connection.open_and_begin(1), connection.open_and_begin(2));
    assert_eq!(connection.table.receive(&2, b"typed"), PacketVerdict::InTime);
    connection.table.end_of_data(&2);
    assert_eq!(taken(&one.inbox), None);
    assert_eq!(taken(&other.inbox), Some(InboxItem::Data(b"typed"[..].into())));
    assert_eq!(taken(&other.inbox), Some(InboxItem::End));
}

#[tokio::test]
async fn channel_that_is_closed_twice_ends_once_and_gives_its_bytes_back() {
    let mut connection = Connection::new();
    let (one, other) = (connection.open_and_begin(1), connection.open_and_begin(2));
    connection.fill(1);
    assert!(!one.guards.closed.is_cancelled());
    connection.table.close(&1);
    connection.table.close(&1);
    assert!(one.guards.closed.is_cancelled() && !other.guards.closed.is_cancelled());
    assert_eq!(connection.table.window_reopened(&2, FIRST_WINDOW), FIRST_WINDOW);
    connection.closed.cancel();
    assert!(other.guards.closed.is_cancelled());
}

#[tokio::test]
async fn client_that_ignores_its_window_is_found_out_whether_or_not_its_data_is_wanted() {
    let receive = |connection: &mut Connection| connection.table.receive(&1, &[0; PACKET as usize]);
    let ignore = |connection: &mut Connection| connection.table.ignore(&1, PACKET as usize);
    for packet in [receive, ignore] {
        let mut connection = Connection::new();
        let _task = connection.open_and_begin(1);
        let packets = (0..1000).find(|_| packet(&mut connection) == PacketVerdict::Beyond);
        assert!(packets.is_some_and(|packets| packets < 20), "{packets:?}");
    }
}

#[tokio::test]
async fn trickle_waits_for_the_drain() {
    let mut connection = Connection::new();
    let task = connection.open_and_begin(1);
    connection.fill(1);
    assert_eq!(connection.table.receive(&1, b"x"), PacketVerdict::Trickling);
    assert!(connection.table.wait_for_drain().now_or_never().is_none());
    while taken(&task.inbox).is_some() {}
    assert!(connection.table.wait_for_drain().now_or_never().is_some());
    assert_eq!(connection.table.receive(&1, b"x"), PacketVerdict::InTime);
}

/// Lets a client that keeps to its windows send for so long, and returns what came. The program takes it at once.
async fn sent_within(table: &mut ChannelTable<u32>, inbox: &Inbox, time: Duration) -> usize {
    let (mut window, mut target, mut sent) = (FIRST_WINDOW, FIRST_WINDOW, 0);
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        let length = window.min(PACKET);
        // As russh does it.
        window -= length;
        if window < target / 2 {
            window = target;
            target = table.window_reopened(&1, target);
        }
        sent += length as usize;
        match table.receive(&1, &vec![0; length as usize]) {
            PacketVerdict::InTime => {}
            PacketVerdict::Trickling => table.wait_for_drain().await,
            cut_off => panic!("{cut_off:?}"),
        }
        while taken(inbox).is_some() {}
        tokio::time::advance(Duration::from_micros(10)).await;
    }
    sent
}

#[tokio::test(start_paused = true)]
async fn client_with_a_limit_of_bandwidth_sends_what_it_allows_and_no_more() {
    for rate in [2 * 1024, 100_000, 10 * 1024 * 1024] {
        let identity = QueuedBytes::new(usize::MAX).of("alice");
        let mut table = ChannelTable::new(ConnectionUse::new(), identity, (64 << 20, Some(rate)));
        let closed = CancellationToken::new();
        let (inbox, _guards) = table.open(1, ChannelKind::Forward, &closed);
        let seconds = 100;
        let sent = sent_within(&mut table, &inbox, Duration::from_secs(seconds)).await as u64;
        // The windows that were open at the beginning and at the end.
        let windows = u64::from(2 * FIRST_WINDOW) + rate;
        assert!(sent <= rate * seconds + windows, "{rate}: {sent}");
        assert!(sent + windows >= rate * seconds * 9 / 10, "{rate}: {sent}");
    }
}

#[tokio::test]
async fn channel_gets_the_whole_window_once_its_program_has_taken_data() {
    let mut connection = Connection::new();
    let (one, _other) = (connection.open_and_begin(1), connection.open_and_begin(2));
    connection.table.receive(&1, b"typed");
    assert_eq!(connection.table.window_reopened(&1, FIRST_WINDOW), FIRST_WINDOW);
    assert!(taken(&one.inbox).is_some());
    assert_eq!(connection.table.window_reopened(&1, FIRST_WINDOW), WINDOW);
    assert_eq!(connection.table.window_reopened(&2, WINDOW), FIRST_WINDOW, "its program has taken nothing");
}

#[tokio::test]
async fn connections_of_one_identity_are_counted_together_and_give_back_when_they_end() {
    let all = QueuedBytes::new(usize::MAX);
    let identity = all.of("alice");
    let mut tables = [(); 2].map(|()| ChannelTable::new(ConnectionUse::new(), identity.clone(), (64 << 20, None)));
    let closed = CancellationToken::new();
    let tasks: Vec<_> = tables.iter_mut().map(|table| table.open(1, ChannelKind::Forward, &closed)).collect();
    for table in &mut tables {
        table.receive(&1, &[0; 1000]);
    }
    let [first, second] = &tables;
    let counted = first.budget.in_use();
    assert_eq!((counted.connection, counted.identity, counted.granted), (1000, 2000, 4 * FIRST_WINDOW as usize));
    assert_eq!(second.budget.in_use(), counted);
    drop((tables, tasks));
    assert_eq!(
        InboxBudget::of(identity, 0).in_use(),
        QueueUse { share: usize::MAX, free_in_all: Some(usize::MAX), ..QueueUse::default() }
    );
}

#[tokio::test]
async fn decision_about_a_program_beside_another_does_nothing() {
    let mut connection = Connection::new();
    let mut task = connection.open_and_begin(1);
    connection.table.begin_program(&1, decision(Err(Denied::Shell)));
    connection.table.begin_program(&7, decision(exec("true")));
    let allowed = task.receivers.decisions.try_recv().unwrap().decided.unwrap();
    assert_eq!(allowed.program.request().request, ProgramRequest::Exec("cat".to_owned()));
    assert!(task.receivers.decisions.try_recv().is_err());
    assert!(!connection.table.session(&1).unwrap().is_idle());
    task.receivers.is_idle.store(true, Ordering::Release);
    connection.table.begin_program(&1, decision(exec("true")));
    assert!(task.receivers.decisions.try_recv().is_ok(), "the first was a subsystem that was refused");
}

#[tokio::test]
async fn channel_whose_task_has_ended_leaves_the_table_at_the_next_open() {
    let mut connection = Connection::new();
    drop(connection.open_and_begin(1));
    assert!(connection.table.session(&1).is_some());
    let _second = connection.open(2);
    assert!(connection.table.session(&1).is_none());
}

#[tokio::test]
async fn forwarded_channel_takes_data_at_once_and_keeps_it_when_the_client_closes() {
    let mut connection = Connection::new();
    let (inbox, guards) = connection.table.open(1, ChannelKind::Forward, &connection.closed);
    assert!(connection.table.session(&1).is_none());
    connection.table.begin_program(&1, decision(exec("cat")));
    connection.table.receive(&1, b"last");
    connection.table.close(&1);
    assert!(guards.closed.is_cancelled() && !connection.table.has(&1));
    assert_eq!(taken(&inbox), Some(InboxItem::Data(b"last"[..].into())));
    assert_eq!(taken(&inbox), Some(InboxItem::End));
}

#[tokio::test]
async fn forwarded_channel_that_is_cut_gives_its_bytes_back() {
    let mut connection = Connection::new();
    let (inbox, _guards) = connection.table.open(1, ChannelKind::Forward, &connection.closed);
    connection.table.receive(&1, b"lost");
    drop(connection.table);
    assert_eq!(taken(&inbox), Some(InboxItem::End));
}

#[test]
fn size_before_the_program_is_its_first_and_a_later_one_a_change() {
    let (mut handle, receivers) = SessionHandle::new(&CancellationToken::new());
    let [first, before, later] = [80, 101, 132].map(|columns| Size { columns, rows: 24 });
    let terminal = Terminal { term: "xterm".to_owned(), size: first, modes: Modes::default() };
    handle.set_terminal(Rules::default().decide(OpenTerminal { terminal }).unwrap());
    handle.resize(before);
    let (_, terminal) = handle.take_permits();
    assert_eq!(terminal.unwrap().spend().size, before);
    assert!(!receivers.size.has_changed().unwrap());
    handle.resize(later);
    assert_eq!(*receivers.size.borrow(), later);
}
