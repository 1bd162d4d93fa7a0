//! The OpenAPI documents, made from the wire types, and the test that holds `openapi/*.json` to them.
//! `PODGATE_WRITE_OPENAPI=1 cargo test -p podgate-webhooks-toolkit openapi` writes the files anew.

use crate::wire::{AuthAnswer, AuthzRequest, ConfigAnswer, ConfigRequest, PasswordRequest, PublicKeyRequest};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};
use std::path::Path;

const AUTH: &str = "\
Podgate asks these webhooks whether a client may log in. The base URL is `auth.password.webhook.url`, \
`auth.publicKey.webhook.url` and `auth.authz.webhook.url` of its file; each method is asked only where it is configured.

Yes and no are both status 200; only `\"success\": true` is a yes. The content type of an answer is not looked at, field \
names in it match in any case, and unknown fields are passed over. 4xx is final: the login fails. After 5xx and transport \
errors `/pubkey` and `/authz` are asked again with back-off until the webhook's `authTimeout`. `/password` is asked again \
only where the request was not sent whole, because a directory counts wrong passwords. Redirects are never followed.

Entries marked `sensitive` go into the user's container, and to no further webhook.";

const CONFIG: &str = "\
Podgate asks this webhook, once a user is authenticated and authorized, what the connection gets. It posts to \
`configserver.url` of its file exactly as written; the path here is an example.

The answer's `config` is a part of Podgate's own configuration in its JSON form; `backend`, `kubernetes`, `security` and \
`log.level` have an effect for a connection. It is laid over the file's. Without `\"exact\": true` a zero (`\"\"`, 0, \
false, null, `[]`, `{}`) means unset, as servers need that send the whole structure; with it every value means itself. \
The content type of an answer is not looked at, field names beside `config` match in any case, and unknown ones are passed \
over. 4xx is final: the connection ends. 5xx and transport errors are asked again with back-off. Redirects \
are never followed.

Entries that an earlier answer marked `sensitive` are in the request only with `configserver.transmitSensitiveMetadata`.";

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
                "200": { "description": "The answer.", "content": answer },
                "400": refusal("The body is not the request. Final."),
                "403": refusal("This user gets nothing. Final."),
                "413": refusal("The request is longer than the server takes. Final."),
                "503": refusal("The server cannot tell now. Asked again, but for a password."),
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
        "description": "The id of the question, in double quotes: the same when it is repeated, another for every other \
            question.",
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
        "description": "Why there is no answer, for the gateway's log. A server may send anything else instead.",
        "properties": { "error": { "type": "string" } },
    })
}

fn auth() -> String {
    let mut document = Document::new();
    let summary = "May this user log in with this password?";
    document.post::<PasswordRequest, AuthAnswer>("/password", "password", summary);
    let summary = "May this user log in with this key? Asked before the client has proved that it holds the key.";
    document.post::<PublicKeyRequest, AuthAnswer>("/pubkey", "pubkey", summary);
    let summary = "May this user, already authenticated, come in?";
    document.post::<AuthzRequest, AuthAnswer>("/authz", "authz", summary);
    document.finish("Podgate login webhooks", AUTH)
}

fn config() -> String {
    let mut document = Document::new();
    document.post::<ConfigRequest, ConfigAnswer>("/config", "config", "What does this connection get?");
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
