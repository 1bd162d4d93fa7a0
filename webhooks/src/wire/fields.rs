//! Reads a JSON object field by field. A mistake is named by its path; what the field held is never quoted.

use super::known::{File, Known, Value};
use super::{Connection, known};
use crate::unique::Unique;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::fmt;

/// Where a message is wrong, and how. Holds nothing of the message but names.
#[derive(Debug)]
pub(super) struct Misfit(String);

impl Misfit {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn below(self, name: &str) -> Self {
        Self(format!("{name}: {}", self.0))
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The fields of one object that nobody has taken yet. `null` is absence.
pub(super) struct Fields {
    left: Map<String, Json>,
    /// Names are lower case and match whatever case was asked for.
    folded: bool,
}

impl Fields {
    /// Reads an object whose names match to the letter.
    pub(super) fn exact<'de, D: Deserializer<'de>, T>(
        deserializer: D,
        read: impl FnOnce(&mut Self) -> Result<T, Misfit>,
    ) -> Result<T, D::Error> {
        // By way of a free value, because a type error of serde quotes the text that did not fit.
        let Unique(json) = Unique::deserialize(deserializer)?;
        Self::of(json, false).and_then(|mut fields| read(&mut fields)).map_err(D::Error::custom)
    }

    /// Reads an object whose names match without regard to ASCII case. Two names that differ in case alone are an error:
    /// which of them counts would be a guess.
    pub(super) fn folded<'de, D: Deserializer<'de>, T>(
        deserializer: D,
        read: impl FnOnce(&mut Self) -> Result<T, Misfit>,
    ) -> Result<T, D::Error> {
        let Unique(json) = Unique::deserialize(deserializer)?;
        Self::of(json, true).and_then(|mut fields| read(&mut fields)).map_err(D::Error::custom)
    }

    fn of(json: Json, folded: bool) -> Result<Self, Misfit> {
        let Json::Object(map) = json else { return Err(Misfit::new("is not an object")) };
        if !folded {
            return Ok(Self { left: map, folded });
        }
        let mut left = Map::new();
        for (name, value) in map {
            let name = name.to_ascii_lowercase();
            if left.contains_key(&name) {
                return Err(Misfit::new("comes twice, in different case").below(&name));
            }
            left.insert(name, value);
        }
        Ok(Self { left, folded })
    }

    fn take(&mut self, name: &str) -> Option<Json> {
        let value = if self.folded { self.left.remove(&name.to_ascii_lowercase()) } else { self.left.remove(name) };
        value.filter(|value| !value.is_null())
    }

    /// A field that must be there, read by one of the methods below.
    pub(super) fn required<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self, &str) -> Result<T, Misfit>,
    ) -> Result<T, Misfit> {
        match self.take(name) {
            Some(value) => {
                let key = if self.folded { name.to_ascii_lowercase() } else { name.to_owned() };
                self.left.insert(key, value);
                read(self, name)
            }
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

    /// A yes or no; no where absent.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Misfit> {
        match self.take(name) {
            None => Ok(false),
            Some(Json::Bool(flag)) => Ok(flag),
            Some(_) => Err(Misfit::new("is not true or false").below(name)),
        }
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

    /// What a request says about the connection. Only the login name has to be there.
    pub(super) fn connection(&mut self) -> Result<Connection, Misfit> {
        Ok(Connection {
            remote_address: self.text("remoteAddress")?,
            connection_id: self.text("connectionId")?,
            client_version: self.text("clientVersion")?,
            username: self.required("username", Self::text)?,
            known: self.known()?,
            idempotency_key: None,
        })
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
            let entry = Self::of(json, self.folded).and_then(|mut entry| read(&mut entry));
            entries.insert(key.clone(), entry.map_err(|misfit| misfit.below(&key).below(name))?);
        }
        Ok(entries)
    }
}
