//! A login of one or more rounds. A webhook decides in one; another authenticator may ask the user questions first (RFC
//! 4256), or require a second method. The SSH side holds a [`RunningLogin`] between the client's requests.

use super::attempt::{AuthError, AuthMethod, LoginAttempt};
use super::identity::Identity;
use crate::types::Secret;
use futures_util::future::BoxFuture;

/// Result of a round that does not refuse the login.
#[derive(Debug)]
pub(crate) enum AuthStep {
    /// The client is this identity.
    Done(Identity),
    /// The client has to answer these prompts first (RFC 4256 section 3.2).
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "webhooks ask the user nothing; keyboard-interactive is not offered")
    )]
    Ask(Vec<Prompt>),
    /// The credential is right, and one of these methods has to succeed, too.
    #[cfg_attr(not(test), expect(dead_code, reason = "webhooks require no second method"))]
    More(Vec<AuthMethod>),
}

/// A question to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prompt {
    pub text: String,
    /// The client may show what the user types.
    pub echo: bool,
}

/// One authenticator's side of a login.
pub(crate) trait Conversation: Send {
    /// Continues with the client's answers to the last prompts, one for each; the first round has none. Dropping the future
    /// cancels the round.
    fn next<'a>(
        &'a mut self,
        attempt: LoginAttempt<'a>,
        answers: Vec<Secret>,
    ) -> BoxFuture<'a, Result<AuthStep, AuthError>>;
}

/// A login between its rounds.
pub(crate) struct RunningLogin {
    conversation: Box<dyn Conversation>,
    /// Number of prompts that the client has to answer.
    prompts: usize,
}

impl RunningLogin {
    pub(super) fn new(conversation: impl Conversation + 'static) -> Self {
        Self { conversation: Box::new(conversation), prompts: 0 }
    }

    /// Runs the next round. Dropping the future cancels it.
    ///
    /// # Errors
    /// A refusal, an authenticator without an answer, or another number of answers than prompts (RFC 4256 section 3.4).
    pub(crate) async fn next(
        &mut self,
        attempt: LoginAttempt<'_>,
        answers: Vec<Secret>,
    ) -> Result<AuthStep, AuthError> {
        if answers.len() != self.prompts {
            let reason = "the client sent another number of answers than it was asked for";
            return Err(AuthError::Denied { reason, message: None });
        }
        let step = self.conversation.next(attempt, answers).await?;
        self.prompts = match &step {
            AuthStep::Ask(prompts) => prompts.len(),
            AuthStep::Done(_) | AuthStep::More(_) => 0,
        };
        Ok(step)
    }
}
