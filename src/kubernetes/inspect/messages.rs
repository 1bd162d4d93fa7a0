//! The findings of the inspection as lines for the operator: the key or the right, the problem, and the remedy. Pure.

use crate::kubernetes::api::client::{ClientError, renewal};
use crate::kubernetes::api::pods::ApiError;
use crate::kubernetes::inspect::{MissingRight, RightPurpose};
use crate::settings::{Cluster, InlineOrFile};
use crate::types::{Namespace, printable, quoted};
use std::time::Duration;

/// Added to the first line about an account that has no right at all.
pub(super) const BARE: &str = "; is it the right namespace, and is the role bound there?";

/// The verdict of a refused dry run on the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DryRunJudgement {
    /// Valid: another pod has the one name that is configured.
    Fine,
    /// Refused now, perhaps accepted later.
    MayHeal,
    /// Refused because the namespace does not exist.
    NoNamespace,
    /// Refused by the cluster as it is.
    Wrong,
    /// Invalid: it has unknown fields or values of the wrong type.
    Nonsense,
}

/// True if the API understood the request and refused it. With 401 it does not know the user.
pub(super) fn is_refusal(error: &ApiError) -> bool {
    !error.may_heal() && error.code().is_some_and(|code| code != 401)
}

/// Judges the error of a dry run.
pub(super) fn judge(error: &ApiError) -> DryRunJudgement {
    let ApiError::Refused { code, message, .. } = error else { return DryRunJudgement::MayHeal };
    let says = |text: &str| message.contains(text);
    match code {
        _ if error.may_heal() => DryRunJudgement::MayHeal,
        409 => DryRunJudgement::Fine,
        404 => DryRunJudgement::NoNamespace,
        400 if says("cannot be handled as a Pod") || says("strict decoding error") => DryRunJudgement::Nonsense,
        // A webhook of the cluster takes no dry runs, so that its answer is not known.
        _ if error.is_of_dry_run() => DryRunJudgement::MayHeal,
        403 if says("must specify") => DryRunJudgement::Wrong,
        403 if says("exceeded quota") || says("failed quota") || says("being terminated") => DryRunJudgement::MayHeal,
        _ => DryRunJudgement::Wrong,
    }
}

/// Describes settings of the cluster that cannot be used.
pub(super) fn no_client(error: &ClientError) -> String {
    format!("kubernetes.connection: {error}")
}

/// Describes an inspection that took too long.
pub(super) fn too_slow(cluster: &Cluster, limit: Duration) -> String {
    format!("{} did not answer all startup checks within {} s; logins may fail", host(cluster), limit.as_secs())
}

/// Describes a missing answer, or one that does not answer the request.
pub(super) fn no_answer(cluster: &Cluster, error: &ApiError) -> String {
    let host = host(cluster);
    match error {
        ApiError::Unreachable(reason) => {
            format!(
                "kubernetes.connection.host: {host} cannot be reached: {}; is it the right host and port? \
                 Logins fail until it answers",
                cause(reason)
            )
        }
        ApiError::Untrusted(reason) => {
            format!("kubernetes.connection: {host} cannot be reached securely: {}", cause(reason))
        }
        ApiError::Refused { code: 401, .. } => format!(
            "kubernetes.connection{}: {host} does not accept the credentials; are they expired, or another cluster's? {}",
            match &cluster.bearer_token {
                Some(InlineOrFile::File(_)) => ".bearerTokenFile",
                Some(InlineOrFile::Inline(_)) => ".bearerToken",
                None => "",
            },
            capitalized(&renewal(cluster)),
        ),
        ApiError::Refused { code, message, .. } => {
            format!("{host} answers with an error ({code}): {message}; logins may fail")
        }
        ApiError::Unsendable(reason) => format!("kubernetes.connection: {reason}"),
    }
}

/// The remedy for credentials that are not accepted.
pub(super) fn renew(cluster: &Cluster) -> String {
    renewal(cluster)
}

/// Describes an API that does not tell the account's rights.
pub(super) fn unknown(error: &ApiError) -> String {
    format!(
        "the gateway may not query its permissions, a missing one is reported at the first login: {}",
        message(error)
    )
}

/// Describes the missing rights on one resource.
pub(super) fn missing(lacking: &[MissingRight], account: Option<&str>, namespace: &Namespace) -> String {
    let Some(MissingRight { right, reason }) = lacking.first() else { return String::new() };
    let who = account.map_or_else(|| "the gateway's account".to_owned(), |name| format!("User {}", quoted(name)));
    let verbs: Vec<&str> = lacking.iter().map(|missing| missing.right.verb).collect();
    let lost = match right.need {
        RightPurpose::Serve => "no login can be served",
        RightPurpose::Files => "files that a webhook sends cannot be written, and a login with them is refused",
        RightPurpose::Log => "the output of a program that ends at once can be lost",
        RightPurpose::Reasons => "the reason that a user sees for a pod that does not start is less exact",
        RightPurpose::Sweep => "the pods of a gateway that is killed stay",
        RightPurpose::Wake => "a gateway that was suspended for long can lose pods when it continues",
    };
    let reason = if reason.is_empty() { String::new() } else { format!(" ({})", printable(reason, 200)) };
    format!(
        "{who} cannot {} resource \"{}\" in API group \"{}\" in the namespace \"{}\"{reason}: {lost}",
        verbs.join(", "),
        right.resource,
        right.resource.group,
        namespace.as_str(),
    )
}

/// Describes a pod that the API refuses.
pub(super) fn refused(error: &ApiError, cluster: &Cluster) -> String {
    match judge(error) {
        DryRunJudgement::Fine => String::new(),
        DryRunJudgement::NoNamespace => format!("kubernetes.pod.metadata.namespace: {}", message(error)),
        DryRunJudgement::MayHeal if error.code().is_none() => no_answer(cluster, error),
        DryRunJudgement::MayHeal => format!("kubernetes.pod: the pod would be refused now: {}", message(error)),
        DryRunJudgement::Wrong | DryRunJudgement::Nonsense => {
            format!("kubernetes.pod: the pod is refused: {}", message(error))
        }
    }
}

fn capitalized(text: &str) -> String {
    let first = text.get(..1).unwrap_or_default().to_ascii_uppercase();
    first + text.get(1..).unwrap_or_default()
}

/// Cuts the layers that passed an error on.
fn cause(reason: &str) -> &str {
    let layers = ["cannot connect to the Kubernetes API: ", "TLS with the Kubernetes API failed: "];
    layers.iter().find_map(|layer| reason.strip_prefix(layer)).unwrap_or(reason)
}

fn message(error: &ApiError) -> String {
    match error {
        ApiError::Refused { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// The URL of the API server, as it is configured.
pub(super) fn host(cluster: &Cluster) -> &str {
    cluster.host.as_str().trim_end_matches('/')
}
