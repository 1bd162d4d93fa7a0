//! The alerts and the dashboard of `deploy/chart/files`: Prometheus takes them, each alert fires when it should, and both ask
//! only for what a gateway has and its papers name.

use super::metrics::{judged, page, used};
use super::{free, get};
use crate::support::available;
use crate::support::client::PATIENCE;
use crate::support::leash;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

const ALERTS: &str = include_str!("../../deploy/chart/files/alerts.yaml");
const DASHBOARD: &str = include_str!("../../deploy/chart/files/dashboard.json");
const TESTS: &str = include_str!("../data/alerts.yaml");
const METRICS_PAPER: &str = include_str!("../../docs/metrics.md");
/// Families that are not on a page before their first event, and that have none here.
const LATER: [&str; 3] = [
    "containerssh_config_server_failures_total",
    "podgate_kubernetes_errors_total",
    "podgate_refused_connections_total",
];
const LOG_PAPER: &str = include_str!("../../docs/log.md");

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// The alerts and their queries.
fn alerts() -> Vec<(String, String)> {
    let rules =
        list(&yaml(ALERTS)["groups"]).iter().flat_map(|group| list(&group["rules"]).to_vec()).collect::<Vec<_>>();
    rules.iter().map(|rule| (text(&rule["alert"]), text(&rule["expr"]))).collect()
}

/// The queries of the dashboard, as Grafana would send them.
fn panels() -> Vec<String> {
    let board: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let targets = list(&board["panels"]).iter().flat_map(|panel| list(&panel["targets"]).to_vec());
    targets.map(|target| text(&target["expr"]).replace("$__rate_interval", "1m").replace("$job", ".*")).collect()
}

/// Every query.
fn queries() -> Vec<String> {
    alerts().into_iter().map(|(_, query)| query).chain(panels()).collect()
}

/// The words of a query that begin so.
fn words<'q>(query: &'q str, begins: &'q [&str]) -> impl Iterator<Item = &'q str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| begins.iter().any(|begin| word.starts_with(begin)))
}

/// The values that queries compare a label with.
fn values(label: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for query in queries() {
        for (at, _) in query.match_indices(label) {
            let rest = query[at + label.len()..].trim_start_matches(['=', '~', '!']);
            let Some((value, _)) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) else { continue };
            found.extend(value.split('|').map(str::to_owned));
        }
    }
    found
}

#[test]
fn each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() {
    let (tests, mut fires, mut silent) = (yaml(TESTS), BTreeSet::new(), BTreeSet::new());
    for test in list(&tests["tests"]) {
        let checks = list(&test["alert_rule_test"]);
        for check in checks {
            let name = text(&check["alertname"]);
            if !list(&check["exp_alerts"]).is_empty() {
                fires.insert(name);
            } else if checks.len() == 1 {
                silent.insert(name);
            }
        }
    }
    let all: BTreeSet<String> = alerts().into_iter().map(|(name, _)| name).collect();
    assert_eq!((&fires, &silent), (&all, &all));
}

#[podgate_test::multi_thread]
async fn promtool_takes_the_alerts_and_they_fire_when_they_should() {
    if !available("promtool", "prometheus") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("alerts.yaml"), ALERTS).expect("a file");
    fs::write(folder.path().join("tests.yaml"), TESTS).expect("a file");
    let at = |name: &str| folder.path().join(name).display().to_string();
    judged("promtool", &["check", "rules", "--lint=all", "--lint-fatal", &at("alerts.yaml")], "").await;
    judged("promtool", &["test", "rules", &at("tests.yaml")], "").await;
}

#[podgate_test::multi_thread]
async fn gateway_has_and_papers_name_every_metric_that_alerts_and_dashboard_ask_for() {
    let (_world, at) = used().await;
    let page = page(at).await;
    let mut asked = 0;
    for query in queries() {
        for metric in words(&query, &["podgate_", "containerssh_"]) {
            asked += 1;
            let family =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| metric.strip_suffix(end)).unwrap_or(metric);
            let there = page.contains(&format!("# TYPE {family} "));
            assert!(there || LATER.contains(&family), "{metric} is not on the page:\n{page}");
            assert!(METRICS_PAPER.contains(&format!("| `{family}` | ")), "{metric} is not in docs/metrics.md");
        }
    }
    assert!(asked > 40, "{asked}");
    let on_paper = |label: &str, paper: &str| {
        let values = values(label);
        assert!(!values.is_empty(), "{label}");
        let missing: Vec<_> = values.iter().filter(|value| !paper.contains(&format!("`{value}`"))).collect();
        assert!(missing.is_empty(), "{label}: {missing:?} are not on paper");
    };
    on_paper("code", LOG_PAPER);
    on_paper("level", LOG_PAPER);
    for label in ["step", "outcome", "reason"] {
        on_paper(label, METRICS_PAPER);
    }
    let cause = values("cause").into_iter().filter(|cause| cause.chars().all(char::is_alphabetic));
    assert!(cause.into_iter().all(|cause| METRICS_PAPER.contains(&format!("`{cause}`"))));
}

#[test]
fn dashboard_shows_every_metric_and_its_panels_have_names_of_their_own() {
    let all = panels().join("\n");
    let rows = METRICS_PAPER.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let metrics: Vec<&str> = rows
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("podgate_") || name.starts_with("containerssh_"))
        .collect();
    assert!(metrics.len() > 15, "{metrics:?}");
    let missing: Vec<_> = metrics.iter().filter(|name| !all.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let board: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let (ids, titles): (Vec<_>, Vec<_>) =
        list(&board["panels"]).iter().map(|panel| (panel["id"].to_string(), text(&panel["title"]))).unzip();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    assert_eq!(titles.iter().collect::<BTreeSet<_>>().len(), titles.len());
}

/// A Prometheus that reads a gateway. It ends with the test.
struct Prometheus {
    at: SocketAddr,
    _child: tokio::process::Child,
}

impl Prometheus {
    fn start(folder: &Path, gateway: SocketAddr) -> Self {
        fs::write(folder.join("alerts.yaml"), ALERTS).expect("a file");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [alerts.yaml]\n\
             scrape_configs: [{{job_name: podgate, static_configs: [{{targets: ['{gateway}']}}]}}]\n"
        );
        fs::write(folder.join("prometheus.yml"), config).expect("a file");
        let at = free();
        let mut command = leash::program("prometheus");
        command.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address={at}")).arg("--log.level=error").kill_on_drop(true);
        Self { at, _child: command.spawn().expect("Prometheus") }
    }

    /// The data of an API's answer, once there is one that is as wanted.
    async fn data(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Value::Null;
        let asking = async {
            loop {
                let answer = get(self.at, path).await.unwrap_or_default();
                let body = answer.find('{').map_or("", |begin| &answer[begin..]);
                let end = body.rfind('}').map_or(0, |end| end + 1);
                seen = serde_json::from_str(&body[..end]).unwrap_or(Value::Null);
                if seen["status"] == "success" && wanted(&seen["data"]) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, asking).await;
        assert!(done.is_ok(), "{path}: {seen}");
        seen["data"].take()
    }
}

#[podgate_test::multi_thread]
async fn real_prometheus_evaluates_every_alert_and_answers_every_panel() {
    if !available("prometheus", "prometheus") {
        return;
    }
    let (_world, gateway) = used().await;
    let folder = tempfile::tempdir().expect("a folder");
    let prometheus = Prometheus::start(folder.path(), gateway);
    let rules = |data: &Value| {
        list(&data["groups"]).iter().flat_map(|group| list(&group["rules"]).to_vec()).collect::<Vec<_>>()
    };
    let healthy = |data: &Value| {
        let rules = rules(data);
        !rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok")
    };
    let data = prometheus.data("/api/v1/rules", healthy).await;
    assert_eq!(rules(&data).len(), alerts().len());
    // What is there from a gateway's start on is there for Prometheus.
    let up = |data: &Value| list(&data["result"]).iter().any(|sample| sample["value"][1] == "1");
    prometheus.data("/api/v1/query?query=podgate_build_info", up).await;
    for query in queries() {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        prometheus.data(&format!("/api/v1/query?query={encoded}"), |_| true).await;
    }
}
