//! Keys of ContainerSSH that have no effect in Podgate yet. Each is known and typed, its value is taken as long as it
//! switches nothing on, and the operator is told that it has no effect.

use super::tls::TlsKeys;
use crate::schema::{Section, keys};

const NOT_BUILT: &str = "is not built yet: this section has no effect";
const OTHER_BACKEND: &str = "has no effect beside backend: kubernetes";

/// Reads the sections at the root.
pub(super) fn read(root: &Section<'_>) {
    check_without_effect(&root.section("docker"), "execution", OTHER_BACKEND);
    check_without_effect(&root.section("sshproxy"), "server", OTHER_BACKEND);
}

/// Checks a section of `auth`.
pub(super) fn kerberos(section: &Section<'_>) {
    check_without_effect(section, "keytab", NOT_BUILT);
}

/// Checks the types of a section, and notices at a key that it has no effect.
fn check_without_effect(section: &Section<'_>, key: &str, text: &str) {
    check(section);
    if section.is_set() {
        section.notice(key, text);
    }
}

/// Checks the types of the keys of a section that have no effect, and of those in the sections below it.
pub(super) fn check(section: &Section<'_>) {
    let path = section.path("");
    let path = path.trim_end_matches('.');
    for key in keys::of_section(path).filter(|key| key.effect == keys::Effect::Ignored) {
        match key.name() {
            "tlsVersion" => drop(TlsKeys::read(section)),
            "curves" | "cipher" => {}
            _ => section.check(key),
        }
    }
    for name in keys::subsections(path) {
        check(&section.section(name));
    }
}
