//! The table of log codes: each with its levels and its meaning. [`super::Log::write`] takes only a [`Code`], so
//! every code is here; a test compares the table in docs/log.md. An event that ContainerSSH has, too, keeps its name.

use super::Level;
use std::fmt;

/// A log code together with the level of its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    name: &'static str,
    level: Level,
}

impl Code {
    /// Creates a code for another program that uses this log. The gateway's own codes are all in the table.
    pub fn external(name: &'static str, level: Level) -> Self {
        Self { name, level }
    }

    /// Returns the code for a line at another level of its row in the table.
    pub(crate) fn at(self, level: Level) -> Self {
        Self { level, ..self }
    }

    pub(super) fn name(self) -> &'static str {
        self.name
    }

    pub(crate) fn level(self) -> Level {
        self.level
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Defines the codes. The first level is the usual one; [`Code::at`] selects another.
macro_rules! codes {
    ($($name:ident $level:ident $(or $other:ident)* : $meaning:literal)*) => {
        $(#[doc = $meaning] pub(crate) const $name: Code = Code { name: stringify!($name), level: Level::$level };)*

        /// All codes with their levels and meanings.
        #[cfg(test)]
        const TABLE: &[(&str, &[Level], &str)] =
            &[$((stringify!($name), &[Level::$level $(, Level::$other)*], $meaning)),*];
    };
}

codes! {
    ADMIN_AVAILABLE Info: "The socket for operators listens."
    ADMIN_REFUSED Warning: "A process of another user was refused at the socket for operators."
    ADMIN_REQUEST Notice or Info: "An operator asks for something over the socket: `action`, with the user and process of the operator; at `info` if it only reads. The line comes before the effect."
    AGENT_COMPLAINT Debug: "The guest's agent writes something to its standard error."
    AGENT_FILE_MISSING Warning: "The gateway cannot bring the agent into containers: its file is not beside the gateway's own. Told once."
    AGENT_LINK_LOST Info or Warning: "The link to the guest's agent is lost (`info`), or was given up because the agent broke its protocol (`warning`). Programs over it end without an exit status."
    AGENT_UNREACHABLE Warning: "The guest's agent cannot be reached now; programs run without it."
    AGENT_WAY Info: "The way by which the agent comes into the containers of an image, or that it does not. Told once for each image."
    AUDIT_ENABLED Info: "Connections are recorded from now on, in `directory` and `format`; `signed` says whether a key signs (`audit.sealKey`)."
    AUDIT_RECORDED Info: "The recording of a connection is over: `path`, `parts`, `lastHash` (the hash of the last line of its chain) and whether its end is `sealed`."
    AUDIT_RECORDING_FAILED Error: "A recording cannot be written; the connection ends, or goes on without it (`audit.onFailure`)."
    AUTH Debug: "A webhook of the login is being asked."
    AUTH_BACKEND_ERROR Error or Warning or Debug: "A webhook of the login gave no answer, or answered with an error: to all tries (`error`), to the first (`warning`) or to a later one (`debug`)."
    AUTH_ENV_LEFT_OUT Warning: "Variables in the answer of a webhook of the login have names that no environment takes; they are left out."
    AUTH_FAILED Debug: "A webhook of the login said no."
    AUTH_SUCCESSFUL Debug: "A webhook of the login said yes."
    CONFIG_BACKEND_ERROR Error or Warning or Debug: "The config webhook gave no answer, or answered with an error: to all tries (`error`), to the first (`warning`) or to a later one (`debug`)."
    CONFIG_DENIED Info: "The config webhook refused the login."
    CONFIG_ENV_LEFT_OUT Warning: "Variables in the config webhook's answer have names that no environment takes; they are left out."
    CONFIG_REQUEST Debug: "The config webhook is being asked."
    CONFIG_RESPONSE Debug: "The config webhook answered."
    CORE_CONFIG_NOTICE Warning: "The configuration or a config webhook's answer holds something that the operator should know."
    CORE_CONFINED Info or Warning: "The process gave up what it does not need: core dumps, new privileges, the execution of programs (where the kernel has Landlock); at `warning`, the system refused one of the first two."
    CORE_DESCRIPTORS Warning or Info: "The limit of open files: low (`warning`), or enough (`info`)."
    CORE_PANIC Critical: "A part of the gateway failed by a bug of its own: the connection that it served ends, or the gateway does not start. `place` is the place in the source."
    CORE_RELOADED Notice or Warning: "The gateway read its configuration again, which holds for new connections. `changed` names the keys and files that differ from before; at `warning`, some of them take effect at the next start: `nextStart`."
    CORE_RELOAD_REFUSED Error: "The configuration that the gateway read again has mistakes, which `reason` lists as far as the line holds them. Nothing of it is in force; the gateway goes on with the old one."
    CORE_START_FAILED Critical: "The gateway cannot start."
    EVENTS_WRITE_FAILED Error or Notice: "Events cannot be written to their file, or were dropped (`error`), or are written again (`notice`)."
    GEOIP_READ Notice or Error: "The database of `geoip.maxmind-geoip2-file` has changed and was read again (`notice`), or cannot be used (`error`); then the one that was read before is used."
    HEALTH_AVAILABLE Info: "The health endpoint listens."
    HEALTH_CHECK_CHANGED Warning or Notice: "A webhook or the Kubernetes API cannot be reached any more, so that `/readyz` says no (`warning`), or is reached again (`notice`)."
    KUBERNETES_CONFIG_ERROR Error: "No pod can be made of the connection's settings."
    KUBERNETES_ENV_LEFT_OUT Warning: "Variables or files cannot be given to the guest without the agent; they are left out."
    KUBERNETES_EXEC Debug: "A program is being started in the pod."
    KUBERNETES_EXEC_RESIZE_FAILED Warning: "A terminal's new size did not reach the program."
    KUBERNETES_FILE_WRITE Debug: "A file is being written into the pod."
    KUBERNETES_FILE_WRITE_FAILED Error: "A file was not written into the pod."
    KUBERNETES_GATEWAY_GONE Notice: "Another gateway has ended; the pods that it left are removed."
    KUBERNETES_INSPECTED Warning or Notice: "A finding of the startup checks in Kubernetes."
    KUBERNETES_LEASE_FAILED Warning: "The gateway's Lease cannot be renewed; it tries again."
    KUBERNETES_LEASE_HELD Debug: "The gateway holds its Lease."
    KUBERNETES_LEASE_LEFT Warning: "The gateway ends and its Lease stays until another gateway finds that it has expired."
    KUBERNETES_LEASE_LOST Warning: "Another gateway took this one for dead, or its Lease was deleted."
    KUBERNETES_LEASE_REFUSED Warning: "The gateway may not use Leases; pods stay when a gateway is killed."
    KUBERNETES_LEASE_RESTORED Notice: "A gateway has pods but no Lease; a Lease was written for it."
    KUBERNETES_NAMESPACE_CLOSED Warning: "The pods of a namespace cannot be listed."
    KUBERNETES_NOT_INSPECTED Info: "The startup checks in Kubernetes were skipped: the file alone is not a complete configuration."
    KUBERNETES_POD_ATTACH Debug: "The gateway attaches to the program of a pod in mode session."
    KUBERNETES_POD_CLAIM Debug: "An unclaimed persistent pod is being claimed for the user."
    KUBERNETES_POD_CREATE Debug: "A pod is being created."
    KUBERNETES_POD_CREATE_FAILED Error or Debug: "A pod was not created (`error`), or is tried again (`debug`)."
    KUBERNETES_POD_GONE Error: "A pod ended before its connection."
    KUBERNETES_POD_MARK_FAILED Warning: "Pods that were left after the Lease was lost cannot be marked."
    KUBERNETES_POD_NOT_FOUND Error: "The user's persistent pod does not exist."
    KUBERNETES_POD_READY Info: "The pod is ready."
    KUBERNETES_POD_REAPED Notice: "A pod without a connection or gateway was removed."
    KUBERNETES_POD_REMOVE Debug: "A pod is being removed."
    KUBERNETES_POD_REMOVE_FAILED Error or Warning or Debug: "A pod was not removed: for good (`error`), or it is tried again."
    KUBERNETES_POD_REMOVE_SUCCESSFUL Debug: "A pod was removed."
    KUBERNETES_POD_TAKEN Error: "The user's persistent pod belongs to somebody else."
    KUBERNETES_POD_WAIT Debug: "The gateway waits for a pod to become ready."
    KUBERNETES_POD_WAIT_FAILED Error: "A pod did not become ready."
    KUBERNETES_USERNAME_TOO_LONG Warning: "The user name is shortened in the pod's label; an annotation has all of it."
    KUBERNETES_WATCH_FAILED Warning: "The watch of pods broke; it is opened again."
    LIBRARY Warning or Debug: "A library that the gateway uses reports something: a fault (`warning`), or a detail or the fault of a client (`debug`)."
    LOG_ROTATE_FAILED Error: "The log's destination cannot be opened again; the old one stays in use."
    LOG_WRITE_FAILED Warning: "Lines were dropped, or could not be written for a while."
    METRICS_AVAILABLE Info: "The metrics page listens."
    SECURITY_AGENT_FORWARDING_REJECTED Info: "The rules deny agent forwarding."
    SECURITY_ENV_REJECTED Info: "The rules deny an environment variable."
    SECURITY_EXEC_REJECTED Info: "The rules deny a command."
    SECURITY_FORWARDING_REJECTED Info: "The rules deny a connection from the client into the guest."
    SECURITY_MAX_SESSIONS Info: "The connection has as many sessions as the rules allow."
    SECURITY_REVERSE_FORWARDING_REJECTED Info: "The rules deny a listener in the guest."
    SECURITY_SHELL_REJECTED Info: "The rules deny a shell."
    SECURITY_SIGNAL_REJECTED Info: "The rules deny a signal."
    SECURITY_SUBSYSTEM_REJECTED Info: "The rules deny a subsystem."
    SECURITY_TTY_REJECTED Info: "The rules deny a terminal."
    SECURITY_X11_FORWARDING_REJECTED Info: "The rules deny X11 forwarding."
    SERVICE_DRAINED Info: "The drain is over: every connection has ended, its time is over, or the gateway was asked a second time to end. `connections` are left, and end now."
    SERVICE_STOPPED Info or Warning: "The gateway ends: every connection has ended (`info`), or it gave up waiting for them (`warning`)."
    SERVICE_STOPPING Info: "The gateway was asked to end."
    SSH_ACCEPT_FAILED Error: "A TCP connection could not be accepted."
    SSH_AUTH_ATTEMPT Debug: "The client tries to log in."
    SSH_AUTH_FAILED Info: "A login was refused. The line names the key or certificate as that of a login does."
    SSH_AUTH_SUCCESSFUL Info: "The client logged in. `fingerprint` names the key; after a login with an OpenSSH certificate, `keyId`, `serial` and `ca` (fingerprint) name the certificate."
    SSH_AUTH_UNAVAILABLE Info or Debug: "A login could not be checked, or its method is not offered."
    SSH_AVAILABLE Info: "The SSH server listens."
    SSH_BACKEND_REJECTED_HANDSHAKE Error or Debug: "A connection that logged in cannot be served."
    SSH_CHANNEL_REQUEST Debug: "The client requests something in a session."
    SSH_CHANNEL_REQUEST_FAILED Info or Debug: "A program could not be started (`info`), or a signal did not reach it."
    SSH_CHANNEL_REQUEST_SUCCESSFUL Info: "A program runs."
    SSH_CONNECTED Debug: "A client connected."
    SSH_CONNECTION_REFUSED Warning: "Connections were refused before the login: a limit, a penalty, or the PROXY protocol; at most two lines per reason and minute: the first one, and the number of the others with the addresses of most."
    SSH_DECODE_FAILED Info: "The connection ends: the client sent a string that is not UTF-8."
    SSH_DISCONNECTED Info or Debug: "A connection has ended; at `debug` before its SSH handshake, and for the health check of a proxy."
    SSH_EXIT Info: "A program ended with an exit status."
    SSH_EXIT_CODE_FAILED Info or Debug: "It is not known how a program ended."
    SSH_EXIT_SIGNAL Info: "A signal ended a program."
    SSH_FORWARD Debug: "A forwarded connection is about to open, or is over."
    SSH_FORWARD_FAILED Info or Debug: "A connection was not forwarded: the guest did not connect or was lost (`info`), or the client did not take it (`debug`)."
    SSH_HANDSHAKE_FAILED Info: "The client did not log in in time, or has no algorithm in common with the gateway."
    SSH_HANDSHAKE_SUCCESSFUL Debug: "The connection has its settings."
    SSH_HOST_KEY_MADE Notice: "The gateway made a host key of its own (`ssh.hostkeyDirectory`)."
    SSH_LIMIT Info: "The client reached a limit."
    SSH_LISTENER Info or Debug: "The guest listens for the client (`info`), is about to, or listens no more (`debug`)."
    SSH_LISTENER_CLOSED Info: "The SSH server gives an address up, after a reload; open connections stay."
    SSH_LISTENER_FAILED Info or Debug: "The guest does not listen for the client."
    SSH_LOCKED Info: "A login was refused because an operator has locked the user."
    SSH_LOGIN_ABANDONED Info: "The client left while its login waited for an answer."
    SSH_NEW_CHANNEL Debug: "The client opens a session channel."
    SSH_NOT_IMPLEMENTED Info: "The client sent something that the gateway ignores."
    SSH_PENALTY Info: "Connections of an address are refused for a while; at most ten lines per minute, and one with the number of the others and the addresses of most."
    SSH_PROGRAM_LEFT Info: "The client left while its program ran."
    SSH_PROTOCOL_BROKEN Info: "The client broke the protocol; the connection ends."
    SSH_REVOKED_KEYS_FAILED Error: "The file of revoked keys (`ssh.revokedKeys`) cannot be used, so every key is refused; once for each fault of the file."
    SSH_SFTP Debug: "An operation of SFTP is over: `operation`, `path`, `outcome`. Only where `events` are on."
    SSH_SFTP_NOT_FOLLOWED Info: "The operations of an SFTP session cannot be told any more, for the `reason` in the line. The session goes on. Only where `events` are on."
    SSH_SHARED_ADDRESS Warning: "Many users log in from an address whose connections are refused for a while; at most one line per address and 10 minutes."
    SSH_WINDOW_IGNORED Warning: "The client sent beyond its channel's window; the connection ends."
    TRACES_NOT_SENT Warning or Notice: "The collector of `traces.otlp` takes no spans, which are lost (`warning`, once), or takes them again (`notice`)."
    WEBHOOK_NOT_FOUND Notice: "A webhook answered the HEAD request of the start with status 404: the path of its URL may be wrong. Some servers answer so although they know the path."
    WEBHOOK_UNREACHABLE Warning: "A webhook was not reached at the start."
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn documented_codes_are_those_of_the_table() {
        let mut expected = String::from("| Code | Level | Event |\n|---|---|---|\n");
        for (name, levels, meaning) in TABLE {
            let levels: Vec<_> = levels.iter().map(|level| format!("`{}`", level.name())).collect();
            writeln!(expected, "| `{name}` | {} | {meaning} |", levels.join(", ")).unwrap();
        }
        let page = include_str!("../../docs/log.md");
        let table: String =
            page.lines().filter(|line| line.starts_with('|')).fold(String::new(), |table, line| table + line + "\n");
        assert_eq!(table, expected);
        assert!(TABLE.is_sorted_by_key(|(name, _, _)| name));
    }
}
