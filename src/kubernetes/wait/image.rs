//! Whether an image that could not be pulled ever will be. Pure.

use super::{LONGEST, Verdict};
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
    let told = |text: String| printable(&text, LONGEST);
    match reason {
        "InvalidImageName" => Verdict::Never(told(format!("{image} is not the name of an image: {message}"))),
        "ErrImageNeverPull" => Verdict::Never(told(format!(
            "the image {image} is not on the node, and the pod's specification says never to pull it"
        ))),
        _ if is_final(cause) => Verdict::Never(told(format!("the image {image} cannot be pulled: {cause}"))),
        _ => Verdict::Waiting(Some(told(format!("the image {image} cannot be pulled yet: {cause}")))),
    }
}

fn is_final(cause: &str) -> bool {
    let cause = cause.to_lowercase();
    let limited = cause.contains("toomanyrequests") || cause.contains("too many requests");
    !limited && FINAL.iter().any(|text| cause.contains(text))
}
