//! A whole webhook server: one user, one password, one image. Run it with `cargo run -p podgate-webhooks --example
//! minimal` and let a gateway ask it at `http://127.0.0.1:8080` (logins) and `http://127.0.0.1:8080/config`.

use podgate_webhooks::server::{Listen, Server};
use podgate_webhooks::toolkit::{Decide, Decision, Grant, NoConfig, router};
use podgate_webhooks::wire::{ConfigAnswer, ConfigRequest, Connection, Known, Value};
use serde_json::{Map, json};
use std::error::Error;

struct OneUser {
    password: String,
}

impl Decide for OneUser {
    // What is not implemented here (keys, authorization) denies.
    async fn password(&self, connection: &Connection, password: &[u8]) -> Decision {
        // A real server keeps a hash of the password: see `podgate_webhooks::directory`.
        if connection.username != "foo" || password != self.password.as_bytes() {
            return Decision::Deny;
        }
        let known = Known { environment: [("TEAM".into(), Value::plain("blue"))].into(), ..Known::default() };
        Decision::Allow(Grant { authenticated_username: Some("foo@example.com".into()), known })
    }

    async fn config(&self, request: &ConfigRequest) -> Result<ConfigAnswer, NoConfig> {
        let image = match request.authenticated_username.as_deref() {
            Some("foo@example.com") => "docker.io/library/debian:13",
            _ => return Err(NoConfig::Refused("nobody else has a pod here".into())),
        };
        let pod = json!({"spec": {"containers": [{"name": "shell", "image": image}]}, "disableAgent": true});
        let config = [("backend".into(), json!("kubernetes")), ("kubernetes".into(), json!({ "pod": pod }))];
        Ok(ConfigAnswer::new(Map::from_iter(config)))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let password = std::env::var("PASSWORD").map_err(|_| "set PASSWORD to the password of the user foo")?;
    let server = Server::bind(Listen::parse("http://127.0.0.1:8080", None)?, router(OneUser { password })).await?;
    server
        .run(async {
            // Without Ctrl-C there is nothing to wait for: end at once.
            drop(tokio::signal::ctrl_c().await);
        })
        .await;
    Ok(())
}
