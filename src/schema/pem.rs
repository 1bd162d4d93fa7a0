//! Keys and certificates: PEM text in the configuration itself, or the name of a file that holds it. What is read is
//! checked to hold what its key asks for; no message ever shows it.

use super::section::Section;
use crate::tls::{self, Fault, IdentityPart, TlsRole};
use crate::types::{Secret, printable, quoted};
use data_encoding::BASE64;
use podgate_webhooks::text;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Source of the files that a configuration names.
pub trait Files {
    /// The whole file as text, without a byte order mark.
    ///
    /// # Errors
    /// A file that cannot be read, and anything but UTF-8.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// The permission bits of a file that every user of the machine can read; `None` for any other.
    fn readable_by_all(&self, _path: &Path) -> Option<u32> {
        None
    }
}

/// The machine's own files.
#[derive(Debug, Clone, Copy)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        text::read_regular(path)
    }

    fn readable_by_all(&self, path: &Path) -> Option<u32> {
        let path = path.canonicalize().ok()?;
        let mode = |path: &Path| path.metadata().map(|metadata| metadata.permissions().mode() & 0o777).ok();
        let of_file = mode(&path).filter(|bits| bits & 0o004 != 0)?;
        let reached = path.ancestors().skip(1).all(|folder| mode(folder).is_some_and(|bits| bits & 0o001 != 0));
        reached.then_some(of_file)
    }
}

/// A service account's CA. Older files name it as the *client's* certificate, too, where nothing comes of it.
pub(crate) const ACCOUNT_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// The directory of what Kubernetes mounts for a pod's service account.
const MOUNTED: &str = "/var/run/secrets/kubernetes.io/";

/// True for a value that is PEM itself and not a file's name.
pub(crate) fn is_inline(value: &str) -> bool {
    value.trim_start().starts_with("-----")
}

/// A text of a section's key, and the file that it came from.
pub(crate) struct Material<'a> {
    section: &'a Section<'a>,
    key: &'static str,
    file: Option<&'a str>,
    text: String,
}

/// Checks that a text is what its key asks for.
pub(crate) type Check = fn(&str) -> Result<(), &'static str>;

impl<'a> Material<'a> {
    /// The text of a file. `None` was reported.
    pub(crate) fn file(section: &'a Section<'a>, key: &'static str, path: &'a str, files: &dyn Files) -> Option<Self> {
        match files.read(Path::new(path)) {
            Ok(text) => Some(Self { section, key, file: Some(path), text }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.starts_with(MOUNTED) => {
                let text = unreadable(path, &error);
                let text = format!("{text}; Kubernetes mounts it into the gateway's pod, where this has to be checked");
                section.mounted_elsewhere(key, text);
                None
            }
            Err(error) => {
                section.error(key, unreadable(path, &error));
                None
            }
        }
    }

    /// A text that stands in the configuration.
    pub(crate) fn inline(section: &'a Section<'a>, key: &'static str, text: &str) -> Self {
        Self { section, key, file: None, text: text.trim().to_owned() }
    }

    /// The value itself, or the text of the file that it names. `None` was reported.
    fn read(section: &'a Section<'a>, key: &'static str, value: &'a str, files: &dyn Files) -> Option<Self> {
        if is_inline(value) { Some(Self::inline(section, key, value)) } else { Self::file(section, key, value, files) }
    }

    /// The same where it is what its key asks for. `None` was reported.
    pub(crate) fn checked(self, check: Check) -> Option<Self> {
        match check(self.text.trim()) {
            Ok(()) => Some(self),
            Err(why) => {
                self.section.error(self.key, self.about(why));
                None
            }
        }
    }

    /// The same, after a warning where it is a secret in a file that everybody can read.
    pub(crate) fn with_warning(self, files: &dyn Files) -> Self {
        if let Some(warning) = self.file.and_then(|file| exposed(file, files)) {
            self.section.warning(self.key, &warning);
        }
        self
    }

    /// Reports the faults of a CA bundle.
    pub(crate) fn judge_ca(&self) {
        tls::ca_faults(&self.text, UnixTime::now()).iter().for_each(|fault| self.tell(fault));
    }

    /// Reports the faults of a certificate and its key.
    pub(crate) fn judge_with(&self, key: &Self, role: TlsRole) {
        let faults = tls::identity_faults(&self.text, &Secret::new(key.text.as_str()), role, UnixTime::now());
        faults
            .iter()
            .for_each(|fault| if fault.part == IdentityPart::Key { key.tell(fault) } else { self.tell(fault) });
    }

    fn tell(&self, fault: &Fault) {
        let text = self.about(&fault.text);
        if fault.fatal { self.section.fault(self.key, text) } else { self.section.warning(self.key, &text) }
    }

    /// The end of a sentence, with the file that it is about.
    fn about(&self, text: &str) -> String {
        self.file.map_or_else(|| text.to_owned(), |file| format!("the file {} {text}", shown(file)))
    }
}

/// The CA bundle that a value is or names. `None` was reported.
pub(crate) fn ca(section: &Section<'_>, key: &'static str, value: &str, files: &dyn Files) -> Option<String> {
    let ca = Material::read(section, key, value, files)?.checked(certificates_in)?;
    ca.judge_ca();
    Some(ca.text)
}

/// The certificate chain and private key that the values of `cert` and `key` are or name; all mistakes of both are told.
/// `None` was reported.
pub(crate) fn identity(
    section: &Section<'_>,
    (certificate, key): (&str, &str),
    role: TlsRole,
    files: &dyn Files,
) -> Option<(String, Secret)> {
    let certificate =
        Material::read(section, "cert", certificate, files).and_then(|material| material.checked(certificates_in));
    let key = Material::read(section, "key", key, files).and_then(|material| material.checked(private_key_in));
    let key = key.map(|key| key.with_warning(files));
    let (certificate, key) = (certificate?, key?);
    certificate.judge_with(&key, role);
    Some((certificate.text, Secret::new(key.text)))
}

/// A warning of a file with a secret that everybody on the machine can read. Files that Kubernetes mounts for a service
/// account have the mode that it chose.
pub(crate) fn exposed(path: &str, files: &dyn Files) -> Option<String> {
    if path.starts_with(MOUNTED) {
        return None;
    }
    let mode = files.readable_by_all(Path::new(path))?;
    Some(format!(
        "the file {} can be read by every user of this machine (mode {mode:04o}); let only the gateway's user read it \
         (chmod 600), or mount the Secret with defaultMode: 0440 and an fsGroup",
        shown(path)
    ))
}

/// Message about a file that cannot be read.
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

/// Checks that a text holds certificates.
pub(crate) fn certificates_in(text: &str) -> Result<(), &'static str> {
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        certificate.map_err(|_| "is not valid PEM")?;
        found = true;
    }
    if found { Ok(()) } else { Err("holds no certificate in PEM (-----BEGIN CERTIFICATE-----)") }
}

/// Checks that a text holds a private key.
pub(crate) fn private_key_in(text: &str) -> Result<(), &'static str> {
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map(drop).map_err(|_| {
        if text.contains("ENCRYPTED") {
            "is encrypted; it must be a private key without a passphrase"
        } else {
            "holds no private key in PEM (-----BEGIN PRIVATE KEY-----)"
        }
    })
}

/// True for a private key in OpenSSH's own format that has a passphrase: the name of its cipher follows the first mark.
pub(crate) fn is_encrypted_openssh(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("-----BEGIN OPENSSH PRIVATE KEY-----") else { return false };
    let Some((body, _)) = rest.split_once("-----END") else { return false };
    let body: String = body.split_ascii_whitespace().collect();
    let Ok(bytes) = BASE64.decode(body.as_bytes()) else { return false };
    let cipher = bytes.strip_prefix(b"openssh-key-v1\0").and_then(|rest| rest.split_first_chunk::<4>());
    cipher.is_some_and(|(length, rest)| u32::from_be_bytes(*length) != 4 || !rest.starts_with(b"none"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};

    #[test]
    fn file_is_exposed_only_where_its_mode_and_every_folder_above_it_let_others_in() {
        let folder = tempfile::Builder::new().tempdir().expect("a folder");
        let file = folder.path().join("key");
        std::fs::write(&file, "secret").expect("a file");
        for (of_folder, of_file, expected) in [
            (0o700, 0o644, None),
            (0o755, 0o600, None),
            (0o755, 0o640, None),
            (0o755, 0o644, Some(0o644)),
            (0o711, 0o444, Some(0o444)),
        ] {
            set_permissions(folder.path(), Permissions::from_mode(of_folder)).expect("a mode");
            set_permissions(&file, Permissions::from_mode(of_file)).expect("a mode");
            assert_eq!(Disk.readable_by_all(&file), expected, "{of_folder:o} {of_file:o}");
        }
        assert_eq!(Disk.readable_by_all(&folder.path().join("none")), None);
    }

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
