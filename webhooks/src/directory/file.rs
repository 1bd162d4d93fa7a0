//! The users' file: YAML (or JSON), read strictly. Every mistake is reported in one go, by its path; what stood there is
//! not quoted, because it may be a secret.

use super::check::SettingsCheck;
use super::settings::{SECTIONS, UserSettings};
use super::{Directory, User, check, yaml};
use crate::text::nearest;
use crate::wire::{File, Known, Value};
use data_encoding::BASE64;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::fmt;

/// A mistake in the users' file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, such as `users.alice.passwordHash`; empty for the file as a whole.
    pub path: String,
    /// The end of a sentence that begins with the path.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.path, self.text)
    }
}

/// All mistakes of a file; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The mistakes in the order of the file's keys.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.0
    }
}

/// One line a mistake.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let end = if index + 1 == self.0.len() { "" } else { "\n" };
            write!(f, "{problem}{end}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Reads the file's text; `check` judges the settings.
pub(super) fn read(text: &str, check: &SettingsCheck) -> Result<Directory, Problems> {
    let json = yaml::read(text).map_err(|text| Problems(vec![Problem { path: String::new(), text }]))?;
    let mut reader = FileReader::default();
    let mut directory = reader.directory(json);
    let findings = check::settings_of(&directory, check);
    reader.problems.extend(findings.mistakes);
    reader.warnings.extend(findings.warnings);
    directory.warnings = reader.warnings;
    if reader.problems.is_empty() { Ok(directory) } else { Err(Problems(reader.problems)) }
}

/// Collects mistakes while it reads. What is wrong reads as absent.
#[derive(Default)]
struct FileReader {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

/// Sections that have other names since ContainerSSH 0.4.
const OLD: [&str; 2] = ["dockerrun", "kuberun"];

/// The rule of names, which is the gateway's for login names and for what an answer calls a user.
const NAME: &str = "it has to have 1 to 1024 bytes, no control characters, and not only spaces";

const PROFILE: [&str; 4] = ["environment", "files", "metadata", "settings"];

impl FileReader {
    fn wrong(&mut self, path: &str, text: impl fmt::Display) {
        self.problems.push(Problem { path: path.to_owned(), text: text.to_string() });
    }

    fn directory(&mut self, json: Json) -> Directory {
        let mut root = self.object("", json);
        self.refuse_unknown("", &root, &["defaults", "users"]);
        let mut directory = Directory::new();
        if let Some(json) = root.remove("defaults") {
            let mut defaults = self.object("defaults", json);
            self.refuse_unknown("defaults", &defaults, &PROFILE);
            directory.defaults.known = self.known("defaults", &mut defaults);
            directory.defaults.settings = self.settings("defaults", &mut defaults);
        }
        match root.remove("users") {
            None => self.wrong("users", "is missing"),
            Some(json) => {
                for (name, json) in self.object("users", json) {
                    let user = self.user(&name, json);
                    directory = directory.user(name, user);
                }
            }
        }
        directory
    }

    fn user(&mut self, name: &str, json: Json) -> User {
        let path = below("users", name);
        if !is_name(name) {
            self.wrong(&path, format_args!("is no login name: {NAME}"));
        }
        let mut fields = self.object(&path, json);
        let known = [&["authenticatedUsername", "authorizedKeys"][..], &PROFILE, &["passwordHash"]].concat();
        self.refuse_unknown(&path, &fields, &known);

        let mut user = User::new();
        if let Some(phc) = self.text(&path, &mut fields, "passwordHash") {
            user = self.kept(&below(&path, "passwordHash"), user, |user| user.password_hash(&phc));
        }
        for (path, line) in self.keys(&path, &mut fields) {
            user = self.kept(&path, user, |user| user.key(&line));
        }
        match self.text(&path, &mut fields, "authenticatedUsername") {
            Some(text) if !is_name(&text) => {
                self.wrong(&below(&path, "authenticatedUsername"), format_args!("is no name: {NAME}"));
            }
            Some(text) => user = user.authenticated_username(text),
            None => {}
        }
        user.profile.settings = self.settings(&path, &mut fields);
        user.known(self.known(&path, &mut fields))
    }

    /// `user` after `change`, or as it was where that fails.
    fn kept<E: fmt::Display>(&mut self, path: &str, user: User, change: impl FnOnce(User) -> Result<User, E>) -> User {
        change(user.clone()).unwrap_or_else(|error| {
            self.wrong(path, error);
            user
        })
    }

    /// `authorizedKeys`: a list of lines, or a text of lines, in which empty ones and comments are passed over.
    fn keys(&mut self, path: &str, fields: &mut Map<String, Json>) -> Vec<(String, String)> {
        let path = below(path, "authorizedKeys");
        let mut lines = Vec::new();
        match fields.remove("authorizedKeys") {
            None | Some(Json::Null) => {}
            Some(Json::String(text)) => {
                for (index, line) in text.lines().enumerate() {
                    if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
                        lines.push((format!("{path}, line {}", index + 1), line.to_owned()));
                    }
                }
            }
            Some(Json::Array(list)) => {
                for (index, json) in list.into_iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    match json {
                        Json::String(line) => lines.push((path, line)),
                        _ => self.wrong(&path, "is not a string"),
                    }
                }
            }
            Some(_) => self.wrong(&path, "is neither a list of lines nor a string of lines"),
        }
        lines
    }

    fn settings(&mut self, path: &str, fields: &mut Map<String, Json>) -> UserSettings {
        let path = below(path, "settings");
        let mut sections = self.optional_object_at(&path, fields.remove("settings"));
        sections.retain(|key, _| {
            let known = SECTIONS.contains(&key.as_str());
            if OLD.contains(&key.as_str()) {
                let text = "is a section of ContainerSSH 0.3; write backend: kubernetes and kubernetes";
                self.wrong(&below(&path, key), text);
            } else if !known {
                self.unknown(&path, key, &SECTIONS);
            }
            known
        });
        UserSettings::of(sections)
    }

    fn known(&mut self, path: &str, fields: &mut Map<String, Json>) -> Known {
        let mut environment = self.values(path, fields, "environment");
        environment.retain(|name, _| {
            let first = |c: char| c.is_ascii_alphabetic() || c == '_';
            let is_name = name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit());
            if !is_name {
                let path = below(&below(path, "environment"), name);
                let text = "is left out: in a shell, a name has only letters, digits and '_'".to_owned();
                self.warnings.push(Problem { path, text });
            }
            is_name
        });
        for (name, _) in environment.iter().filter(|(_, value)| value.value.contains('\0')) {
            self.wrong(&below(&below(path, "environment"), name), "has a NUL character, which no variable can hold");
        }
        Known { metadata: self.values(path, fields, "metadata"), environment, files: self.files(path, fields) }
    }

    /// Entries that are a text, or `{value: TEXT, sensitive: BOOL}`.
    fn values(&mut self, path: &str, fields: &mut Map<String, Json>, key: &str) -> BTreeMap<String, Value> {
        let path = below(path, key);
        let mut values = BTreeMap::new();
        for (name, json) in self.optional_object(&path, fields, key) {
            let path = below(&path, &name);
            let value = match json {
                Json::String(text) => Value::plain(text),
                Json::Object(mut entry) => {
                    self.refuse_unknown(&path, &entry, &["sensitive", "value"]);
                    let sensitive = self.flag(&path, &mut entry, "sensitive");
                    let text = self.text(&path, &mut entry, "value");
                    if text.is_none() {
                        self.wrong(&path, "has no value");
                    }
                    Value { value: text.unwrap_or_default(), sensitive }
                }
                _ => {
                    self.wrong(&path, "is neither a string nor {value, sensitive}; numbers need quotes");
                    continue;
                }
            };
            values.insert(name, value);
        }
        values
    }

    /// Entries that are `{text: TEXT}` or `{base64: TEXT}`, perhaps with `sensitive: BOOL`.
    fn files(&mut self, path: &str, fields: &mut Map<String, Json>) -> BTreeMap<String, File> {
        let path = below(path, "files");
        let mut files = BTreeMap::new();
        for (name, json) in self.optional_object(&path, fields, "files") {
            let path = below(&path, &name);
            if name.is_empty() || name.contains('\0') {
                self.wrong(&path, "is not a path");
            }
            let mut entry = self.object(&path, json);
            self.refuse_unknown(&path, &entry, &["base64", "sensitive", "text"]);
            let sensitive = self.flag(&path, &mut entry, "sensitive");
            let text = self.text(&path, &mut entry, "text");
            let value = match (text, self.text(&path, &mut entry, "base64")) {
                (Some(text), None) => text.into_bytes(),
                (None, Some(text)) => BASE64.decode(text.as_bytes()).unwrap_or_else(|_| {
                    self.wrong(&below(&path, "base64"), "is not base64 with padding");
                    Vec::new()
                }),
                _ => {
                    self.wrong(&path, "needs either text or base64");
                    continue;
                }
            };
            files.insert(name, File { value, sensitive });
        }
        files
    }

    fn object(&mut self, path: &str, json: Json) -> Map<String, Json> {
        match json {
            Json::Object(map) => map,
            _ => {
                self.wrong(path, "is not an object");
                Map::new()
            }
        }
    }

    fn optional_object(&mut self, path: &str, fields: &mut Map<String, Json>, key: &str) -> Map<String, Json> {
        self.optional_object_at(path, fields.remove(key))
    }

    fn optional_object_at(&mut self, path: &str, json: Option<Json>) -> Map<String, Json> {
        match json {
            None | Some(Json::Null) => Map::new(),
            Some(json) => self.object(path, json),
        }
    }

    fn text(&mut self, path: &str, fields: &mut Map<String, Json>, key: &str) -> Option<String> {
        match fields.remove(key)? {
            Json::Null => None,
            Json::String(text) => Some(text),
            _ => {
                self.wrong(&below(path, key), "is not a string; numbers need quotes");
                None
            }
        }
    }

    fn flag(&mut self, path: &str, fields: &mut Map<String, Json>, key: &str) -> bool {
        match fields.remove(key) {
            None | Some(Json::Null) => false,
            Some(Json::Bool(flag)) => flag,
            Some(_) => {
                self.wrong(&below(path, key), "is not true or false");
                false
            }
        }
    }

    fn refuse_unknown(&mut self, path: &str, fields: &Map<String, Json>, known: &[&str]) {
        for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
            self.unknown(path, key, known);
        }
    }

    fn unknown(&mut self, path: &str, key: &str, known: &[&str]) {
        let path = below(path, key);
        match nearest(key, known.iter().copied()) {
            Some(near) => self.wrong(&path, format_args!("unknown key; did you mean \"{near}\"?")),
            None => self.wrong(&path, format_args!("unknown key; known here are {}", known.join(", "))),
        }
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= 1024 && !text.trim().is_empty() && !text.chars().any(char::is_control)
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
