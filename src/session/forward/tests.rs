//! The pumps with a made-up client and a made-up connection.

use super::*;
use crate::audit::capture::recorder;
use crate::guest::InputClosed;
use crate::session::inbox::InboxBudget;
use bytes::BytesMut;
use parking_lot::Mutex;
use std::future::{pending, ready};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

type Notes = Arc<Mutex<Vec<String>>>;

/// The guest's readiness to take what the client sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guest {
    Takes,
    Stalls,
    Refuses,
}

struct NotedInput {
    notes: Notes,
    guest: Guest,
}

impl ConnectionInput for NotedInput {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        match self.guest {
            Guest::Takes => {
                self.notes.lock().push(format!("guest {}", String::from_utf8_lossy(&data)));
                Box::pin(ready(Ok(())))
            }
            Guest::Stalls => Box::pin(pending()),
            Guest::Refuses => Box::pin(ready(Err(InputClosed))),
        }
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.notes.lock().push("guest end".to_owned());
        Box::pin(ready(Ok(())))
    }
}

impl Drop for NotedInput {
    fn drop(&mut self) {
        self.notes.lock().push("closed".to_owned());
    }
}

struct SentOutput(mpsc::UnboundedReceiver<Bytes>);

/// Bytes for which a connection is lost.
const LOSS: &[u8] = b"lost";

impl ConnectionOutput for SentOutput {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Refusal>> {
        Box::pin(async {
            match self.0.recv().await {
                Some(data) if data == LOSS => Err(Refusal::new("the link is over")),
                other => Ok(other),
            }
        })
    }
}

struct NotedClient {
    notes: Notes,
    is_stalled: bool,
}

impl ForwardClient for NotedClient {
    fn data(&self, data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
        if self.is_stalled {
            return Box::pin(pending());
        }
        self.notes.lock().push(format!("client {}", String::from_utf8_lossy(&data)));
        Box::pin(ready(Ok(())))
    }

    fn end_of_data(&self) -> BoxFuture<'_, Result<(), ClientGone>> {
        self.notes.lock().push("client end".to_owned());
        Box::pin(ready(Ok(())))
    }
}

/// A forward that runs, and everything that it is connected to.
struct Forward {
    notes: Notes,
    budget: InboxBudget,
    inbox: Inbox,
    /// The guest's own sending side; dropping it is the end.
    guest: Option<mpsc::UnboundedSender<Bytes>>,
    closed: CancellationToken,
    task: JoinHandle<Result<(u64, u64), Refusal>>,
}

impl Forward {
    fn begin(guest: Guest, is_stalled: bool) -> Self {
        let (notes, budget, closed) = (Notes::default(), InboxBudget::default(), CancellationToken::new());
        let inbox = Inbox::new(budget.clone());
        let (sender, receiver) = mpsc::unbounded_channel();
        let connection = ForwardedConnection {
            input: Box::new(NotedInput { notes: notes.clone(), guest }),
            output: Box::new(SentOutput(receiver)),
        };
        let (client, taken, token) = (NotedClient { notes: notes.clone(), is_stalled }, inbox.clone(), closed.clone());
        let task = tokio::spawn(async move {
            let carried = CarriedBytes::default();
            carry(connection, &client, &taken, &token, (&carried, &recorder().0)).await?;
            Ok((carried.to_guest(), carried.to_client()))
        });
        Self { notes, budget, inbox, guest: Some(sender), closed, task }
    }

    /// Lets the pumps do what they can, and returns what has happened so far.
    async fn noted(&self) -> Vec<String> {
        sleep(Duration::from_millis(1)).await;
        self.notes.lock().clone()
    }

    fn say(&self, text: &'static str) {
        self.guest.as_ref().unwrap().send(Bytes::from_static(text.as_bytes())).unwrap();
    }

    async fn ended(self) -> (Vec<String>, (u64, u64)) {
        let carried = timeout(Duration::from_secs(600), self.task).await.unwrap().unwrap();
        (self.notes.lock().clone(), carried.unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn each_direction_ends_by_itself_and_the_connection_with_the_second() {
    let mut forward = Forward::begin(Guest::Takes, false);
    forward.inbox.push(b"hello");
    forward.inbox.end();
    assert_eq!(forward.noted().await, ["guest hello", "guest end"]);
    forward.say("bye");
    forward.guest = None;
    let (notes, carried) = forward.ended().await;
    assert_eq!(notes, ["guest hello", "guest end", "client bye", "client end", "closed"]);
    assert_eq!(carried, (5, 3));

    let mut forward = Forward::begin(Guest::Takes, false);
    forward.guest = None;
    assert_eq!(forward.noted().await, ["client end"]);
    forward.inbox.push(b"late");
    forward.inbox.end();
    assert_eq!(forward.ended().await.0, ["client end", "guest late", "guest end", "closed"]);
}

#[tokio::test(start_paused = true)]
async fn lost_connection_ends_both_directions_and_is_no_end_of_data() {
    let forward = Forward::begin(Guest::Takes, false);
    forward.say("half");
    forward.guest.as_ref().unwrap().send(Bytes::from_static(LOSS)).unwrap();
    let lost = timeout(Duration::from_secs(600), forward.task).await.unwrap().unwrap();
    assert!(lost.is_err());
    assert_eq!(*forward.notes.lock(), ["client half", "closed"]);
}

#[tokio::test(start_paused = true)]
async fn guest_that_takes_no_more_does_not_stop_its_own_sending_and_holds_no_bytes() {
    let mut forward = Forward::begin(Guest::Refuses, false);
    forward.inbox.push(b"nobody takes this");
    assert!(forward.noted().await.is_empty());
    forward.inbox.push(b"nor this");
    assert_eq!(forward.budget.held(), 0);
    forward.say("answer");
    forward.guest = None;
    assert_eq!(forward.ended().await.0, ["client answer", "client end", "closed"]);
}

#[tokio::test(start_paused = true)]
async fn client_that_does_not_read_does_not_stop_its_own_sending() {
    let forward = Forward::begin(Guest::Takes, true);
    forward.say("never read");
    forward.inbox.push(b"sent");
    assert_eq!(forward.noted().await, ["guest sent"]);
    forward.closed.cancel();
    forward.inbox.end();
    assert_eq!(forward.ended().await.0, ["guest sent", "guest end", "closed"]);
}

#[tokio::test(start_paused = true)]
async fn bytes_before_the_client_s_close_reach_the_guest_and_one_that_stalls_is_given_up() {
    let forward = Forward::begin(Guest::Takes, false);
    forward.inbox.push(b"last words");
    forward.inbox.end();
    forward.closed.cancel();
    assert_eq!(forward.ended().await.0, ["guest last words", "guest end", "closed"]);

    let forward = Forward::begin(Guest::Stalls, false);
    forward.inbox.push(b"last words");
    forward.inbox.push(&[0; crate::guest::INPUT_CHUNK]);
    forward.inbox.end();
    forward.closed.cancel();
    let budget = forward.budget.clone();
    assert_eq!(forward.ended().await.0, ["closed"]);
    assert_eq!(budget.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn connection_that_is_cut_ends_at_once() {
    let forward = Forward::begin(Guest::Takes, false);
    assert!(forward.noted().await.is_empty());
    forward.inbox.refuse();
    forward.closed.cancel();
    let begun = tokio::time::Instant::now();
    forward.ended().await;
    assert!(begun.elapsed() < DRAIN);
}
