//! A whole webhook server: one user with a password and a key, and the pod that the user gets. Run it with `PASSWORD=…
//! KEY='ssh-ed25519 AAAA…' cargo run -p podgate-webhooks-toolkit --example minimal`.

use podgate_webhooks::server::{Listen, Server};
use podgate_webhooks::toolkit::{Decide, Decision, Grant, NoConfig, router, same};
use podgate_webhooks::wire::{AuthzRequest, ConfigAnswer, ConfigRequest, Connection, Known, Value};
use serde_json::{Map, json};
use std::env;
use std::error::Error;
use std::io::{self, Write};

/// The login name, and what the user is called after the login.
const LOGIN: &str = "alice";
const NAME: &str = "alice@example.org";

struct OneUser {
    password: String,
    key: String,
}

impl OneUser {
    fn decide(connection: &Connection, good: bool) -> Decision {
        if connection.username != LOGIN || !good {
            return Decision::deny("wrong");
        }
        let known = Known { environment: [("TEAM".into(), Value::plain("blue"))].into(), ..Known::default() };
        Decision::Allow(Grant { authenticated_username: Some(NAME.into()), known })
    }
}

impl Decide for OneUser {
    async fn password(&self, connection: &Connection, password: &[u8]) -> Decision {
        // A server with more than one user keeps hashes of passwords, as `podgate_webhooks::directory` does.
        Self::decide(connection, same(password, self.password.as_bytes()))
    }

    async fn public_key(&self, connection: &Connection, key: &str) -> Decision {
        Self::decide(connection, same(key.as_bytes(), self.key.as_bytes()))
    }

    async fn authorize(&self, request: &AuthzRequest) -> Decision {
        match request.authenticated_username.as_deref() {
            Some(NAME) => Decision::allow(),
            _ => Decision::deny("another user"),
        }
    }

    async fn config(&self, request: &ConfigRequest) -> Result<ConfigAnswer, NoConfig> {
        let image = match request.authenticated_username.as_deref() {
            Some(NAME) => "debian:bookworm-slim",
            _ => return Err(NoConfig::Refused("nobody else has a pod here".into())),
        };
        let pod = json!({"image": image});
        Ok(ConfigAnswer::new(Map::from_iter([("kubernetes".into(), json!({ "pod": pod }))])))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let set = |name: &str| env::var(name).map_err(|_| format!("set {name} to that of the user {LOGIN}"));
    let listen = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:8080".into());
    let listen = Listen::parse(&format!("http://{listen}"), None)?;
    // The server bounds connections, bodies and every wait by itself.
    let server = Server::bind(listen, router(OneUser { password: set("PASSWORD")?, key: set("KEY")? })).await?;
    writeln!(io::stdout(), "listening on {}", server.url())?;
    server
        .run(async {
            // Without Ctrl-C there is nothing to wait for: end at once.
            drop(tokio::signal::ctrl_c().await);
        })
        .await;
    Ok(())
}
