//! Old files in today's words: a pure function from a document as ContainerSSH 0.3 to 0.6 wrote it to one that says the
//! same now. The loader, the config webhook's answers and `podgate migrate` all use this one, so that what the command
//! prints is what would have run. What can't be said exactly today is refused, never guessed.

mod changed_meanings;
mod kuberun;
mod migration;
mod pod_spec;
mod single_auth_client;

pub use migration::Migration;
pub(crate) use migration::{DocumentSource, FileBackend};
pub(crate) use single_auth_client::client_keys;

use super::changes::{KeyChange, KeyOutcome};
use super::document::{self, Format};
use super::errors::Errors;
use super::tree::{Tree, get, is_zero, put};

/// Translates a file's document.
pub(crate) fn migrate(document: Tree) -> Migration {
    translate(document, DocumentSource::File)
}

/// Translates a file or an answer.
pub(crate) fn translate(document: Tree, whose: DocumentSource) -> Migration {
    let mut migration = Migration { document, ..Migration::default() };
    if whose == DocumentSource::File {
        listen(&mut migration);
        single_auth_client::translate(&mut migration);
    }
    kuberun::translate(&mut migration, whose);
    elsewhere(&mut migration, whose);
    migration
}

/// Translates a file's text, and finds what stands there as before and means something else today.
///
/// # Errors
/// A text that is no configuration at all.
pub(crate) fn migrate_text(text: &str, format: Format) -> Result<Migration, Errors> {
    let (tree, reading) = document::read(text, format)?;
    let mut migration = migrate(tree);
    changed_meanings::look(&mut migration);
    let changes = reading.changes.into_iter();
    migration.readings =
        changes.map(|note| KeyChange { path: note.path, became: KeyOutcome::Read(note.text) }).collect();
    reading.doubts.into_iter().for_each(|note| migration.decide(note.path, note.text));
    Ok(migration)
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
fn elsewhere(migration: &mut Migration, whose: DocumentSource) {
    let text = match migration.root_text("backend") {
        Some(backend @ ("docker" | "dockerrun")) => Some(format!("{backend} {NO_DOCKER}")),
        Some("sshproxy") => Some(NO_PROXY.to_owned()),
        None if whose == DocumentSource::File && means_docker(migration) => {
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

/// True for a file without a backend that meant Docker, ContainerSSH's default: it has a block for it and none for Kubernetes, and
/// no config server names another.
fn means_docker(migration: &Migration) -> bool {
    let has = |path: &str| get(&migration.document, path).is_some_and(|block| !is_zero(block));
    (has("docker") || has("dockerrun")) && !has("kubernetes") && !has("configserver.url")
}
