//! Reads a JSON object field by field. A mistake is named by its path; what the field held is never quoted.

use super::certificate::Certificate;
use super::connection::Connection;
use super::known::{self, File, Known, Value};
use crate::text::nearest;
use crate::unique::Unique;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::fmt;

/// Error of a message: place and fault. Holds nothing of the message but names.
#[derive(Debug)]
pub(super) struct Misfit(String);

impl Misfit {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn below(self, name: &str) -> Self {
        Self(format!("{}: {}", shown(name), self.0))
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writer of an object, which decides how its names are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MessageWriter {
    /// A gateway. Names match to the letter; unknown ones are passed over, as a later gateway may say more.
    Gateway,
    /// A webhook. Names match without regard to ASCII case, as Go's decoder matches them; unknown ones are errors.
    Webhook,
}

/// The fields of one object that nobody has taken yet. `null` is absence.
pub(super) struct MessageFields {
    /// Values by name, which is lower case in a webhook's object.
    left: Map<String, Json>,
    writer: MessageWriter,
}

/// Known fields of an answer's entry.
const ENTRY: [&str; 2] = ["value", "sensitive"];
/// Fields of the question that an answer may hold too, whatever is in them.
pub(super) const ECHOED: [&str; 4] = ["remoteAddress", "connectionId", "clientVersion", "username"];
/// Characters of a name that an error shows, and unknown names.
const SHOWN: usize = 64;
const LISTED: usize = 4;

impl MessageFields {
    /// Reads a gateway's object.
    pub(super) fn of_gateway<'de, D: Deserializer<'de>, T>(
        deserializer: D,
        read: impl FnOnce(&mut Self) -> Result<T, Misfit>,
    ) -> Result<T, D::Error> {
        // By way of a free value, because a type error of serde quotes the text that did not fit.
        let Unique(json) = Unique::deserialize(deserializer)?;
        let json = object(json)?;
        Self::of(json, MessageWriter::Gateway).and_then(|mut fields| read(&mut fields)).map_err(D::Error::custom)
    }

    /// Reads a webhook's object, which may hold the `known` fields, and no others but [`ECHOED`] ones.
    pub(super) fn of_webhook<'de, D: Deserializer<'de>, T>(
        deserializer: D,
        known: &[&'static str],
        read: impl FnOnce(&mut Self) -> Result<T, Misfit>,
    ) -> Result<T, D::Error> {
        let Unique(json) = Unique::deserialize(deserializer)?;
        let json = object(json)?;
        Self::closed(json, MessageWriter::Webhook, known, &ECHOED, read).map_err(D::Error::custom)
    }

    /// Reads an object. In a webhook's, a field that is neither `known` nor `ignored` is an error.
    fn closed<T>(
        json: Json,
        writer: MessageWriter,
        known: &[&'static str],
        ignored: &[&'static str],
        read: impl FnOnce(&mut Self) -> Result<T, Misfit>,
    ) -> Result<T, Misfit> {
        let mut fields = Self::of(json, writer)?;
        let unknown = fields.unknown(known, ignored);
        match (unknown, read(&mut fields)) {
            (None, outcome) => outcome,
            (Some(unknown), Ok(_)) => Err(unknown),
            (Some(unknown), Err(misfit)) => Err(Misfit::new(format!("{unknown}; {misfit}"))),
        }
    }

    /// The object's fields. Two names of a webhook's that differ in case alone are an error: which of them counts would
    /// be a guess.
    fn of(json: Json, writer: MessageWriter) -> Result<Self, Misfit> {
        let Json::Object(map) = json else { return Err(Misfit::new("is not an object")) };
        if writer == MessageWriter::Gateway {
            return Ok(Self { left: map, writer });
        }
        let mut left = Map::new();
        for (name, value) in map {
            let name = name.to_ascii_lowercase();
            if left.contains_key(&name) {
                return Err(Misfit::new("comes twice, in different case").below(&name));
            }
            left.insert(name, value);
        }
        Ok(Self { left, writer })
    }

    /// The error about names of a webhook's object that are not known, where there are any.
    fn unknown(&self, known: &[&'static str], ignored: &[&'static str]) -> Option<Misfit> {
        if self.writer == MessageWriter::Gateway {
            return None;
        }
        let is_known = |name: &str| known.iter().chain(ignored).any(|known| known.eq_ignore_ascii_case(name));
        let unknown: Vec<&str> = self.left.keys().map(String::as_str).filter(|name| !is_known(name)).collect();
        let mut texts: Vec<String> = unknown.iter().take(LISTED).map(|name| not_known(name, known)).collect();
        if unknown.len() > LISTED {
            texts.push(format!("and {} more", unknown.len() - LISTED));
        }
        (!texts.is_empty()).then(|| Misfit::new(texts.join("; ")))
    }

    fn key(&self, name: &str) -> String {
        match self.writer {
            MessageWriter::Gateway => name.to_owned(),
            MessageWriter::Webhook => name.to_ascii_lowercase(),
        }
    }

    fn take(&mut self, name: &str) -> Option<Json> {
        let key = self.key(name);
        self.left.remove(&key).filter(|value| !value.is_null())
    }

    /// A field that must be there, read by one of the methods below.
    pub(super) fn required<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self, &str) -> Result<T, Misfit>,
    ) -> Result<T, Misfit> {
        match self.left.get(&self.key(name)) {
            Some(Json::Null) => Err(Misfit::new("is null").below(name)),
            Some(_) => read(self, name),
            None => Err(Misfit::new("is missing").below(name)),
        }
    }

    /// A text; empty where absent.
    pub(super) fn text(&mut self, name: &str) -> Result<String, Misfit> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(Json::String(text)) => Ok(text),
            Some(_) => Err(Misfit::new("is not a string").below(name)),
        }
    }

    /// A yes or no, where it is said.
    pub(super) fn said(&mut self, name: &str) -> Result<Option<bool>, Misfit> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(Misfit::new("is not true or false").below(name)),
        }
    }

    /// A yes or no; no where absent.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Misfit> {
        Ok(self.said(name)?.unwrap_or(false))
    }

    /// Bytes in base64; none where absent.
    pub(super) fn bytes(&mut self, name: &str) -> Result<Vec<u8>, Misfit> {
        let text = self.text(name)?;
        known::decode_base64(&text).ok_or_else(|| Misfit::new("is not base64 with padding").below(name))
    }

    /// An object; empty where absent.
    pub(super) fn object(&mut self, name: &str) -> Result<Map<String, Json>, Misfit> {
        match self.take(name) {
            None => Ok(Map::new()),
            Some(Json::Object(map)) => Ok(map),
            Some(_) => Err(Misfit::new("is not an object").below(name)),
        }
    }

    /// `authenticatedUsername`; an empty one is an absent one.
    pub(super) fn authenticated_username(&mut self) -> Result<Option<String>, Misfit> {
        Ok(Some(self.text("authenticatedUsername")?).filter(|name| !name.is_empty()))
    }

    /// `message`; an empty one is an absent one.
    pub(super) fn message(&mut self) -> Result<Option<String>, Misfit> {
        Ok(Some(self.text("message")?).filter(|text| !text.is_empty()))
    }

    /// Reads the facts about the connection. Only the login name has to be there.
    pub(super) fn connection(&mut self) -> Result<Connection, Misfit> {
        Ok(Connection {
            remote_address: self.text("remoteAddress")?,
            connection_id: self.text("connectionId")?,
            client_version: self.text("clientVersion")?,
            username: self.required("username", Self::text)?,
            certificate: self.certificate()?,
            known: self.known()?,
            idempotency_key: None,
        })
    }

    fn certificate(&mut self) -> Result<Option<Certificate>, Misfit> {
        let Some(json) = self.take("certificate") else { return Ok(None) };
        let certificate = Self::of(json, self.writer).and_then(|mut fields| {
            Ok(Certificate {
                key_id: fields.text("keyId")?,
                serial: fields.text("serial")?,
                principals: fields.texts("principals")?,
                valid_after: fields.number("validAfter")?.unwrap_or(0),
                valid_before: fields.number("validBefore")?,
                ca_public_key: fields.text("caPublicKey")?,
                ca_fingerprint: fields.text("caFingerprint")?,
                critical_options: fields.text_map("criticalOptions")?,
                extensions: fields.text_map("extensions")?,
            })
        });
        certificate.map(Some).map_err(|misfit| misfit.below("certificate"))
    }

    /// A whole number from 0 on, where it is there.
    fn number(&mut self, name: &str) -> Result<Option<u64>, Misfit> {
        let number = |json: Json| json.as_u64().ok_or_else(|| Misfit::new("is not a whole number").below(name));
        self.take(name).map(number).transpose()
    }

    /// A list of texts; empty where absent.
    fn texts(&mut self, name: &str) -> Result<Vec<String>, Misfit> {
        let misfit = || Misfit::new("is not a list of strings").below(name);
        let text = |json: Json| match json {
            Json::String(text) => Ok(text),
            _ => Err(misfit()),
        };
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Json::Array(texts)) => texts.into_iter().map(text).collect(),
            Some(_) => Err(misfit()),
        }
    }

    /// An object whose values are texts; empty where absent.
    fn text_map(&mut self, name: &str) -> Result<BTreeMap<String, String>, Misfit> {
        let text = |(key, json)| match json {
            Json::String(text) => Ok((key, text)),
            _ => Err(Misfit::new("has a value that is not a string").below(name)),
        };
        self.object(name)?.into_iter().map(text).collect()
    }

    /// `metadata`, `environment` and `files`.
    pub(super) fn known(&mut self) -> Result<Known, Misfit> {
        let value = |entry: &mut Self| Ok(Value { value: entry.text("value")?, sensitive: entry.flag("sensitive")? });
        let file = |entry: &mut Self| Ok(File { value: entry.bytes("value")?, sensitive: entry.flag("sensitive")? });
        Ok(Known {
            metadata: self.entries("metadata", value)?,
            environment: self.entries("environment", value)?,
            files: self.entries("files", file)?,
        })
    }

    fn entries<T>(
        &mut self,
        name: &str,
        read: impl Fn(&mut Self) -> Result<T, Misfit>,
    ) -> Result<BTreeMap<String, T>, Misfit> {
        let mut entries = BTreeMap::new();
        for (key, json) in self.object(name)? {
            if json.is_null() {
                continue;
            }
            let entry = Self::closed(json, self.writer, &ENTRY, &[], &read);
            entries.insert(key.clone(), entry.map_err(|misfit| misfit.below(&key).below(name))?);
        }
        Ok(entries)
    }
}

/// The whole message, which is an object: no path says what is none.
fn object<E: serde::de::Error>(json: Json) -> Result<Json, E> {
    if json.is_object() { Ok(json) } else { Err(E::custom("it is not a JSON object")) }
}

/// A name as an error shows it: the sender chose it.
fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if name.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// The sentence for a name that is not known, with the known one that was meant, or all of them.
fn not_known(name: &str, known: &[&'static str]) -> String {
    let shown = shown(name);
    let continued = |known: &str| known.len() > 3 && name.starts_with(&known.to_ascii_lowercase());
    let meant = nearest(name, known.iter().copied()).or_else(|| known.iter().copied().find(|known| continued(known)));
    match meant {
        Some(meant) => format!("{shown}: is not a known field; did you mean {meant}?"),
        None => format!("{shown}: is not a known field; known here are {}", known.join(", ")),
    }
}

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        MessageFields::of_gateway(deserializer, MessageFields::known)
    }
}
