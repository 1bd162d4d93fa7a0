//! The findings of `podgate doctor`: what was checked, how it stands, and the remedy. Every part of the gateway that can be
//! examined makes them; docs/doctor.md explains each check.
//!
//! Invariants: the names of checks stay; no text holds a secret.

use super::printable;
use std::time::{Duration, Instant};

/// Limit of a detail, in characters.
const DETAIL: usize = 2000;

/// A kind of check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DoctorCheck {
    /// The file and the files that it names.
    Configuration,
    /// The server's own keys.
    HostKeys,
    /// The addresses of the SSH server.
    Listeners,
    /// The limit of open files.
    Descriptors,
    /// The webhook's name in the DNS.
    WebhookName,
    /// A connection to the webhook, or to its Unix socket.
    WebhookTcp,
    /// The webhook's certificate.
    WebhookTls,
    /// The webhook's answer to a question that it must deny.
    WebhookAnswer,
    /// The user of `--user`.
    User,
    /// The API server's name in the DNS.
    ApiName,
    /// A connection to the API server.
    ApiTcp,
    /// The API server's certificate.
    ApiTls,
    /// The version of Kubernetes.
    ApiVersion,
    /// The account.
    ApiCredentials,
    /// The account's rights.
    Permissions,
    /// The pod as the API judges it.
    PodAdmission,
    /// The way of an exec to the API server.
    ExecUpgrade,
    /// Pods of gateways that are gone.
    Orphans,
    /// The rules on the guests' network.
    NetworkPolicies,
    /// The clocks of the other servers.
    Clock,
    /// A pod of the configuration, which is created.
    PodStart,
    /// The guest's agent in it.
    PodAgent,
    /// A program in it.
    PodProgram,
    /// The program of sftp in it.
    PodSftp,
    /// Its removal.
    PodRemoval,
}

impl DoctorCheck {
    /// Every check, in the order of docs/doctor.md.
    pub const ALL: [Self; 25] = [
        Self::Configuration,
        Self::HostKeys,
        Self::Listeners,
        Self::Descriptors,
        Self::WebhookName,
        Self::WebhookTcp,
        Self::WebhookTls,
        Self::WebhookAnswer,
        Self::User,
        Self::ApiName,
        Self::ApiTcp,
        Self::ApiTls,
        Self::ApiVersion,
        Self::ApiCredentials,
        Self::Permissions,
        Self::PodAdmission,
        Self::ExecUpgrade,
        Self::Orphans,
        Self::NetworkPolicies,
        Self::Clock,
        Self::PodStart,
        Self::PodAgent,
        Self::PodProgram,
        Self::PodSftp,
        Self::PodRemoval,
    ];

    /// The name for programs, which stays.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::HostKeys => "host-keys",
            Self::Listeners => "listeners",
            Self::Descriptors => "descriptors",
            Self::WebhookName => "webhook-name",
            Self::WebhookTcp => "webhook-tcp",
            Self::WebhookTls => "webhook-tls",
            Self::WebhookAnswer => "webhook-answer",
            Self::User => "user",
            Self::ApiName => "api-name",
            Self::ApiTcp => "api-tcp",
            Self::ApiTls => "api-tls",
            Self::ApiVersion => "api-version",
            Self::ApiCredentials => "api-credentials",
            Self::Permissions => "permissions",
            Self::PodAdmission => "pod-admission",
            Self::ExecUpgrade => "exec-upgrade",
            Self::Orphans => "orphans",
            Self::NetworkPolicies => "network-policies",
            Self::Clock => "clock",
            Self::PodStart => "pod-start",
            Self::PodAgent => "pod-agent",
            Self::PodProgram => "pod-program",
            Self::PodSftp => "pod-sftp",
            Self::PodRemoval => "pod-removal",
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    Ok,
    /// It works now, or a part of it does.
    Warning,
    /// Logins fail, or the gateway does not start.
    Failed,
    /// It was not checked.
    Skipped,
}

impl CheckResult {
    /// The word for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// The finding of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    pub check: DoctorCheck,
    /// Subject of the check: a section of the configuration, or the name of an object.
    pub subject: String,
    pub result: CheckResult,
    pub took: Duration,
    /// One printable line.
    pub detail: String,
    /// The remedy; empty where nothing is to be done.
    pub fix: String,
}

/// One check that runs: its kind, its subject and its start.
#[derive(Debug, Clone)]
pub(crate) struct RunningCheck {
    check: DoctorCheck,
    subject: String,
    began: Instant,
}

impl RunningCheck {
    /// Begins a check.
    pub(crate) fn begin(check: DoctorCheck, subject: impl Into<String>) -> Self {
        Self { check, subject: subject.into(), began: Instant::now() }
    }

    /// Nothing is to be done.
    pub(crate) fn ok(&self, detail: impl AsRef<str>) -> Diagnosis {
        self.end(CheckResult::Ok, detail, "")
    }

    /// It works, and something should be done.
    pub(crate) fn warning(&self, detail: impl AsRef<str>, fix: impl AsRef<str>) -> Diagnosis {
        self.end(CheckResult::Warning, detail, fix)
    }

    /// It does not work.
    pub(crate) fn failed(&self, detail: impl AsRef<str>, fix: impl AsRef<str>) -> Diagnosis {
        self.end(CheckResult::Failed, detail, fix)
    }

    /// Nobody looked.
    pub(crate) fn skipped(&self, detail: impl AsRef<str>, fix: impl AsRef<str>) -> Diagnosis {
        self.end(CheckResult::Skipped, detail, fix)
    }

    fn end(&self, result: CheckResult, detail: impl AsRef<str>, fix: impl AsRef<str>) -> Diagnosis {
        Diagnosis {
            check: self.check,
            subject: printable(&self.subject, 200),
            result,
            took: self.began.elapsed(),
            detail: printable(detail.as_ref(), DETAIL),
            fix: printable(fix.as_ref(), DETAIL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn paper_has_a_row_for_each_check_and_no_other() {
        let paper = include_str!("../../docs/doctor.md");
        let (_, section) = paper.split_once("\n## The checks\n").expect("the section");
        let section = section.split("\n## ").next().unwrap_or_default();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let rows: Vec<&str> = rows.map(|(name, _)| name).collect();
        assert_eq!(rows, DoctorCheck::ALL.map(DoctorCheck::name));
        assert_eq!(DoctorCheck::ALL.into_iter().collect::<BTreeSet<_>>().len(), DoctorCheck::ALL.len());
    }
}
