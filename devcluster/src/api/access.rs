//! Authentication and authorization: bearer tokens, each with everything allowed or a list of verbs on resources, which can be
//! changed while the cluster runs.

use crate::api::request::{RequestInfo, RequestTarget};
use crate::objects::status::StatusError;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// The resources with which every account may ask who it is and what it may: Kubernetes' `system:basic-user`.
const ABOUT_ONESELF: [&str; 2] = ["selfsubjectaccessreviews", "selfsubjectreviews"];

/// A verb on a resource that a token may use; `*` stands for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Verb of the API, such as `get` or `create`.
    pub verb: String,
    /// Resource with its subresource: `pods`, `pods/exec`, `leases`, …
    pub resource: String,
    /// Namespace of the grant; every namespace by default.
    pub namespace: Option<String>,
}

impl Rule {
    /// A rule for every namespace, as a ClusterRole's.
    #[must_use]
    pub fn new(verb: &str, resource: &str) -> Self {
        Self { verb: verb.to_owned(), resource: resource.to_owned(), namespace: None }
    }

    /// The same for one namespace, as a Role's.
    #[must_use]
    pub fn within(self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self }
    }

    fn allows(&self, verb: &str, resource: &str, namespace: &str) -> bool {
        (self.verb == "*" || self.verb == verb)
            && (self.resource == "*" || self.resource == resource)
            && self.namespace.as_deref().is_none_or(|own| own == namespace)
    }
}

/// A token that the cluster knows beside the administrator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Text of the bearer token.
    pub token: String,
    /// The user's name, as refusals tell it.
    pub user: String,
    /// Rights of the account. Everything else is a 403, except questions about oneself.
    pub rules: Vec<Rule>,
}

/// The tokens of a cluster.
#[derive(Debug)]
pub(crate) struct Tokens {
    known: Mutex<Vec<Token>>,
    basic_user: Mutex<bool>,
}

impl Tokens {
    pub(crate) fn new(admin: &str, others: Vec<Token>) -> Self {
        let all = vec![Rule::new("*", "*")];
        let admin = Token { token: admin.to_owned(), user: "kubernetes-admin".to_owned(), rules: all };
        Self { known: Mutex::new([vec![admin], others].concat()), basic_user: Mutex::new(true) }
    }

    /// Adds a token, or replaces the one with the same text.
    pub(crate) fn set(&self, token: Token) {
        let mut known = self.known.lock();
        known.retain(|other| other.token != token.token);
        known.push(token);
    }

    /// Removes a token; its requests are 401 from now on.
    pub(crate) fn revoke(&self, token: &str) {
        self.known.lock().retain(|known| known.token != token);
    }

    /// True where accounts may ask about themselves.
    pub(crate) fn set_basic_user(&self, on: bool) {
        *self.basic_user.lock() = on;
    }

    /// Finds the token that a request carries.
    pub(crate) fn authenticate(&self, headers: &HeaderMap) -> Result<Token, StatusError> {
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = header.strip_prefix("Bearer ").map(str::trim).filter(|token| !token.is_empty());
        let known = self.known.lock();
        let found = token.and_then(|given| known.iter().find(|known| known.token == given));
        let mut token = found.cloned().ok_or_else(StatusError::unauthorized)?;
        if *self.basic_user.lock() {
            token.rules.extend(ABOUT_ONESELF.map(|resource| Rule::new("create", resource)));
        }
        Ok(token)
    }
}

impl Token {
    /// Refuses what no rule allows. A WebSocket exec, attach or port-forward is a `get` and needs `create` as well.
    pub(crate) fn authorize(&self, info: &RequestInfo) -> Result<(), StatusError> {
        let RequestTarget::Resource(path) = &info.target else { return Ok(()) };
        let resource = path.full_resource();
        let namespace = path.namespace.as_deref().unwrap_or_default();
        let streaming = matches!(path.subresource.as_deref(), Some("exec" | "attach" | "portforward"));
        let needed: &[&str] = if streaming && info.verb == "get" { &["get", "create"] } else { &[info.verb] };
        let missing = needed.iter().find(|verb| !self.may(verb, &resource, namespace));
        let Some(verb) = missing else { return Ok(()) };
        let scope = match &path.namespace {
            Some(namespace) => format!("in the namespace {namespace:?}"),
            None => "at the cluster scope".to_owned(),
        };
        // RBAC says why; the check of `create`, which comes after it, does not.
        let why = if streaming && info.verb == "get" && *verb == "create" {
            String::new()
        } else {
            format!("User {:?} cannot {verb} resource {resource:?} in API group {:?} {scope}", self.user, path.group)
        };
        let qualified =
            if path.group.is_empty() { path.resource.clone() } else { format!("{}.{}", path.resource, path.group) };
        Err(StatusError::forbidden(&qualified, path.name.as_deref().unwrap_or_default(), &why))
    }

    fn may(&self, verb: &str, resource: &str, namespace: &str) -> bool {
        self.rules.iter().any(|rule| rule.allows(verb, resource, namespace))
    }

    /// Answers a question about oneself, `None` where it is not one of those.
    pub(crate) fn about_oneself(&self, resource: &str, asked: &Value) -> Option<Value> {
        match resource {
            "selfsubjectaccessreviews" => Some(self.review(asked)),
            "selfsubjectreviews" => Some(json!({
                "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1",
                "metadata": {}, "status": {"userInfo": {"username": self.user, "groups": ["system:authenticated"]}},
            })),
            _ => None,
        }
    }

    /// Answers a `SelfSubjectAccessReview` by the token's rules.
    fn review(&self, review: &Value) -> Value {
        let asked = &review["spec"]["resourceAttributes"];
        let text = |field: &str| asked[field].as_str().unwrap_or_default();
        let resource = match text("subresource") {
            "" => text("resource").to_owned(),
            sub => format!("{}/{sub}", text("resource")),
        };
        let allowed = asked.is_null() || self.may(text("verb"), &resource, text("namespace"));
        let mut answer = json!({
            "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
            "metadata": {}, "spec": review["spec"], "status": {"allowed": allowed},
        });
        if allowed {
            answer["status"]["reason"] = json!("allowed by the token's rules");
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::request::parse;
    use http::Method;

    fn token(rules: &[(&str, &str)]) -> Token {
        let rules = rules.iter().map(|(verb, resource)| Rule::new(verb, resource)).collect();
        Token { token: "t".into(), user: "u".into(), rules }
    }

    #[test]
    fn exec_without_create_is_refused() {
        let info = parse(&Method::GET, "/api/v1/namespaces/a/pods/p/exec", None);
        let refused = token(&[("get", "pods/exec"), ("*", "pods")]).authorize(&info).unwrap_err();
        assert_eq!(refused.code(), 403);
        assert_eq!(refused.message(), "pods \"p\" is forbidden: ");
        let refused = token(&[("*", "pods")]).authorize(&info).unwrap_err();
        let text = "pods \"p\" is forbidden: User \"u\" cannot get resource \"pods/exec\" in API group \"\" in the namespace \"a\"";
        assert_eq!(refused.message(), text);
        assert_eq!(token(&[("get", "pods/exec"), ("create", "pods/exec")]).authorize(&info), Ok(()));
    }

    #[test]
    fn no_token_and_a_wrong_token_are_401() {
        let tokens = Tokens::new("admin", Vec::new());
        for header in [None, Some("Bearer nope"), Some("Bearer "), Some("admin")] {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(AUTHORIZATION, header.parse().unwrap());
            }
            assert_eq!(tokens.authenticate(&headers).unwrap_err().code(), 401, "{header:?}");
        }
    }

    #[test]
    fn a_review_answers_what_authorization_would() {
        let asked = |verb: &str| json!({"spec": {"resourceAttributes": {"verb": verb, "resource": "pods", "subresource": "exec"}}});
        let token = token(&[("get", "pods/exec")]);
        assert_eq!(token.review(&asked("get"))["status"]["allowed"], true);
        assert_eq!(token.review(&asked("create"))["status"]["allowed"], false);
    }

    #[test]
    fn rule_of_one_namespace_allows_nothing_elsewhere() {
        let token = Token { token: "t".into(), user: "u".into(), rules: vec![Rule::new("*", "pods").within("a")] };
        assert!(token.may("list", "pods", "a"));
        assert!(!token.may("list", "pods", "b") && !token.may("list", "pods", ""));
    }

    #[test]
    fn everybody_may_ask_about_themselves_until_that_is_taken_away() {
        let tokens = Tokens::new("admin", vec![token(&[])]);
        let headers = HeaderMap::from_iter([(AUTHORIZATION, "Bearer t".parse().unwrap())]);
        let info = parse(&Method::POST, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", None);
        assert_eq!(tokens.authenticate(&headers).unwrap().authorize(&info), Ok(()));
        tokens.set_basic_user(false);
        let refused = tokens.authenticate(&headers).unwrap().authorize(&info).unwrap_err();
        let text = "selfsubjectaccessreviews.authorization.k8s.io is forbidden: User \"u\" cannot create resource \"selfsubjectaccessreviews\" in API group \"authorization.k8s.io\" at the cluster scope";
        assert_eq!((refused.code(), refused.message()), (403, text));
        tokens.revoke("t");
        assert_eq!(tokens.authenticate(&headers).unwrap_err().code(), 401);
    }
}
