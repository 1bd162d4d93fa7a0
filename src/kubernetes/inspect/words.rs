//! What the answers at the start mean, in lines for the operator: the key or the right, what is wrong, what to do. Pure.

use super::{Missing, Need};
use crate::kubernetes::api::ApiError;
use crate::kubernetes::client::ClientError;
use crate::settings::{Cluster, Source};
use crate::types::{Namespace, printable, quoted};
use std::time::Duration;

/// Behind the first line about an account that has no right at all.
pub(super) const BARE: &str = "; is it the right namespace, and is the role bound there?";

/// What a refused trial says about the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing: another pod has the one name that is configured.
    Fine,
    /// It may be taken later.
    MayHeal,
    /// The namespace is not there.
    NoNamespace,
    /// The cluster does not take it as it is.
    Wrong,
    /// It has fields that no pod has, or values of the wrong type.
    Nonsense,
}

/// Whether the API understood and said no (401 is no understanding: it does not know who asks).
pub(super) fn is_refusal(error: &ApiError) -> bool {
    !error.may_heal() && error.code().is_some_and(|code| code != 401)
}

/// Judges a refused trial.
pub(super) fn judge(error: &ApiError) -> Judgement {
    let ApiError::Refused { code, message, .. } = error else { return Judgement::MayHeal };
    let says = |text: &str| message.contains(text);
    match code {
        _ if error.may_heal() => Judgement::MayHeal,
        409 => Judgement::Fine,
        404 => Judgement::NoNamespace,
        400 if says("cannot be handled as a Pod") || says("strict decoding error") => Judgement::Nonsense,
        // A webhook of the cluster that has never been asked what it would say.
        _ if error.is_of_dry_run() => Judgement::MayHeal,
        403 if says("must specify") => Judgement::Wrong,
        403 if says("exceeded quota") || says("failed quota") || says("being terminated") => Judgement::MayHeal,
        _ => Judgement::Wrong,
    }
}

/// The cluster's settings cannot be used.
pub(super) fn no_client(error: &ClientError) -> String {
    format!("kubernetes.connection: {error}")
}

/// The answers took too long.
pub(super) fn too_slow(cluster: &Cluster, limit: Duration) -> String {
    format!("{} did not answer all startup checks within {} s; logins may fail", host(cluster), limit.as_secs())
}

/// No answer, or none that says anything about what was asked.
pub(super) fn no_answer(cluster: &Cluster, error: &ApiError) -> String {
    let host = host(cluster);
    match error {
        ApiError::Unreachable(why) => {
            format!(
                "kubernetes.connection.host: {host} cannot be reached: {}; is it the right host and port? \
                 Logins fail until it answers",
                cause(why)
            )
        }
        ApiError::Untrusted(why) => {
            format!("kubernetes.connection: {host} cannot be reached securely: {}", cause(why))
        }
        ApiError::Refused { code: 401, .. } => format!(
            "kubernetes.connection{}: {host} does not accept the credentials; are they expired, or another cluster's?",
            match &cluster.bearer_token {
                Some(Source::File(_)) => ".bearerTokenFile",
                Some(Source::Inline(_)) => ".bearerToken",
                None => "",
            }
        ),
        ApiError::Refused { code, message, .. } => {
            format!("{host} answers with an error ({code}): {message}; logins may fail")
        }
        ApiError::Unsendable(why) => format!("kubernetes.connection: {why}"),
    }
}

/// The API does not tell what one may.
pub(super) fn unknown(error: &ApiError) -> String {
    format!(
        "the gateway may not query its permissions, a missing one is reported at the first login: {}",
        message(error)
    )
}

/// Rights on one resource that are missing.
pub(super) fn missing(lacking: &[Missing], account: Option<&str>, namespace: &Namespace) -> String {
    let Some(Missing { right, why }) = lacking.first() else { return String::new() };
    let who = account.map_or_else(|| "the gateway's account".to_owned(), |name| format!("User {}", quoted(name)));
    let verbs: Vec<&str> = lacking.iter().map(|missing| missing.right.verb).collect();
    let lost = match right.need {
        Need::Serve => "no login can be served",
        Need::Files => "files that a webhook sends cannot be written, and a login with them is refused",
        Need::Log => "the output of a program that ends at once can be lost",
        Need::Reasons => "the reason that a user sees for a pod that does not start is less exact",
        Need::Sweep => "the pods of a gateway that is killed stay",
        Need::Wake => "a gateway that was suspended for long can lose pods when it continues",
    };
    let why = if why.is_empty() { String::new() } else { format!(" ({})", printable(why, 200)) };
    format!(
        "{who} cannot {} resource \"{}\" in API group \"{}\" in the namespace \"{}\"{why}: {lost}",
        verbs.join(", "),
        right.resource,
        right.resource.group,
        namespace.as_str(),
    )
}

/// The API does not take the pod.
pub(super) fn refused(error: &ApiError, cluster: &Cluster) -> String {
    match judge(error) {
        Judgement::Fine => String::new(),
        Judgement::NoNamespace => format!("kubernetes.pod.metadata.namespace: {}", message(error)),
        Judgement::MayHeal if error.code().is_none() => no_answer(cluster, error),
        Judgement::MayHeal => format!("kubernetes.pod: the pod would be refused now: {}", message(error)),
        Judgement::Wrong | Judgement::Nonsense => format!("kubernetes.pod: the pod is refused: {}", message(error)),
    }
}

/// What happened, without the layers that it happened below.
fn cause(why: &str) -> &str {
    let layers = ["cannot connect to the Kubernetes API: ", "TLS with the Kubernetes API failed: "];
    layers.iter().find_map(|layer| why.strip_prefix(layer)).unwrap_or(why)
}

fn message(error: &ApiError) -> String {
    match error {
        ApiError::Refused { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

fn host(cluster: &Cluster) -> &str {
    cluster.host.as_str().trim_end_matches('/')
}
