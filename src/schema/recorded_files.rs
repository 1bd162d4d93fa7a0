//! The record of what a configuration was read from: each file with a digest of its content.

use super::pem::Files;
use podgate_webhooks::text::without_mark;
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The contents by files; `None` for a file that cannot be read.
pub(crate) type FileContents = BTreeMap<PathBuf, Option<ContentDigest>>;

/// The digest of a file's text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContentDigest([u8; 32]);

impl ContentDigest {
    pub(crate) fn of(text: &str) -> Self {
        Self(Sha256::digest(without_mark(text)).into())
    }
}

/// Not shown: a short secret could be guessed by it.
impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<digest>")
    }
}

/// Files, with a record of those that are read.
pub(crate) struct RecordedFiles<'a> {
    files: &'a dyn Files,
    read: RefCell<FileContents>,
}

impl<'a> RecordedFiles<'a> {
    pub(crate) fn of(files: &'a dyn Files) -> Self {
        Self { files, read: RefCell::default() }
    }

    /// The record.
    pub(crate) fn contents(self) -> FileContents {
        self.read.into_inner()
    }
}

impl Files for RecordedFiles<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        let text = self.files.read(path);
        let digest = text.as_ref().ok().map(|text| ContentDigest::of(text));
        self.read.borrow_mut().insert(path.to_owned(), digest);
        text
    }

    fn readable_by_all(&self, path: &Path) -> Option<u32> {
        self.files.readable_by_all(path)
    }
}
