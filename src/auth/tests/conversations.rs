//! Logins of several rounds, by an authenticator that asks the user.

use super::*;
use crate::auth::conversation::{Conversation, Prompt, RunningLogin};
use futures_util::future::{BoxFuture, ready};
use podgate_webhooks::wire::Known;

/// Asks for a name and a code, then for a second code; accepts `4711` and then `0815`.
struct TwoCodes(usize);

impl Conversation for TwoCodes {
    fn next<'a>(
        &'a mut self,
        attempt: LoginAttempt<'a>,
        answers: Vec<Secret>,
    ) -> BoxFuture<'a, Result<AuthStep, AuthError>> {
        let prompt = |text: &str, echo| Prompt { text: text.to_owned(), echo };
        self.0 += 1;
        let answers: Vec<&str> = answers.iter().map(Secret::expose).collect();
        let step = match (self.0, answers.as_slice()) {
            (1, []) => Ok(AuthStep::Ask(vec![prompt("name: ", true), prompt("code: ", false)])),
            (2, [_, "4711"]) => Ok(AuthStep::Ask(vec![prompt("next code: ", false)])),
            (3, ["0815"]) => {
                let known = Known::default();
                Ok(AuthStep::Done(Identity::for_test(attempt.username.clone(), "jo@example.com", known)))
            }
            (3, ["more"]) => Ok(AuthStep::More(vec![AuthMethod::PublicKey])),
            _ => Err(AuthError::Denied { reason: "the code was refused", message: None }),
        };
        Box::pin(ready(step))
    }
}

fn prompts(step: Result<AuthStep, AuthError>) -> Vec<String> {
    match step {
        Ok(AuthStep::Ask(prompts)) => prompts.into_iter().map(|prompt| prompt.text).collect(),
        other => panic!("no prompts: {other:?}"),
    }
}

fn answers(answers: &[&str]) -> Vec<Secret> {
    answers.iter().map(|answer| Secret::new(*answer)).collect()
}

#[tokio::test]
async fn authenticator_that_asks_twice_gets_both_answers_before_it_says_yes() {
    let client = Client::new("jo");
    let mut login = RunningLogin::new(TwoCodes(0));
    assert_eq!(prompts(login.next(client.attempt(), Vec::new()).await), ["name: ", "code: "]);
    assert_eq!(prompts(login.next(client.attempt(), answers(&["jo", "4711"])).await), ["next code: "]);
    let identity = done(login.next(client.attempt(), answers(&["0815"])).await);
    assert_eq!(identity.authenticated(), "jo@example.com");
}

#[tokio::test]
async fn authenticator_can_require_a_second_method_after_its_questions() {
    let client = Client::new("jo");
    let mut login = RunningLogin::new(TwoCodes(0));
    prompts(login.next(client.attempt(), Vec::new()).await);
    prompts(login.next(client.attempt(), answers(&["jo", "4711"])).await);
    let step = login.next(client.attempt(), answers(&["more"])).await;
    assert!(matches!(step, Ok(AuthStep::More(methods)) if methods == [AuthMethod::PublicKey]));
}

#[tokio::test]
async fn answers_that_are_not_one_for_each_prompt_are_refused_without_asking_the_authenticator() {
    let client = Client::new("jo");
    for wrong in [&[][..], &["4711"], &["jo", "4711", "0815"]] {
        let mut login = RunningLogin::new(TwoCodes(0));
        prompts(login.next(client.attempt(), Vec::new()).await);
        let refused = login.next(client.attempt(), answers(wrong)).await;
        assert!(matches!(refused, Err(AuthError::Denied { .. })), "{wrong:?}");
    }
    let mut unasked = RunningLogin::new(TwoCodes(0));
    assert!(unasked.next(client.attempt(), answers(&["4711"])).await.is_err());
}

#[tokio::test]
async fn credential_is_judged_once() {
    let fake = FakeWebhook::start(|_, _| yes()).await;
    let client = Client::new("jo");
    let mut login = without_authz(&fake).begin(password());
    done(login.next(client.attempt(), Vec::new()).await);
    assert!(login.next(client.attempt(), Vec::new()).await.is_err());
    assert_eq!(fake.asked().len(), 1);
}
