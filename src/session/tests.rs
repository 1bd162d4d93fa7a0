//! The session's task with a fake client and a fake guest.

use super::*;
use crate::audit::capture::{recorder, refusing};
use crate::guest::{
    ForwardedConnection, GuestListener, InputClosed, ListenerAddress, OutputEvent, ProgramControl, ProgramInput,
    ProgramOutput, RefusalKind,
};
use crate::policy::{
    ConnectionEndpoints, Dial, Forwarding, Listen, OpenTerminal, RuleMode, Rules, StartProgram, Terminal, X11Forwarding,
};
use crate::types::{Modes, Notices};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use inbox::{InboxBudget, InboxItem};
use parking_lot::Mutex;
use std::future::{pending, ready};
use tokio::task::JoinHandle;
use tokio::time::timeout;

type Journal = Arc<Mutex<Vec<String>>>;

/// A client that notes everything that it gets.
struct FakeClient {
    journal: Journal,
    is_gone: bool,
    /// True if the window is closed: nothing is read any more.
    is_stalled: bool,
}

impl FakeClient {
    fn note(&self, text: String) -> BoxFuture<'_, Result<(), ClientGone>> {
        if self.is_gone {
            return Box::pin(ready(Err(ClientGone)));
        }
        if self.is_stalled {
            return Box::pin(pending());
        }
        self.journal.lock().push(text);
        Box::pin(ready(Ok(())))
    }
}

impl Client for FakeClient {
    fn stdout(&self, data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
        self.note(format!("out {}", String::from_utf8_lossy(&data)))
    }

    fn stderr(&self, data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
        self.note(format!("err {}", String::from_utf8_lossy(&data)))
    }

    fn line(&self, line: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
        self.stderr(line)
    }

    fn end_of_output(&self) -> BoxFuture<'_, Result<(), ClientGone>> {
        self.note("end of output".to_owned())
    }

    fn answer(&self, accepted: bool) -> BoxFuture<'_, Result<(), ClientGone>> {
        self.note(if accepted { "success" } else { "failure" }.to_owned())
    }

    fn end(&self, exit: ClientExit) -> BoxFuture<'_, Result<(), ClientGone>> {
        self.note(format!("end {exit:?}"))
    }
}

/// The behaviour of a fake guest's only program.
#[derive(Clone)]
enum Behaviour {
    /// Reports these, and never starts.
    Waits(&'static [&'static str]),
    Refuses(Refusal),
    /// Sends its request, and has no answer.
    Sends,
    /// Refuses what is not a command.
    LacksSubsystems,
    /// Starts and outputs these; runs on if there is no exit among them.
    Runs(Vec<OutputEvent>),
    /// Starts and takes no data.
    TakesNothing,
}

struct FakeGuest {
    behaviour: Behaviour,
    /// Start and input of the program, in their order.
    journal: Journal,
}

impl Guest for FakeGuest {
    fn start(&self, program: Permit<ProgramSpec>, progress: Progress) -> BoxFuture<'_, Result<Program, Refusal>> {
        let ProgramSpec { request, env, .. } = program.spend();
        let env = env.iter().filter(|variable| !variable.name().as_str().starts_with("SSH_C"));
        let env: String = env.map(|variable| format!(" {}={}", variable.name(), variable.value())).collect();
        self.journal.lock().push(format!("start {request:?}{env}"));
        let is_command = matches!(request, ProgramRequest::Exec(_));
        Box::pin(async move {
            let mut behaviour = self.behaviour.clone();
            if matches!(behaviour, Behaviour::LacksSubsystems) {
                behaviour = match is_command {
                    true => exits(Exit::Status(0)),
                    false => Behaviour::Refuses(Refusal::new("no such subsystem").kind(RefusalKind::NotFound)),
                };
            }
            match behaviour {
                Behaviour::LacksSubsystems => pending().await,
                Behaviour::Sends => {
                    progress.send();
                    pending().await
                }
                Behaviour::Refuses(refusal) => Err(refusal),
                Behaviour::Waits(reports) => {
                    for report in reports {
                        progress.report((*report).to_owned());
                        sleep(Duration::from_millis(1)).await;
                    }
                    pending().await
                }
                Behaviour::TakesNothing => Ok(Program {
                    input: Box::new(StalledInput(FakeInput(self.journal.clone()))),
                    output: Box::new(FakeOutput(Vec::new().into_iter())),
                }),
                Behaviour::Runs(events) => Ok(Program {
                    input: Box::new(FakeInput(self.journal.clone())),
                    output: Box::new(FakeOutput(events.into_iter())),
                }),
            }
        })
    }

    fn dial(&self, _: Permit<Dial>, _: Progress) -> BoxFuture<'_, Result<ForwardedConnection, Refusal>> {
        Box::pin(pending())
    }

    fn listen(&self, _: Permit<Listen>, _: Progress) -> BoxFuture<'_, Result<GuestListener, Refusal>> {
        Box::pin(pending())
    }

    fn ready(&self, _: Progress) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(pending())
    }

    fn gone(&self) -> BoxFuture<'_, Refusal> {
        Box::pin(pending())
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

/// An opener that opens the agent's socket and refuses X11.
struct FakeListeners(Journal);

impl ListenerOpener for FakeListeners {
    fn open(&self, listen: Permit<Listen>, _: Progress) -> BoxFuture<'_, Result<ListenerAddress, Refusal>> {
        let listen = listen.spend();
        self.0.lock().push(format!("listen {listen}"));
        Box::pin(ready(match listen {
            Listen::Agent => Ok(ListenerAddress::Path("/tmp/agent".to_owned())),
            _ => Err(Refusal::new("no xauth")),
        }))
    }
}

struct FakeInput(Journal);

impl FakeInput {
    fn note<E>(&self, text: String) -> BoxFuture<'_, Result<(), E>>
    where
        E: Send + 'static,
    {
        self.0.lock().push(text);
        Box::pin(ready(Ok(())))
    }
}

impl ProgramInput for FakeInput {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.note(format!("write {}", String::from_utf8_lossy(&data)))
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.note("close".to_owned())
    }

    fn resize(&mut self, size: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.note(format!("resize {}x{}", size.columns, size.rows))
    }

    fn signal(&mut self, signal: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
        self.note(format!("signal {}", signal.spend().name))
    }
}

/// An input that takes no data, beside which sizes fail and signals arrive.
struct StalledInput(FakeInput);

impl ProgramInput for StalledInput {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.0.write(data).boxed().then(|_written| pending()).boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.0.close()
    }

    fn resize(&mut self, _: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(pending())
    }

    fn signal(&mut self, _: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(pending())
    }

    fn control(&mut self) -> Option<Box<dyn ProgramControl>> {
        Some(Box::new(FakeControl(self.0.0.clone())))
    }
}

struct FakeControl(Journal);

impl ProgramControl for FakeControl {
    fn resize(&mut self, size: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.0.lock().push(format!("resize {}x{}", size.columns, size.rows));
        Box::pin(ready(Err(InputClosed)))
    }

    fn signal(&mut self, signal: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
        self.0.lock().push(format!("signal {}", signal.spend().name));
        Box::pin(ready(Ok(())))
    }
}

impl Drop for FakeInput {
    fn drop(&mut self) {
        self.0.lock().push("dropped".to_owned());
    }
}

struct FakeOutput(std::vec::IntoIter<OutputEvent>);

impl ProgramOutput for FakeOutput {
    fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
        let event = self.0.next();
        Box::pin(async move {
            match event {
                Some(event) => event,
                None => pending().await,
            }
        })
    }
}

/// A session's task that runs, and everything that it is connected to.
struct Session {
    shown: Journal,
    program: Journal,
    ending: watch::Sender<Option<Refusal>>,
    notices: watch::Sender<Notices>,
    inbox: Inbox,
    budget: InboxBudget,
    decisions: Option<mpsc::Sender<ProgramDecision>>,
    is_idle: Arc<AtomicBool>,
    size: watch::Sender<Size>,
    signals: mpsc::Sender<Permit<SendSignal>>,
    task: JoinHandle<()>,
}

impl Session {
    fn open(behaviour: Behaviour, is_gone: bool, audit: Recorder) -> Self {
        Self::of_client(|journal| FakeClient { journal, is_gone, is_stalled: false }, behaviour, audit)
    }

    /// Opens a session whose client reads nothing.
    fn stalled(behaviour: Behaviour) -> Self {
        Self::of_client(|journal| FakeClient { journal, is_gone: false, is_stalled: true }, behaviour, recorder().0)
    }

    fn of_client(client: impl FnOnce(Journal) -> FakeClient, behaviour: Behaviour, audit: Recorder) -> Self {
        let (shown, program) = (Journal::default(), Journal::default());
        let budget = InboxBudget::default();
        let inbox = Inbox::new(budget.clone());
        let (ending, ends) = watch::channel(None);
        let (notices, told) = watch::channel(Notices::default());
        let (decisions, decided) = mpsc::channel(1);
        let is_idle = Arc::new(AtomicBool::new(false));
        let (size, resized) = watch::channel(Size::default());
        let (signals, signalled) = mpsc::channel(4);
        let task = SessionTask {
            client: Arc::new(client(shown.clone())),
            guest: Arc::new(FakeGuest { behaviour, journal: program.clone() }),
            ending: ends,
            notices: told,
            inbox: inbox.clone(),
            decisions: decided,
            is_idle: is_idle.clone(),
            listeners: Arc::new(FakeListeners(program.clone())),
            size: resized,
            signals: signalled,
            audit,
        };
        let task = tokio::spawn(task.serve());
        let decisions = Some(decisions);
        Self { shown, program, ending, notices, inbox, budget, decisions, is_idle, size, signals, task }
    }

    /// Hands over a decision on a request that is answered already.
    fn decide(&mut self, decision: Result<Permit<ProgramSpec>, Denied>) {
        let decided = decision.map(|program| AllowedProgram { program, listeners: Vec::new() });
        self.hand_over(ProgramDecision { decided, is_unanswered: false });
    }

    /// Hands over a decision on a subsystem, which is not answered yet.
    fn decide_subsystem(&mut self, decision: Result<Permit<ProgramSpec>, Denied>) {
        let decided = decision.map(|program| AllowedProgram { program, listeners: Vec::new() });
        self.hand_over(ProgramDecision { decided, is_unanswered: true });
    }

    fn hand_over(&mut self, decision: ProgramDecision) {
        self.is_idle.store(false, Ordering::Release);
        assert!(self.decisions.as_ref().unwrap().try_send(decision).is_ok());
    }

    /// Opens a session whose program is allowed.
    fn allowed(behaviour: Behaviour, terminal: bool) -> Self {
        let mut session = Self::open(behaviour, false, recorder().0);
        session.decide(Ok(exec(terminal)));
        session
    }

    /// Waits for the task's end, and returns what the client got.
    async fn ended(self) -> Vec<String> {
        timeout(Duration::from_secs(60), self.task).await.unwrap().unwrap();
        self.shown.lock().clone()
    }

    /// Lets the task do what it can, and returns what the program got since its start.
    async fn program_got(&self) -> Vec<String> {
        sleep(Duration::from_millis(10)).await;
        self.program.lock().iter().skip(1).cloned().collect()
    }
}

fn exec(terminal: bool) -> Permit<ProgramSpec> {
    program(ProgramRequest::Exec("true".to_owned()), terminal)
}

fn subsystem() -> Permit<ProgramSpec> {
    program(ProgramRequest::Subsystem("sftp".to_owned()), false)
}

fn program(request: ProgramRequest, terminal: bool) -> Permit<ProgramSpec> {
    let rules = Rules::default();
    let end = ([192, 0, 2, 1], 2).into();
    let endpoints = ConnectionEndpoints { client: end, server: end };
    let terminal = terminal.then(|| {
        let terminal = Terminal { term: "xterm".to_owned(), size: Size::default(), modes: Modes::default() };
        rules.decide(OpenTerminal { terminal }).unwrap()
    });
    rules.decide(StartProgram { request, env: Vec::new(), terminal, endpoints }).unwrap()
}

fn signal(name: &str) -> Permit<SendSignal> {
    Rules::default().decide(SendSignal { name: name.to_owned() }).unwrap()
}

fn exits(exit: Exit) -> Behaviour {
    Behaviour::Runs(vec![OutputEvent::Exit(exit)])
}

#[tokio::test(start_paused = true)]
async fn denied_request_ends_with_its_reason_and_asks_no_guest() {
    let mut session = Session::open(exits(Exit::Status(0)), false, recorder().0);
    session.decide(Err(Denied::Shell));
    let program = session.program.clone();
    assert_eq!(session.ended().await, ["err podgate: shells are disabled\n", "end Status(255)"]);
    assert!(program.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn channel_that_closes_before_its_request_ends_without_a_word() {
    let mut session = Session::open(exits(Exit::Status(0)), false, recorder().0);
    session.decisions = None;
    assert!(session.ended().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn program_that_the_guest_refuses_ends_with_the_reason_and_the_status_of_its_kind() {
    let kinds = [
        (RefusalKind::NotFound, 127),
        (RefusalKind::NotExecutable, 126),
        (RefusalKind::ContainerStopped, 255),
        (RefusalKind::Unanswered, 255),
        (RefusalKind::Other, 255),
    ];
    for (kind, status) in kinds {
        let session = Session::allowed(Behaviour::Refuses(Refusal::new("no").kind(kind)), false);
        assert_eq!(session.ended().await, ["err podgate: no\n".to_owned(), format!("end Status({status})")]);
    }
}

#[tokio::test(start_paused = true)]
async fn program_whose_request_was_sent_and_not_answered_is_never_told_as_not_started() {
    let (unknown, not_started) = ("it is not known whether the program ran", "the program could not be started");
    for (behaviour, told) in [(Behaviour::Sends, unknown), (Behaviour::Waits(&[]), not_started)] {
        let (audit, recorded) = recorder();
        let mut session = Session::open(behaviour, false, audit);
        session.decide(Ok(exec(false)));
        session.program_got().await;
        session.ending.send_replace(Some(Refusal::new("the pod is gone")));
        assert_eq!(session.ended().await, ["err podgate: the pod is gone\n", "end Status(255)"]);
        let text = recorded.text();
        assert_eq!(text.matches(told).count(), 1, "{text}");
        assert_eq!(text.matches("SSH_CHANNEL_REQUEST_FAILED").count(), 1, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_leaves_behind_its_request_has_a_line_about_the_program() {
    for (behaviour, lines) in [(Behaviour::Sends, 1), (Behaviour::Waits(&[]), 0)] {
        let (audit, recorded) = recorder();
        let mut session = Session::open(behaviour, false, audit);
        session.decide(Ok(exec(false)));
        session.program_got().await;
        session.task.abort();
        assert!(session.task.await.is_err());
        let text = recorded.text();
        assert_eq!(text.matches("it is not known whether the program ran").count(), lines, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn output_comes_before_the_exit_status() {
    let events =
        vec![OutputEvent::Stdout("one".into()), OutputEvent::Stderr("two".into()), OutputEvent::Exit(Exit::Status(7))];
    let session = Session::allowed(Behaviour::Runs(events), false);
    assert_eq!(session.ended().await, ["out one", "err two", "end Status(7)"]);
}

#[tokio::test(start_paused = true)]
async fn end_of_the_output_is_told_before_the_exit_and_input_still_reaches_the_program() {
    let events = vec![OutputEvent::Stdout("last".into()), OutputEvent::End];
    let session = Session::allowed(Behaviour::Runs(events), false);
    session.inbox.push(b"more");
    assert_eq!(session.program_got().await, ["write more"]);
    assert_eq!(*session.shown.lock(), ["out last", "end of output"]);
}

#[tokio::test(start_paused = true)]
async fn signal_is_told_as_a_signal_and_a_lost_program_never_as_0() {
    let killed = Exit::Signal { name: "KILL".to_owned(), core: false };
    let session = Session::allowed(exits(killed), false);
    assert_eq!(session.ended().await, [r#"end Signal { name: "KILL", core: false }"#]);
    let session = Session::allowed(exits(Exit::Lost(Refusal::new("cut"))), true);
    assert_eq!(session.ended().await, ["err podgate: cut\r\n", "end Status(255)"]);
}

#[tokio::test(start_paused = true)]
async fn waiting_terminal_shows_progress_and_ctrl_c_ends_the_wait_with_130() {
    let session = Session::allowed(Behaviour::Waits(&["pulling", "starting"]), true);
    sleep(Duration::from_secs(1)).await;
    session.inbox.push(b"typed\x03");
    let shown = ["err podgate: waiting: pulling\r\n", "err podgate: waiting: starting\r\n", "end Status(130)"];
    assert_eq!(session.ended().await, shown);
}

#[tokio::test(start_paused = true)]
async fn waiting_program_without_a_terminal_is_told_after_three_seconds_and_takes_ctrl_c_as_data() {
    let session = Session::allowed(Behaviour::Waits(&["pulling"]), false);
    session.inbox.push(b"\x03");
    sleep(Duration::from_millis(2_900)).await;
    assert!(session.shown.lock().is_empty());
    sleep(Duration::from_millis(200)).await;
    assert_eq!(*session.shown.lock(), ["err podgate: waiting: pulling\n"]);
    session.ending.send_replace(Some(Refusal::new("evicted")));
    let shown = ["err podgate: waiting: pulling\n", "err podgate: evicted\n", "end Status(255)"];
    assert_eq!(session.ended().await, shown);
}

#[tokio::test(start_paused = true)]
async fn client_that_is_gone_ends_the_program() {
    let events = vec![OutputEvent::Stdout("one".into())];
    let mut session = Session::open(Behaviour::Runs(events), true, recorder().0);
    session.decide(Ok(exec(false)));
    assert_eq!(session.program_got().await, ["dropped"]);
    assert!(session.ended().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn guest_that_is_gone_ends_the_running_program_with_the_reason() {
    let session = Session::allowed(Behaviour::Runs(Vec::new()), false);
    assert!(session.program_got().await.is_empty());
    session.ending.send_replace(Some(Refusal::new("evicted")));
    assert_eq!(session.ended().await, ["err podgate: evicted\n", "end Status(255)"]);
}

#[tokio::test(start_paused = true)]
async fn every_notice_is_shown_at_a_terminal_alone() {
    for (terminal, shown) in [(true, &["err podgate: soon\r\n", "err podgate: soon over\r\n"][..]), (false, &[])] {
        let session = Session::allowed(Behaviour::Runs(Vec::new()), terminal);
        assert!(session.program_got().await.is_empty());
        session.notices.send_modify(|notices| notices.add("soon".to_owned()));
        session.notices.send_modify(|notices| notices.add("soon over".to_owned()));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(*session.shown.lock(), shown);
    }
}

#[tokio::test(start_paused = true)]
async fn client_s_end_closes_the_input_of_a_program_without_a_terminal() {
    for (terminal, got) in [(false, &["write typed", "close"][..]), (true, &["write typed"])] {
        let session = Session::allowed(Behaviour::Runs(Vec::new()), terminal);
        session.inbox.push(b"typed");
        session.inbox.end();
        assert_eq!(session.program_got().await, got);
    }
}

#[tokio::test(start_paused = true)]
async fn sizes_and_signals_reach_the_program() {
    let session = Session::allowed(Behaviour::Runs(Vec::new()), true);
    assert!(session.program_got().await.is_empty());
    session.size.send_replace(Size { columns: 100, rows: 40 });
    assert_eq!(session.program_got().await, ["resize 100x40"]);
    assert!(session.signals.try_send(signal("TERM")).is_ok());
    assert_eq!(session.program_got().await, ["resize 100x40", "signal TERM"]);
}

#[tokio::test(start_paused = true)]
async fn program_whose_start_cannot_be_recorded_is_not_asked_of_the_guest() {
    let (audit, _) = refusing(|event| matches!(event, Event::ProgramStarting { .. }));
    let mut session = Session::open(exits(Exit::Status(0)), false, audit);
    session.decide(Ok(exec(false)));
    let program = session.program.clone();
    let line = format!("err podgate: {}\n", crate::audit::Unrecorded);
    assert_eq!(session.ended().await, [line, "end Status(255)".to_owned()]);
    assert!(program.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn sizes_and_signals_do_not_wait_behind_data_and_a_lost_size_ends_no_input() {
    let session = Session::allowed(Behaviour::TakesNothing, true);
    session.inbox.push(b"first");
    assert_eq!(session.program_got().await, ["write first"]);
    session.size.send_replace(Size { columns: 100, rows: 40 });
    assert!(session.signals.try_send(signal("INT")).is_ok());
    assert_eq!(session.program_got().await, ["write first", "resize 100x40", "signal INT"]);
    session.inbox.push(b"kept");
    assert!(matches!(session.inbox.take().await, InboxItem::Data(data) if data == b"kept"[..]));
}

#[tokio::test(start_paused = true)]
async fn size_reaches_the_program_before_what_was_typed_behind_it() {
    let session = Session::allowed(Behaviour::TakesNothing, true);
    assert!(session.program_got().await.is_empty());
    session.size.send_replace(Size { columns: 100, rows: 40 });
    session.inbox.push(b"stty size");
    assert_eq!(session.program_got().await, ["resize 100x40", "write stty size"]);
}

#[tokio::test(start_paused = true)]
async fn signal_and_size_that_cannot_be_recorded_do_not_reach_the_program() {
    let (audit, _) = refusing(|event| matches!(event, Event::Signalled { .. } | Event::Resized { .. }));
    let mut session = Session::open(Behaviour::Runs(Vec::new()), false, audit.clone());
    session.decide(Ok(exec(true)));
    assert!(session.program_got().await.is_empty());
    session.size.send_replace(Size { columns: 100, rows: 40 });
    assert!(session.signals.try_send(signal("TERM")).is_ok());
    assert!(session.program_got().await.is_empty());
    audit.failed().await;
}

#[tokio::test(start_paused = true)]
async fn subsystem_is_answered_when_it_has_started_and_before_its_output() {
    let events = vec![OutputEvent::Stdout("version".into()), OutputEvent::Exit(Exit::Status(0))];
    let mut session = Session::open(Behaviour::Runs(events), false, recorder().0);
    session.decide_subsystem(Ok(subsystem()));
    assert_eq!(session.ended().await, ["success", "out version", "end Status(0)"]);
}

#[tokio::test(start_paused = true)]
async fn subsystem_that_is_denied_or_that_the_guest_lacks_is_refused_and_a_command_can_follow() {
    let mut session = Session::open(Behaviour::LacksSubsystems, false, recorder().0);
    session.inbox.push(b"for the subsystem");
    session.decide_subsystem(Err(Denied::Subsystem));
    sleep(SHOW_TIME * 2).await;
    assert_eq!(*session.shown.lock(), ["err podgate: this subsystem is not allowed\n", "failure"]);
    assert!(session.is_idle.load(Ordering::Acquire) && session.program.lock().is_empty());
    session.decide_subsystem(Ok(subsystem()));
    sleep(SHOW_TIME * 2).await;
    assert!(session.is_idle.load(Ordering::Acquire));
    let program = session.program.clone();
    session.decide(Ok(exec(false)));
    let shown = session.ended().await;
    assert_eq!(shown[2..], ["err podgate: no such subsystem\n", "failure", "end Status(0)"]);
    assert_eq!(program.lock()[..2], [r#"start Subsystem("sftp")"#, r#"start Exec("true")"#]);
    assert!(!program.lock().iter().any(|line| line.starts_with("write")), "what was sent before was for the other");
}

#[tokio::test(start_paused = true)]
async fn subsystem_of_a_connection_without_a_guest_ends_with_the_reason() {
    let mut session = Session::open(Behaviour::Refuses(Refusal::new("evicted")), false, recorder().0);
    session.decide_subsystem(Ok(subsystem()));
    assert_eq!(session.ended().await, ["success", "err podgate: evicted\n", "end Status(255)"]);
}

#[tokio::test(start_paused = true)]
async fn listeners_are_opened_before_the_program_and_a_person_is_told_what_is_missing() {
    let forwarding = Forwarding { agent: RuleMode::Enable, x11: RuleMode::Enable, ..Forwarding::default() };
    let rules = Rules { forwarding, ..Rules::default() };
    for (terminal, told) in [(true, &["err podgate: no X11 forwarding: no xauth\r\n"][..]), (false, &[])] {
        let mut session = Session::open(exits(Exit::Status(0)), false, recorder().0);
        let listeners = [Listen::Agent, Listen::X11(X11Forwarding::default())];
        let listeners = listeners.map(|listen| PromisedListener::Allowed(rules.decide(listen).unwrap()));
        let decided = Ok(AllowedProgram { program: exec(terminal), listeners: listeners.into() });
        session.hand_over(ProgramDecision { decided, is_unanswered: false });
        let program = session.program.clone();
        let shown = session.ended().await;
        assert_eq!(shown[..shown.len() - 1], *told);
        let term = if terminal { " TERM=xterm" } else { "" };
        let start = format!(r#"start Exec("true"){term} SSH_AUTH_SOCK=/tmp/agent"#);
        assert_eq!(program.lock()[..3], ["listen agent", "listen X11", start.as_str()]);
    }
}

#[tokio::test(start_paused = true)]
async fn listener_that_is_open_already_is_named_to_the_program() {
    let mut session = Session::open(exits(Exit::Status(0)), false, recorder().0);
    let display =
        ListenerAddress::Display { display: "localhost:10.0".to_owned(), authority: "/tmp/cookie".to_owned() };
    let decided = Ok(AllowedProgram { program: exec(false), listeners: vec![PromisedListener::Open(display)] });
    session.hand_over(ProgramDecision { decided, is_unanswered: false });
    let program = session.program.clone();
    session.ended().await;
    assert_eq!(program.lock()[0], r#"start Exec("true") DISPLAY=localhost:10.0 XAUTHORITY=/tmp/cookie"#);
}

#[tokio::test(start_paused = true)]
async fn client_that_reads_nothing_may_send_all_it_has_when_its_program_is_over() {
    let lost = || Exit::Lost(Refusal::new("cut"));
    let cases = [
        ("lost", exits(lost()), Some(Ok(exec(false)))),
        ("refused", Behaviour::Refuses(Refusal::new("no")), Some(Ok(exec(false)))),
        ("denied", exits(Exit::Status(0)), Some(Err(Denied::Shell))),
        ("subsystem denied", exits(Exit::Status(0)), None),
        ("subsystem missing", Behaviour::LacksSubsystems, None),
    ];
    for (name, behaviour, decision) in cases {
        let mut session = Session::stalled(behaviour);
        match (decision, name) {
            (Some(decision), _) => session.decide(decision),
            (None, "subsystem denied") => session.decide_subsystem(Err(Denied::Subsystem)),
            (None, _) => session.decide_subsystem(Ok(subsystem())),
        }
        sleep(Duration::from_millis(1)).await;
        for _ in 0..2 {
            session.inbox.push(&[b'x'; 100]);
            sleep(Duration::from_millis(1)).await;
            // What is in its reader's hand counts until the reader comes back.
            assert_eq!(session.budget.held(), 0, "{name}");
        }
        assert!(!session.task.is_finished(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn program_runs_while_its_person_reads_no_notice() {
    let rules = Rules { forwarding: Forwarding { x11: RuleMode::Enable, ..Forwarding::default() }, ..Rules::default() };
    let mut session = Session::stalled(Behaviour::Runs(Vec::new()));
    let listeners = vec![PromisedListener::Allowed(rules.decide(Listen::X11(X11Forwarding::default())).unwrap())];
    session.hand_over(ProgramDecision {
        decided: Ok(AllowedProgram { program: exec(true), listeners }),
        is_unanswered: false,
    });
    session.inbox.push(b"typed");
    sleep(Duration::from_millis(10)).await;
    assert_eq!(session.program.lock().last().unwrap(), "write typed");
}
