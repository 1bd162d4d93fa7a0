//! argon2 (RFC 9106): hashes as PHC strings, checked off the async threads, a few at a time.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params};
use std::fmt;
use std::sync::Arc;
use std::thread::available_parallelism;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// The most memory that one check may take, in KiB.
const MAX_MEMORY: u32 = 1 << 20; // 1 GiB

/// The most rounds over that memory.
const MAX_ROUNDS: u32 = 64;

/// Limit of checks at once; each takes a thread and its memory.
const MAX_CHECKS: usize = 4;

/// A password's hash, of a cost that we are ready to pay.
#[derive(Clone)]
pub(super) struct Hash(PasswordHash);

/// Error of making or checking a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Not a PHC string of argon2. What it is instead is not shown: it may be the password.
    #[error("is not an argon2 hash ($argon2id$…); `podgate-webhooks hash` makes one")]
    NotArgon2,
    /// A hash that could be used to stall the server.
    #[error("needs more than 1 GiB of memory or 64 rounds")]
    TooCostly,
    /// Hashing failed: no randomness, or a password that argon2 does not take.
    #[error("the password cannot be hashed")]
    Hashing,
    /// A check broke off.
    #[error("the password could not be checked")]
    Checking,
}

impl Hash {
    /// Hashes a password with a fresh salt and argon2's recommended cost (19 MiB, 2 rounds).
    pub(super) fn make(password: &[u8]) -> Result<Self, PasswordError> {
        Argon2::default().hash_password(password).map(Self).map_err(|_| PasswordError::Hashing)
    }

    /// Parses a PHC string.
    pub(super) fn parse(text: &str) -> Result<Self, PasswordError> {
        let hash = PasswordHash::new(text).map_err(|_| PasswordError::NotArgon2)?;
        let known = Algorithm::new(hash.algorithm.as_str()).is_ok();
        let params = Params::try_from(&hash).map_err(|_| PasswordError::NotArgon2)?;
        if !known || hash.salt.is_none() || hash.hash.is_none() {
            return Err(PasswordError::NotArgon2);
        }
        if params.m_cost() > MAX_MEMORY || params.t_cost() > MAX_ROUNDS {
            return Err(PasswordError::TooCostly);
        }
        Ok(Self(hash))
    }

    fn matches(&self, password: &[u8]) -> bool {
        Argon2::default().verify_password(password, &self.0).is_ok()
    }

    /// Cost of a check, in KiB written.
    fn cost(&self) -> u64 {
        Params::try_from(&self.0).map_or(0, |params| u64::from(params.m_cost()) * u64::from(params.t_cost()))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A hash can be attacked offline: it is not shown.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Checks passwords. Who has none is checked against the decoy, so that time does not tell who is listed.
#[derive(Debug)]
pub(super) struct Verifier {
    places: Arc<Semaphore>,
    /// The costliest hash of all users.
    decoy: Option<Hash>,
}

impl Default for Verifier {
    fn default() -> Self {
        let checks = available_parallelism().map_or(1, |cores| cores.get().min(MAX_CHECKS));
        Self { places: Arc::new(Semaphore::new(checks)), decoy: None }
    }
}

impl Verifier {
    /// Takes `hash` as the decoy where it is the costliest so far.
    pub(super) fn take_as_decoy(&mut self, hash: &Hash) {
        if self.decoy.as_ref().is_none_or(|decoy| decoy.cost() < hash.cost()) {
            self.decoy = Some(hash.clone());
        }
    }

    /// True where the password is the one that was hashed. False without a hash, whatever the decoy's result is.
    pub(super) async fn verify(&self, hash: Option<&Hash>, password: &[u8]) -> Result<bool, PasswordError> {
        let Some(checked) = hash.or(self.decoy.as_ref()).cloned() else { return Ok(false) };
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| PasswordError::Checking)?;
        let password = password.to_vec();
        let check = spawn_blocking(move || {
            let matches = checked.matches(&password);
            // Kept to the end of the work, which goes on when whoever waited for it has gone.
            drop(place);
            matches
        });
        let matches = check.await.map_err(|_| PasswordError::Checking)?;
        Ok(matches && hash.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As cheap as argon2 gets: a test needs no cost.
    fn cheap(password: &[u8]) -> Hash {
        let params = Params::new(8, 1, 1, None).expect("the least cost");
        let argon2 = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params);
        Hash(argon2.hash_password(password).expect("a hash"))
    }

    #[test]
    fn what_is_no_affordable_argon2_hash_is_refused() {
        let rest = "$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
        for text in [
            "",
            "hunter2",
            "$2y$10$abcdefghijklmnopqrstuv",
            "$argon2id$v=19$m=8,t=1,p=1",
            "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0",
            &format!("$scrypt$ln=1,r=1,p=1{rest}"),
            &format!("$argon2id$v=19$m=x,t=1,p=1{rest}"),
        ] {
            assert_eq!(Hash::parse(text).map(|_| ()), Err(PasswordError::NotArgon2), "{text}");
        }
        for cost in ["m=2097152,t=1,p=1", "m=8,t=65,p=1"] {
            let text = format!("$argon2id$v=19${cost}{rest}");
            assert_eq!(Hash::parse(&text).map(|_| ()), Err(PasswordError::TooCostly), "{text}");
        }
        for kind in ["argon2id", "argon2i", "argon2d"] {
            assert!(Hash::parse(&format!("${kind}$v=19$m=19456,t=2,p=1{rest}")).is_ok(), "{kind}");
        }
    }

    #[tokio::test]
    async fn wrong_password_and_the_decoys_password_are_no_match() {
        let mut verifier = Verifier::default();
        assert_eq!(verifier.verify(None, b"").await, Ok(false));
        let hash = cheap(b"right");
        verifier.take_as_decoy(&hash);
        assert_eq!(verifier.verify(None, b"right").await, Ok(false));
        assert_eq!(verifier.verify(Some(&hash), b"wrong").await, Ok(false));
        assert_eq!(verifier.verify(Some(&hash), b"right").await, Ok(true));
    }

    #[test]
    fn decoy_is_the_costliest_hash() {
        let mut verifier = Verifier::default();
        let costly = Hash::make(b"a").expect("a hash");
        for hash in [&cheap(b"a"), &costly, &cheap(b"b")] {
            verifier.take_as_decoy(hash);
        }
        assert_eq!(verifier.decoy.map(|decoy| decoy.to_string()), Some(costly.to_string()));
    }

    #[test]
    fn hash_is_read_back_and_not_shown() {
        let hash = cheap("pässword".as_bytes());
        assert_eq!(format!("{hash:?}"), "<secret>");
        assert!(Hash::parse(&hash.to_string()).is_ok_and(|hash| hash.matches("pässword".as_bytes())));
    }
}
