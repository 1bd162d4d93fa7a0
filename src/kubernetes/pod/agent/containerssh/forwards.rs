//! The forwards that ContainerSSH's agent can do, as requests to its `forward-server`, and those that it cannot, each with
//! the reason.

use super::ContainerSshAgent;
use super::forward_server::ForwardServer;
use super::packet::{ConnectionType, NewConnection, Setup};
use crate::guest::{ForwardedConnection, GuestListener, ListenerAddress, Refusal};
use crate::policy::{Dial, Listen, X11Forwarding};
use std::net::Ipv6Addr;

/// The display that ContainerSSH's agent makes, always this one.
const DISPLAY: u16 = 10;

/// The request for a listener.
#[derive(Debug, PartialEq, Eq)]
struct ListenRequest {
    setup: Setup,
    /// A variable of the agent's process.
    env: Option<String>,
    address: ListenerAddress,
}

impl ContainerSshAgent {
    /// Connects to an address inside the guest. Dropping the future gives it up.
    pub(crate) async fn dial(&self, dial: Dial) -> Result<ForwardedConnection, Refusal> {
        let setup = Setup { connection_type: ConnectionType::PortDial, ..setup() };
        let server = ForwardServer::start(self, &setup, None, false).await?;
        server.dial(&new_connection(dial)).await
    }

    /// Listens inside the guest.
    pub(crate) async fn listen(&self, listen: Listen) -> Result<GuestListener, Refusal> {
        let ListenRequest { setup, env, address } = listen_request(listen, rand::random())?;
        let server = ForwardServer::start(self, &setup, env, true).await?;
        server.listener(address, self.within).await
    }
}

fn setup() -> Setup {
    Setup {
        connection_type: ConnectionType::PortForward,
        bind_host: String::new(),
        bind_port: 0,
        protocol: "tcp",
        screen: String::new(),
        single_connection: false,
        auth_protocol: String::new(),
        auth_cookie: String::new(),
    }
}

/// The agent joins host and port by a colon, so that an IPv6 address needs its brackets.
fn host(host: String) -> String {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host }
}

fn new_connection(dial: Dial) -> NewConnection {
    match dial {
        Dial::Tcp { host: name, port } => NewConnection {
            protocol: "tcp".to_owned(),
            connected_address: host(name),
            connected_port: port,
            ..NewConnection::default()
        },
        Dial::Unix { path } => {
            NewConnection { protocol: "unix".to_owned(), connected_address: path, ..NewConnection::default() }
        }
    }
}

/// Makes the request for a listener. `random` names what is only for it.
fn listen_request(listen: Listen, random: u64) -> Result<ListenRequest, Refusal> {
    let unix = |path: String| Setup { protocol: "unix", bind_host: path, ..setup() };
    let (setup, env, address) = match listen {
        Listen::Tcp { port: 0, .. } => {
            return Err(Refusal::new("ContainerSSH's agent does not tell which port it listens on: name one"));
        }
        Listen::Tcp { host: name, port } => {
            // RFC 4254 section 7.1: an empty host is every address; OpenSSH's client sends a star for the same.
            let bind_host = if name == "*" { String::new() } else { host(name) };
            (Setup { bind_host, bind_port: port, ..setup() }, None, ListenerAddress::Port(port))
        }
        Listen::Unix { path } => (unix(path.clone()), None, ListenerAddress::Path(path)),
        Listen::Agent => {
            let path = format!("/tmp/podgate-agent-{random:016x}");
            (unix(path.clone()), None, ListenerAddress::Path(path))
        }
        Listen::X11(X11Forwarding { single_connection, auth_protocol, auth_cookie, screen }) => {
            if auth_cookie.is_empty() || !auth_cookie.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(Refusal::new("the X11 cookie is not a hexadecimal number"));
            }
            let authority = format!("/tmp/podgate-x11-{random:016x}");
            let env = format!("XAUTHORITY={authority}");
            let setup = Setup {
                connection_type: ConnectionType::X11,
                screen: screen.to_string(),
                single_connection,
                auth_protocol,
                auth_cookie,
                ..setup()
            };
            let display = format!("localhost:{DISPLAY}.{screen}");
            (setup, Some(env), ListenerAddress::Display { display, authority })
        }
    };
    Ok(ListenRequest { setup, env, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(listen: Listen) -> String {
        listen_request(listen, 1).expect_err("a refusal").reason
    }

    #[test]
    fn what_the_agent_cannot_do_is_refused_with_the_reason() {
        let any = refused(Listen::Tcp { host: "localhost".to_owned(), port: 0 });
        assert_eq!(any, "ContainerSSH's agent does not tell which port it listens on: name one");
        for auth_cookie in ["", "-f", "0g"] {
            let x11 = X11Forwarding { auth_cookie: auth_cookie.to_owned(), ..X11Forwarding::default() };
            assert_eq!(refused(Listen::X11(x11)), "the X11 cookie is not a hexadecimal number");
        }
    }

    #[test]
    fn addresses_are_as_the_agent_joins_them() {
        for (asked, expected) in
            [("localhost", "localhost"), ("*", ""), ("", ""), ("::1", "[::1]"), ("127.0.0.1", "127.0.0.1")]
        {
            let listen = Listen::Tcp { host: asked.to_owned(), port: 80 };
            let request = listen_request(listen, 1).expect("a request");
            assert_eq!((&*request.setup.bind_host, request.setup.bind_port), (expected, 80));
            assert_eq!((request.env, request.address), (None, ListenerAddress::Port(80)));
        }
        let new = new_connection(Dial::Tcp { host: "fe80::1".to_owned(), port: 80 });
        assert_eq!((&*new.protocol, &*new.connected_address, new.connected_port), ("tcp", "[fe80::1]", 80));
        let new = new_connection(Dial::Unix { path: "/run/x".to_owned() });
        assert_eq!((&*new.protocol, &*new.connected_address), ("unix", "/run/x"));
    }

    #[test]
    fn agent_socket_and_display_are_where_their_variables_say() {
        let request = listen_request(Listen::Agent, 0xab).expect("a request");
        let path = "/tmp/podgate-agent-00000000000000ab".to_owned();
        assert_eq!((request.setup.protocol, &request.setup.bind_host), ("unix", &path));
        assert_eq!(request.address, ListenerAddress::Path(path));
        let x11 = X11Forwarding {
            single_connection: true,
            auth_protocol: "MIT-MAGIC-COOKIE-1".to_owned(),
            auth_cookie: "0badcafe".to_owned(),
            screen: 2,
        };
        let request = listen_request(Listen::X11(x11), 0xab).expect("a request");
        let authority = "/tmp/podgate-x11-00000000000000ab".to_owned();
        assert_eq!(request.env, Some(format!("XAUTHORITY={authority}")));
        let display = "localhost:10.2".to_owned();
        assert_eq!(request.address, ListenerAddress::Display { display, authority });
        let Setup { connection_type, screen, single_connection, auth_cookie, .. } = request.setup;
        let set_up = (connection_type, &*screen, single_connection, &*auth_cookie);
        assert_eq!(set_up, (ConnectionType::X11, "2", true, "0badcafe"));
    }
}
