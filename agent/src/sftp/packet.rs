//! The fields of requests and replies.

use super::attributes::{self, Attributes};
use super::kind;
use super::status::Status;
use rustix::fs::Stat;

/// The fields of a request that are not read yet.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(packet: &'a [u8]) -> Self {
        Self(packet)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Status> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Status::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Status> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Status::Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Status> {
        self.array().map(|[byte]| byte)
    }

    /// Takes a number of 32 bits.
    pub(super) fn number(&mut self) -> Result<u32, Status> {
        self.array().map(u32::from_be_bytes)
    }

    /// Takes a number of 64 bits.
    pub(super) fn long(&mut self) -> Result<u64, Status> {
        self.array().map(u64::from_be_bytes)
    }

    /// A length and bytes.
    pub(super) fn text(&mut self) -> Result<&'a [u8], Status> {
        let length = self.number()? as usize;
        self.take(length)
    }

    pub(super) fn attributes(&mut self) -> Result<Attributes, Status> {
        Attributes::read(self)
    }
}

/// A reply, with its length in front.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply(Vec<u8>);

impl Reply {
    /// A reply of this type to this request.
    pub(super) fn new(kind: u8, id: u32) -> Self {
        Self(vec![0, 0, 0, 0, kind]).number(id)
    }

    /// The greeting, which has no id.
    pub(super) fn version(version: u32) -> Self {
        Self(vec![0, 0, 0, 0, kind::VERSION]).number(version)
    }

    pub(super) fn status(id: u32, status: Status) -> Self {
        Self::new(kind::STATUS, id).number(status.code()).text(status.text().as_bytes()).text(b"")
    }

    pub(super) fn number(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn long(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn text(mut self, value: &[u8]) -> Self {
        self = self.number(length(value.len()));
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn attributes(mut self, stat: &Stat) -> Self {
        attributes::write(&mut self.0, stat);
        self
    }

    /// A name reply with one name and no attributes.
    pub(super) fn name(id: u32, name: &[u8]) -> Self {
        Self::new(kind::NAME, id).number(1).text(name).text(name).number(0)
    }

    /// Adds bytes that were made elsewhere.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The bytes for the client.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = length(self.0.len() - 4);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// The length of a field; every field here is far below 4 GiB.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
