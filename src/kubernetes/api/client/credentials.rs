//! Who the gateway is to a cluster, and whom it trusts there. Files are looked at again every [`REREAD`]; one that
//! cannot be read or used then keeps its former content, because tokens and certificates are often swapped non-atomically.

use super::ClientError;
use crate::settings::{Cluster, InlineOrFile};
use crate::tls;
use crate::types::Secret;
use data_encoding::BASE64;
use http::HeaderValue;
use parking_lot::Mutex;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The age at which credentials from files are read again.
const REREAD: Duration = Duration::from_secs(10);

/// The directory of what the kubelet mounts into a pod and renews there.
const MOUNTED: &str = "/var/run/secrets";

/// The credentials for one cluster, read again when their files change.
pub(super) struct Credentials {
    sources: Sources,
    renewal: String,
    current: Mutex<Held>,
}

/// The credentials of a new connection or request.
#[derive(Clone)]
pub(super) struct Current {
    /// Trusted CAs and our certificate.
    pub(super) tls: Arc<ClientConfig>,
    /// The header `Authorization`, marked sensitive.
    pub(super) authorization: Option<HeaderValue>,
}

struct Held {
    texts: CredentialTexts,
    current: Current,
    looked: Option<Instant>,
}

struct Sources {
    ca: Option<InlineOrFile>,
    identity: Option<(InlineOrFile, InlineOrFile)>,
    bearer: Option<InlineOrFile>,
    basic: Option<(String, Secret)>,
}

#[derive(PartialEq)]
struct CredentialTexts {
    ca: Option<Secret>,
    identity: Option<(Secret, Secret)>,
    bearer: Option<Secret>,
}

impl Credentials {
    /// Reads everything for the first time.
    pub(super) fn read(cluster: &Cluster) -> Result<Self, ClientError> {
        let sources = Sources {
            ca: cluster.ca.clone(),
            identity: cluster.client_certificate.clone(),
            bearer: cluster.bearer_token.clone(),
            basic: cluster.basic.clone(),
        };
        let texts = sources.texts()?;
        let current = Current { tls: Arc::new(texts.tls()?), authorization: authorization(&sources, &texts)? };
        let renewal = renewal(cluster);
        Ok(Self { sources, renewal, current: Mutex::new(Held { texts, current, looked: Some(Instant::now()) }) })
    }

    /// The way to new credentials where the API does not accept these.
    pub(super) fn renewal(&self) -> &str {
        &self.renewal
    }

    /// Makes the next look a real one.
    #[cfg(test)]
    pub(super) fn look_again(&self) {
        self.current.lock().looked = None;
    }

    /// The credentials to use now.
    pub(super) fn current(&self) -> Current {
        let mut held = self.current.lock();
        if self.sources.in_files() && held.looked.is_none_or(|looked| looked.elapsed() >= REREAD) {
            held.looked = Some(Instant::now());
            if let Ok(texts) = self.sources.texts() {
                held.replace(texts, &self.sources);
            }
        }
        held.current.clone()
    }
}

/// Tells an operator how a cluster's credentials are renewed.
pub(crate) fn renewal(cluster: &Cluster) -> String {
    let (what, source, key) = match (&cluster.bearer_token, &cluster.client_certificate) {
        (Some(token), _) => ("token", token, "bearerToken"),
        (None, Some((certificate, _))) => ("client certificate", certificate, "cert"),
        (None, None) if cluster.basic.is_some() => return "are the user name and the password right?".to_owned(),
        (None, None) => return "kubernetes.connection has no credentials".to_owned(),
    };
    match source {
        InlineOrFile::File(path) if path.starts_with(MOUNTED) => {
            format!("the kubelet renews {}; is the pod's service account still there?", path.display())
        }
        InlineOrFile::File(path) => {
            let path = path.display();
            let how = if what == "token" { " (as deploy/kubeconfig does)" } else { "" };
            format!("write a new {what} to {path}{how}; the gateway reads it without a restart")
        }
        InlineOrFile::Inline(_) => {
            format!("a new {what} in {key} needs a restart, one in the file of {key}File does not")
        }
    }
}

impl Held {
    fn replace(&mut self, texts: CredentialTexts, sources: &Sources) {
        if texts == self.texts {
            return;
        }
        let trust_changed = texts.ca != self.texts.ca || texts.identity != self.texts.identity;
        let tls = if trust_changed { texts.tls().map(Arc::new) } else { Ok(self.current.tls.clone()) };
        if let (Ok(tls), Ok(authorization)) = (tls, authorization(sources, &texts)) {
            *self = Self { texts, current: Current { tls, authorization }, looked: self.looked };
        }
    }
}

impl Sources {
    fn in_files(&self) -> bool {
        let file = |source: &InlineOrFile| matches!(source, InlineOrFile::File(_));
        self.ca.iter().chain(self.bearer.iter()).any(file)
            || self.identity.iter().any(|(certificate, key)| file(certificate) || file(key))
    }

    fn texts(&self) -> Result<CredentialTexts, ClientError> {
        let identity = match &self.identity {
            Some((certificate, key)) => Some((text(certificate)?, text(key)?)),
            None => None,
        };
        Ok(CredentialTexts {
            ca: self.ca.as_ref().map(text).transpose()?,
            identity,
            bearer: self.bearer.as_ref().map(text).transpose()?,
        })
    }
}

impl CredentialTexts {
    /// TLS 1.2 too: load balancers before an API server may have nothing newer.
    fn tls(&self) -> Result<ClientConfig, tls::TlsBuildError> {
        let identity = self.identity.as_ref().map(|(certificate, key)| (certificate.expose(), key));
        tls::client_config(
            self.ca.as_ref().map(Secret::expose),
            identity,
            &tls::TlsOptions { tls12: true, ..tls::TlsOptions::default() },
        )
    }
}

fn text(source: &InlineOrFile) -> Result<Secret, ClientError> {
    match source {
        InlineOrFile::Inline(text) => Ok(text.clone()),
        InlineOrFile::File(path) => podgate_webhooks::text::read_regular(path)
            .map(Secret::new)
            .map_err(|source| ClientError::File { path: path.clone(), source }),
    }
}

/// The bearer token where there is one, else user name and password (RFC 6750, RFC 7617).
fn authorization(sources: &Sources, texts: &CredentialTexts) -> Result<Option<HeaderValue>, ClientError> {
    if let Some(token) = &texts.bearer {
        let token = token.expose().trim();
        if token.is_empty() {
            return Err(ClientError::Header("bearer token"));
        }
        return header(&format!("Bearer {token}"), "bearer token").map(Some);
    }
    let Some((username, password)) = &sources.basic else { return Ok(None) };
    let pair = BASE64.encode(format!("{username}:{}", password.expose()).as_bytes());
    header(&format!("Basic {pair}"), "user name").map(Some)
}

fn header(value: &str, what: &'static str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(value).map_err(|_invalid| ClientError::Header(what))?;
    value.set_sensitive(true);
    Ok(value)
}
