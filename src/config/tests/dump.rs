//! `--dump-config`: no secret comes out, and what comes out means what went in.

use super::*;
use crate::config::dump::dump;
use crate::policy::RuleMode;
use crate::settings::Settings;

fn dumped(tree: &Value) -> String {
    dump(&tree.to_string(), Format::Json).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Everything that a file means.
fn meaning(text: &str, format: Format) -> String {
    let config = Config::parse(text, format, &MemoryFiles::new()).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    let mut settings = Settings::resolve(&config.base, None);
    if let Ok(settings) = &mut settings {
        // Unset is disable, for these alone.
        let modes = &mut settings.rules.forwarding;
        for mode in [
            &mut modes.reverse,
            &mut modes.direct,
            &mut modes.socket,
            &mut modes.socket_listen,
            &mut modes.x11,
            &mut modes.agent,
        ] {
            if *mode == RuleMode::default() {
                *mode = RuleMode::Disable;
            }
        }
    }
    format!(
        "{:?} {settings:?}",
        (&config.ssh, &config.auth, &config.configserver, &config.log, &config.health, &config.metrics)
    )
}

#[test]
fn no_secret_is_dumped_and_the_masked_file_loads() {
    let files = MemoryFiles::new();
    let key = files.text("client.key");
    let secrets = json!({
        "ssh": {"hostkeys": [files.text("hostkey"), "/etc/podgate/hostkey"]},
        "auth": {
            "password": {"method": "webhook", "webhook": {
                "url": "https://me:s3cret@auth.example/x?token=s3cret", "cert": "/etc/podgate/client.crt", "key": key,
            }},
            "keyboardInteractive": {"oauth2": {"clientSecret": "s3cret", "redirect": {"key": key}}},
        },
        "configserver": {"url": "not-a-url-s3cret"},
        "audit": {"s3": {"secretKey": "s3cret"}},
        "backend": "kubernetes",
        "kubernetes": {"connection": {
            "bearerToken": "s3cret", "cert": "/etc/podgate/client.crt", "key": key,
        }},
        "docker": {"connection": {"key": key}, "execution": {"auth": {"password": "s3cret"}}},
        "sshproxy": {"password": "s3cret", "privateKey": key},
    });
    let body = key.lines().nth(1).expect("a line");
    let text = dumped(&secrets);
    assert!(!text.contains("s3cret") && !text.contains(body), "{text}");
    assert!(
        text.contains("https://masked:masked@auth.example/x?masked") && text.contains("/etc/podgate/hostkey"),
        "{text}"
    );
    let basic = json!({"connection": {"username": "me", "password": "s3cret"}});
    assert!(!dumped(&set(minimal(), "kubernetes", basic)).contains("s3cret"));
    let loadable = set(secrets, "configserver.url", json!("https://c.example"));
    let loadable =
        set(loadable, "kubernetes.connection", json!({"bearerToken": "s3cret", "cacertFile": "/etc/podgate/ca.crt"}));
    let text = dumped(&loadable);
    Config::parse(&text, Format::Yaml, &files).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
}

#[test]
fn what_can_be_a_secret_in_a_url_is_masked() {
    for (key, text, shown) in [
        ("configserver.url", "https://me:s3cret@h/x?token=s3cret#s3cret", "https://masked:masked@h/x?masked#masked"),
        ("configserver.url", "https://s3cret@h", "https://masked@h/"),
        ("configserver.url", "https://h/x?s3cret", "https://h/x?masked"),
        ("configserver.url", "unix:/run/a.sock:/x?token=s3cret", "unix:/run/a.sock:/x?masked"),
        ("configserver.url", "unix:/run/a.sock:/x#s3cret", "unix:/run/a.sock:/x#masked"),
        ("configserver.url", "unix:/run/a.sock", "unix:/run/a.sock"),
        ("auth.publicKey.webhook.url", "https://h?s3cret", "https://h/?masked"),
        ("auth.keyboardInteractive.oauth2.github.url", "https://me:s3cret@h", "https://masked:masked@h/"),
        ("auth.keyboardInteractive.oauth2.generic.redirectURI", "https://h/?s3cret", "https://h/?masked"),
        ("audit.s3.endpoint", "https://me:s3cret@h", "https://masked:masked@h/"),
        ("kubernetes.connection.host", "https://me:s3cret@10.0.0.1/", "https://masked:masked@10.0.0.1/"),
        ("kubernetes.connection.host", "s3cret@10.0.0.1:6443", "masked@10.0.0.1:6443/"),
        ("kubernetes.connection.host", "10.0.0.1:6443", "10.0.0.1:6443"),
        ("kubernetes.connection.host", "k8s.example", "k8s.example"),
        ("docker.connection.host", "tcp://me:s3cret@h:2376", "tcp://masked:masked@h:2376"),
        ("docker.connection.host", "unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
    ] {
        let text = dumped(&set(minimal(), key, json!(text)));
        let masked = document::parse(&text, Format::Yaml).expect("YAML");
        assert_eq!(crate::schema::get(&masked, key), Some(&json!(shown)), "{key}\n{text}");
    }
}

#[test]
fn values_in_a_pods_variables_and_headers_are_masked_and_their_names_stay() {
    let probe = json!({"httpGet": {"port": 80, "httpHeaders": [{"name": "Authorization", "value": "s3cret"}]}});
    let env = json!([{"name": "A", "value": "s3cret"}, {"name": "B", "value": ""}, {"name": "C", "valueFrom":
        {"secretKeyRef": {"name": "of", "key": "k"}}}]);
    let container = json!({"name": "a", "image": "i", "env": env, "livenessProbe": probe, "args": ["shown"]});
    let spec = json!({"containers": [container], "initContainers": [container], "nodeSelector": {"env": "shown"}});
    let tree = set(minimal(), "kubernetes.pod.spec", spec);
    let text = dumped(&tree);
    assert!(!text.contains("s3cret"), "{text}");
    assert_eq!((text.matches("value: masked").count(), text.matches("name: Authorization").count()), (4, 2), "{text}");
    assert!(text.contains("env: shown") && text.contains("key: k") && text.contains("- shown"), "{text}");
    assert!(Config::parse(&text, Format::Yaml, &MemoryFiles::new()).is_ok(), "{text}");
}

#[test]
fn values_of_variables_are_masked_in_whatever_letters_their_fields_are_written() {
    for container in [
        json!({"name": "a", "image": "i", "ENV": [{"name": "A", "Value": "s3cret"}]}),
        json!({"name": "a", "image": "i", "env": [{"name": "A", "value": "s3cret", "VALUE": "s3cret"}]}),
        json!({"name": "a", "image": "i", "env": [], "Env": [{"name": "A", "value": "s3cret"}]}),
    ] {
        let dumped = dumped(&set(minimal(), "kubernetes.pod.spec.containers", json!([container])));
        assert!(!dumped.contains("s3cret") && dumped.contains("masked"), "{dumped}");
    }
}

#[test]
fn dump_names_the_defaults_and_means_what_the_file_means() {
    let text = dumped(&minimal());
    for line in [
        "  listen: 0.0.0.0:2222",
        "  - mlkem768x25519-sha256",
        "    podStart: 1m0s",
        "      timeout: 1m0s",
        "backend: kubernetes",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("configserver"), "{text}");
    for tree in [
        minimal(),
        set(minimal(), "configserver", json!({"url": "https://c.example", "exactValues": true})),
        set(
            minimal(),
            "ssh.kex",
            json!(["curve25519-sha256@libssh.org", "ecdh-sha2-nistp521", "ecdh-sha2-nistp384", "ecdh-sha2-nistp256"]),
        ),
        set(minimal(), "ssh.listeners", json!([])),
        set(
            minimal(),
            "ssh.listeners",
            json!([{"address": "[::]:22"}, {"address": "fd://a", "proxyProtocol": "allowed", "trustedProxies": ["::1"]}]),
        ),
        set(minimal(), "ssh.macs", json!(["hmac-sha1", "hmac-sha2-512"])),
        set(minimal(), "ssh.ciphers", json!([])),
        set(minimal(), "log", json!({"destination": "file", "level": 7})),
        set(minimal(), "security", json!({"maxSessions": 0, "env": {"mode": "filter", "allow": ["A"]}})),
        set(
            minimal(),
            "kubernetes.pod",
            json!({"metadata": {"namespace": "n"}, "disableAgent": true, "consoleContainerNumber": 0}),
        ),
        set(minimal(), "auth", json!({"url": "https://a.example", "pubkey": false, "timeout": "3s"})),
        set(minimal(), "auth.password.webhook.authTimeout", json!("2m")),
        set(minimal(), "auth.password.webhook.url", json!("unix:/run/a.sock:/hook")),
        set(minimal(), "log", json!({"destination": "syslog"})),
        set(set(minimal(), "metrics.enable", json!(true)), "health", json!({"enable": true, "listen": ":7001"})),
        set(minimal(), "ssh.clientAliveInterval", json!(30_000_000_000_u64)),
    ] {
        let text = dumped(&tree);
        assert_eq!(meaning(&tree.to_string(), Format::Json), meaning(&text, Format::Yaml), "{text}");
        assert_eq!(dump(&text, Format::Yaml).as_deref(), Ok(text.as_str()));
    }
}

#[test]
fn dump_of_a_kubeconfig_leaves_the_cluster_to_it() {
    let tree = set(minimal(), "kubernetes.connection", json!({"kubeconfig": "/etc/podgate/kubeconfig"}));
    let text = dumped(&tree);
    assert!(text.contains("kubeconfig: /etc/podgate/kubeconfig") && !text.contains("    host:"), "{text}");
}

#[test]
fn file_that_cannot_run_is_not_dumped_as_another_one() {
    for tree in
        [json!({"backend": "dockerrun"}), json!({"backend": "kuberun", "kuberun": {"connection": {"insecure": true}}})]
    {
        assert!(dump(&tree.to_string(), Format::Json).is_err(), "{tree}");
    }
}

#[test]
fn values_of_the_console_containers_variables_are_masked() {
    let env = json!([{"name": "A", "value": "s3cret"}, {"name": "B", "value": ""}, {"name": "C", "valueFrom":
        {"secretKeyRef": {"name": "n", "key": "k"}}}]);
    let text = dumped(&set(minimal(), "kubernetes.pod.env", env));
    assert!(!text.contains("s3cret") && text.contains("name: A") && text.contains("key: k"), "{text}");
}
