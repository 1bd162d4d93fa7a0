//! The kinds of objects that are stored, and what the API calls them.

/// A kind of object that the store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ObjectKind {
    Namespace,
    Pod,
    Event,
    Lease,
}

impl ObjectKind {
    /// Every kind there is.
    pub(crate) const ALL: [Self; 4] = [Self::Namespace, Self::Pod, Self::Event, Self::Lease];

    /// The kind behind a group and a resource name of a URL.
    pub(crate) fn from_resource(group: &str, resource: &str) -> Option<Self> {
        match (group, resource) {
            ("" | "events.k8s.io", "events") => Some(Self::Event),
            _ => Self::ALL.into_iter().find(|kind| kind.group() == group && kind.resource() == resource),
        }
    }

    /// The `kind` field of its objects.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Event => "Event",
            Self::Lease => "Lease",
        }
    }

    /// The plural in URLs.
    pub(crate) fn resource(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::Pod => "pods",
            Self::Event => "events",
            Self::Lease => "leases",
        }
    }

    /// The API group; empty for the core group.
    pub(crate) fn group(self) -> &'static str {
        match self {
            Self::Lease => "coordination.k8s.io",
            Self::Namespace | Self::Pod | Self::Event => "",
        }
    }

    /// The `apiVersion` field of its objects.
    pub(crate) fn api_version(self) -> &'static str {
        match self {
            Self::Lease => "coordination.k8s.io/v1",
            Self::Namespace | Self::Pod | Self::Event => "v1",
        }
    }

    /// The resource with its group, as in the API server's messages (`leases.coordination.k8s.io`).
    pub(crate) fn qualified_resource(self) -> String {
        if self.group().is_empty() {
            self.resource().to_owned()
        } else {
            format!("{}.{}", self.resource(), self.group())
        }
    }

    /// True where its objects live in a namespace.
    pub(crate) fn namespaced(self) -> bool {
        self != Self::Namespace
    }
}
