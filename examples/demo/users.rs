//! Who may log in, and what each gets: the two users of the webhook server, and the gateway's configuration. All that
//! differs between the users comes from the config webhook.

use podgate_devcluster::DevCluster;
use podgate_webhooks::directory::{Directory, User};
use podgate_webhooks::wire::{Known, Value as Text};
use serde_json::{Value, json};
use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const DEVELOPERS: &str = "developers";
const OPERATORS: &str = "operators";

/// The namespaces of the users' pods.
pub(crate) const NAMESPACES: [&str; 2] = [DEVELOPERS, OPERATORS];

/// Programs of this machine that are not on every one. A container of the development cluster has the machine's programs.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) bash: Option<PathBuf>,
    pub(crate) kubectl: bool,
}

impl Machine {
    pub(crate) fn look() -> Self {
        Self { bash: find("bash"), kubectl: find("kubectl").is_some() }
    }

    /// A shell, and a prompt that says whose it is and in which pod.
    fn shell(&self) -> (Vec<&Path>, &'static str) {
        match &self.bash {
            // The machine's own start-up files would set a prompt of theirs.
            Some(bash) => (vec![bash, Path::new("--norc")], r"alice@$HOSTNAME:\w\$ "),
            None => (vec![Path::new("/bin/sh")], "alice@$HOSTNAME$ "),
        }
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_absolute() && path.is_file())
}

/// The users that the webhook server knows.
pub(crate) fn directory(machine: &Machine, key: &str, password: &str) -> Result<Directory, Box<dyn Error>> {
    let alice = User::new().key(key)?.known(role("developer")).settings(alice(machine))?;
    let bob = User::with_password(password)?.known(role("operator")).settings(bob())?;
    Ok(Directory::new().user("alice", alice).user("bob", bob))
}

fn role(name: &str) -> Known {
    let role = Text { value: name.to_owned(), sensitive: false };
    Known { environment: [("ROLE".to_owned(), role)].into(), ..Known::default() }
}

/// A pod that stays, so that a copied file is there at the next login, and every forward. Its listeners are this machine's:
/// only loopback may be listened on.
fn alice(machine: &Machine) -> Value {
    let (shell, prompt) = machine.shell();
    json!({
        "kubernetes": {"pod": {
            "mode": "persistent",
            "createMissingPods": true,
            "metadata": {"namespace": DEVELOPERS, "name": "podgate-alice"},
            "shellCommand": shell,
            "spec": {"containers": [
                {"name": "shell", "image": "workbench", "env": [{"name": "PS1", "value": prompt}]},
            ]},
        }},
        "security": {"forwarding": {
            "forwardingMode": "enable",
            "reverseForwardingMode": "enable",
            "socketForwardingMode": "enable",
            "socketListenMode": "enable",
            "x11ForwardingMode": "enable",
            "agentForwardingMode": "enable",
            "allow": ["*:*", "unix:*", "listen:localhost:*", "listen:unix:*"],
        }},
    })
}

/// A pod for each connection, and two commands.
fn bob() -> Value {
    json!({
        "kubernetes": {"pod": {
            "metadata": {"namespace": OPERATORS},
            "spec": {"containers": [{"name": "tools", "image": "tools"}]},
        }},
        "security": {
            "command": {"mode": "filter", "allow": ["env", "date"]},
            "shell": {"mode": "disable"},
            "subsystem": {"mode": "disable"},
        },
    })
}

/// The text of the gateway's configuration file, as JSON.
pub(crate) fn configuration(
    agent: &Path,
    listen: SocketAddr,
    cluster: &DevCluster,
    hooks: &str,
    host_key: &str,
) -> Value {
    let webhook = json!({"method": "webhook", "webhook": {"url": hooks}});
    let pod = json!({"metadata": {"generateName": "podgate-"}, "agentPath": agent});
    json!({
        "log": {"level": "info", "format": "text"},
        "ssh": {"listen": listen.to_string(), "hostkeys": [host_key], "perSourcePenaltyExemptList": ["127.0.0.0/8", "::1"]},
        "auth": {"password": webhook, "publicKey": webhook},
        "configserver": {"url": format!("{hooks}/config")},
        "backend": "kubernetes",
        "kubernetes": {
            "connection": {
                "host": cluster.host(),
                "cacert": cluster.ca_pem(),
                "bearerToken": cluster.token(),
            },
            "pod": pod,
        },
    })
}
