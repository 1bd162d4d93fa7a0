//! Clients of clusters: what is refused, what is shared, what is read again.

use super::*;
use crate::kubernetes::api::fake_server::{Authority, FakeApiServer, FakeConnection};
use crate::settings::InlineOrFile;
use crate::types::Secret;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

const POD: &str = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"ns"}}"#;

async fn pod(client: &ClusterClient) -> Result<Pod, kube::Error> {
    Api::namespaced(client.kube(), "ns").get("a").await
}

fn clients(cluster: &Cluster) -> Result<Arc<ClusterClient>, ClientError> {
    Clients::new().get(&Arc::new(cluster.clone()), Duration::from_secs(2))
}

#[tokio::test]
async fn untrusted_certificate_ends_a_call_at_once() {
    let mut endpoint = FakeApiServer::start(async |_: FakeConnection| panic!("no request may arrive")).await;
    endpoint.cluster.ca = Some(InlineOrFile::Inline(Secret::new(Authority::new().pem)));
    let started = Instant::now();
    let error = pod(&endpoint.client()).await.unwrap_err().to_string();
    assert!(error.contains("TLS with the Kubernetes API failed"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn self_signed_certificate_is_taken_where_it_is_given_itself() {
    let authority = Authority::self_signed("127.0.0.1");
    let mut endpoint = FakeApiServer::named("127.0.0.1", &authority, async |mut conversation: FakeConnection| {
        conversation.answer("200 OK", POD).await;
    })
    .await;
    let refused = |error: kube::Error| crate::kubernetes::api::pods::ApiError::from(error).to_string();
    endpoint.cluster.server_name = Some("other.example".into());
    let sentence = "the Kubernetes API cannot be reached securely: TLS with the Kubernetes API failed: the server's \
                    certificate is for 127.0.0.1, not for other.example; give one of its names as serverName, or a \
                    certificate for other.example";
    assert_eq!(refused(pod(&endpoint.client()).await.unwrap_err()), sentence);
    endpoint.cluster.server_name = None;
    let given = endpoint.cluster.ca.replace(InlineOrFile::Inline(Secret::new(Authority::self_signed("127.0.0.1").pem)));
    let sentence = "the Kubernetes API cannot be reached securely: TLS with the Kubernetes API failed: the server's \
                    certificate (CN=rcgen self signed cert) is self-signed and not a trusted one; give this very \
                    certificate in cacert or cacertFile (trusted is CN=rcgen self signed cert)";
    assert_eq!(refused(pod(&endpoint.client()).await.unwrap_err()), sentence);
    endpoint.cluster.ca = given;
    assert_eq!(pod(&endpoint.client()).await.unwrap().metadata.name.as_deref(), Some("a"));
}

#[tokio::test]
async fn failed_calls_are_counted_by_cause_and_what_is_not_there_is_an_answer() {
    let endpoint = FakeApiServer::start(|mut conversation: FakeConnection| async move {
        for answer in ["403 Forbidden", "404 Not Found", "200 OK"] {
            conversation.answer(answer, if answer == "200 OK" { POD } else { "" }).await;
            if !conversation.request().await {
                return;
            }
        }
    })
    .await;
    let metrics = Metrics::default();
    let clients = Clients::counted(metrics.clone());
    let client = clients.get(&Arc::new(endpoint.cluster.clone()), Duration::from_secs(5)).unwrap();
    for _ in 0..3 {
        // What each came to is seen on the page.
        let _ = pod(&client).await;
    }
    let cluster = Arc::new(Cluster {
        ca: Some(InlineOrFile::Inline(Secret::new(Authority::new().pem))),
        ..endpoint.cluster.clone()
    });
    let untrusting = clients.get(&cluster, Duration::from_secs(5)).unwrap();
    assert!(pod(&untrusting).await.is_err());
    let page = metrics.text().unwrap();
    for line in [
        r#"containerssh_backend_requests_total{backend="kubernetes"} 4"#,
        r#"containerssh_backend_errors_total{backend="kubernetes"} 2"#,
        r#"podgate_kubernetes_errors_total{cause="403"} 1"#,
        r#"podgate_kubernetes_errors_total{cause="untrusted"} 1"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line}: {page}");
    }
}

#[tokio::test]
async fn client_certificate_from_files_is_shown_and_without_one_there_is_none() {
    let authority = Authority::new();
    let mut endpoint = FakeApiServer::named("127.0.0.1", &authority, async |mut conversation: FakeConnection| {
        match conversation.certified() {
            true => conversation.answer("200 OK", POD).await,
            false => conversation.answer("401 Unauthorized", r#"{"status":"Failure","code":401}"#).await,
        }
    })
    .await;
    endpoint.cluster.bearer_token = None;
    assert!(matches!(pod(&endpoint.client()).await, Err(kube::Error::Api(status)) if status.code == 401));
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = authority.issue("admin");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        InlineOrFile::File(path)
    };
    endpoint.cluster.client_certificate = Some((file("admin.crt", &certificate), file("admin.key", &key)));
    assert_eq!(pod(&endpoint.client()).await.unwrap().metadata.name.as_deref(), Some("a"));
}

#[tokio::test]
async fn unknown_credentials_are_told_with_their_file_and_the_way_to_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "old").unwrap();
    for body in [r#"{"kind":"Status","status":"Failure","code":401,"message":"Unauthorized"}"#, "<html>", ""] {
        let mut endpoint = FakeApiServer::start(async move |mut conversation: FakeConnection| {
            conversation.answer("401 Unauthorized", body).await;
        })
        .await;
        endpoint.cluster.bearer_token = Some(InlineOrFile::File(path.clone()));
        let Err(kube::Error::Api(status)) = pod(&endpoint.client()).await else { panic!("{body}: no status") };
        let told = format!(
            "Unauthorized (the gateway's credentials may have expired: write a new token to {} (as deploy/kubeconfig does); \
             the gateway reads it without a restart)",
            path.display()
        );
        assert_eq!((status.code, status.message), (401, told), "{body}");
    }
}

#[tokio::test]
async fn silent_server_ends_a_call_at_its_deadline() {
    for head in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"] {
        let endpoint = FakeApiServer::start(async move |mut conversation: FakeConnection| {
            conversation.raw(head.as_bytes()).await;
            std::future::pending().await
        })
        .await;
        let client = Clients::new().get(&Arc::new(endpoint.cluster.clone()), Duration::from_millis(100)).unwrap();
        let error = pod(&client).await.unwrap_err().to_string();
        assert!(error.contains("did not answer within 0.1 s"), "{error}");
    }
}

#[tokio::test]
async fn plain_http_and_other_hosts_are_refused() {
    let endpoint = FakeApiServer::start(async |_: FakeConnection| ()).await;
    for host in ["http://127.0.0.1:1", "https://127.0.0.1/prefix"] {
        let cluster = Arc::new(Cluster { host: host.parse().unwrap(), ..endpoint.cluster.clone() });
        assert!(matches!(clients(&cluster), Err(ClientError::Host { .. })), "{host}");
    }
    let cluster = Arc::new(Cluster { server_name: Some("not a name".to_owned()), ..endpoint.cluster.clone() });
    assert!(matches!(clients(&cluster), Err(ClientError::ServerName { .. })));
    for token in ["", "\n", "a\nb"] {
        let bearer_token = Some(InlineOrFile::Inline(Secret::new(token)));
        let cluster = Arc::new(Cluster { bearer_token, ..endpoint.cluster.clone() });
        assert!(matches!(clients(&cluster), Err(ClientError::Header(_))), "{token:?}");
    }
    let missing =
        Arc::new(Cluster { ca: Some(InlineOrFile::File("/nonexistent/ca".into())), ..endpoint.cluster.clone() });
    assert!(clients(&missing).unwrap_err().to_string().contains("/nonexistent/ca"));
}

#[tokio::test]
async fn call_is_one_try_whatever_the_server_answers() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let endpoint = FakeApiServer::start(move |mut conversation| {
        let tries = counted.clone();
        async move {
            loop {
                match tries.fetch_add(1, Ordering::SeqCst) {
                    0 => conversation.answer("503 Service Unavailable", "").await,
                    1 => conversation.answer("429 Too Many Requests\r\nRetry-After: 0", "").await,
                    _ => conversation.answer("200 OK", POD).await,
                }
                if !conversation.request().await {
                    return;
                }
            }
        }
    })
    .await;
    let client = endpoint.client();
    for (count, code) in [(1, 503), (2, 429)] {
        assert!(matches!(pod(&client).await, Err(kube::Error::Api(status)) if status.code == code));
        assert_eq!(tries.load(Ordering::SeqCst), count);
    }
    assert_eq!(pod(&client).await.unwrap().metadata.name.as_deref(), Some("a"));
}

#[tokio::test]
async fn changed_token_file_is_used_and_a_vanished_one_kept() {
    let (tokens, mut seen) = mpsc::channel(9);
    let mut endpoint = FakeApiServer::start(move |mut conversation| {
        let tokens = tokens.clone();
        async move {
            loop {
                tokens.send(conversation.header("authorization").unwrap().to_owned()).await.unwrap();
                conversation.answer("200 OK", POD).await;
                if !conversation.request().await {
                    return;
                }
            }
        }
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "\u{feff}one\n").unwrap();
    endpoint.cluster.bearer_token = Some(InlineOrFile::File(file.clone()));
    let client = endpoint.client();
    pod(&client).await.unwrap();
    assert_eq!(seen.recv().await.unwrap(), "Bearer one");
    std::fs::write(&file, "two").unwrap();
    client.connector.credentials().look_again();
    pod(&client).await.unwrap();
    assert_eq!(seen.recv().await.unwrap(), "Bearer two");
    std::fs::remove_file(&file).unwrap();
    client.connector.credentials().look_again();
    pod(&client).await.unwrap();
    assert_eq!(seen.recv().await.unwrap(), "Bearer two");
}

#[tokio::test]
async fn changed_ca_file_is_used() {
    let authority = Authority::new();
    let mut endpoint = FakeApiServer::named("127.0.0.1", &authority, async |mut conversation: FakeConnection| {
        conversation.answer("200 OK", POD).await;
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.crt");
    std::fs::write(&file, Authority::new().pem).unwrap();
    endpoint.cluster.ca = Some(InlineOrFile::File(file.clone()));
    let client = endpoint.client();
    pod(&client).await.unwrap_err();
    std::fs::write(&file, &authority.pem).unwrap();
    client.connector.credentials().look_again();
    pod(&client).await.unwrap();
}

#[tokio::test]
async fn basic_authentication_is_sent_where_there_is_no_token() {
    let mut endpoint = FakeApiServer::start(async |mut conversation: FakeConnection| {
        assert_eq!(conversation.header("authorization"), Some("Basic dTpw"));
        conversation.answer("200 OK", POD).await;
    })
    .await;
    endpoint.cluster.bearer_token = None;
    endpoint.cluster.basic = Some(("u".to_owned(), Secret::new("p")));
    pod(&endpoint.client()).await.unwrap();
}

#[tokio::test]
async fn equal_clusters_share_a_client_and_others_do_not() {
    let endpoint = FakeApiServer::start(async |_: FakeConnection| ()).await;
    let clients = Clients::new();
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let (one, equal) = (Arc::new(endpoint.cluster.clone()), Arc::new(endpoint.cluster.clone()));
    assert!(Arc::ptr_eq(&clients.known(Arc::clone(&equal)), &equal), "nobody knows it yet");
    let first = clients.get(&one, second).unwrap();
    assert!(Arc::ptr_eq(&first, &clients.get(&equal, second).unwrap()));
    assert!(Arc::ptr_eq(&clients.known(equal), &one), "it is held once");
    assert!(!Arc::ptr_eq(&first, &clients.get(&one, minute).unwrap()));
    let bearer_token = Some(InlineOrFile::Inline(Secret::new("other")));
    let other = Arc::new(Cluster { bearer_token, ..endpoint.cluster.clone() });
    assert!(!Arc::ptr_eq(&first, &clients.get(&other, second).unwrap()));
    assert!(Arc::ptr_eq(&clients.known(Arc::clone(&other)), &other));
}

#[tokio::test(start_paused = true)]
async fn clusters_of_webhooks_are_forgotten_when_nobody_holds_them() {
    let endpoint = FakeApiServer::start(async |_: FakeConnection| ()).await;
    let clients = Clients::new();
    let cluster = |burst: u32| Arc::new(Cluster { burst, from_webhook: true, ..endpoint.cluster.clone() });
    let minute = Duration::from_secs(60);
    let held = clients.get(&cluster(0), minute).unwrap();
    for number in 1..1000 {
        clients.get(&cluster(number), minute).unwrap();
    }
    assert!(clients.open.lock().len() <= KEPT + 1);
    assert!(Arc::ptr_eq(&held, &clients.get(&cluster(0), minute).unwrap()));
    tokio::time::advance(IDLE).await;
    clients.get(&cluster(1), minute).unwrap();
    assert_eq!(clients.open.lock().len(), 2);
}

#[tokio::test]
async fn debug_output_holds_no_secret() {
    let endpoint = FakeApiServer::start(async |_: FakeConnection| ()).await;
    let clients = Clients::new();
    let client = clients.get(&Arc::new(endpoint.cluster.clone()), Duration::from_secs(1)).unwrap();
    let text = format!("{clients:?} {client:?}");
    assert!(text.contains("127.0.0.1"), "{text}");
    assert!(!text.contains("token-1"), "{text}");
}
