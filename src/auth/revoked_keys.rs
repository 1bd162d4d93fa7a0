//! Revoked keys, as OpenSSH's `RevokedKeys` names them: a key revocation list (OpenSSH's PROTOCOL.krl), or public keys, one a
//! line. Pure.
//!
//! Invariants: a file that is not understood to its end is an error, and revokes what there is; so does a section that
//! a later OpenSSH calls critical, and a signature, which is not verified here.

use data_encoding::BASE64;
use sha1::{Digest, Sha1};
use sha2::Sha256;
use std::collections::HashSet;
use std::ops::RangeInclusive;

/// `SSHKRL\n\0`, the first bytes of a key revocation list.
const MAGIC: &[u8] = b"SSHKRL\n\0";
const FORMAT: u32 = 1;

/// Keys and certificates that may no longer log in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RevokedKeys {
    keys: HashSet<Vec<u8>>,
    /// SHA-1 and SHA-256 sums of keys.
    sums: HashSet<Vec<u8>>,
    certificates: Vec<RevokedCertificates>,
}

/// Certificates of one authority.
#[derive(Debug, Default, PartialEq, Eq)]
struct RevokedCertificates {
    /// The authority's key; `None` stands for every authority.
    authority: Option<Vec<u8>>,
    serials: Vec<RangeInclusive<u64>>,
    bitmaps: Vec<SerialBitmap>,
    key_ids: HashSet<Vec<u8>>,
}

/// Serial numbers from the first on, a bit each; the last bit is the first number's.
#[derive(Debug, PartialEq, Eq)]
struct SerialBitmap {
    first: u64,
    bits: Vec<u8>,
}

/// The parts of a certificate by which it can be revoked. Keys are in their wire encoding (RFC 4253 section 6.6).
#[derive(Debug, Clone, Copy)]
pub(crate) struct IssuedCertificate<'a> {
    /// The user's key.
    pub key: &'a [u8],
    /// The key that signed it.
    pub authority: &'a [u8],
    pub serial: u64,
    pub key_id: &'a str,
}

/// The error of a file that is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevokedKeysError {
    /// A line of a list is no public key.
    #[error("line {0} is not a public key (and the file is not a KRL of ssh-keygen -k)")]
    Line(usize),
    /// A list is not text.
    #[error("the file is neither a KRL of ssh-keygen -k nor a list of public keys")]
    NotText,
    /// A KRL ends too early, or has a value that is not valid.
    #[error("the KRL is damaged")]
    Damaged,
    /// A KRL of another version.
    #[error("the KRL has format version {0}; 1 is understood")]
    Version(u32),
    /// A KRL with a section that is not understood.
    #[error("the KRL has a section of type {0}, which is not understood")]
    Section(u8),
    /// A KRL with a signature.
    #[error("the KRL is signed, and signatures are not verified; make it without one")]
    Signed,
}

impl RevokedKeys {
    /// Reads the content of a file.
    ///
    /// # Errors
    /// Content that is not understood as a whole.
    pub(crate) fn parse(content: &[u8]) -> Result<Self, RevokedKeysError> {
        match content.strip_prefix(MAGIC) {
            Some(rest) => Self::parse_krl(rest),
            None => Self::parse_lines(std::str::from_utf8(content).map_err(|_| RevokedKeysError::NotText)?),
        }
    }

    /// True if a key is revoked. It is in its wire encoding.
    pub(crate) fn has_key(&self, key: &[u8]) -> bool {
        let has_sum = |sum: &[u8]| self.sums.contains(sum);
        let is_listed = self.keys.contains(key);
        is_listed || !self.sums.is_empty() && (has_sum(&Sha256::digest(key)) || has_sum(&Sha1::digest(key)))
    }

    /// True if a certificate is revoked, by itself, by its key or by its authority's.
    pub(crate) fn has_certificate(&self, certificate: IssuedCertificate<'_>) -> bool {
        self.has_key(certificate.key)
            || self.has_key(certificate.authority)
            || self.certificates.iter().any(|revoked| revoked.contains(certificate))
    }

    fn parse_lines(text: &str) -> Result<Self, RevokedKeysError> {
        let mut revoked = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                revoked.keys.insert(key_of_line(line).ok_or(RevokedKeysError::Line(index + 1))?);
            }
        }
        Ok(revoked)
    }

    fn parse_krl(content: &[u8]) -> Result<Self, RevokedKeysError> {
        let mut reader = KrlReader(content);
        let version = reader.u32()?;
        if version != FORMAT {
            return Err(RevokedKeysError::Version(version));
        }
        // The list's version, its date and its flags, then a reserved field and a comment.
        reader.take(24)?;
        reader.string()?;
        reader.string()?;
        let mut revoked = Self::default();
        while !reader.is_empty() {
            let kind = reader.u8()?;
            let mut section = KrlReader(match kind {
                4 => return Err(RevokedKeysError::Signed),
                _ => reader.string()?,
            });
            match kind {
                1 => revoked.certificates.push(RevokedCertificates::parse(&mut section)?),
                2 => section.strings_into(&mut revoked.keys)?,
                3 => section.sums_into(20, &mut revoked.sums)?,
                5 => section.sums_into(32, &mut revoked.sums)?,
                255 => section.extension(kind)?,
                other => return Err(RevokedKeysError::Section(other)),
            }
        }
        Ok(revoked)
    }
}

impl RevokedCertificates {
    fn parse(section: &mut KrlReader<'_>) -> Result<Self, RevokedKeysError> {
        let authority = Some(section.string()?.to_vec()).filter(|key| !key.is_empty());
        section.string()?;
        let mut revoked = Self { authority, ..Self::default() };
        while !section.is_empty() {
            let kind = section.u8()?;
            let mut part = KrlReader(section.string()?);
            match kind {
                0x20 => {
                    while !part.is_empty() {
                        let serial = part.u64()?;
                        revoked.serials.push(serial..=serial);
                    }
                }
                0x21 => {
                    let (first, last) = (part.u64()?, part.u64()?);
                    if first > last || !part.is_empty() {
                        return Err(RevokedKeysError::Damaged);
                    }
                    revoked.serials.push(first..=last);
                }
                0x22 => {
                    let bitmap = SerialBitmap { first: part.u64()?, bits: part.string()?.to_vec() };
                    if !part.is_empty() {
                        return Err(RevokedKeysError::Damaged);
                    }
                    revoked.bitmaps.push(bitmap);
                }
                0x23 => part.strings_into(&mut revoked.key_ids)?,
                0x39 => part.extension(kind)?,
                other => return Err(RevokedKeysError::Section(other)),
            }
        }
        Ok(revoked)
    }

    fn contains(&self, certificate: IssuedCertificate<'_>) -> bool {
        let is_of_authority = self.authority.as_deref().is_none_or(|authority| authority == certificate.authority);
        is_of_authority && (self.key_ids.contains(certificate.key_id.as_bytes()) || self.has_serial(certificate.serial))
    }

    /// True if the list has a serial number. 0 is what an authority writes that counts none, and is never meant (as in
    /// OpenSSH's krl.c).
    fn has_serial(&self, serial: u64) -> bool {
        let listed = || self.serials.iter().any(|serials| serials.contains(&serial));
        serial != 0 && (listed() || self.bitmaps.iter().any(|bitmap| bitmap.contains(serial)))
    }
}

impl SerialBitmap {
    fn contains(&self, serial: u64) -> bool {
        let Some(bit) = serial.checked_sub(self.first) else { return false };
        let byte = usize::try_from(bit / 8).ok().and_then(|byte| self.bits.iter().rev().nth(byte));
        byte.is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    }
}

/// The key of an `authorized_keys` line without options; a certificate is none.
fn key_of_line(line: &str) -> Option<Vec<u8>> {
    let mut fields = line.split_ascii_whitespace();
    let (name, key) = (fields.next()?, BASE64.decode(fields.next()?.as_bytes()).ok()?);
    let mut reader = KrlReader(&key);
    let is_key = reader.string().ok()? == name.as_bytes() && reader.is_rest_of_key(name).ok()? && reader.is_empty();
    is_key.then_some(key)
}

/// The curve of an ECDSA key's type and the bytes of a point, which is uncompressed: no key in another form ever logs in.
fn curve(name: &str) -> Option<(&'static str, usize)> {
    match name {
        "ecdsa-sha2-nistp256" | "sk-ecdsa-sha2-nistp256@openssh.com" => Some(("nistp256", 65)),
        "ecdsa-sha2-nistp384" => Some(("nistp384", 97)),
        "ecdsa-sha2-nistp521" => Some(("nistp521", 133)),
        _ => None,
    }
}

/// The unread rest of a KRL or of a section of it.
struct KrlReader<'a>(&'a [u8]);

impl<'a> KrlReader<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], RevokedKeysError> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(RevokedKeysError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<u64, RevokedKeysError> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn u8(&mut self) -> Result<u8, RevokedKeysError> {
        u8::try_from(self.number(1)?).map_err(|_| RevokedKeysError::Damaged)
    }

    fn u32(&mut self) -> Result<u32, RevokedKeysError> {
        u32::try_from(self.number(4)?).map_err(|_| RevokedKeysError::Damaged)
    }

    fn u64(&mut self) -> Result<u64, RevokedKeysError> {
        self.number(8)
    }

    /// A `string` (RFC 4251 section 5).
    fn string(&mut self) -> Result<&'a [u8], RevokedKeysError> {
        let length = usize::try_from(self.u32()?).map_err(|_| RevokedKeysError::Damaged)?;
        self.take(length)
    }

    /// Reads a key of a type behind its name. False if it is no such key, or the type is not known.
    fn is_rest_of_key(&mut self, name: &str) -> Result<bool, RevokedKeysError> {
        let is_key = match (name, curve(name)) {
            (_, Some((curve, length))) => {
                let is_of_curve = self.string()? == curve.as_bytes();
                let point = self.string()?;
                is_of_curve && point.len() == length && point.first() == Some(&4)
            }
            ("ssh-ed25519" | "sk-ssh-ed25519@openssh.com", _) => self.string()?.len() == 32,
            ("ssh-rsa", _) => !self.string()?.is_empty() && !self.string()?.is_empty(),
            ("ssh-dss", _) => (0..4).try_fold(true, |is_key, _| Ok(is_key && !self.string()?.is_empty()))?,
            _ => false,
        };
        if is_key && name.starts_with("sk-") {
            self.string()?;
        }
        Ok(is_key)
    }

    fn strings_into(&mut self, strings: &mut HashSet<Vec<u8>>) -> Result<(), RevokedKeysError> {
        while !self.is_empty() {
            strings.insert(self.string()?.to_vec());
        }
        Ok(())
    }

    fn sums_into(&mut self, bytes: usize, sums: &mut HashSet<Vec<u8>>) -> Result<(), RevokedKeysError> {
        while !self.is_empty() {
            let sum = self.string()?;
            if sum.len() != bytes {
                return Err(RevokedKeysError::Damaged);
            }
            sums.insert(sum.to_vec());
        }
        Ok(())
    }

    /// Passes over an extension, unless it says that it must be understood.
    fn extension(&mut self, kind: u8) -> Result<(), RevokedKeysError> {
        self.string()?;
        let is_critical = self.u8()? != 0;
        self.string()?;
        match (is_critical, self.is_empty()) {
            (true, _) => Err(RevokedKeysError::Section(kind)),
            (false, true) => Ok(()),
            (false, false) => Err(RevokedKeysError::Damaged),
        }
    }
}

#[cfg(test)]
mod tests;
