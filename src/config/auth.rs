//! `auth` and `configserver`: whom the gateway asks. Only methods that are configured are there, and there is at least
//! one way to log in.

use super::http_client::ClientKeys;
use super::unbuilt;
use crate::auth::{AuthConfig, AuthWebhook};
use crate::schema::migrate::client_keys;
use crate::schema::{Files, Section};
use crate::settings::ConfigServer;
use crate::webhook::HttpClientConfig;

#[derive(Clone, Copy, PartialEq)]
enum MethodWord {
    Webhook,
    Kerberos,
    OAuth2,
}

/// Reads `auth`; `None` was reported. Certificates of trusted authorities are a way to log in by themselves.
pub(super) fn read(section: &Section<'_>, has_authorities: bool, files: &dyn Files) -> Option<AuthConfig> {
    let (password, legacy_password) = section.section_or_flag("password");
    let public_key = section.section("publicKey");
    let authz = section.section("authz");
    unbuilt::kerberos(&password.section("kerberos"));
    let auth = AuthConfig {
        password: webhook(
            &password,
            false,
            &[("webhook", MethodWord::Webhook), ("kerberos", MethodWord::Kerberos)],
            files,
        ),
        public_key: webhook(&public_key, false, &[("webhook", MethodWord::Webhook)], files),
        authz: webhook(&authz, true, &[("webhook", MethodWord::Webhook)], files),
    };
    let other = other_methods(section);
    without_url(section);
    if legacy_password.is_some() {
        section.notice("password", "true or false has no effect here without auth.url");
    }
    let tried = password.has_text("method") || public_key.has_text("method");
    if auth.password.is_none() && auth.public_key.is_none() && !tried && !other && !has_authorities {
        let text = "no way to log in is configured; set auth.password, auth.publicKey or ssh.trustedUserCAKeys, for example password: {method: \
                    webhook, webhook: {url: https://…}}";
        section.error("password.method", text);
    }
    Some(auth)
}

/// The methods that are not built; whether one was asked for (and reported).
fn other_methods(section: &Section<'_>) -> bool {
    let keyboard = section.section("keyboardInteractive");
    let gssapi = section.section("gssapi");
    unbuilt::check(&keyboard.section("oauth2"));
    unbuilt::kerberos(&gssapi.section("kerberos"));
    let keyboard_method = keyboard.choice("method", &[("oauth2", MethodWord::OAuth2)]);
    let gssapi_method = gssapi.choice("method", &[("kerberos", MethodWord::Kerberos)]);
    for (part, method) in [(&keyboard, keyboard_method), (&gssapi, gssapi_method)] {
        match method {
            Some(method) => refuse(part, method),
            None if part.is_set() => part.notice("method", "is not built yet: this section has no effect"),
            None => {}
        }
    }
    keyboard_method.or(gssapi_method).is_some()
}

fn refuse(section: &Section<'_>, method: MethodWord) {
    let name = match method {
        MethodWord::Kerberos => "Kerberos",
        MethodWord::OAuth2 => "OAuth2",
        MethodWord::Webhook => return,
    };
    section.error("method", format!("{name} is not built yet; use method: webhook in auth.password or auth.publicKey"));
}

/// Reads one step's `method` and `webhook`. A step that `protects` is one that logins cannot do without once it is written.
fn webhook(
    section: &Section<'_>,
    protects: bool,
    words: &[(&'static str, MethodWord)],
    files: &dyn Files,
) -> Option<AuthWebhook> {
    let block = section.section("webhook");
    let keys = ClientKeys::read(&block);
    let auth_timeout = block.duration("authTimeout").unwrap_or_default();
    match section.choice("method", words) {
        Some(MethodWord::Webhook) if keys.has_url() => {
            let client = keys.build(&block, files)?;
            Some(AuthWebhook { client, auth_timeout })
        }
        Some(MethodWord::Webhook) => {
            block.error("url", "is missing; method: webhook needs it");
            None
        }
        Some(other) => {
            refuse(section, other);
            None
        }
        None => {
            if keys.has_url() && protects {
                section
                    .error("method", "is not set, so nobody would be asked; set method: webhook, or remove the block");
            } else if keys.has_url() {
                block.notice("url", "has no effect without method: webhook beside the block");
            }
            None
        }
    }
}

/// Reads the rest of ContainerSSH 0.4's one client for both methods, which [`crate::schema::migrate`] put into their blocks where
/// it said whom to ask.
fn without_url(section: &Section<'_>) {
    if client_keys().chain(["pubkey"]).any(|key| section.has_text(key)) {
        section.notice("url", "is not set: the HTTP client keys in this block have no effect");
    }
    let _ = ClientKeys::read(section);
    let _ = section.duration("authTimeout");
    let _ = section.flag("pubkey");
}

/// Reads `configserver`: whether there is one, and it (`None` inside was reported).
pub(super) fn config_server(section: &Section<'_>, files: &dyn Files) -> (bool, Option<ConfigServer>) {
    let keys = ClientKeys::read(section);
    let transmit_sensitive = section.flag("transmitSensitiveMetadata");
    let exact_values = section.flag("exactValues");
    let allow_connection = section.flag("allowConnection");
    if !keys.has_url() {
        if section.is_set() {
            section.notice("url", "is not set: this section has no effect");
        }
        return (false, None);
    }
    let server = |client: HttpClientConfig| ConfigServer { client, transmit_sensitive, exact_values, allow_connection };
    (true, keys.build(section, files).map(server))
}
