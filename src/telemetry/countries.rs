//! The countries of clients' addresses, by a database in MaxMind's format that is held in memory.
//!
//! Invariants: a look into it reads no file; a country is two letters, whatever the database says, so that the labels of
//! metrics are bounded.

use maxminddb::{MaxMindDbError, PathElement, Reader};
use rustix::fs::OFlags;
use std::fmt::{self, Debug, Formatter};
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Limit of a database, in bytes.
const LARGEST: u64 = 512 << 20;
/// The kinds of MaxMind's databases that have no countries.
const WITHOUT: [&str; 5] = ["ASN", "Anonymous-IP", "Connection-Type", "Domain", "ISP"];
/// Every pair of letters.
const PAIRS: [u8; 26 * 26 * 2] = {
    let mut pairs = [0; 26 * 26 * 2];
    let mut at = 0;
    while at < 26 * 26 {
        pairs[2 * at] = b'A' + (at / 26) as u8;
        pairs[2 * at + 1] = b'A' + (at % 26) as u8;
        at += 1;
    }
    pairs
};

/// A country (ISO 3166-1 alpha-2), or `XX` for one that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Country(&'static str);

impl Country {
    /// ContainerSSH's word for it.
    pub(crate) const UNKNOWN: Self = Self("XX");

    /// The country of a code, in upper case.
    fn of(code: &str) -> Self {
        let &[first, second] = code.as_bytes() else { return Self::UNKNOWN };
        if !first.is_ascii_uppercase() || !second.is_ascii_uppercase() {
            return Self::UNKNOWN;
        }
        let at = 2 * (usize::from(first - b'A') * 26 + usize::from(second - b'A'));
        PAIRS.get(at..at + 2).and_then(|pair| std::str::from_utf8(pair).ok()).map_or(Self::UNKNOWN, Self)
    }

    /// The two letters.
    pub(crate) fn code(self) -> &'static str {
        self.0
    }
}

impl Default for Country {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

/// The error of a database that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CountriesError {
    #[error("geoip.maxmind-geoip2-file: {} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("geoip.maxmind-geoip2-file: {} is larger than {LARGEST} bytes", .0.display())]
    TooLarge(PathBuf),
    #[error("geoip.maxmind-geoip2-file: {} is no database of MaxMind's: {source}", path.display())]
    Damaged { path: PathBuf, source: MaxMindDbError },
    #[error("geoip.maxmind-geoip2-file: {} is a {kind}, which has no countries", path.display())]
    WithoutCountries { path: PathBuf, kind: String },
}

/// The state of a file, which changes when it is replaced or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileVersion([i64; 7]);

impl FileVersion {
    fn of(file: &Metadata) -> Self {
        let number = |number: u64| number.cast_signed();
        Self([
            number(file.dev()),
            number(file.ino()),
            number(file.size()),
            file.mtime(),
            file.mtime_nsec(),
            file.ctime(),
            file.ctime_nsec(),
        ])
    }
}

/// A database that was read.
pub(crate) struct Countries {
    path: PathBuf,
    version: FileVersion,
    reader: Reader<Vec<u8>>,
}

impl Debug for Countries {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Countries").field(&self.path).finish()
    }
}

impl Countries {
    /// Reads a database. Blocks the thread.
    ///
    /// # Errors
    /// A file that cannot be read, or that is no database of countries.
    pub(crate) fn open(path: &Path) -> Result<Self, CountriesError> {
        let failed = |source| CountriesError::Read { path: path.to_owned(), source };
        let is_file = |found: Metadata| match found.is_file() {
            true => Ok(found),
            false => Err(failed(io::Error::other("it is no regular file"))),
        };
        // A pipe is not opened: it would wait for a writer. Another one may take the path's place in between.
        path.metadata().map_err(failed).and_then(is_file)?;
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed).and_then(is_file)?;
        let mut content = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut content).map_err(failed)?;
        if content.len() as u64 > LARGEST {
            return Err(CountriesError::TooLarge(path.to_owned()));
        }
        let damaged = |source| CountriesError::Damaged { path: path.to_owned(), source };
        let reader = Reader::from_source(content).map_err(damaged)?;
        let kind = &reader.metadata().database_type;
        if WITHOUT.iter().any(|word| kind.contains(word)) {
            return Err(CountriesError::WithoutCountries {
                path: path.to_owned(),
                kind: kind.chars().take(64).collect(),
            });
        }
        Ok(Self { path: path.to_owned(), version: FileVersion::of(&metadata), reader })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The version of its file as it was read.
    pub(crate) fn version(&self) -> FileVersion {
        self.version
    }

    /// The version of its file as it is now; `None` if there is none.
    pub(crate) fn present_version(&self) -> Option<FileVersion> {
        self.path.metadata().ok().map(|metadata| FileVersion::of(&metadata))
    }

    /// The country of an address: that of the place, or else that of the registration.
    pub(super) fn country(&self, address: IpAddr) -> Country {
        let Ok(found) = self.reader.lookup(address.to_canonical()) else { return Country::UNKNOWN };
        let code =
            |key| found.decode_path::<&str>(&[PathElement::Key(key), PathElement::Key("iso_code")]).ok().flatten();
        code("country").or_else(|| code("registered_country")).map_or(Country::UNKNOWN, Country::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn country_is_two_capital_letters_or_unknown() {
        for (code, expected) in [
            ("DE", "DE"),
            ("AA", "AA"),
            ("ZZ", "ZZ"),
            ("de", "XX"),
            ("", "XX"),
            ("DEU", "XX"),
            ("D1", "XX"),
            ("é", "XX"),
        ] {
            assert_eq!(Country::of(code).code(), expected, "{code}");
        }
    }

    #[test]
    fn file_that_is_no_database_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("countries.mmdb");
        let refused = |path: &Path| Countries::open(path).unwrap_err().to_string();
        assert!(refused(&path).contains("cannot be read"), "{}", refused(&path));
        assert!(refused(folder.path()).contains("cannot be read"), "{}", refused(folder.path()));
        for content in [&b""[..], b"\xab\xcd\xefMaxMind.com", &[0xff; 4096]] {
            std::fs::write(&path, content).unwrap();
            let text = refused(&path);
            assert!(text.contains("is no database of MaxMind's") && text.contains("countries.mmdb"), "{text}");
        }
    }
}
