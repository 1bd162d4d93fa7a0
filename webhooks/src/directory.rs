//! Users, and what they get: the decider behind the program `podgate-webhooks`, filled from a YAML file or in code.
//!
//! Always true: whoever is not listed is denied, and a password of theirs takes as long to be denied as a listed user's
//! (whose hash is the costliest of the directory); a user without a password hash has no password.

mod check;
mod file;
mod follow;
mod key;
mod password;
#[cfg(test)]
mod properties;
mod settings;
mod yaml;

#[cfg(test)]
mod tests;

pub use check::{Findings, SettingsCheck};
pub use file::{Problem, Problems};
pub use follow::{FileError, FileFollower, Followed};
pub use key::KeyError;
pub use password::PasswordError;
pub use settings::SettingsError;

use crate::toolkit::{Decide, Decision, Denial, Grant, NoConfig};
use crate::wire::{AuthzRequest, ConfigAnswer, ConfigRequest, Connection, Known};
use key::AuthorizedKey;
use password::{Hash, Verifier};
use serde_json::Value as Json;
use settings::UserSettings;
use std::collections::BTreeMap;

const UNLISTED: &str = "the user is not in the directory";
const OTHER_NAME: &str = "the user was authenticated under another name";

/// Users by login name.
#[derive(Debug, Default)]
pub struct Directory {
    users: BTreeMap<String, User>,
    defaults: Profile,
    verifier: Verifier,
    warnings: Vec<Problem>,
}

/// A user of the directory.
#[derive(Debug, Clone, Default)]
pub struct User {
    password: Option<Hash>,
    keys: Vec<AuthorizedKey>,
    authenticated_username: Option<String>,
    profile: Profile,
}

/// The settings and facts of one user, or of all users.
#[derive(Debug, Clone, Default)]
struct Profile {
    known: Known,
    settings: UserSettings,
}

/// Hashes a password for the users' file: a PHC string (`$argon2id$…`) with a fresh salt.
///
/// # Errors
/// No randomness to be had.
pub fn hash_password(password: &[u8]) -> Result<String, PasswordError> {
    Hash::make(password).map(|hash| hash.to_string())
}

impl Directory {
    /// Makes a directory without users, which denies everybody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a YAML file's text.
    ///
    /// Under `users`, by login name: `passwordHash` (`podgate-webhooks hash` makes one), `authorizedKeys` (a list, or a
    /// text of lines), `authenticatedUsername` (the login name where absent), and what the user gets: `metadata` and
    /// `environment` (a text, or `{value, sensitive}`), `files` (`{text}` or `{base64}`, and `sensitive`), `settings` (a
    /// part of the gateway's configuration). Under `defaults`, the same four for all users; a user's own entries win.
    ///
    /// ```
    /// # use podgate_webhooks::directory::Directory;
    /// let directory = Directory::from_yaml(r#"
    /// defaults:
    ///   settings:
    ///     backend: kubernetes
    ///     kubernetes: {pod: {image: "debian:13"}}
    /// users:
    ///   alice:
    ///     authorizedKeys:
    ///       - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f alice at home
    ///     authenticatedUsername: alice@example.com
    ///     environment: {TEAM: blue, TOKEN: {value: "7", sensitive: true}}
    ///     files: {/home/alice/.gitconfig: {text: "[user]\n  name = Alice\n"}}
    ///     settings: {security: {maxSessions: 5}}
    /// "#);
    /// assert!(directory.is_ok());
    /// ```
    ///
    /// # Errors
    /// Every mistake in the text, each with its path. Of the settings, the names of the sections alone are looked at.
    pub fn from_yaml(text: &str) -> Result<Self, Problems> {
        file::read(text, &|_| Findings::default())
    }

    /// Reads a YAML file's text as [`Directory::from_yaml`] does; `check` judges the settings that each user gets.
    ///
    /// # Errors
    /// Every mistake in the text, each with its path.
    pub fn from_yaml_checked(text: &str, check: &SettingsCheck) -> Result<Self, Problems> {
        file::read(text, check)
    }

    /// Warnings about the file: variables whose names a shell does not allow, which nobody gets, and
    /// what the check of the settings warns of.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Adds a user, or replaces the one with that login name.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, user: User) -> Self {
        if let Some(hash) = &user.password {
            self.verifier.take_as_decoy(hash);
        }
        self.users.insert(name.into(), user);
        self
    }

    /// Sets the defaults of all users; a user's own entries win.
    #[must_use]
    pub fn default_known(mut self, known: Known) -> Self {
        self.defaults.known = known;
        self
    }

    /// The settings that every user's own are laid over: objects are merged key by key, everything else is replaced.
    ///
    /// # Errors
    /// See [`User::settings`].
    pub fn default_settings(mut self, settings: Json) -> Result<Self, SettingsError> {
        self.defaults.settings = UserSettings::new(settings)?;
        Ok(self)
    }

    fn grant(&self, name: &str, user: &User) -> Decision {
        let mut known = self.defaults.known.clone();
        known.merge(user.profile.known.clone());
        Decision::Allow(Grant { authenticated_username: Some(user.called(name).to_owned()), known })
    }
}

impl User {
    /// A user who cannot log in yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A user with this password. Computes an argon2 hash, which takes some 50 ms.
    ///
    /// # Errors
    /// No randomness to be had.
    pub fn with_password(password: &str) -> Result<Self, PasswordError> {
        Ok(Self { password: Some(Hash::make(password.as_bytes())?), ..Self::default() })
    }

    /// Sets the password by its argon2 hash, a PHC string (`$argon2id$…`).
    ///
    /// # Errors
    /// What is no argon2 hash, or one that would cost more than 1 GiB or 64 rounds.
    pub fn password_hash(mut self, phc: &str) -> Result<Self, PasswordError> {
        self.password = Some(Hash::parse(phc)?);
        Ok(self)
    }

    /// Adds a key, a line of `authorized_keys`.
    ///
    /// # Errors
    /// What is no such line; lines with options, which would not be obeyed; certificates.
    pub fn key(mut self, line: &str) -> Result<Self, KeyError> {
        self.keys.push(AuthorizedKey::parse(line)?);
        Ok(self)
    }

    /// Sets the user's name for everything after the login; the login name where this is not set.
    #[must_use]
    pub fn authenticated_username(mut self, name: impl Into<String>) -> Self {
        self.authenticated_username = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// Metadata, environment and files.
    #[must_use]
    pub fn known(mut self, known: Known) -> Self {
        self.profile.known = known;
        self
    }

    /// A part of the gateway's configuration, laid over the directory's and the gateway's own.
    ///
    /// # Errors
    /// What is not an object, and sections that a config webhook has no say in.
    pub fn settings(mut self, settings: Json) -> Result<Self, SettingsError> {
        self.profile.settings = UserSettings::new(settings)?;
        Ok(self)
    }

    fn called<'a>(&'a self, name: &'a str) -> &'a str {
        self.authenticated_username.as_deref().unwrap_or(name)
    }

    /// True where a gateway that calls the user `established` means this one. It may say nothing.
    fn is_called(&self, name: &str, established: Option<&str>) -> bool {
        established.is_none_or(|established| established == self.called(name))
    }
}

impl Decide for Directory {
    async fn password(&self, connection: &Connection, password: &[u8]) -> Decision {
        let user = self.users.get(&connection.username);
        match self.verifier.verify(user.and_then(|user| user.password.as_ref()), password).await {
            Ok(true) => user.map_or(Decision::deny(UNLISTED), |user| self.grant(&connection.username, user)),
            Ok(false) => Decision::deny(match user {
                None => UNLISTED,
                Some(User { password: None, .. }) => "the user has no password",
                Some(_) => "the password is wrong",
            }),
            Err(error) => Decision::Unavailable(error.to_string()),
        }
    }

    async fn public_key(&self, connection: &Connection, key: &str) -> Decision {
        let key = match AuthorizedKey::parse(key) {
            Ok(key) => key,
            Err(error) => return Decision::deny(format!("what was offered {error}")),
        };
        match self.users.get(&connection.username) {
            Some(user) if key.is_in(&user.keys) => self.grant(&connection.username, user),
            Some(_) => Decision::deny("the key is none of the user's"),
            None => Decision::deny(UNLISTED),
        }
    }

    async fn authorize(&self, request: &AuthzRequest) -> Decision {
        let name = &request.connection.username;
        match self.users.get(name) {
            Some(user) if user.is_called(name, request.authenticated_username.as_deref()) => self.grant(name, user),
            Some(_) => Decision::deny(OTHER_NAME),
            None => Decision::deny(UNLISTED),
        }
    }

    async fn config(&self, request: &ConfigRequest) -> Result<ConfigAnswer, NoConfig> {
        let name = &request.connection.username;
        match self.users.get(name) {
            Some(user) if user.is_called(name, request.authenticated_username.as_deref()) => {
                Ok(ConfigAnswer::new(self.defaults.settings.overlaid(&user.profile.settings)))
            }
            Some(_) => Err(refused(OTHER_NAME)),
            None => Err(refused(UNLISTED)),
        }
    }
}

/// Refuses a configuration with a reason that the user reads, too: they are authenticated.
fn refused(reason: &'static str) -> NoConfig {
    NoConfig::Refused(Denial { reason: reason.into(), message: Some(reason.to_owned()) })
}
