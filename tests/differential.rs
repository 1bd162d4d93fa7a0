//! The same client, doing the same on OpenSSH's sshd and on Podgate: the transcripts agree, or the row says why not, and a
//! row whose reason holds no longer fails. The tables are data, one row a case; the rows of a table share a connection.
//!
//! Single messages in every state are in [`protocol`](crate::protocol); here programs run and say what they see.

mod commands;
mod conversation;
mod ends;
mod environment;
mod files;
mod forwards;
mod requests;
mod signals;
mod streams;
mod terminals;

use crate::support::peer::Peer;
use crate::support::sshd::Sshd;
use crate::support::world::merge;
use crate::support::{Setup, World, agent, available, cluster};
use conversation::{Place, Step, converse};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

/// sshd's usual configuration: no forwards, and variables of any name.
const SSHD: &str = "DisableForwarding yes\nAcceptEnv *\n";
/// The ways of the tables that do without the guest agent too.
const WAYS: [Way; 2] = [Way::Bare, Way::Agent];
/// The reason for differences without the guest agent.
const BARE: &str = "the exec of the Kubernetes API can do no better";
/// Conversations at a time.
const AT_ONCE: usize = 6;

/// The way in which Podgate runs programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By the exec of the Kubernetes API alone.
    Bare,
    /// By the guest agent.
    Agent,
}

/// A conversation, and what is expected of its transcripts.
struct Row {
    name: String,
    steps: Vec<Step>,
    /// A part of sshd's transcript: proof that the row shows what its name says.
    shows: String,
    /// A part of Podgate's transcript that sshd's is without, and the reason.
    differs: Option<(&'static str, &'static str)>,
    /// A part of Podgate's transcript without the guest agent, where it is another.
    bare: Option<&'static str>,
    /// True if the guest agent is needed: without it the row cannot end.
    needs_agent: bool,
    /// True if numbers in the output are left out of the comparison: ports, process ids, terminals.
    numbers: bool,
}

fn row<const N: usize>(name: impl Into<String>, steps: [Step; N], shows: impl Into<String>) -> Row {
    Row {
        name: name.into(),
        steps: steps.into(),
        shows: shows.into(),
        differs: None,
        bare: None,
        needs_agent: false,
        numbers: false,
    }
}

impl Row {
    /// The same, but Podgate answers otherwise.
    fn but(self, podgate: &'static str, why: &'static str) -> Self {
        Self { differs: Some((podgate, why)), ..self }
    }

    /// The same with every number alike.
    fn numbers(self) -> Self {
        Self { numbers: true, ..self }
    }

    /// The same for the guest agent alone.
    fn agent_alone(self) -> Self {
        Self { needs_agent: true, ..self }
    }

    /// The same, but Podgate answers otherwise without the guest agent.
    fn bare(self, podgate: &'static str) -> Self {
        Self { bare: Some(podgate), ..self }
    }

    fn wrong(&self, way: Way, sshd: &str, podgate: &str) -> Option<String> {
        let alone = match way {
            Way::Bare => self.bare.map(|part| (part, BARE)),
            Way::Agent => None,
        };
        let differs = alone.or(self.differs);
        let right = sshd.contains(&self.shows)
            && match differs {
                None => sshd == podgate,
                Some((part, _)) => podgate.contains(part) && sshd != podgate,
            };
        let why = differs.map(|(part, why)| format!("\n  podgate wanted {part:?}: {why}")).unwrap_or_default();
        let wanted = format!("\n  sshd wanted {:?}{why}", self.shows);
        (!right).then(|| format!("{}\n  sshd    {sshd}\n  podgate {podgate}{wanted}", self.name))
    }
}

/// Both servers, with the same shell for the same user.
struct Servers {
    world: World,
    sshd: Sshd,
    theirs: Peer,
    ours: Peer,
    way: Way,
}

/// Differences of the servers from the usual.
#[derive(Default)]
struct Differences {
    /// Lines of sshd's configuration.
    sshd: &'static str,
    /// Parts of Podgate's configuration.
    podgate: Value,
    /// True if sshd's user is not root.
    ordinary: bool,
}

impl Servers {
    /// Starts them, where they can run.
    async fn start(way: Way, differences: Differences) -> Option<Self> {
        let why = "both servers run on one machine, so that the same programs are there";
        if !cluster::on_development(why) || !Sshd::available() {
            return None;
        }
        let shell = Sshd::shell();
        let name = shell.rsplit('/').next().expect("a name").to_owned();
        let mut pod = json!({"execCommand": [name, "-c"], "shellCommand": [shell, "-l"]});
        merge(&mut pod, if way == Way::Agent { agent::in_image() } else { agent::disabled() });
        let mut setup = Setup::config(json!({"kubernetes": {"pod": pod}}));
        merge(&mut setup.config, differences.podgate);
        let world = setup.start().await;
        let further = format!("{}MaxSessions 1000\n", differences.sshd);
        let sshd = if differences.ordinary {
            Sshd::start_for_ordinary_user(&world, &further).await?
        } else {
            Sshd::start(&world, &further).await?
        };
        let theirs = world.peer_at(sshd.address, &sshd.user).await;
        let ours = world.peer("alice").await;
        Some(Self { world, sshd, theirs, ours, way })
    }

    /// Has every conversation with both.
    async fn compare(&self, mut rows: Vec<Row>) {
        rows.retain(|row| self.way == Way::Agent || !row.needs_agent);
        let ports = [self.sshd.address.port(), self.world.port()];
        let place = |port: u16| Place { folder: self.world.folder().to_owned(), port };
        let (there, here) = (place(ports[0]), place(ports[1]));
        let wrong: Vec<String> = stream::iter(&rows)
            .map(|row| async {
                let (sshd, podgate) =
                    (converse(&self.theirs, &row.steps, &there).await, converse(&self.ours, &row.steps, &here).await);
                row.wrong(self.way, &sshd.shown(row.numbers), &podgate.shown(row.numbers))
            })
            .buffer_unordered(AT_ONCE)
            .filter_map(|wrong| async { wrong })
            .collect()
            .await;
        assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    }
}

/// Has the conversations of a table in every way.
async fn compare(rows: fn() -> Vec<Row>) {
    for way in WAYS {
        let usual = Differences { sshd: SSHD, podgate: json!({}), ordinary: false };
        if let Some(servers) = Servers::start(way, usual).await {
            servers.compare(rows()).await;
        }
    }
}

#[podgate_test::multi_thread]
async fn programs_end_as_on_sshd() {
    compare(ends::rows).await;
}

#[podgate_test::multi_thread]
async fn commands_are_understood_as_on_sshd() {
    compare(commands::rows).await;
}

#[podgate_test::multi_thread]
async fn programs_find_the_environment_that_sshd_gives_them() {
    compare(environment::rows).await;
}

#[podgate_test::multi_thread]
async fn terminals_behave_as_on_sshd() {
    compare(terminals::rows).await;
}

#[podgate_test::multi_thread]
async fn streams_carry_and_end_as_on_sshd() {
    compare(streams::rows).await;
}

#[podgate_test::multi_thread]
async fn requests_are_answered_as_on_sshd() {
    compare(requests::rows).await;
}

#[podgate_test::multi_thread]
async fn restricted_user_is_refused_what_sshd_refuses() {
    let rules = json!({"env": {"mode": "filter", "allow": ["ALLOWED"]}, "tty": {"mode": "disable"}});
    for way in WAYS {
        let sshd = "DisableForwarding yes\nPermitTTY no\nAcceptEnv ALLOWED\n";
        let restricted = Differences { sshd, podgate: json!({ "security": rules }), ordinary: false };
        if let Some(servers) = Servers::start(way, restricted).await {
            servers.compare(requests::restricted()).await;
        }
    }
}

#[podgate_test::multi_thread]
async fn signals_end_programs_as_on_sshd() {
    let ordinary = Differences { sshd: SSHD, podgate: json!({}), ordinary: true };
    if let Some(servers) = Servers::start(Way::Agent, ordinary).await {
        servers.compare(signals::rows()).await;
    }
}

#[podgate_test::multi_thread]
async fn files_are_served_as_by_openssh() {
    if !available("/usr/lib/openssh/sftp-server", "openssh-sftp-server") {
        return;
    }
    let sshd = "Subsystem sftp /usr/lib/openssh/sftp-server\n";
    let podgate = json!({"kubernetes": {"pod": {"subsystems": null}}});
    if let Some(servers) = Servers::start(Way::Agent, Differences { sshd, podgate, ordinary: false }).await {
        files::compare(&servers).await;
    }
}

#[podgate_test::multi_thread]
async fn forwards_are_opened_refused_and_cancelled_as_on_sshd() {
    let enable = json!({
        "reverseForwardingMode": "enable", "forwardingMode": "enable",
        "socketForwardingMode": "enable", "socketListenMode": "enable",
    });
    let podgate = json!({"security": {"forwarding": enable}});
    if let Some(mut servers) = Servers::start(Way::Agent, Differences { sshd: "", podgate, ordinary: false }).await {
        forwards::compare(&mut servers).await;
    }
}
