//! Images that cannot be had, in the words of containerd and the kubelet.

use crate::faults::ImageFault;

/// The kubelet's texts about an image that it cannot use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageProblem {
    /// The first waiting reason.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// The reason while it waits to try again, where it does.
    pub(crate) back_off: Option<&'static str>,
    /// The event's reason and text.
    pub(crate) event: (&'static str, String),
}

/// The trouble with an image before its container can be created; none for the faults of later steps.
pub(crate) fn image_problem(fault: &ImageFault, image: &str) -> Option<ImageProblem> {
    let full = full_name(image);
    let unpack = format!("failed to pull and unpack image \"{full}\": failed to resolve reference \"{full}\"");
    let pull = |error: String| ImageProblem {
        reason: "ErrImagePull",
        event: ("Failed", format!("Failed to pull image \"{image}\": {error}")),
        message: error,
        back_off: Some("ImagePullBackOff"),
    };
    match fault {
        ImageFault::NotFound => Some(pull(format!("rpc error: code = NotFound desc = {unpack}: {full}: not found"))),
        ImageFault::Denied => Some(pull(format!(
            "{unpack}: pull access denied, repository does not exist or may require authorization: server message: \
             insufficient_scope: authorization failed"
        ))),
        ImageFault::Unreachable => {
            let (registry, rest) = full.split_once('/').unwrap_or_default();
            let (repository, tag) = rest.rsplit_once(':').unwrap_or((rest, "latest"));
            Some(pull(format!(
                "{unpack}: failed to do request: Head \"https://{registry}/v2/{repository}/manifests/{tag}\": dial tcp: \
                 lookup {registry}: no such host"
            )))
        }
        ImageFault::InvalidName => {
            let mut message = format!(
                "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format"
            );
            let repository = image.split(['@', ':']).next().unwrap_or_default();
            if repository.chars().any(|c| c.is_ascii_uppercase()) {
                message += &format!(": repository name ({repository}) must be lowercase");
            }
            Some(ImageProblem {
                reason: "InvalidImageName",
                event: ("InspectFailed", message.clone()),
                message,
                back_off: None,
            })
        }
        ImageFault::NeverPulled => {
            let message = format!("Container image \"{image}\" is not present with pull policy of Never");
            Some(ImageProblem {
                reason: "ErrImageNeverPull",
                event: ("ErrImageNeverPull", message.clone()),
                message,
                back_off: None,
            })
        }
        ImageFault::ConfigError(_) | ImageFault::StartError(_) => None,
    }
}

/// A name that can't be an image reference: upper-case letters in the repository, or characters of none.
pub(crate) fn is_malformed(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or_default();
    let repository = last.split(['@', ':']).next().unwrap_or_default();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    repository.is_empty() || !repository.chars().all(allowed) || last.matches(':').count() > 2
}

/// The name with registry and tag, as the runtime tells it.
fn full_name(image: &str) -> String {
    let mut parts = image.split('/');
    let first = parts.next().unwrap_or_default();
    let has_registry = parts.next().is_some() && (first.contains(['.', ':']) || first == "localhost");
    let named = match (has_registry, image.contains('/')) {
        (true, _) => image.to_owned(),
        (false, true) => format!("docker.io/{image}"),
        (false, false) => format!("docker.io/library/{image}"),
    };
    let tagged = image.contains('@') || image.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if tagged { named } else { named + ":latest" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed() {
        assert_eq!(full_name("x"), "docker.io/library/x:latest");
        assert_eq!(full_name("a/x:1"), "docker.io/a/x:1");
        assert_eq!(full_name("ghcr.io/a/x"), "ghcr.io/a/x:latest");
    }

    #[test]
    fn malformed_names_are_seen() {
        for (image, malformed) in
            [("Guest", true), ("a b", true), ("x:::", true), ("ghcr.io/a/b_c:V1", false), ("x@sha256:00", false)]
        {
            assert_eq!(is_malformed(image), malformed, "{image}");
        }
    }

    #[test]
    fn a_missing_image_is_told_as_containerd_tells_it() {
        let told = image_problem(&ImageFault::NotFound, "x:1").unwrap();
        assert_eq!(told.reason, "ErrImagePull");
        assert!(told.message.ends_with("docker.io/library/x:1: not found"), "{}", told.message);
    }
}
