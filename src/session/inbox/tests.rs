//! Inboxes between a client that sends and a program that takes or does not.

use super::*;
use crate::session::QueuedBytes;

#[tokio::test]
async fn what_nobody_takes_is_not_held() {
    let budget = InboxBudget::default();
    let inbox = Inbox::new(budget.clone());
    inbox.push(b"abc");
    assert_eq!(budget.held(), 3);
    inbox.refuse();
    inbox.push(b"def");
    assert_eq!(budget.held(), 0);
}

#[tokio::test]
async fn dropped_inbox_gives_its_bytes_back() {
    let budget = InboxBudget::default();
    let inbox = Inbox::new(budget.clone());
    inbox.push(b"abc");
    drop(inbox);
    assert_eq!(budget.held(), 0);
}

#[tokio::test]
async fn what_was_taken_counts_until_its_reader_comes_back() {
    let budget = InboxBudget::default();
    let inbox = Inbox::new(budget.clone());
    inbox.push(b"abc");
    let _in_hand = inbox.take().await;
    assert_eq!(budget.held(), 3);
    assert_eq!((inbox.try_take(), budget.held()), (None, 0));
    inbox.push(b"abcd");
    let _in_hand = inbox.take().await;
    inbox.refuse();
    assert_eq!(budget.held(), 0);
}

#[tokio::test]
async fn packet_that_nobody_has_taken_holds_no_more_memory_than_it_needs_and_all_of_it_counts() {
    let budget = InboxBudget::default();
    let inbox = Inbox::new(budget.clone());
    inbox.push(&[0; LONG]);
    assert_eq!((budget.held(), inbox.has_taken()), (LONG, false));
    let first = inbox.take().await;
    inbox.push(&[0; LONG]);
    assert_eq!((budget.held(), inbox.has_taken()), (LONG + INPUT_CHUNK, true));
    drop((first, inbox));
    assert_eq!(budget.in_use(), QueueUse { share: usize::MAX, free_in_all: Some(usize::MAX), ..QueueUse::default() });
}

#[tokio::test]
async fn packets_of_an_identity_with_very_many_uploads_take_no_more_memory_than_they_need() {
    const PACKET: usize = 32 << 10;
    let identity = QueuedBytes::new(usize::MAX).of("alice");
    let uploads = [(); 200].map(|()| {
        let inbox = Inbox::new(InboxBudget::of(identity.clone(), 16 << 20));
        inbox.push(&[0; PACKET]);
        assert!(matches!(inbox.try_take(), Some(InboxItem::Data(_))));
        inbox.push(&[0; PACKET]);
        inbox
    });
    let held = uploads[0].0.budget.in_use().identity;
    assert!((uploads.len() * 2 * PACKET..24 << 20).contains(&held), "{held}");
}

#[tokio::test]
async fn memory_that_connections_of_one_identity_keep_is_limited_and_goes_with_them() {
    let identity = QueuedBytes::new(usize::MAX).of("alice");
    let connection = || {
        let budget = InboxBudget::of(identity.clone(), INPUT_CHUNK);
        let inbox = Inbox::new(budget.clone());
        inbox.push(&[0; INPUT_CHUNK]);
        assert!(matches!(inbox.try_take(), Some(InboxItem::Data(_))));
        (budget, inbox)
    };
    let (first, second) = (connection(), connection());
    assert!(first.0.kept_memory().is_some() && second.0.kept_memory().is_none());
    drop(first);
    assert!(connection().0.kept_memory().is_some());
}

#[tokio::test]
async fn small_packets_are_gathered_and_the_end_comes_last() {
    let inbox = Inbox::new(InboxBudget::default());
    inbox.push(b"ab");
    inbox.push(b"cd");
    inbox.push(&[0; INPUT_CHUNK]);
    inbox.end();
    assert_eq!(inbox.take().await, InboxItem::Data(BytesMut::from("abcd")));
    assert_eq!(inbox.take().await, InboxItem::Data(BytesMut::zeroed(INPUT_CHUNK)));
    assert_eq!(inbox.take().await, InboxItem::End);
    assert_eq!(inbox.take().await, InboxItem::End);
}

#[tokio::test(start_paused = true)]
async fn memory_of_what_was_taken_is_given_back_when_nothing_comes() {
    let budget = InboxBudget::default();
    let inbox = Inbox::new(budget.clone());
    inbox.push(&[0; INPUT_CHUNK]);
    drop(inbox.take().await);
    assert!(budget.kept_memory().is_some());
    assert!(timeout(QUIET * 2, inbox.take()).await.is_err(), "there is nothing to take");
    assert_eq!(budget.kept_memory(), None);
}

#[tokio::test(start_paused = true)]
async fn memory_that_another_inbox_uses_is_not_given_back() {
    let budget = InboxBudget::default();
    let (quiet, busy) = (Inbox::new(budget.clone()), Inbox::new(budget.clone()));
    let mut memory = None;
    for _ in 0..5 {
        busy.push(&[0; INPUT_CHUNK]);
        let InboxItem::Data(chunk) = busy.take().await else { panic!("there is a chunk") };
        assert_eq!(*memory.get_or_insert(chunk.as_ptr()), chunk.as_ptr());
        assert!(timeout(QUIET * 2 / 3, quiet.take()).await.is_err(), "there is nothing to take");
    }
}

#[tokio::test]
async fn memory_is_given_back_when_nobody_takes_any_more() {
    let ends: [fn(Inbox) -> Option<Inbox>; 3] = [
        |inbox| {
            inbox.end();
            assert_eq!(inbox.try_take(), Some(InboxItem::End));
            Some(inbox)
        },
        |inbox| {
            inbox.refuse();
            Some(inbox)
        },
        |_dropped| None,
    ];
    for end in ends {
        let budget = InboxBudget::default();
        let inbox = Inbox::new(budget.clone());
        inbox.push(&[0; INPUT_CHUNK]);
        drop(inbox.take().await);
        let _inbox = end(inbox);
        assert_eq!(budget.kept_memory(), None);
    }
}

#[tokio::test]
async fn packets_of_a_backlog_share_the_memory_of_whole_pieces() {
    let inbox = Inbox::new(InboxBudget::default());
    inbox.push(b"x");
    drop(inbox.try_take());
    for byte in 0..5 {
        inbox.push(&[byte; INPUT_CHUNK / 2]);
    }
    let mut taken = Vec::new();
    while let Some(InboxItem::Data(chunk)) = inbox.try_take() {
        taken.push((chunk.len(), chunk.first().copied(), chunk.last().copied()));
    }
    let expected =
        [(INPUT_CHUNK, Some(0), Some(1)), (INPUT_CHUNK, Some(2), Some(3)), (INPUT_CHUNK / 2, Some(4), Some(4))];
    assert_eq!(taken, expected);
}

#[tokio::test]
async fn backlog_that_nobody_has_taken_holds_little_more_memory_than_data() {
    for length in [1, 100, 5000, LONG, 16 * 1024, 32_000] {
        let budget = InboxBudget::default();
        let inbox = Inbox::new(budget.clone());
        let packets = 300_000 / length;
        for _ in 0..packets {
            inbox.push(&vec![0; length]);
        }
        let (data, held) = (packets * length, budget.held());
        assert!(held >= data && held <= data + data / 2, "{held} for {data} in packets of {length}");
    }
}

#[tokio::test]
async fn waiting_taker_gets_what_is_pushed_later() {
    let inbox = Inbox::new(InboxBudget::default());
    let (taken, ()) = tokio::join!(inbox.take(), async { inbox.push(b"x") });
    assert_eq!(taken, InboxItem::Data(BytesMut::from("x")));
}

#[tokio::test]
async fn key_that_interrupts_is_seen_without_being_taken_and_not_looked_for_later() {
    let inbox = Inbox::new(InboxBudget::default());
    inbox.push(b"a\x03");
    assert!(!inbox.state().interrupted, "nobody said that it interrupts");
    inbox.interrupt_by(4);
    assert!(!inbox.state().interrupted);
    inbox.interrupt_by(3);
    inbox.interrupted().await;
    assert_eq!(inbox.take().await, InboxItem::Data(BytesMut::from("a\x03")));
    let typed = Inbox::new(InboxBudget::default());
    typed.interrupt_by(24);
    typed.push(b"\x03");
    assert!(!typed.state().interrupted);
    typed.push(b"\x18");
    typed.interrupted().await;
    let later = Inbox::new(InboxBudget::default());
    later.interrupt_by(3);
    later.push(b"a");
    later.take().await;
    later.push(b"\x03");
    assert!(!later.state().interrupted);
}
