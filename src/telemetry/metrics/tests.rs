//! The page's names, types and values, as dashboards expect them.

use super::*;
use crate::telemetry::Level;
use crate::telemetry::StepTimer;

fn step(metrics: &Metrics, step: MeasuredStep) -> StepTimer {
    StepTimer::start(metrics.clone(), step, None)
}

fn page(metrics: &Metrics) -> String {
    metrics.text().unwrap()
}

#[track_caller]
fn has(page: &str, line: &str) {
    assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
}

#[test]
fn failures_are_counted_by_step_retry_and_reason() {
    let metrics = Metrics::default();
    metrics.count_request(Question::Password, false);
    metrics.count_failed_request(Question::Password, false, false, "AUTH_INVALID_STATUS");
    metrics.count_request(Question::Password, true);
    metrics.count_failed_request(Question::Password, true, true, "HTTP_CLIENT_TIMEOUT");
    metrics.count_request(Question::Config, false);
    metrics.count_failed_request(Question::Config, false, true, "HTTP_CLIENT_DECODE_FAILED");
    metrics.count_answer(Question::PublicKey, false, false, Country::UNKNOWN);
    metrics.count_backend_request();
    metrics.count_backend_error(403);
    let page = page(&metrics);
    for line in [
        r#"containerssh_auth_server_requests_total{authtype="password",retry="0"} 1"#,
        r#"containerssh_auth_server_requests_total{authtype="password",retry="1"} 1"#,
        r#"containerssh_auth_server_failures_total{type="soft",authtype="password",retry="0",reason="AUTH_INVALID_STATUS"} 1"#,
        r#"containerssh_auth_server_failures_total{type="hard",authtype="password",retry="1",reason="HTTP_CLIENT_TIMEOUT"} 1"#,
        r#"containerssh_config_server_requests_total{retry="0"} 1"#,
        r#"containerssh_config_server_failures_total{type="hard",retry="0",reason="HTTP_CLIENT_DECODE_FAILED"} 1"#,
        r#"containerssh_auth_failures_total{authtype="pubkey",retry="0",country="XX"} 1"#,
        r#"containerssh_backend_requests_total{backend="kubernetes"} 1"#,
        r#"containerssh_backend_errors_total{backend="kubernetes"} 1"#,
        r#"podgate_kubernetes_errors_total{cause="403"} 1"#,
    ] {
        has(&page, line);
    }
    has(&page, r#"containerssh_auth_success_total{authtype="pubkey",retry="0",country="XX"} 0"#);
}

#[test]
fn connection_is_there_until_it_is_dropped_and_counts_once_as_served_or_failed() {
    let metrics = Metrics::default();
    let counted = |current: i64, served: u64, failed: u64| {
        let page = page(&metrics);
        has(&page, &format!(r#"containerssh_ssh_current_connections{{country="XX"}} {current}"#));
        has(&page, &format!(r#"containerssh_ssh_successful_handshakes_total{{country="XX"}} {served}"#));
        has(&page, &format!(r#"containerssh_ssh_failed_handshakes_total{{country="XX"}} {failed}"#));
    };
    counted(0, 0, 0);
    let (mut good, bad) = (metrics.connection(Country::UNKNOWN), metrics.connection(Country::UNKNOWN));
    counted(2, 0, 0);
    good.served();
    good.served();
    drop(bad);
    counted(1, 1, 1);
    drop(good);
    counted(0, 1, 1);
    has(&page(&metrics), r#"containerssh_ssh_connections_total{country="XX"} 2"#);
}

#[test]
fn session_is_open_until_it_is_dropped() {
    let metrics = Metrics::default();
    let session = metrics.session();
    has(&page(&metrics), "podgate_current_sessions 1");
    drop(session);
    has(&page(&metrics), "podgate_current_sessions 0");
    has(&page(&metrics), "podgate_sessions_total 1");
}

#[test]
fn use_is_counted_by_direction_cause_and_way() {
    let metrics = Metrics::default();
    has(&page(&metrics), r#"podgate_traffic_bytes_total{direction="out"} 0"#);
    metrics.count_received(7);
    metrics.count_sent(9);
    metrics.count_penalty("penalty_noauth");
    metrics.count_agent_delivery("agentPush");
    let forward = metrics.forward();
    has(&page(&metrics), "podgate_current_forwards 1");
    drop(forward);
    let page = page(&metrics);
    for line in [
        r#"podgate_traffic_bytes_total{direction="in"} 7"#,
        r#"podgate_traffic_bytes_total{direction="out"} 9"#,
        r#"podgate_penalties_total{reason="penalty_noauth"} 1"#,
        r#"podgate_penalties_total{reason="penalty_crash"} 0"#,
        r#"podgate_agent_deliveries_total{way="agentPush"} 1"#,
        "podgate_forwards_total 1",
        "podgate_current_forwards 0",
    ] {
        has(&page, line);
    }
}

#[test]
fn step_without_an_end_was_abandoned() {
    let metrics = Metrics::default();
    drop(step(&metrics, MeasuredStep::PodReady));
    step(&metrics, MeasuredStep::Password).end(StepOutcome::Refused);
    let page = page(&metrics);
    has(&page, r#"podgate_login_step_seconds_count{step="pod_ready",outcome="abandoned"} 1"#);
    has(&page, r#"podgate_login_step_seconds_count{step="password",outcome="refused"} 1"#);
    has(&page, r#"podgate_login_step_seconds_bucket{le="300.0",step="password",outcome="refused"} 1"#);
}

#[test]
fn types_are_those_of_containerssh_and_the_page_ends() {
    let metrics = Metrics::default();
    metrics.count_failed_request(Question::Password, false, false, "X");
    metrics.count_failed_request(Question::Config, false, false, "X");
    drop(step(&metrics, MeasuredStep::Exec));
    let page = page(&metrics);
    for name in [
        "auth_server_requests",
        "auth_server_failures",
        "auth_success",
        "auth_failures",
        "config_server_requests",
        "config_server_failures",
        "backend_requests",
        "backend_errors",
        "ssh_connections",
        "ssh_successful_handshakes",
        "ssh_failed_handshakes",
    ] {
        has(&page, &format!("# TYPE containerssh_{name} counter"));
    }
    has(&page, "# TYPE containerssh_ssh_current_connections gauge");
    has(&page, "# TYPE podgate_login_step_seconds histogram");
    has(&page, "podgate_queued_bytes{direction=\"in\"} 0");
    metrics.show_waiting_bytes(|| (7, usize::MAX));
    has(&self::page(&metrics), "podgate_queued_bytes{direction=\"in\"} 7");
    has(&self::page(&metrics), &format!("podgate_queued_bytes{{direction=\"out\"}} {}", i64::MAX));
    has(&page, concat!("podgate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"));
    assert!(page.ends_with("# EOF\n"), "{page}");
}

#[test]
fn documented_metrics_are_those_of_the_page() {
    let metrics = Metrics::default();
    metrics.count_failed_request(Question::Password, false, false, "X");
    metrics.count_failed_request(Question::Config, false, false, "X");
    metrics.count_event(Code::external("TEST", Level::Info));
    metrics.count_backend_error(500);
    metrics.count_refused_connection("rate");
    drop(step(&metrics, MeasuredStep::Exec));
    let page = page(&metrics);
    let mut found = Vec::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        found.push(name);
    }
    let document = include_str!("../../../docs/metrics.md");
    let mut documented: Vec<&str> =
        document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    found.sort_unstable();
    found.dedup();
    documented.sort_unstable();
    assert_eq!(found, documented);
}

#[test]
fn classic_page_has_the_same_samples_and_no_types_that_a_classic_parser_does_not_know() {
    let metrics = Metrics::default();
    metrics.count_failed_request(Question::Password, false, false, "X");
    metrics.count_event(Code::external("TEST", Level::Info));
    drop(step(&metrics, MeasuredStep::Exec));
    let (open, classic) = (page(&metrics), metrics.classic_text().unwrap());
    let samples = |page: &str| -> Vec<String> {
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples.map(str::to_owned).collect()
    };
    assert_eq!(samples(&open), samples(&classic));
    let names: Vec<String> =
        samples(&classic).iter().map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect();
    for line in classic.lines().filter(|line| line.starts_with('#')) {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        assert!(matches!(words[1], "HELP" | "TYPE"), "{line}");
        if words[1] == "TYPE" {
            assert!(["counter", "gauge", "histogram"].contains(&words[3]), "{line}");
            assert!(has_help(&classic, words[2]), "{line}");
        }
        // A counter without an event yet has no sample.
        let (family, histogram) = (words[2], format!("{}_count", words[2]));
        let empty = [
            "containerssh_config_server_failures_total",
            "podgate_kubernetes_errors_total",
            "podgate_refused_connections_total",
        ];
        assert!(names.iter().any(|name| *name == family || *name == histogram) || empty.contains(&family), "{line}");
    }
}

fn has_help(page: &str, family: &str) -> bool {
    page.lines()
        .any(|line| line.strip_prefix("# HELP ").and_then(|help| help.split_once(' ')).is_some_and(|t| t.0 == family))
}
