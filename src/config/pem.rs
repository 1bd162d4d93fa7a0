//! Keys and certificates: PEM text in the configuration itself, or the name of a file that holds it. What is read is
//! checked to hold what its key asks for; no message ever shows it.

use super::reader::Section;
use crate::types::{Secret, printable, quoted};
use podgate_webhooks::text;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::path::Path;

/// Where the files that a configuration names are read from.
pub trait Files {
    /// The whole file as text, without a byte order mark.
    ///
    /// # Errors
    /// A file that cannot be read, and anything but UTF-8.
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// The machine's own files.
#[derive(Debug, Clone, Copy)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        text::read(path)
    }
}

/// Whether a value is PEM itself and not a file's name.
pub(crate) fn is_inline(value: &str) -> bool {
    value.trim_start().starts_with("-----")
}

/// The value itself, or the text of the file that it names.
pub(crate) fn read(section: &Section<'_>, key: &str, value: &str, files: &dyn Files) -> Option<String> {
    if is_inline(value) {
        return Some(value.trim_start().to_owned());
    }
    let text = files.read(Path::new(value));
    if let Err(error) = &text {
        section.error(key, unreadable(value, error));
    }
    text.ok()
}

/// Why a file can't be read.
pub(crate) fn unreadable(path: &str, error: &io::Error) -> String {
    format!("cannot read the file {}: {error}", shown(path))
}

/// A file's name for a message. A key that was pasted without its PEM frame looks like a name too and is not shown.
pub(crate) fn shown(path: &str) -> String {
    if is_path(path) { quoted(&printable(path, 255)) } else { "that it names".to_owned() }
}

/// True for a text that is surely a file's name and not a secret.
pub(crate) fn is_path(text: &str) -> bool {
    text.len() < 256 && !text.contains('\n') && (text.starts_with('/') || text.contains('.'))
}

/// A CA bundle: at least one certificate.
pub(crate) fn certificates(section: &Section<'_>, key: &str, text: String) -> Option<String> {
    match certificates_in(&text) {
        Ok(()) => Some(text),
        Err(why) => {
            section.error(key, why);
            None
        }
    }
}

/// Whether a text holds certificates.
pub(crate) fn certificates_in(text: &str) -> Result<(), &'static str> {
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        certificate.map_err(|_| "is not valid PEM")?;
        found = true;
    }
    if found { Ok(()) } else { Err("holds no certificate in PEM (-----BEGIN CERTIFICATE-----)") }
}

/// A private key for TLS.
pub(crate) fn private_key(section: &Section<'_>, key: &str, text: String) -> Option<Secret> {
    match private_key_in(&text) {
        Ok(()) => Some(Secret::new(text)),
        Err(why) => {
            section.error(key, why);
            None
        }
    }
}

/// Whether a text holds a private key.
pub(crate) fn private_key_in(text: &str) -> Result<(), &'static str> {
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map(drop).map_err(|_| {
        if text.contains("ENCRYPTED") {
            "is encrypted; it must be a private key without a passphrase"
        } else {
            "holds no private key in PEM (-----BEGIN PRIVATE KEY-----)"
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_mark_of_a_file_is_skipped_and_another_encoding_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let utf16: Vec<u8> = "\u{feff}-----BEGIN".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (bytes, expected) in [
            (&b"\xef\xbb\xbf-----BEGIN"[..], Ok("-----BEGIN")),
            (b"-----BEGIN", Ok("-----BEGIN")),
            (&utf16, Err("it is UTF-16 text, and has to be UTF-8")),
            (b"J\xf6rg", Err("it is not UTF-8 text: byte 2 does not belong there")),
        ] {
            std::fs::write(file.path(), bytes).expect("written");
            let read = Disk.read(file.path()).map_err(|error| error.to_string());
            assert_eq!(read.as_deref().map_err(String::as_str), expected);
        }
    }
}
