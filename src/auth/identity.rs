//! The proven identity of a client, the facts about a client before that, and the check of what webhooks say about users.

use crate::types::{ConnectionId, EnvName, NamesLeftOut, Username, quoted};
use podgate_webhooks::wire::{self, Certificate, Known};
use std::net::SocketAddr;

/// Longest `authenticatedUsername`, in bytes.
const NAME_BYTES: usize = 1024;

/// Proven identity of a client. Only this room constructs it, after the last step of a login said yes.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    username: Username,
    authenticated: String,
    /// The names that a later webhook replaced.
    replaced: Vec<String>,
    known: Known,
    certificate: Option<Box<Certificate>>,
}

impl Identity {
    /// Starts from the first yes; without an `authenticated` name, the login name is used.
    pub(super) fn new(username: Username, authenticated: Option<String>, known: Known) -> Self {
        let authenticated = authenticated.unwrap_or_else(|| username.as_str().to_owned());
        Self { username, authenticated, replaced: Vec::new(), known, certificate: None }
    }

    /// Adds the certificate by which the client proved to be it.
    pub(super) fn with_certificate(self, certificate: Option<Certificate>) -> Self {
        Self { certificate: certificate.map(Box::new), ..self }
    }

    /// An identity without a proof.
    #[cfg(test)]
    pub(crate) fn for_test(username: Username, authenticated: &str, known: Known) -> Self {
        Self::new(username, Some(authenticated.to_owned()), known)
    }

    /// Login name that the client sent.
    pub(crate) fn username(&self) -> &Username {
        &self.username
    }

    /// `authenticatedUsername`: the authenticator's name for the user, by default the login name.
    pub(crate) fn authenticated(&self) -> &str {
        &self.authenticated
    }

    /// Every `authenticatedUsername` that a webhook gave, the last one at the end.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.replaced.iter().chain([&self.authenticated]).map(String::as_str)
    }

    /// The webhooks' data about the user. Names of variables are [`EnvName`]s; values and paths have no NUL.
    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// The certificate by which the client proved to be it; `None` for a plain key and a password.
    pub(crate) fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_deref()
    }

    /// Merges the answer of a later webhook, which takes precedence; absent values change nothing.
    pub(crate) fn merge(&mut self, authenticated: Option<String>, known: Known) {
        if let Some(name) = authenticated {
            self.replaced.push(std::mem::replace(&mut self.authenticated, name));
        }
        self.known.merge(known);
    }
}

/// Facts about a client that need no proof.
#[derive(Debug, Clone)]
pub(crate) struct ClientFacts {
    pub connection: ConnectionId,
    /// Address of the client.
    pub remote: SocketAddr,
    /// The client's identification string, for example `SSH-2.0-OpenSSH_9.6`; may be empty.
    pub client_version: String,
}

impl ClientFacts {
    /// The fields that all requests to webhooks share.
    pub(crate) fn connection_as(&self, username: &Username, known: Known) -> wire::Connection {
        let remote = SocketAddr::new(self.remote.ip().to_canonical(), self.remote.port());
        wire::Connection {
            remote_address: remote.to_string(),
            connection_id: self.connection.to_string(),
            client_version: self.client_version.clone(),
            username: username.as_str().to_owned(),
            known,
            certificate: None,
            // The webhook's client makes one for each question.
            idempotency_key: None,
        }
    }
}

/// Checks an answer's `authenticatedUsername` and its data about the user. Removes and returns the variables whose names are
/// not valid in a shell. The error names the field, never a value.
pub(crate) fn check_user_data(name: Option<&str>, known: &mut Known) -> Result<NamesLeftOut, String> {
    if name.is_some_and(|name| name.len() > NAME_BYTES || name.chars().any(char::is_control)) {
        return Err(format!("authenticatedUsername: has a control character or more than {NAME_BYTES} bytes"));
    }
    let mut left = NamesLeftOut::default();
    known.environment.retain(|name, _| {
        let is_name = EnvName::parse(name).is_ok();
        if !is_name {
            left.add(name.as_str());
        }
        is_name
    });
    if let Some((name, _)) = known.environment.iter().find(|(_, entry)| entry.value.contains('\0')) {
        return Err(format!("environment: {} has a value with a NUL character", quoted(name)));
    }
    for path in known.files.keys() {
        if path.is_empty() || path.contains('\0') {
            return Err(format!("files: {} is not a path", quoted(path)));
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use podgate_webhooks::wire::{File, Value};

    fn environment(entries: &[(&str, &str)]) -> Known {
        let entries = entries.iter().map(|&(name, value)| (name.to_owned(), Value::secret(value)));
        Known { environment: entries.collect(), ..Known::default() }
    }

    fn files(path: &str) -> Known {
        Known { files: [(path.to_owned(), File::plain(*b"s3cret"))].into(), ..Known::default() }
    }

    #[test]
    fn what_cannot_be_set_or_written_is_refused_without_its_value() {
        let refused = [
            check_user_data(Some("a\nb"), &mut Known::default()),
            check_user_data(Some(&"a".repeat(1025)), &mut Known::default()),
            check_user_data(None, &mut environment(&[("A", "s3cret\0")])),
            check_user_data(None, &mut files("")),
            check_user_data(None, &mut files("/a\0")),
        ];
        for outcome in refused {
            let text = outcome.expect_err("must be refused");
            assert!(!text.contains("s3cret"), "{text}");
        }
        assert_eq!(
            check_user_data(Some("jo@example.com"), &mut environment(&[("A_1", "a\nb")])),
            Ok(NamesLeftOut::default())
        );
        assert_eq!(check_user_data(None, &mut files("/etc/a")), Ok(NamesLeftOut::default()));
    }

    #[test]
    fn variable_whose_name_no_shell_allows_is_left_out_and_the_others_stay() {
        for name in
            ["X-Y", "a.b", "1A", "", "A B", "A=B", "--split-string=id", "-S", "BASH_FUNC_ls%%", "Ä", "A\0", "A\n"]
        {
            let mut known = environment(&[(name, "s3cret\0"), ("A", "1")]);
            let left = check_user_data(None, &mut known).expect("usable");
            assert_eq!(left.shown().map(|shown| shown.matches('"').count()), Some(2), "{name:?}");
            assert_eq!(known.environment.keys().collect::<Vec<_>>(), ["A"], "{name:?}");
        }
    }
}
