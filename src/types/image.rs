//! Names of container images, by the grammar of the distribution project's references, as the kubelet reads them.

use super::name::Invalid;

/// Limit of a repository's name, in characters.
const NAME_LENGTH: usize = 255;
/// Limit of a tag, in characters.
const TAG_LENGTH: usize = 128;
/// The least number of hexadecimal digits in a digest.
const DIGEST_LENGTH: usize = 32;

/// The name of an image: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageName(String);

impl ImageName {
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        match fault(text) {
            Some(fault) => Err(Invalid(format!("is not the name of an image: {fault}"))),
            None => Ok(Self(text.to_owned())),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The part of a text that no image's name has.
fn fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.chars().any(char::is_whitespace) {
        return Some("it has white space");
    }
    let (rest, digest) = split(text, '@');
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return Some("behind the @ is no digest (sha256:…)");
    }
    // A colon before the last slash is that of the registry's port.
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[last..].split_once(':') {
        Some((path, tag)) => (&rest[..last + path.len()], Some(tag)),
        None => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Some("its tag is not made of at most 128 letters, digits, '_', '.' and '-'");
    }
    let (host, path) = match name.split_once('/') {
        Some((first, path)) if is_meant_as_host(first) => (Some(first), path),
        _ => (None, name),
    };
    if host.is_some_and(|host| !is_host(host)) {
        return Some("what stands before its first slash is no HOST or HOST:PORT of a registry");
    }
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return Some("the name of a repository has no capital letters");
    }
    if name.len() > NAME_LENGTH || !path.split('/').all(is_component) {
        return Some(
            "a repository is named by small letters and digits, with '.', '_', '__' or '-' between them, and '/'",
        );
    }
    None
}

fn split(text: &str, sign: char) -> (&str, Option<&str>) {
    text.split_once(sign).map_or((text, None), |(before, behind)| (before, Some(behind)))
}

/// True for a first part that is a registry's and not that of a path, as Docker tells them apart.
fn is_meant_as_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.chars().any(|c| c.is_ascii_uppercase())
}

fn is_host(text: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((address, behind)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let is_address = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        return is_address && (behind.is_empty() || behind.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = split(text, ':');
    let is_label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

/// True for one part of a path: runs of small letters and digits, with separators between them.
fn is_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !text.starts_with(is_word) || !text.ends_with(is_word) {
        return false;
    }
    let mut between = text.split(is_word).filter(|separator| !separator.is_empty());
    between.all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= TAG_LENGTH && text.starts_with(is_word) && text.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else { return false };
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let is_algorithm = algorithm.split(['-', '_', '+', '.']).all(is_part);
    is_algorithm && digits.len() >= DIGEST_LENGTH && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_kubelet_refuses_are_refused_with_the_fault() {
        let long = format!("a/{}", "b".repeat(NAME_LENGTH));
        for (text, part) in [
            ("", "empty"),
            ("Debian:Bookworm Slim", "white space"),
            ("debian\n", "white space"),
            ("Debian", "capital"),
            ("podgate.test/UPPER:1", "capital"),
            ("library/Debian:12", "capital"),
            ("debian:", "tag"),
            ("debian:-x", "tag"),
            ("debian:1:2", "tag"),
            ("debian:a/b", "HOST"),
            ("debian@sha256:12", "digest"),
            ("debian@sha256", "digest"),
            ("debian@256:0123456789abcdef0123456789abcdef", "digest"),
            ("registry_a.example/x", "HOST"),
            ("registry.example:/x", "HOST"),
            ("-registry.example/x", "HOST"),
            ("[fd00::1/x", "HOST"),
            ("registry.example/", "small letters"),
            ("/debian", "small letters"),
            ("a//b", "small letters"),
            ("a/-b", "small letters"),
            ("a.", "small letters"),
            ("a..b", "small letters"),
            ("a___b", "small letters"),
            ("a_.b", "small letters"),
            ("https://registry.example/x", "HOST"),
            ("größe", "small letters"),
            (&long, "small letters"),
        ] {
            let refused = ImageName::parse(text).expect_err(text).to_string();
            assert!(
                refused.starts_with("is not the name of an image: ") && refused.contains(part),
                "{text}: {refused}"
            );
        }
    }

    #[test]
    fn names_that_a_kubelet_takes_pass_as_they_are() {
        let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for text in [
            "debian",
            "i",
            "debian:bookworm-slim",
            "busybox:1.37",
            "a:1",
            "library/debian",
            "containerssh/containerssh-guest-image",
            "ghcr.io/example/podgate:0.1.0",
            "localhost/x",
            "localhost:5000/team/x:V_1.2-rc",
            "127.0.0.1:1/none:1",
            "[fd00::1]:5000/x",
            "Registry.example/x",
            "REGISTRY/x",
            "f/a.b_c__d---e",
            &format!("debian@{digest}"),
            &format!("registry.example:443/a/b:1@{digest}"),
        ] {
            assert_eq!(ImageName::parse(text).map(|name| name.as_str().to_owned()).as_deref(), Ok(text));
        }
    }
}
