//! The verb, resource, namespace, name and subresource of a request, read from its method and URL alone. Authorization, faults
//! and the journal all go by these.

use http::Method;

/// A request's target and verb.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RequestInfo {
    pub(crate) verb: &'static str,
    pub(crate) target: RequestTarget,
    pub(crate) query: Query,
}

/// The object, collection or path that a URL names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RequestTarget {
    /// A path outside the resources: discovery, version, health.
    Path(String),
    /// A resource or a collection of them.
    Resource(ResourcePath),
}

/// A URL below a group's version.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) resource: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl ResourcePath {
    /// The resource with its subresource: `pods/exec`.
    pub(crate) fn full_resource(&self) -> String {
        match &self.subresource {
            Some(sub) => format!("{}/{sub}", self.resource),
            None => self.resource.clone(),
        }
    }
}

/// The parameters after `?`, decoded, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    fn parse(raw: &str) -> Self {
        let pairs = raw.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decode(k), decode(v))).collect(),
        )
    }

    /// The first value of a parameter that is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        values.find(|value| !value.is_empty())
    }

    /// Every value of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A boolean parameter as Go's conversion reads it: absent, `false` and `0` are false.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .is_some_and(|(_, v)| !matches!(v.to_lowercase().as_str(), "false" | "0"))
    }

    /// A number; what is not one counts as absent.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(|value| value.parse().ok())
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                bytes.push(hex(high).unwrap_or(0) * 16 + hex(low).unwrap_or(0));
                rest = after;
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads a request's verb and target, as the API server's `RequestInfo` does.
pub(crate) fn parse(method: &Method, path: &str, query: Option<&str>) -> RequestInfo {
    let query = Query::parse(query.unwrap_or(""));
    let segments: Vec<String> =
        path.split('/').filter(|s| !s.is_empty()).map(|s| decode(&s.replace('+', "%2B"))).collect();
    let target = match segments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => RequestTarget::Resource(resource("", version, rest)),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => {
            RequestTarget::Resource(resource(group, version, rest))
        }
        _ => RequestTarget::Path(path.trim_end_matches('/').to_owned()),
    };
    RequestInfo { verb: verb(method, &target, &query), target, query }
}

fn resource(group: &str, version: &str, rest: &[&str]) -> ResourcePath {
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() && rest != ["status"] && rest != ["finalize"] => {
            (Some((*namespace).to_owned()), rest)
        }
        _ => (None, rest),
    };
    let text = |index: usize| rest.get(index).map(|s| (*s).to_owned());
    let sub = (rest.len() > 2).then(|| rest.get(2..).unwrap_or_default().join("/"));
    ResourcePath {
        group: group.to_owned(),
        version: version.to_owned(),
        namespace,
        resource: text(0).unwrap_or_default(),
        name: text(1),
        subresource: sub,
    }
}

fn verb(method: &Method, target: &RequestTarget, query: &Query) -> &'static str {
    let collection = matches!(target, RequestTarget::Resource(path) if path.name.is_none());
    match method.as_str() {
        "GET" | "HEAD" if collection && query.flag("watch") => "watch",
        "GET" | "HEAD" if collection => "list",
        "GET" | "HEAD" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if collection => "deletecollection",
        "DELETE" => "delete",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource_of(method: Method, path: &str, query: &str) -> (&'static str, ResourcePath) {
        let info = parse(&method, path, Some(query));
        match info.target {
            RequestTarget::Resource(path) => (info.verb, path),
            RequestTarget::Path(path) => panic!("{path} is not a resource"),
        }
    }

    #[test]
    fn subresources_and_verbs_are_told_apart() {
        let (verb, path) = resource_of(Method::GET, "/api/v1/namespaces/a/pods/b/exec", "command=ls");
        assert_eq!((verb, path.full_resource().as_str()), ("get", "pods/exec"));
        assert_eq!((path.namespace.as_deref(), path.name.as_deref()), (Some("a"), Some("b")));
        assert_eq!(resource_of(Method::GET, "/api/v1/namespaces/a/pods", "watch=true").0, "watch");
        assert_eq!(resource_of(Method::DELETE, "/api/v1/namespaces/a/pods", "").0, "deletecollection");
        let (verb, path) = resource_of(Method::GET, "/api/v1/namespaces/a", "");
        assert_eq!((verb, path.resource.as_str(), path.name.as_deref()), ("get", "namespaces", Some("a")));
    }

    #[test]
    fn parameters_keep_order_and_are_decoded() {
        let query = Query::parse("command=sh&command=-c&command=echo+%24x%3D1&stdin=true&tty=false");
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c", "echo $x=1"]);
        assert!(query.flag("stdin") && !query.flag("tty") && !query.flag("stdout"));
    }
}
