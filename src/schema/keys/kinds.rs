//! Types of keys' values, and effects of keys.

/// Type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// A text; an empty one is unset.
    Text,
    /// A text that an exact answer can empty.
    OptionalText,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A word that can also be written as a number.
    TextOrNumber,
    /// The name of a file.
    File,
    /// A text that is not shown, and that an exact answer can empty.
    Secret,
    /// A mapping whose values are not shown.
    SecretMapping,
    /// A URL, whose credentials are not shown.
    Url,
    /// A host, host:port or URL, whose credentials are not shown.
    Host,
    /// Certificates in PEM, or (but for Kubernetes) the name of a file of them.
    Pem,
    /// A private key in PEM, or (but for Kubernetes) the name of a file of it.
    PrivateKey,
    /// A list of private keys or files.
    PrivateKeys,
    /// True or false; also `yes`, `no`, `on` and `off`.
    Flag,
    /// A whole number, from the first to the second.
    Integer(i64, i64),
    /// A number, whole or not.
    Number,
    /// A duration of at least so many milliseconds.
    Duration(u64),
    /// A size in bytes, from the first to the second.
    ByteSize(u64, u64),
    /// A list whose elements are texts.
    Texts,
    /// A list of texts, or one text with colons between them.
    Names,
    /// A mapping of the operator's own names to texts.
    TextMap,
    /// A list of mappings with keys of their own.
    Sections,
    /// An object of Kubernetes or Docker.
    Mapping,
    /// A list of Kubernetes' `EnvVar`, whose values are not shown.
    Variables,
}

impl KeyKind {
    /// True for texts and lists of texts.
    pub(crate) fn is_text(self) -> bool {
        match self {
            Self::Text | Self::OptionalText | Self::Words(_) | Self::File | Self::Secret => true,
            Self::Url | Self::Host | Self::Pem | Self::PrivateKey => true,
            Self::PrivateKeys | Self::Texts | Self::Names => true,
            Self::TextOrNumber | Self::Flag | Self::Integer(..) | Self::Number => false,
            Self::Duration(_) | Self::ByteSize(..) => false,
            Self::SecretMapping | Self::TextMap | Self::Mapping | Self::Variables | Self::Sections => false,
        }
    }

    /// True for a text that an exact answer can empty; elsewhere (paths, URLs, modes, certificates) "" is always unset.
    pub(crate) fn can_be_empty(self) -> bool {
        matches!(self, Self::OptionalText | Self::Secret)
    }

    /// True for a value whose zeros and nulls are not ours to drop: an object of Kubernetes, or a mapping of free names.
    pub(crate) fn is_foreign(self) -> bool {
        matches!(self, Self::TextMap | Self::Mapping | Self::SecretMapping | Self::Variables)
    }
}

/// Effect of a key, and whether an answer of the config webhook may set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It works, from the file alone.
    Works,
    /// It works for each connection: an answer may set it.
    PerConnection,
    /// It says where credentials go and what is trusted there; an answer may set it where the file allows that.
    Target,
    /// It proves who the gateway is; an answer may set it where the file allows that.
    Credential,
    /// None, and `--check-config` says so.
    Ignored,
    /// None; a value that would switch something on is an error.
    Refused,
}

impl Effect {
    /// True for a key that works.
    pub(crate) fn works(self) -> bool {
        !matches!(self, Self::Ignored | Self::Refused)
    }
}
