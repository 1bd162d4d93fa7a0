//! Whether an image that could not be pulled ever will be. Pure.

use super::Verdict;
use crate::guest::{Refusal, WHOLE};
use crate::kubernetes::events::{self, Note};
use crate::types::printable;

/// What registries and runtimes say when an image is not there, or not for us. A registry that limits or fails, and a
/// network that does, can heal.
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
pub(super) fn judge(reason: &str, message: &str, image: &str, notes: &[Note]) -> Verdict {
    let image = printable(image, 200);
    let plain_back_off = reason == "ImagePullBackOff" && !message.contains("ErrImagePull");
    let cause = plain_back_off.then(|| events::pull_failure(notes)).flatten().unwrap_or(message);
    let never = |reason: String| Verdict::Never(Refusal::new(reason).detail(printable(cause, WHOLE)));
    match reason {
        "InvalidImageName" => never(format!("{image} is not the name of an image")),
        "ErrImageNeverPull" => {
            never(format!("the image {image} is not on the node, and its imagePullPolicy says never to pull it"))
        }
        _ if is_final(cause) => never(format!("the image {image} cannot be pulled: {}", why(cause))),
        _ => Verdict::Waiting(Some(printable(
            &format!("the image {image} cannot be pulled yet: {}", innermost(cause)),
            WHOLE,
        ))),
    }
}

/// What a person can do about a pull that cannot heal. Many registries tell who may not see an image that there is none.
fn why(cause: &str) -> &'static str {
    let cause = cause.to_lowercase();
    if ["denied", "authoriz", "403", "credentials"].iter().any(|text| cause.contains(text)) {
        "it does not exist, or the registry wants other credentials (imagePullSecrets)"
    } else {
        "the registry does not have it"
    }
}

/// A runtime's text without the layers that pass an error on.
fn innermost(cause: &str) -> &str {
    let layers = ["failed to do request: ", "failed to resolve reference ", "desc = "];
    layers.iter().find_map(|layer| cause.rsplit_once(layer)).map_or(cause, |(_, inner)| inner)
}

fn is_final(cause: &str) -> bool {
    let cause = cause.to_lowercase();
    let limited = cause.contains("toomanyrequests") || cause.contains("too many requests");
    !limited && FINAL.iter().any(|text| cause.contains(text))
}
