//! Judges whether an image that could not be pulled can ever be pulled. Pure.

use super::Readiness;
use crate::guest::{LOG_TEXT_MAX, Refusal};
use crate::kubernetes::pod::events::{self, PodEvent};
use crate::types::printable;

/// Texts of registries and container runtimes about an image that does not exist or may not be pulled. A registry or network
/// that fails or limits pulls can heal.
const FINAL: [&str; 10] = [
    "pull access denied",
    "manifest unknown",
    "repository does not exist",
    "name unknown",
    ": not found",
    "404 not found",
    "unauthorized",
    "403 forbidden",
    "no basic auth credentials",
    "authorization failed",
];

/// Judges a container that waits for its image with that reason and message.
pub(super) fn judge(reason: &str, message: &str, image: &str, pod_events: &[PodEvent]) -> Readiness {
    let image = printable(image, 200);
    let plain_back_off = reason == "ImagePullBackOff" && !message.contains("ErrImagePull");
    let cause = plain_back_off.then(|| events::pull_failure(pod_events)).flatten().unwrap_or(message);
    let never = |reason: String| Readiness::Failed(Refusal::new(reason).detail(printable(cause, LOG_TEXT_MAX)));
    match reason {
        "InvalidImageName" => never(format!("{image} is not the name of an image")),
        "ErrImageNeverPull" => {
            never(format!("the image {image} is not on the node, and its imagePullPolicy says never to pull it"))
        }
        _ if is_final(cause) => never(format!("the image {image} cannot be pulled: {}", explanation(cause))),
        _ => Readiness::Waiting(Some(printable(
            &format!("the image {image} cannot be pulled yet: {}", innermost(cause)),
            LOG_TEXT_MAX,
        ))),
    }
}

/// Explains a pull that cannot heal. Many registries deny the existence of an image that may not be pulled.
fn explanation(cause: &str) -> &'static str {
    let cause = cause.to_lowercase();
    if ["denied", "authoriz", "403", "credentials"].iter().any(|text| cause.contains(text)) {
        "it does not exist, or the registry wants other credentials (imagePullSecrets)"
    } else {
        "the registry does not have it"
    }
}

/// Cuts the layers that passed an error on from a container runtime's text.
fn innermost(cause: &str) -> &str {
    let layers = ["failed to do request: ", "failed to resolve reference ", "desc = "];
    layers.iter().find_map(|layer| cause.rsplit_once(layer)).map_or(cause, |(_, inner)| inner)
}

fn is_final(cause: &str) -> bool {
    let cause = cause.to_lowercase();
    let limited = cause.contains("toomanyrequests") || cause.contains("too many requests");
    !limited && FINAL.iter().any(|text| cause.contains(text))
}
