//! Old files in today's words: a pure function from a document as ContainerSSH 0.3 to 0.6 wrote it to one that says the
//! same now. The loader, the config webhook's answers and `podgate migrate` all use this one, so that what the command
//! prints is what would have run. What can't be said exactly today is refused, never guessed.

mod auth;
mod kuberun;
mod meaning;
mod podspec;

use super::document::{self, Format};
use super::errors::{ConfigError, Errors};
use super::{Notice, yaml};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

pub(super) use auth::CLIENT;

pub(crate) type Tree = Map<String, Value>;

/// Whose document it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// A configuration file.
    File,
    /// A config webhook's answer, its zeros dropped.
    Answer(Over),
}

/// Whose guests a file has under an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Nobody's: it says nothing of Kubernetes.
    Nothing,
    /// kuberun's: the block means something without a `backend`, and what it never said stands in the file.
    Kuberun,
    /// Another's.
    Other,
}

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Became {
    /// Its value stands at other paths now.
    Moved(Vec<String>),
    /// Other keys with values of their own say it now.
    Says(String),
    /// It is left out, and why.
    Gone(String),
    /// Its value is written as it was read.
    Read(String),
}

/// One key that is written otherwise today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where it stood.
    pub path: String,
    /// What became of it.
    pub became: Became,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.became {
            Became::Moved(paths) => write!(f, "{} is now {}", self.path, paths.join(", ")),
            Became::Says(text) => write!(f, "{} is now {text}", self.path),
            Became::Gone(why) => write!(f, "{} is left out: {why}", self.path),
            Became::Read(text) => write!(f, "{} {text}", self.path),
        }
    }
}

/// Something that only a person can decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The key that it is about, in today's words.
    pub path: String,
    /// What to decide.
    pub text: String,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}

/// A document in today's words.
#[derive(Debug, Clone, Default)]
pub struct Migration {
    /// The new document. It means what the old one meant only where there are no refusals.
    pub document: Map<String, Value>,
    /// What stands elsewhere or is gone.
    pub changes: Vec<Change>,
    /// Values of pods that are written as the type that Kubernetes wants; filled for a file that is rewritten.
    pub readings: Vec<Change>,
    /// What only a person can decide.
    pub decisions: Vec<Decision>,
    /// What can't be said today, each with what to do instead.
    pub refusals: Vec<ConfigError>,
}

/// Translates a file's document.
#[must_use]
pub(crate) fn migrate(document: Map<String, Value>) -> Migration {
    translate(document, Whose::File)
}

/// Translates any document.
pub(crate) fn translate(document: Tree, whose: Whose) -> Migration {
    let mut migration = Migration { document, ..Migration::default() };
    if whose == Whose::File {
        listen(&mut migration);
        auth::translate(&mut migration);
    }
    kuberun::translate(&mut migration, whose);
    elsewhere(&mut migration, whose);
    migration
}

impl Migration {
    /// Translates a file.
    ///
    /// # Errors
    /// A file that can't be read or is no configuration at all.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        Self::of(&super::text_of(path)?, Format::of(path))
    }

    /// Translates a file's text, and finds what stands there as before and means something else today.
    ///
    /// # Errors
    /// A text that is no configuration at all.
    pub(crate) fn of(text: &str, format: Format) -> Result<Self, Errors> {
        let (tree, reading) = document::read(text, format)?;
        let mut migration = migrate(tree);
        meaning::look(&mut migration);
        let changes = reading.changes.into_iter();
        migration.readings = changes.map(|note| Change { path: note.path, became: Became::Read(note.text) }).collect();
        reading.doubts.into_iter().for_each(|note| migration.decide(note.path, note.text));
        Ok(migration)
    }

    /// Every mistake of the new document that is left to a person: what is refused today, misspelt, or a file that can't be
    /// read here.
    #[must_use]
    pub fn mistakes(&self) -> Vec<ConfigError> {
        match super::Config::parse(&self.to_yaml(), Format::Yaml, &super::Disk) {
            Ok(config) => config.strict,
            Err(errors) => errors.0,
        }
    }

    /// The new document, as a file.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        yaml::write(&self.document)
    }

    /// One warning for each old block, and for what had no effect already a word that it has none.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        let gone = self.changes.iter().filter_map(|change| match &change.became {
            Became::Gone(why) if !change.path.contains('.') => {
                Some(Notice { path: change.path.clone(), text: why.clone(), warn: false })
            }
            _ => None,
        });
        let warnings = self.old_blocks().into_iter().map(|(block, changes)| {
            let text = format!("deprecated keys: {changes}; `podgate migrate FILE` rewrites the file");
            Notice { path: block.to_owned(), text, warn: true }
        });
        gone.chain(warnings).collect()
    }

    /// Each old block that says something, with each of its keys and what became of it.
    pub(crate) fn old_blocks(&self) -> BTreeMap<&str, String> {
        let mut blocks: BTreeMap<&str, String> = BTreeMap::new();
        for change in &self.changes {
            let block = match change.path.split('.').next().unwrap_or_default() {
                "backend" => "kuberun",
                block => block,
            };
            if block == change.path && matches!(change.became, Became::Gone(_)) {
                continue;
            }
            let text = blocks.entry(block).or_default();
            let gap = if text.is_empty() { "" } else { "; " };
            text.push_str(&format!("{gap}{change}"));
        }
        blocks
    }

    /// Whether its guests are kuberun's.
    pub(crate) fn is_kuberun(&self) -> bool {
        self.changes.iter().any(|change| change.path == "backend" || change.path.starts_with("kuberun."))
    }

    /// Whether it switched commands off by the old key.
    pub(crate) fn disables_commands(&self) -> bool {
        self.changes.iter().any(|change| change.path.eq_ignore_ascii_case("kuberun.pod.disableCommand"))
    }

    fn moved(&mut self, path: impl Into<String>, to: &[&str]) {
        let to = to.iter().map(|path| (*path).to_owned()).collect();
        self.changes.push(Change { path: path.into(), became: Became::Moved(to) });
    }

    fn says(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.changes.push(Change { path: path.into(), became: Became::Says(text.into()) });
    }

    fn gone(&mut self, path: impl Into<String>, why: impl Into<String>) {
        self.changes.push(Change { path: path.into(), became: Became::Gone(why.into()) });
    }

    fn decide(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.decisions.push(Decision { path: path.into(), text: text.into() });
    }

    fn refuse(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.refusals.push(ConfigError { path: path.into(), text: text.into() });
    }

    /// The text at the root's key; an empty one is unset.
    fn root_text(&self, key: &str) -> Option<&str> {
        self.document.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }
}

/// Mistakes of a new document, named by the paths of the old one.
pub(crate) fn at_origin(changes: &[Change], errors: Vec<ConfigError>) -> Vec<ConfigError> {
    let mut named: Vec<ConfigError> = Vec::new();
    for error in errors {
        let error = ConfigError { path: origin(changes, error.path), text: error.text };
        // One old key can have become several.
        if !named.contains(&error) {
            named.push(error);
        }
    }
    named
}

fn origin(changes: &[Change], path: String) -> String {
    let moved = changes.iter().filter_map(|change| match &change.became {
        Became::Moved(paths) => Some(paths.iter().map(move |new| (change, new))),
        _ => None,
    });
    let nearest = moved
        .flatten()
        .filter_map(|(change, new)| Some((change, below(&path, new)?)))
        .min_by_key(|(_, rest)| rest.len());
    nearest.map_or_else(|| path.clone(), |(change, rest)| format!("{}{rest}", change.path))
}

/// What of a path is below another: nothing, `.b.c` or `[0].b`.
fn below<'p>(path: &'p str, root: &str) -> Option<&'p str> {
    path.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The value at a path, if everything on the way is a mapping.
pub(crate) fn get<'t>(tree: &'t Tree, path: &str) -> Option<&'t Value> {
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = tree;
    for key in parents.split('.').filter(|key| !key.is_empty()) {
        at = at.get(key)?.as_object()?;
    }
    at.get(last)
}

/// Takes the value at a path out.
fn take_out(tree: &mut Tree, path: &str) {
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = tree;
    for key in parents.split('.').filter(|key| !key.is_empty()) {
        let Some(Value::Object(inner)) = at.get_mut(key) else { return };
        at = inner;
    }
    at.remove(last);
}

/// Puts a value at a path, mappings made on the way; whatever else stood there gives way.
pub(crate) fn put(tree: &mut Tree, path: &str, value: Value) {
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = tree;
    for key in parents.split('.').filter(|key| !key.is_empty()) {
        let next = at.entry(key).or_insert_with(|| Value::Object(Tree::new()));
        if !next.is_object() {
            *next = Value::Object(Tree::new());
        }
        let Value::Object(inner) = next else { return };
        at = inner;
    }
    at.insert(last.to_owned(), value);
}

/// Whether a value switches nothing on and names nothing, as the fields that nobody set in a file that was written back.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0s",
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_zero),
    }
}

/// `listen` at the root, until 0.4.
fn listen(migration: &mut Migration) {
    let Some(value) = migration.document.remove("listen") else { return };
    if get(&migration.document, "ssh.listen").is_some_and(|value| !is_zero(value)) {
        migration.gone("listen", "ssh.listen holds");
    } else if !is_zero(&value) {
        migration.moved("listen", &["ssh.listen"]);
        put(&mut migration.document, "ssh.listen", value);
    }
}

const NO_DOCKER: &str = "is not built yet: guests run on Kubernetes alone; write backend: kubernetes with the container's image \
                         in kubernetes.pod.spec.containers (docs/migration.md says which key became which)";
const NO_PROXY: &str = "sshproxy is not built yet: guests run on Kubernetes alone; write backend: kubernetes, or keep \
                        ContainerSSH for this";

/// `backend: docker`, `dockerrun` and `sshproxy`, for which there is nothing; the document goes on as one for Kubernetes, so
/// that the rest of it is judged too.
fn elsewhere(migration: &mut Migration, whose: Whose) {
    let text = match migration.root_text("backend") {
        Some(backend @ ("docker" | "dockerrun")) => Some(format!("{backend} {NO_DOCKER}")),
        Some("sshproxy") => Some(NO_PROXY.to_owned()),
        None if whose == Whose::File && means_docker(migration) => {
            Some(format!("is not set, which was Docker until now, and Docker {NO_DOCKER}"))
        }
        _ => None,
    };
    if let Some(text) = text {
        migration.refuse("backend", text);
        migration.document.insert("backend".into(), "kubernetes".into());
        migration.document.remove("dockerrun");
        return;
    }
    if migration.document.remove("dockerrun").is_some_and(|block| !is_zero(&block)) {
        migration.gone("dockerrun", "has no effect beside another backend");
    }
}

/// Whether a file without a backend meant Docker, ContainerSSH's default: it has a block for it and none for Kubernetes, and
/// no config server names another.
fn means_docker(migration: &Migration) -> bool {
    let has = |path: &str| get(&migration.document, path).is_some_and(|block| !is_zero(block));
    (has("docker") || has("dockerrun")) && !has("kubernetes") && !has("configserver.url")
}

#[cfg(test)]
mod tests;
