//! `podgate migrate`: a file in today's words, and what is left of it to a person.

use super::Config;
use crate::schema::{ConfigError, Disk, Errors, Format, Migration, document, migrate};
use std::path::Path;

impl Migration {
    /// Translates a file of any version of ContainerSSH.
    ///
    /// # Errors
    /// A file that can't be read or is no configuration at all.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        let migration = migrate::migrate_text(&document::text_of(path)?, Format::of(path))?;
        if migration.document.is_empty() && migration.changes.is_empty() {
            return Err(Errors::whole("the file is empty: there is nothing to rewrite"));
        }
        Ok(migration)
    }

    /// Every mistake of the new document that is left to a person: what is refused today, misspelt, or a file that can't be
    /// read here. Where the old document is refused, its rest is judged.
    pub fn mistakes(&self) -> Vec<ConfigError> {
        match Config::parse(&self.to_yaml(), Format::Yaml, &Disk) {
            Ok(config) => config.strict,
            Err(errors) => errors.0,
        }
    }
}
