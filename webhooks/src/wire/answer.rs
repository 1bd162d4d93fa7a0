//! What a webhook answers. Whatever it repeats of the question (`remoteAddress` and the like) is passed over unread:
//! servers written with ContainerSSH's Go library send `"<nil>:0"` there. Any other field that is not known is an error.

use super::fields::MessageFields;
use super::known::Known;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value as Json};
use std::fmt;

/// Known fields of the response to `/password`, `/pubkey` and `/authz`.
const AUTH: [&str; 6] = ["success", "message", "authenticatedUsername", "metadata", "environment", "files"];
/// Known fields of the config webhook's response.
const CONFIG: [&str; 8] =
    ["config", "exact", "success", "message", "authenticatedUsername", "metadata", "environment", "files"];

/// The response to `/password`, `/pubkey` and `/authz`. Its status is 200 for an allowed and for a denied login.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(transform = closed))]
pub struct AuthAnswer {
    /// True allows the login. False or absent denies it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "bool"))]
    pub success: Option<bool>,
    /// The reason of a denial, for the user: one line. After a denial by `/password` or `/authz` that has one, the
    /// connection ends with it. After a refused key, the user may still have another one, and the reason is only in the
    /// gateway's log. Ignored if the login is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String", default))]
    pub message: Option<String>,
    /// The user's name from here on. If it is absent or empty, it is the login name; in a response to `/authz`, the name
    /// does not change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String", default))]
    pub authenticated_username: Option<String>,
    /// Facts about the user; they count only with `success`.
    #[serde(flatten)]
    pub known: Known,
}

/// The response of the config webhook: the settings, or a denial.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ConfigReply {
    /// Settings of the connection.
    Given(ConfigAnswer),
    /// The user gets no configuration.
    Denied(ConfigDenial),
}

/// The settings in a response of the config webhook.
#[derive(Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(transform = given))]
pub struct ConfigAnswer {
    /// A part of the gateway's configuration in its JSON form (`backend`, `kubernetes`, `security`, `log.level`). It
    /// overrides the gateway's file for this connection. `{}` changes nothing.
    pub config: Map<String, Json>,
    /// True: every value in `config` is used as written. Absent or false: a zero value (`""`, 0, false, null, `[]`, `{}`)
    /// means unset, because some servers send the complete structure.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(test, schemars(default))]
    pub exact: bool,
    /// The user's new name. If it is absent or empty, the name does not change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String", default))]
    pub authenticated_username: Option<String>,
    /// Merged key by key over what is known about the user; this answer wins.
    #[serde(flatten)]
    pub known: Known,
}

/// A denial by the config webhook: `"success": false`. ContainerSSH's gateway does not know this field; it denies the login
/// too, after it repeated the request for a minute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(transform = denied))]
pub struct ConfigDenial {
    /// Always `false`, as the wire format has it.
    success: No,
    /// The reason, for the user: one line on standard error of the first session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String", default))]
    pub message: Option<String>,
}

/// The value `false`, and no other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct No;

impl Serialize for No {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(false)
    }
}

impl AuthAnswer {
    /// No, with the reason for the user where there is one.
    #[must_use]
    pub fn no(message: Option<String>) -> Self {
        Self { success: Some(false), message, ..Self::default() }
    }

    /// True where the answer says yes in so many words.
    #[must_use]
    pub fn is_yes(&self) -> bool {
        self.success == Some(true)
    }

    /// Reads an answer's body, whatever its content type was.
    ///
    /// # Errors
    /// A body that is not one JSON object, fields of the wrong type, and fields that are not known. The text names the field and
    /// never its content.
    pub fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }
}

impl ConfigReply {
    /// Reads an answer's body, whatever its content type was.
    ///
    /// # Errors
    /// A body that is not one JSON object, fields of the wrong type, fields that are not known, and an answer without `config`
    /// that does not say `"success": false`. The text names the field and never its content.
    pub fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// The settings of the connection; `None` after a denial.
    #[must_use]
    pub fn given(self) -> Option<ConfigAnswer> {
        match self {
            Self::Given(answer) => Some(answer),
            Self::Denied(_) => None,
        }
    }
}

impl ConfigAnswer {
    /// An answer whose values mean themselves (`"exact": true`). ContainerSSH's own gateway refuses that field: set
    /// [`ConfigAnswer::exact`] to false for one.
    #[must_use]
    pub fn new(config: Map<String, Json>) -> Self {
        Self { config, exact: true, authenticated_username: None, known: Known::default() }
    }
}

impl ConfigDenial {
    /// No, with the reason for the user where there is one.
    #[must_use]
    pub fn new(message: Option<String>) -> Self {
        Self { success: No, message }
    }
}

/// A configuration can hold a cluster's credentials: only the names of its sections are shown.
impl fmt::Debug for ConfigAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigAnswer")
            .field("config", &self.config.keys())
            .field("exact", &self.exact)
            .field("authenticated_username", &self.authenticated_username)
            .field("known", &self.known)
            .finish()
    }
}

impl<'de> Deserialize<'de> for AuthAnswer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        MessageFields::of_webhook(deserializer, &AUTH, |fields| {
            Ok(Self {
                success: fields.said("success")?,
                message: fields.message()?,
                authenticated_username: fields.authenticated_username()?,
                known: fields.known()?,
            })
        })
    }
}

impl<'de> Deserialize<'de> for ConfigReply {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        MessageFields::of_webhook(deserializer, &CONFIG, |fields| {
            let (success, message) = (fields.said("success")?, fields.message()?);
            if success == Some(false) {
                return Ok(Self::Denied(ConfigDenial::new(message)));
            }
            Ok(Self::Given(ConfigAnswer {
                config: fields.required("config", MessageFields::object)?,
                exact: fields.flag("exact")?,
                authenticated_username: fields.authenticated_username()?,
                known: fields.known()?,
            }))
        })
    }
}

/// The schema of an answer: what it may hold beside the fields of its type, and nothing else.
#[cfg(test)]
fn closed(schema: &mut schemars::Schema) {
    for name in super::fields::ECHOED {
        allow(schema, name, serde_json::json!({ "description": "Repeated from the request; ignored." }));
    }
    schema.insert("additionalProperties".to_owned(), false.into());
}

#[cfg(test)]
fn given(schema: &mut schemars::Schema) {
    closed(schema);
    allow(schema, "success", serde_json::json!({ "const": true, "description": "Optional." }));
    allow(schema, "message", serde_json::json!({ "type": "string", "description": "Ignored." }));
}

#[cfg(test)]
fn denied(schema: &mut schemars::Schema) {
    let known = CONFIG.iter().filter(|name| !["success", "message"].contains(*name));
    for name in known {
        allow(schema, name, serde_json::json!({ "description": "Ignored." }));
    }
    closed(schema);
}

/// Adds a property to an object's schema, unless it is there.
#[cfg(test)]
fn allow(schema: &mut schemars::Schema, name: &str, property: Json) {
    let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) else { return };
    properties.entry(name).or_insert(property);
}

#[cfg(test)]
impl schemars::JsonSchema for No {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "No".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "const": false })
    }
}
