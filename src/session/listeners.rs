//! The listeners that a program was promised before it starts: the agent's socket and the X11 display. The program learns
//! their addresses from its environment; one that the guest refuses is left out, and the program runs without it.

use crate::guest::{ListenerAddress, Progress, Refusal};
use crate::policy::{Listen, Permit, ProgramSpec};
use futures_util::future::BoxFuture;

/// The names of the listeners in a line for a person.
const AGENT: &str = "agent forwarding";
const X11: &str = "X11 forwarding";

/// A program that may run, with the listeners that its session was promised.
pub(crate) struct AllowedProgram {
    pub program: Permit<ProgramSpec>,
    pub listeners: Vec<PromisedListener>,
}

/// A listener that a session was promised by the answer to its request.
pub(crate) enum PromisedListener {
    /// It listens.
    Open(ListenerAddress),
    /// It is opened before the program starts: the guest was not ready when it was asked for.
    Allowed(Permit<Listen>),
}

/// The opener of a session's listeners. They end with the session or the connection.
pub(crate) trait ListenerOpener: Send + Sync {
    /// Listens in the guest.
    fn open(&self, listen: Permit<Listen>, progress: Progress) -> BoxFuture<'_, Result<ListenerAddress, Refusal>>;
}

/// A program whose environment names the listeners that it has.
pub(super) struct Listening {
    pub(super) program: Permit<ProgramSpec>,
    /// A line for each listener that it has not.
    pub(super) notices: Vec<String>,
}

/// Opens the listeners of a program.
pub(super) async fn open_listeners(
    allowed: AllowedProgram,
    opener: &dyn ListenerOpener,
    progress: &Progress,
) -> Listening {
    let AllowedProgram { mut program, listeners } = allowed;
    let mut notices = Vec::new();
    for promised in listeners {
        let address = match promised {
            PromisedListener::Open(address) => address,
            PromisedListener::Allowed(listen) => {
                let name = if *listen.request() == Listen::Agent { AGENT } else { X11 };
                match opener.open(listen, progress.clone()).await {
                    Ok(address) => address,
                    Err(refusal) => {
                        notices.push(format!("no {name}: {}", refusal.reason));
                        continue;
                    }
                }
            }
        };
        let (name, named) = match address {
            ListenerAddress::Path(path) => (AGENT, program.name_agent(&path)),
            ListenerAddress::Display { display, authority } => (X11, program.name_display(&display, &authority)),
            // No program is promised a port.
            ListenerAddress::Port(_) => continue,
        };
        if let Err(unnameable) = named {
            notices.push(format!("no {name}: {unnameable}"));
        }
    }
    Listening { program, notices }
}
