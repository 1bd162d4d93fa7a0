//! `auth` and `configserver`: whom the gateway asks. Only methods that are configured are there, and there is at least
//! one way to log in.

use super::http::{ClientKeys, REPEATED_TIMEOUT};
use super::migrate::CLIENT;
use super::pem::Files;
use super::reader::Section;
use super::unbuilt;
use super::{Auth, AuthWebhook, ConfigServer, HttpClient};
use std::time::Duration;

const AUTH_TIMEOUT: Duration = Duration::from_secs(60);
const LEAST_TIMEOUT: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq)]
enum Method {
    Webhook,
    Kerberos,
    OAuth2,
}

/// Reads `auth`; `None` was reported.
pub(super) fn read(section: &Section<'_>, files: &dyn Files) -> Option<Auth> {
    let (password, legacy_password) = section.section_or_flag("password");
    let public_key = section.section("publicKey");
    let authz = section.section("authz");
    unbuilt::kerberos(&password.section("kerberos"));
    let auth = Auth {
        // A password is asked once, so nothing is won by giving up before the end.
        password: webhook(&password, &[("webhook", Method::Webhook), ("kerberos", Method::Kerberos)], None, files),
        public_key: webhook(&public_key, &[("webhook", Method::Webhook)], Some(REPEATED_TIMEOUT), files),
        authz: webhook(&authz, &[("webhook", Method::Webhook)], Some(REPEATED_TIMEOUT), files),
    };
    let other = other_methods(section);
    without_url(section);
    if legacy_password.is_some() {
        section.notice("password", "true or false has no effect here without auth.url");
    }
    let tried = password.has_text("method") || public_key.has_text("method");
    if auth.password.is_none() && auth.public_key.is_none() && !tried && !other {
        let text = "no way to log in is configured; set auth.password or auth.publicKey, for example password: {method: \
                    webhook, webhook: {url: https://…}}";
        section.error("password.method", text);
    }
    Some(auth)
}

/// The methods that are not built; whether one was asked for (and reported).
fn other_methods(section: &Section<'_>) -> bool {
    let keyboard = section.section("keyboardInteractive");
    let gssapi = section.section("gssapi");
    unbuilt::oauth2(&keyboard.section("oauth2"));
    unbuilt::kerberos(&gssapi.section("kerberos"));
    let keyboard_method = keyboard.choice("method", &[("oauth2", Method::OAuth2)]);
    let gssapi_method = gssapi.choice("method", &[("kerberos", Method::Kerberos)]);
    for (part, method) in [(&keyboard, keyboard_method), (&gssapi, gssapi_method)] {
        match method {
            Some(method) => refuse(part, method),
            None if part.is_set() => part.notice("method", "is not built yet: this section has no effect"),
            None => {}
        }
    }
    keyboard_method.or(gssapi_method).is_some()
}

fn refuse(section: &Section<'_>, method: Method) {
    let name = match method {
        Method::Kerberos => "Kerberos",
        Method::OAuth2 => "OAuth2",
        Method::Webhook => return,
    };
    section.error("method", format!("{name} is not built yet; use method: webhook in auth.password or auth.publicKey"));
}

/// One step's `method` and `webhook`; `timeout` is the default of a try, `None` that of all.
fn webhook(
    section: &Section<'_>,
    words: &[(&'static str, Method)],
    timeout: Option<Duration>,
    files: &dyn Files,
) -> Option<AuthWebhook> {
    let block = section.section("webhook");
    let keys = ClientKeys::read(&block);
    let auth_timeout = block.duration("authTimeout", LEAST_TIMEOUT).unwrap_or(AUTH_TIMEOUT);
    match section.choice("method", words) {
        Some(Method::Webhook) if keys.has_url() => {
            let client = keys.build(&block, timeout.unwrap_or(auth_timeout), files)?;
            Some(AuthWebhook { client, auth_timeout })
        }
        Some(Method::Webhook) => {
            block.error("url", "is missing; method: webhook needs it");
            None
        }
        Some(other) => {
            refuse(section, other);
            None
        }
        None => {
            if keys.has_url() {
                block.notice("url", "has no effect without method: webhook beside the block");
            }
            None
        }
    }
}

/// What is left of ContainerSSH 0.4's one client for both methods, which [`super::migrate`] put into their blocks where
/// it said whom to ask.
fn without_url(section: &Section<'_>) {
    if CLIENT.iter().chain(&["pubkey"]).any(|key| section.has_text(key)) {
        section.notice("url", "is not set: the HTTP client keys in this block have no effect");
    }
    let _ = ClientKeys::read(section);
    let _ = section.duration("authTimeout", LEAST_TIMEOUT);
    let _ = section.flag("pubkey");
}

/// Reads `configserver`: whether there is one, and it (`None` inside was reported).
pub(super) fn config_server(section: &Section<'_>, files: &dyn Files) -> (bool, Option<ConfigServer>) {
    let keys = ClientKeys::read(section);
    let transmit_sensitive = section.flag("transmitSensitiveMetadata").unwrap_or(false);
    let exact_values = section.flag("exactValues").unwrap_or(false);
    let allow_connection = section.flag("allowConnection").unwrap_or(false);
    if !keys.has_url() {
        if section.is_set() {
            section.notice("url", "is not set: this section has no effect");
        }
        return (false, None);
    }
    let server = |client: HttpClient| ConfigServer { client, transmit_sensitive, exact_values, allow_connection };
    (true, keys.build(section, REPEATED_TIMEOUT, files).map(server))
}
