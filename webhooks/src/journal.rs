//! One JSON line for each decision: who asked, from where, and what came of it. Never a password, a key or a setting.

use crate::toolkit::{Decide, Decision, NoConfig};
use crate::wire::{AuthzRequest, ConfigAnswer, ConfigRequest, Connection};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::Mutex;

/// Names that clients make up are cut at this many characters.
const NAME_LIMIT: usize = 255;

/// A decider whose decisions are written down.
pub struct Journal<D> {
    decider: D,
    lines: Lines,
}

/// Where lines go; each is one write.
pub struct Lines(Mutex<Box<dyn Write + Send>>);

impl Lines {
    /// To any writer.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(writer)))
    }

    /// To standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self::new(io::stdout())
    }

    /// Writes `fields` and the time as one line.
    pub fn write(&self, mut fields: Value) {
        fields["time"] = json!(jiff::Timestamp::now().to_string());
        let line = format!("{fields}\n");
        // There is nowhere to tell that lines cannot be written, and logins go on without them.
        if let Ok(mut writer) = self.0.lock() {
            drop(writer.write_all(line.as_bytes()).and_then(|()| writer.flush()));
        }
    }
}

impl<D> Journal<D> {
    /// Writes what `decider` decides to `lines`.
    pub fn new(decider: D, lines: Lines) -> Self {
        Self { decider, lines }
    }

    fn note(&self, webhook: &str, connection: &Connection, decision: &Decision) {
        let (text, reason, name) = match decision {
            Decision::Deny => ("deny", None, None),
            Decision::Allow(grant) => ("allow", None, grant.authenticated_username.as_deref()),
            Decision::Unavailable(reason) => ("unavailable", Some(reason.as_str()), None),
        };
        self.lines.write(line(webhook, connection, text, reason, name));
    }
}

fn line(webhook: &str, connection: &Connection, decision: &str, reason: Option<&str>, name: Option<&str>) -> Value {
    let mut line = json!({
        "webhook": webhook,
        "decision": decision,
        "username": cut(&connection.username),
        "remoteAddress": cut(&connection.remote_address),
        "connectionId": cut(&connection.connection_id),
    });
    if let Some(reason) = reason {
        line["reason"] = json!(reason);
    }
    if let Some(name) = name {
        line["authenticatedUsername"] = json!(name);
    }
    line
}

fn cut(text: &str) -> String {
    text.chars().take(NAME_LIMIT).collect()
}

impl<D: Decide> Decide for Journal<D> {
    async fn password(&self, connection: &Connection, password: &[u8]) -> Decision {
        let decision = self.decider.password(connection, password).await;
        self.note("password", connection, &decision);
        decision
    }

    async fn public_key(&self, connection: &Connection, key: &str) -> Decision {
        let decision = self.decider.public_key(connection, key).await;
        self.note("pubkey", connection, &decision);
        decision
    }

    async fn authorize(&self, request: &AuthzRequest) -> Decision {
        let decision = self.decider.authorize(request).await;
        self.note("authz", &request.connection, &decision);
        decision
    }

    async fn config(&self, request: &ConfigRequest) -> Result<ConfigAnswer, NoConfig> {
        let answer = self.decider.config(request).await;
        let (decision, reason) = match &answer {
            Ok(_) => ("answer", None),
            Err(NoConfig::Refused(reason)) => ("deny", Some(reason.as_str())),
            Err(NoConfig::Unavailable(reason)) => ("unavailable", Some(reason.as_str())),
        };
        let name = request.authenticated_username.as_deref();
        self.lines.write(line("config", &request.connection, decision, reason, name));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic before").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Nobody;
    impl Decide for Nobody {}

    #[tokio::test]
    async fn denial_is_one_line_without_the_password_whatever_the_name_holds() {
        let sink = Sink::default();
        let journal = Journal::new(Nobody, Lines::new(sink.clone()));
        let connection = Connection { username: format!("a\n\u{1b}{}", "b".repeat(300)), ..Connection::default() };
        assert_eq!(journal.password(&connection, b"hunter2").await, Decision::Deny);

        let text = String::from_utf8(sink.0.lock().expect("no panic before").clone()).expect("UTF-8");
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(!text.contains("hunter2") && !text.contains('\u{1b}'), "{text}");
        let line: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&line["webhook"], &line["decision"]), (&json!("password"), &json!("deny")));
        assert_eq!(line["username"].as_str().map(|name| name.chars().count()), Some(NAME_LIMIT));
    }
}
