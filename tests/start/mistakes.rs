//! "The commonest mistakes" of docs/kubernetes.md: each is made here, and what its row says is what somebody reads, and what
//! `podgate doctor` finds. A row that nobody makes fails the test, and so does a mistake without a row.

use super::{Desk, SOON};
use crate::support::cluster::{Access, container, on_real};
use crate::support::leash;
use crate::support::role::Rights;
use crate::support::scripted_webhook::{Authority, serve_at};
use crate::support::{Setup, World};
use futures_util::future::{BoxFuture, FutureExt};
use podgate_devcluster::{DevCluster, ImageFault, Options};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PAPER: &str = include_str!("../../docs/kubernetes.md");

/// A mistake that is made when it is awaited; nothing where this kind of cluster cannot show it.
type Made = BoxFuture<'static, Option<Found>>;

/// All that was read of a mistake.
struct Found {
    read: String,
    /// The details of what `podgate doctor` finds.
    examined: Option<String>,
}

/// The first code of each row of the paper.
fn rows() -> Vec<&'static str> {
    let section = PAPER.split("\n## The commonest mistakes\n").nth(1).expect("a section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    rows.map(|(read, _)| read).collect()
}

/// True if a line says what the row says, in which `…` stands for anything.
fn says(line: &str, row: &str) -> bool {
    let line = ["podgate: ", "warning: "].iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line);
    let mut parts: Vec<&str> = row.split('…').collect();
    let last = parts.pop().unwrap_or_default();
    let Some((first, middle)) = parts.split_first() else { return line == last };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[test]
fn row_says_all_that_it_does_not_leave_out() {
    for (line, row, expected) in [
        ("a", "a", true),
        ("ab", "a", false),
        ("podgate: a: b; c", "a: …; c", true),
        ("a: b; d", "a: …; c", false),
        ("warning: a 1 b 2", "a … b …", true),
        ("x a 1 b", "a … b", false),
    ] {
        assert_eq!(says(line, row), expected, "{line:?} {row:?}");
    }
}

#[podgate_test::multi_thread]
async fn each_mistake_of_the_paper_is_read_as_its_row_says() {
    let mistakes: Vec<(&str, Made)> = of_the_file()
        .into_iter()
        .chain(of_a_kubeconfig())
        .chain(of_its_keys())
        .chain(of_the_account())
        .chain(of_the_start())
        .chain(of_the_login())
        .chain(of_a_load_balancer())
        .collect();
    let made: BTreeSet<&str> = mistakes.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows().into_iter().collect::<BTreeSet<_>>(), made, "the rows of the paper, and the mistakes made here");
    for (row, mistake) in mistakes {
        if let Some(Found { read, examined }) = mistake.await {
            assert!(read.lines().any(|line| says(line, row)), "{row:?} is not in\n{read}");
            let found = examined.as_ref().is_none_or(|examined| examined.lines().any(|line| says(line, row)));
            assert!(found, "{row:?} is not in what doctor finds\n{}", examined.unwrap_or_default());
        }
    }
}

/// All that `--check-config` says of the file with a change.
fn checked(change: impl FnOnce(&Desk) -> Value + Send + 'static) -> Made {
    async {
        let desk = Desk::new().await;
        let change = change(&desk);
        let file = desk.file(change);
        Some(Found { read: check(&file).await, examined: Some(examined(&file).await) })
    }
    .boxed()
}

/// The details of all that is not well.
async fn examined(file: &Path) -> String {
    examined_with(file, &[]).await
}

/// The same with a pod.
async fn examined_in(world: &World) -> Option<String> {
    Some(examined_with(&world.folder().join("podgate.json"), &["--pod"]).await)
}

async fn examined_with(file: &Path, more: &[&str]) -> String {
    let examined = crate::doctor::examine(file, more).await;
    let bad = examined.checks.iter().filter(|check| check["result"] != "ok");
    bad.map(|check| check["detail"].as_str().expect("text").to_owned() + "\n").collect()
}

async fn check(file: &Path) -> String {
    let mut command = leash::program(env!("CARGO_BIN_EXE_podgate"));
    let output = command.arg("--config").arg(file).arg("--check-config").kill_on_drop(true).output();
    let output = timeout(SOON, output).await.expect("it ends by itself").expect("the gateway's binary");
    String::from_utf8([output.stdout, output.stderr].concat()).expect("text")
}

/// All that a start says that fails.
fn refused(change: Value) -> Made {
    async { Some(Desk::new().await.refuses(change).await) }.boxed()
}

impl Desk {
    /// The same of this desk.
    async fn refuses(&self, change: Value) -> Found {
        let read = self.start_fails(change.clone()).await.join("\n");
        Found { read, examined: Some(examined(&self.file(change)).await) }
    }
}

/// The warning of a start.
fn warned(code: &'static str, change: Value) -> Made {
    async move {
        let desk = Desk::new().await;
        let line = desk.start_tells(change.clone(), code).await;
        assert_eq!(line["level"], "warning", "{line}");
        let examined = Some(examined(&desk.file(change)).await);
        Some(Found { read: line["message"].as_str()?.to_owned(), examined })
    }
    .boxed()
}

/// Mistakes that only a real cluster shows.
fn on_real_alone(mistake: impl Future<Output = Found> + Send + 'static) -> Made {
    async { if on_real("it shows this mistake otherwise, or not at all") { Some(mistake.await) } else { None } }.boxed()
}

fn pod(pod: Value) -> Value {
    json!({"kubernetes": {"pod": pod}})
}

/// A pod whose container has something more.
fn guest(more: Value) -> Value {
    let mut container = container("shell");
    crate::support::world::merge(&mut container, more);
    pod(json!({"spec": {"containers": [container]}}))
}

fn of_the_file() -> Vec<(&'static str, Made)> {
    let not_yaml = async {
        let desk = Desk::new().await;
        let file = desk.path("podgate.yaml");
        fs::write(&file, "ssh:\n  listen: 0.0.0.0:2222\n hostkeys: [hostkey]\n").expect("a file");
        // The lines of a parser's message are one here.
        Some(Found { read: check(&file).await, examined: Some(examined(&file).await) })
    };
    vec![
        ("cannot be parsed: … at line 3, column 2", not_yaml.boxed()),
        (
            "kubernetes.pod.shellComand: unknown key; did you mean \"shellCommand\"?",
            checked(|_| pod(json!({"shellComand": ["/bin/sh"]}))),
        ),
        (
            "kubernetes.connection.host: plain http is never used for the Kubernetes API; use https",
            checked(|_| json!({"kubernetes": {"connection": {"host": "http://10.0.0.1:6443"}}})),
        ),
        (
            "kubernetes.pod.consoleContainerNumber: is 1, but spec.containers has 1; the first is 0",
            checked(|_| pod(json!({"consoleContainerNumber": 1}))),
        ),
        (
            "kubernetes.pod.spec.containers[0].imagePullPolice: is unknown to Kubernetes (up to 1.37); did you mean \
             \"imagePullPolicy\"?",
            checked(|_| guest(json!({"imagePullPolice": "Never"}))),
        ),
        (
            "kubernetes.pod.spec.containers[0].env[0].value: is read as if it were in quotes",
            checked(|_| guest(json!({"env": [{"name": "PORT", "value": 8080}]}))),
        ),
    ]
}

fn of_a_kubeconfig() -> Vec<(&'static str, Made)> {
    let exec = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "aws"}});
    vec![
        (
            "kubernetes.connection.kubeconfig: user \"…\": the exec plugin \"…\" is refused: no program is run for \
             credentials; …",
            checked(move |desk| desk.kubeconfig(exec, json!({}))),
        ),
        (
            "kubernetes.connection.kubeconfig: has no context \"…\"",
            checked(|desk| desk.kubeconfig(desk.token(), json!({"current-context": "wrok"}))),
        ),
    ]
}

fn of_its_keys() -> Vec<(&'static str, Made)> {
    let host_key = |desk: &Desk| json!({"ssh": {"hostkeys": [desk.path("key")]}});
    let client = |desk: &Desk, certificate: &str, key: &str| {
        fs::write(desk.path("client.crt"), certificate).expect("a file");
        fs::write(desk.path("client.key"), key).expect("a file");
        let client =
            json!({"url": "https://localhost:1", "cert": desk.path("client.crt"), "key": desk.path("client.key")});
        json!({"auth": {"password": {"webhook": client}}})
    };
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    vec![
        ("ssh.hostkeys[0]: cannot read the file …; make one with …", checked(host_key)),
        (
            "ssh.hostkeys[0]: the file … is encrypted; a host key has no passphrase …",
            checked(move |desk| {
                fs::write(desk.path("key"), encrypted).expect("a file");
                host_key(desk)
            }),
        ),
        (
            "ssh.hostkeys[0]: the file … can be read by every user of this machine (mode 0644); …",
            checked(|desk| {
                fs::set_permissions(desk.folder.path(), Permissions::from_mode(0o755)).expect("a mode");
                fs::set_permissions(desk.path("host"), Permissions::from_mode(0o644)).expect("a mode");
                json!({})
            }),
        ),
        (
            "ssh.hostkeyDirectory: the file … can be used by others (mode 0660); …",
            checked(|desk| {
                let (directory, key) = (desk.path("keys"), desk.path("keys/ssh_host_ed25519_key"));
                fs::create_dir(&directory).expect("a folder");
                fs::copy(desk.path("host"), &key).expect("a key");
                fs::set_permissions(&key, Permissions::from_mode(0o660)).expect("a mode");
                json!({"ssh": {"hostkeys": [], "hostkeyDirectory": directory}})
            }),
        ),
        (
            "auth.password.webhook.key: the file … does not match the certificate",
            checked(move |desk| client(desk, &Authority::new().issue("a").0, &Authority::new().issue("a").1)),
        ),
        (
            "auth.password.webhook.cert: the file … is of X.509 version 1, and TLS takes only version 3; …",
            checked(move |desk| {
                client(desk, include_str!("../data/x509-version-1.crt"), &Authority::new().issue("a").1)
            }),
        ),
        (
            "auth.password.webhook.cert: the file … expired on …",
            checked(move |desk| {
                let key = rcgen::KeyPair::generate().expect("a key");
                let mut params = rcgen::CertificateParams::new(vec!["a".to_owned()]).expect("a name");
                params.not_after = rcgen::date_time_ymd(2021, 1, 1);
                client(desk, &params.self_signed(&key).expect("a certificate").pem(), &key.serialize_pem())
            }),
        ),
    ]
}

fn of_the_account() -> Vec<(&'static str, Made)> {
    let no_rights = async {
        let desk = Desk::new().await;
        desk.cluster.grant(&Rights::gateway().without("get", "pods/exec").without("create", "pods/exec")).await;
        Some(desk.refuses(json!({})).await)
    };
    let no_namespace = async {
        // An account with a role of one namespace only reads that it may not.
        let desk = Desk::with(Access::Administrator).await;
        Some(desk.refuses(pod(json!({"metadata": {"namespace": "shels"}}))).await)
    };
    let default_namespace = async {
        let desk = Desk::new().await;
        desk.limit_to_namespace();
        let mut change = desk.kubeconfig_with_namespace(json!(desk.namespace));
        change["kubernetes"]["pod"] = json!({"metadata": null});
        Some(desk.refuses(change).await)
    };
    vec![
        (
            "kubernetes.connection.bearerToken: … does not accept the credentials; …",
            refused(json!({"kubernetes": {"connection": {"bearerToken": "t-canary"}}})),
        ),
        (
            "User \"…\" cannot get, create resource \"pods/exec\" in API group \"\" in the namespace \"…\": no login can be \
             served",
            no_rights.boxed(),
        ),
        ("kubernetes.pod.metadata.namespace: namespaces \"…\" not found", no_namespace.boxed()),
        (
            "User \"…\" cannot create, get, list, watch, delete resource \"pods\" in API group \"\" in the namespace \
             \"default\": …; is it the right namespace, and is the role bound there?",
            default_namespace.boxed(),
        ),
    ]
}

fn of_the_start() -> Vec<(&'static str, Made)> {
    let connection = |change: Value| json!({"kubernetes": {"connection": change}});
    let taken = async {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address").to_string();
        refused(json!({"ssh": {"listen": address}})).await
    };
    let other_ca = async move {
        let other = DevCluster::start(Options::default()).expect("a development cluster");
        refused(connection(json!({"cacert": other.ca_pem()}))).await
    };
    let tls = async {
        let url = serve_at(Authority::new().listen("localhost", false), axum::Router::new()).await;
        let webhook = json!({"url": url, "cacert": Authority::new().pem()});
        warned("WEBHOOK_UNREACHABLE", json!({"auth": {"password": {"webhook": webhook}}})).await
    };
    vec![
        ("ssh.listen: cannot listen on …: Address already in use (os error 98)", taken.boxed()),
        (
            "kubernetes.connection.host: … cannot be reached: Connection refused …",
            warned("KUBERNETES_INSPECTED", connection(json!({"host": "127.0.0.1:1"}))),
        ),
        (
            "kubernetes.connection: … cannot be reached securely: the server's certificate (…) is signed by a CA …; give that \
             CA's certificate in cacert or cacertFile (trusted is …)",
            other_ca.boxed(),
        ),
        (
            "kubernetes.connection: … cannot be reached securely: the server's certificate is for …, not for …; …",
            refused(connection(json!({"serverName": "other.example"}))),
        ),
        (
            "kubernetes.pod: the pod is refused: … unknown field \"spec.containers[0].imagePullPolice\"",
            refused(guest(json!({"imagePullPolice": "Never"}))),
        ),
        ("auth.password: … cannot be reached: no connection: …", warned("WEBHOOK_UNREACHABLE", json!({}))),
        ("auth.password: … cannot be reached: TLS: …", tls.boxed()),
    ]
}

/// The line that a user reads of a program in a pod with a change.
async fn read_by_user(world: &World, program: &str) -> Found {
    let read = world.ssh().run(program).await.expect(255).stderr;
    Found { read, examined: examined_in(world).await }
}

/// The line that a user of sftp reads.
async fn sftp(change: Value) -> Found {
    let world = Setup::config(change).start().await;
    let done = world.client("sftp", "-P").option("User=alice").arg("127.0.0.1").stdin("ls\n").finish().await;
    assert_ne!(done.status, 0, "{done:?}");
    Found { read: done.stderr, examined: examined_in(&world).await }
}

fn of_the_login() -> Vec<(&'static str, Made)> {
    let image = |fault: ImageFault| {
        async {
            let world = Setup::config(guest(json!({"image": "nowhere.example/guest:1"}))).start().await;
            if let Some(cluster) = world.cluster.as_development() {
                cluster.faults().image("nowhere.example/", fault);
            }
            Some(read_by_user(&world, "true").await)
        }
        .boxed()
    };
    let not_there = async move {
        // On a real cluster, a registry of its own is asked for that (admission/registries.rs).
        if on_real("") { None } else { image(ImageFault::NotFound).await }
    };
    let privileged = async {
        let world = Setup::config(guest(json!({"securityContext": {"privileged": true}}))).start().await;
        world.cluster.restrict(world.namespace()).await;
        read_by_user(&world, "true").await
    };
    let scratch = async {
        let world = Setup::config(guest(json!({"image": "podgate.test/scratch:1"}))).start().await;
        read_by_user(&world, "true").await
    };
    vec![
        (
            "the image … is not on the node, and its imagePullPolicy says never to pull it",
            image(ImageFault::NeverPulled),
        ),
        ("the image … cannot be pulled: the registry does not have it", not_there.boxed()),
        (
            "the cluster's rules do not admit the pod: … violates PodSecurity \"restricted:latest\": …",
            on_real_alone(privileged),
        ),
        ("the image … has no /bin/sh, which its idle command needs", on_real_alone(scratch)),
        (
            "/usr/lib/openssh/sftp-server: not found in the container",
            on_real_alone(sftp(guest(json!({"image": "podgate.test/busybox:1"})))),
        ),
        (
            "No user found for uid …",
            on_real_alone(sftp(guest(json!({
                "image": "podgate.test/example:1", "securityContext": {"runAsUser": 2000, "runAsGroup": 2000},
            })))),
        ),
    ]
}

/// The first line that a client reads which connects without a PROXY header where one is required.
async fn without_a_header(trusted: &str) -> Found {
    let listener = json!({"address": "127.0.0.1:0", "proxyProtocol": "required", "trustedProxies": [trusted]});
    let world = Setup::config(json!({"ssh": {"listen": null, "listeners": [listener]}})).start().await;
    let mut stream = BufReader::new(TcpStream::connect(world.gateway.address).await.expect("a connection"));
    stream.write_all(b"SSH-2.0-client\r\n").await.expect("the bytes");
    let mut line = String::new();
    timeout(SOON, stream.read_line(&mut line)).await.expect("in time").expect("a line");
    // The gateway chose its port.
    let file = world.folder().join("podgate.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&file).expect("a file")).expect("JSON");
    config["ssh"]["listeners"][0]["address"] = json!(world.gateway.address.to_string());
    fs::write(&file, config.to_string()).expect("a file");
    Found { read: line, examined: Some(examined(&file).await) }
}

fn of_a_load_balancer() -> Vec<(&'static str, Made)> {
    vec![
        (
            "Not allowed at this time: only a trusted proxy connects here (trustedProxies)",
            without_a_header("192.0.2.1").map(Some).boxed(),
        ),
        (
            "Not allowed at this time: the proxy sent no PROXY header (proxyProtocol: required)",
            without_a_header("127.0.0.1").map(Some).boxed(),
        ),
    ]
}
