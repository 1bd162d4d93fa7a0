//! The gateway's own credentials in what a server says: a proxy can send back the headers that it got.
//!
//! Invariant: a text that was masked holds no [`PIECE`] of the credentials, wherever it was cut.

use crate::kubernetes::api::client::ClusterClient;
use crate::settings::Cluster;
use std::collections::HashSet;

const MASK: &str = "***";
/// Length by which a piece of a credential is known, in bytes.
const PIECE: usize = 12;
/// Length of a credential below which each word could be one.
const SHORTEST: usize = 4;

/// The credentials that no text may hold.
pub(super) struct Mask(Vec<String>);

impl Mask {
    /// The mask for all that this client sends.
    pub(super) fn of(client: &ClusterClient, cluster: &Cluster) -> Self {
        let sent = client.authorization();
        let sent = sent.as_ref().and_then(|sent| sent.to_str().ok()).unwrap_or_default();
        let (_scheme, sent) = sent.split_once(' ').unwrap_or(("", sent));
        let password = cluster.basic.as_ref().map(|(_, password)| password.expose());
        Self::new([Some(sent), password].into_iter().flatten())
    }

    fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let secrets = secrets.into_iter().map(str::trim).filter(|secret| secret.len() >= SHORTEST);
        Self(secrets.map(str::to_owned).collect())
    }

    /// Replaces credentials, and pieces of them, in a text.
    pub(super) fn applied(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| without(&text, secret))
    }
}

fn without(text: &str, secret: &str) -> String {
    let length = PIECE.min(secret.len());
    let pieces: HashSet<&[u8]> = secret.as_bytes().windows(length).collect();
    let found = text.as_bytes().windows(length).enumerate().filter(|(_, piece)| pieces.contains(piece));
    let mut hidden = vec![false; text.len()];
    for (at, _) in found {
        hidden.iter_mut().skip(at).take(length).for_each(|byte| *byte = true);
    }
    let mut masked = String::with_capacity(text.len());
    let mut was_hidden = false;
    for (at, letter) in text.char_indices() {
        let is_hidden = hidden.iter().skip(at).take(letter.len_utf8()).any(|byte| *byte);
        match (was_hidden, is_hidden) {
            (_, false) => masked.push(letter),
            (false, true) => masked.push_str(MASK),
            (true, true) => {}
        }
        was_hidden = is_hidden;
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_their_pieces_are_masked_and_nothing_else() {
        let mask = Mask::new(["0123456789abcdefghij", "t-gate", " pässwort-von-hier\n", "abc", ""]);
        for (text, expected) in [
            ("you sent t-gate, t-gate", "you sent ***, ***"),
            ("Authorization: Bearer 0123456789abcdefghij Host: a", "Authorization: Bearer *** Host: a"),
            ("cut 0123456789abcd…", "cut ***…"),
            ("…56789abcdefghij is cut", "…*** is cut"),
            ("é pässwort-von-hier é", "é *** é"),
            ("é pässwort-von", "é ***"),
            ("0123456789abcdefghij0123456789abcdefghij", "***"),
            ("too little: 0123456789a", "too little: 0123456789a"),
            ("abc t-gat", "abc t-gat"),
            ("", ""),
        ] {
            assert_eq!(mask.applied(text), expected);
        }
    }
}
