//! The OpenAPI documents, made from the wire types, and the test that holds `openapi/*.json` to them.
//! `PODGATE_WRITE_OPENAPI=1 cargo test -p podgate-webhooks-toolkit openapi` writes the files anew.

use crate::wire::{AuthAnswer, AuthzRequest, ConfigReply, ConfigRequest, PasswordRequest, PublicKeyRequest};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};
use std::path::Path;

const AUTH: &str = "\
Podgate asks these webhooks whether a client may log in. The base URLs are `auth.password.webhook.url`, \
`auth.publicKey.webhook.url` and `auth.authz.webhook.url` in its configuration file. Podgate sends requests only for \
methods that are configured.

The status is 200 for an allowed and for a denied login; only `\"success\": true` allows it. The content type of the \
response is ignored, and field names are case-insensitive. A response with a field that is unknown, repeated or of the \
wrong type is an error, and denies the login. A 4xx status is final: the login fails. After a 5xx status or a transport \
error, Podgate repeats a `/pubkey` or `/authz` request with back-off until `authTimeout` of the webhook. It repeats a \
`/password` request only if it was not sent completely, because a directory counts wrong passwords. Redirects are never \
followed.

Values that are marked `sensitive` are passed to the user's container, but not to other webhooks.";

const CONFIG: &str = "\
After a user is authenticated and authorized, Podgate asks this webhook for the settings of the connection. It sends the \
request to `configserver.url` in its configuration file, exactly as written; the path in this document is an example.

`config` in the response is a part of Podgate's own configuration in its JSON form. `backend`, `kubernetes`, `security` and \
`log.level` have an effect. They override the file for this connection. Without `\"exact\": true`, a zero value (`\"\"`, 0, \
false, null, `[]`, `{}`) means unset, because some servers send the complete structure; with it, every value is used as \
written. The content type of the response is ignored, and field names beside `config` are case-insensitive. A response \
without `config` and without `\"success\": false`, or with an unknown or repeated field, is an error: the connection ends. A \
4xx status is final: the connection ends. After a 5xx status or a transport error, Podgate repeats the request with \
back-off. Redirects are never followed.

Values that an earlier response marked `sensitive` are in the request only with `configserver.transmitSensitiveMetadata`.";

/// Collects the schemas of one document.
struct Document {
    schemas: SchemaGenerator,
    paths: Map<String, Value>,
}

impl Document {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self { schemas: settings.into_generator(), paths: Map::new() }
    }

    fn post<Q: JsonSchema, A: JsonSchema>(&mut self, path: &str, id: &str, summary: &str) {
        let body = |schema: Schema| json!({ "application/json": { "schema": schema } });
        let request = body(self.schemas.subschema_for::<Q>());
        let answer = body(self.schemas.subschema_for::<A>());
        let refusal = |text: &str| json!({ "description": text, "content": error() });
        let operation = json!({
            "operationId": id,
            "summary": summary,
            "parameters": [key()],
            "requestBody": { "required": true, "content": request },
            "responses": {
                "200": { "description": "The response.", "content": answer },
                "400": refusal("The body is not a valid request. Podgate does not retry."),
                "403": refusal("The user is refused. Podgate does not retry."),
                "413": refusal("The request is larger than the server accepts. Podgate does not retry."),
                "503": refusal("The server cannot decide now. Podgate retries, except for a password."),
            },
        });
        self.paths.insert(path.to_owned(), json!({ "post": operation }));
    }

    fn finish(mut self, title: &str, description: &str) -> String {
        let mut schemas = self.schemas.take_definitions(true);
        schemas.insert("Error".into(), error_schema());
        let document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": title,
                "description": description,
                "version": env!("CARGO_PKG_VERSION"),
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "paths": self.paths,
            "components": { "schemas": schemas },
        });
        format!("{document:#}\n")
    }
}

fn key() -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The id of the request, in double quotes. It is the same in all retries of a request, and different \
            for every other request.",
        "required": false,
        "schema": { "type": "string", "examples": ["\"8e03978e40d543e8bc936894a57f9324\""] },
    })
}

fn error() -> Value {
    json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } })
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "description": "The reason for the error, for the gateway's log. A server may send any other body instead.",
        "properties": { "error": { "type": "string" } },
    })
}

fn auth() -> String {
    let mut document = Document::new();
    let summary = "May this user log in with this password?";
    document.post::<PasswordRequest, AuthAnswer>("/password", "password", summary);
    let summary = "May this user log in with this key? Sent before the client has proved that it has the private key.";
    document.post::<PublicKeyRequest, AuthAnswer>("/pubkey", "pubkey", summary);
    let summary = "May this authenticated user log in?";
    document.post::<AuthzRequest, AuthAnswer>("/authz", "authz", summary);
    document.finish("Podgate login webhooks", AUTH)
}

fn config() -> String {
    let mut document = Document::new();
    document.post::<ConfigRequest, ConfigReply>("/config", "config", "Settings for this connection.");
    document.finish("Podgate config webhook", CONFIG)
}

#[test]
fn openapi_documents_are_those_of_the_wire_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi");
    for (name, document) in [("auth.json", auth()), ("config.json", config())] {
        let path = folder.join(name);
        if std::env::var_os("PODGATE_WRITE_OPENAPI").is_some() {
            std::fs::write(&path, &document).expect("the document is written");
        }
        let held = std::fs::read_to_string(&path).expect("the document is there");
        assert!(
            held == document,
            "openapi/{name} differs: PODGATE_WRITE_OPENAPI=1 cargo test -p podgate-webhooks-toolkit openapi"
        );
    }
}

#[test]
fn every_reference_in_the_documents_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    for document in [auth(), config()] {
        let document: Value = serde_json::from_str(&document).expect("JSON");
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 3, "{found:?}");
        for reference in found {
            assert!(reference.strip_prefix('#').is_some_and(|at| document.pointer(at).is_some()), "{reference}");
        }
    }
}
