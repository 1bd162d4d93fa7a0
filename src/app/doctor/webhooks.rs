//! The checks of the webhooks: the way to each, and its answer to a question about a user who does not exist. No account can
//! be locked by it, since the name is made up anew each time.

use super::{Caller, QUESTION};
use crate::app::test_login::with_limit;
use crate::auth::{AuthConfig, AuthError, AuthWebhook, Authenticator, Credential};
use crate::config::Config;
use crate::settings::{ConfigClient, ConfigServerError};
use crate::ssh::{AdmissionError, ConfigOrigin, ask, resolve};
use crate::types::{CheckResult, Diagnosis, DoctorCheck, RunningCheck, Secret, Username, time_text};
use crate::webhook::{WebhookClient, WebhookTrial, examine as examine_way};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use data_encoding::BASE64;
use futures_util::future::join_all;
use std::time::{Duration, Instant};

/// Limit of each step to a server.
const STEP: Duration = Duration::from_secs(4);
/// The time of an answer from which on logins are slow.
const SLOW: Duration = Duration::from_secs(2);
/// The algorithm of a made-up key.
const KEY_TYPE: &str = "ssh-ed25519";

/// The webhooks by the questions that they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Password,
    PublicKey,
    Authorization,
    Config,
}

/// The checks of a webhook, and the seconds by which its clock is ahead.
type Examined = (Vec<Diagnosis>, Vec<(String, i64)>);

/// Examines all webhooks at once.
pub(super) async fn examine(config: &Config) -> Examined {
    let auth = &config.auth;
    let login = |webhook: &Option<AuthWebhook>| webhook.as_ref().map(|webhook| webhook.client.clone());
    let webhooks = [
        (Asked::Password, "auth.password", "/password", login(&auth.password)),
        (Asked::PublicKey, "auth.publicKey", "/pubkey", login(&auth.public_key)),
        (Asked::Authorization, "auth.authz", "/authz", login(&auth.authz)),
        (Asked::Config, "configserver", "", config.configserver.as_ref().map(|server| server.client.clone())),
    ];
    let all = webhooks.into_iter().filter_map(|(asked, section, path, client)| Some((asked, section, path, client?)));
    let all = all.map(|(asked, section, path, client)| async move {
        let trial = WebhookTrial { section, client: &client, path };
        let mut checks = examine_way(trial, STEP).await;
        if checks.iter().any(|check| check.result == CheckResult::Failed) {
            let running = RunningCheck::begin(DoctorCheck::WebhookAnswer, section);
            checks.push(running.skipped("the server cannot be reached", "mend the way to the server first"));
            return (checks, None);
        }
        let (answer, ahead) = answer(config, asked, section).await;
        checks.push(answer);
        (checks, ahead.map(|ahead| (section.to_owned(), ahead)))
    });
    let (checks, clocks): (Vec<_>, Vec<_>) = join_all(all).await.into_iter().unzip();
    (checks.into_iter().flatten().collect(), clocks.into_iter().flatten().collect())
}

async fn answer(config: &Config, asked: Asked, section: &'static str) -> (Diagnosis, Option<i64>) {
    let running = RunningCheck::begin(DoctorCheck::WebhookAnswer, section);
    let clients = Authenticator::new(&with_limit(&config.auth, QUESTION));
    let server = config.configserver.as_ref().map(ConfigClient::new).transpose();
    let (Ok(auth), Ok(server), Some(caller)) = (clients, server, Caller::new()) else {
        return (running.failed(format!("{section}: the client cannot be made"), "correct this section"), None);
    };
    let server = server.map(|server| server.within(QUESTION));
    let mut found = auth.webhooks().into_iter().filter(|(name, _)| *name == section).map(|(_, client)| client);
    let client: Option<WebhookClient> = found.next().or_else(|| server.as_ref().map(ConfigClient::webhook));
    let ahead = match client {
        Some(client) => client.clock_offset().await,
        None => None,
    };
    let made_up = format!("podgate-doctor-{:016x}", rand::random::<u64>());
    let Ok(user) = Username::parse(&made_up) else {
        return (running.failed("no name can be made up", "report this"), ahead);
    };
    let running = RunningCheck::begin(DoctorCheck::WebhookAnswer, section);
    let began = Instant::now();
    let answer = match asked {
        Asked::Password => {
            let password = Secret::new(format!("{:032x}", rand::random::<u128>()));
            auth.check_credential(caller.attempt(&user), Credential::Password(password)).await.map(drop)
        }
        Asked::PublicKey => match made_up_key() {
            Some(key) => auth.check_offered_key(caller.attempt(&user), &key).await.map(drop),
            None => return (running.failed("no key can be made up", "report this"), ahead),
        },
        Asked::Authorization => auth.authorize(caller.attempt(&user), auth.assume(&user)).await.map(drop),
        Asked::Config => {
            let Some(server) = &server else { return (running.failed("no client", "report this"), ahead) };
            // Whoever authorizes is asked by itself.
            let nobody = AuthConfig { password: None, public_key: None, authz: None };
            let Ok(unasked) = Authenticator::new(&nobody) else {
                return (running.failed("no client", "report this"), ahead);
            };
            let Ok(mut identity) = unasked.authorize(caller.attempt(&user), unasked.assume(&user)).await else {
                return (running.failed("no client", "report this"), ahead);
            };
            let answer = ask(ConfigOrigin::Server(server), &mut identity, &caller.facts, &caller.log).await;
            // As a login does: an answer can be understood and lead to no pod.
            let settings = answer.and_then(|answer| resolve(&config.base, answer.as_ref(), &caller.log));
            return (of_config_server(&running, settings.map(drop), &caller, began.elapsed()).await, ahead);
        }
    };
    (of_login(&running, (asked, section), answer, &caller, began.elapsed()).await, ahead)
}

async fn of_login(
    running: &RunningCheck,
    (asked, section): (Asked, &str),
    answer: Result<(), AuthError>,
    caller: &Caller,
    took: Duration,
) -> Diagnosis {
    match answer {
        Ok(()) if asked == Asked::Authorization => running.warning(
            "it allows a user name that was made up: everybody with a good password or key is let in",
            "nothing is to be done if that is meant; else deny users who are not known",
        ),
        Ok(()) => running.failed(
            format!("{section}: it accepts anybody: it says yes to a user who was made up"),
            "let the webhook check the credential, and answer {\"success\": false} to any other; until then everybody gets a \
             pod",
        ),
        Err(error) if error.is_without_success() => running.warning(
            format!("{section}: its answer has no success, and neither allows nor denies: logins are refused"),
            "answer {\"success\": false} to deny a user, and {\"success\": true} to allow one (docs/webhooks.md)",
        ),
        Err(AuthError::Denied { .. }) => in_time(running, "it denies a user who was made up", took),
        Err(error) => {
            let cause = caller.reason().await.map(|reason| format!(": {reason}")).unwrap_or_default();
            let fix = "see the log of the webhook server; docs/webhooks.md has the requests and answers, and podgate test-login \
                       shows one";
            running.failed(format!("{section}: {error}{cause}"), fix)
        }
    }
}

async fn of_config_server(
    running: &RunningCheck,
    answer: Result<(), AdmissionError>,
    caller: &Caller,
    took: Duration,
) -> Diagnosis {
    match answer {
        Ok(()) => in_time(running, "it gives settings to a user who was made up", took),
        Err(AdmissionError::Config(ConfigServerError::Denied { .. })) => {
            in_time(running, "it denies a user who was made up", took)
        }
        Err(error) => {
            let text = error.to_string();
            let cause = caller.reason().await.filter(|cause| !text.contains(cause.as_str()));
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            let fix = "see the log of the config server; docs/webhooks.md has its requests and answers";
            running.failed(format!("configserver: {text}{cause}"), fix)
        }
    }
}

fn in_time(running: &RunningCheck, text: &str, took: Duration) -> Diagnosis {
    let text = format!("{text}, within {}", time_text(took));
    if took < SLOW {
        return running.ok(text);
    }
    running.warning(text, "make the webhook server faster: every login waits for it")
}

/// A public key that nobody has, as a line of `authorized_keys`.
fn made_up_key() -> Option<String> {
    let key = Ed25519KeyPair::generate().ok()?;
    let mut blob = Vec::new();
    for part in [KEY_TYPE.as_bytes(), key.public_key().as_ref()] {
        blob.extend(u32::try_from(part.len()).ok()?.to_be_bytes());
        blob.extend(part);
    }
    Some(format!("{KEY_TYPE} {}", BASE64.encode(&blob)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_that_a_login_waits_for_is_slow_and_no_failure() {
        let running = RunningCheck::begin(DoctorCheck::WebhookAnswer, "auth.password");
        for (took, expected) in [(1, CheckResult::Ok), (2, CheckResult::Warning), (9, CheckResult::Warning)] {
            let took = Duration::from_secs(took);
            assert!(took < QUESTION, "it is waited for");
            assert_eq!(in_time(&running, "it denies a user who was made up", took).result, expected, "{took:?}");
        }
    }

    #[test]
    fn made_up_key_is_a_key_and_another_each_time() {
        let (one, other) = (made_up_key().unwrap(), made_up_key().unwrap());
        assert!(crate::ssh::is_public_key(&one) && crate::ssh::is_public_key(&other));
        assert_ne!(one, other);
    }
}
