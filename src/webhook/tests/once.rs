//! Retries: the questions that are asked again after each failure; the server counts.

use super::*;
use std::collections::BTreeSet;
use tokio::net::TcpListener;

/// The questions that may be repeated.
const REPEATED: [Question; 3] = [Question::PublicKey, Question::Authorization, Question::Config];

/// A server that fails the first question in one way and then says yes, with 1 s a try.
async fn failing_once(reply: fn() -> FakeReply) -> (FakeWebhook, HttpClientConfig) {
    let fake = FakeWebhook::start(move |at, _| if at == 0 { reply() } else { yes() }).await;
    let block = HttpClientConfig { timeout: Duration::from_secs(1), ..fake.block() };
    (fake, block)
}

#[tokio::test]
async fn password_that_may_have_arrived_is_asked_once_and_everything_else_again() {
    let half = || FakeReply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"success\":true}");
    let failures = [
        ((|| FakeReply::Answer(500, String::new())) as fn() -> FakeReply, "answers with an error"),
        (|| FakeReply::Answer(502, String::new()), "answers with an error"),
        (|| FakeReply::Answer(503, String::new()), "answers with an error"),
        (|| FakeReply::Hang, "does not answer in time"),
        (|| FakeReply::Close, "broke off the connection"),
        (half, "does not answer in time"),
    ];
    for (reply, reason) in failures {
        let (fake, block) = failing_once(reply).await;
        let error = ask_for(Question::Password, &block, SOON).await.expect_err(reason);
        assert!(matches!(error, WebhookError::NotRepeated(_)), "{reason}: {error}");
        assert_eq!((error.predicate(), fake.asked().len()), (reason, 1));
        for question in REPEATED {
            let (fake, block) = failing_once(reply).await;
            let answer = ask_for(question, &block, SOON).await;
            assert!(answer.is_ok(), "{question:?}: {reason}: {answer:?}");
            assert_eq!(fake.asked().len(), 2, "{question:?}: {reason}");
        }
    }
}

#[tokio::test]
async fn server_that_answers_the_question_at_the_start_is_reached_whatever_its_status() {
    let fake = FakeWebhook::start(|_, _| FakeReply::Close).await;
    let client = WebhookClient::new(&fake.block(), "/password", Question::Password).unwrap();
    assert!(client.reach().await.is_err());
    for status in [405, 501, 200, 204, 302, 400, 401, 403, 404, 500, 503] {
        let fake = FakeWebhook::start(move |_, _| FakeReply::Last(status, "")).await;
        let client = WebhookClient::new(&fake.block(), "/password", Question::Password).unwrap();
        let reached = client.reach().await;
        assert_eq!(reached.map(|status| status.as_u16()), Ok(status));
        assert_eq!(fake.asked().iter().map(|asked| asked.path.as_str()).collect::<Vec<_>>(), ["/hook/password"]);
    }
}

#[tokio::test]
async fn only_a_404_at_the_start_is_told_as_a_path_that_may_be_wrong() {
    for (status, told) in [(200, false), (400, false), (401, false), (404, true), (405, false), (503, false)] {
        let fake = FakeWebhook::start(move |_, _| FakeReply::Last(status, "")).await;
        let client = WebhookClient::new(&fake.block(), "/password", Question::Password).unwrap();
        let finding = client.look("auth.password").await;
        assert_eq!(finding.is_some(), told, "{status}: {finding:?}");
        let begins = format!("auth.password: {} answers a HEAD request with status 404", client.place());
        assert!(finding.is_none_or(|finding| finding.text.starts_with(&begins)), "{status}");
    }
}

#[tokio::test]
async fn load_balancer_without_a_server_is_not_the_server() {
    for (status, reached) in
        [(502, false), (503, false), (504, false), (500, true), (501, true), (405, true), (200, true)]
    {
        let fake = FakeWebhook::start(move |_, _| FakeReply::Last(status, "")).await;
        let client = WebhookClient::new(&fake.block(), "/password", Question::Password).unwrap();
        let said = client.connect().await;
        assert_eq!(said.is_ok(), reached, "{status}: {said:?}");
        assert!(said.err().is_none_or(|said| said.contains(&format!("status {status}"))));
    }
}

#[tokio::test]
async fn server_that_is_slow_is_reached_and_one_that_is_silent_before_tls_or_closes_is_not() {
    let slow = FakeWebhook::start(|_, _| FakeReply::Hang).await;
    let client = WebhookClient::new(&slow.block(), "/password", Question::Password).unwrap();
    assert!(client.reach().await.is_err(), "the check at the start warns of it");
    assert_eq!(client.connect().await, Ok(()));
    let closing = FakeWebhook::start(|_, _| FakeReply::Close).await;
    let client = WebhookClient::new(&closing.block(), "/password", Question::Password).unwrap();
    assert!(client.connect().await.is_err());
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap()).parse().unwrap();
    let block = HttpClientConfig { url: WebhookUrl::Http(url), ..slow.block() };
    let client = WebhookClient::new(&block, "/password", Question::Password).unwrap();
    assert!(client.connect().await.is_err(), "no connection");
}

#[tokio::test]
async fn password_is_asked_again_where_nobody_listened() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hook.sock");
    let early = FakeWebhook::start_unix(&socket, |_, _| yes());
    let block = early.block();
    drop(early);
    std::fs::remove_file(&socket).unwrap();
    let (log, captured) = capture::log(LogFormat::Text);
    let connection = connection(&log);
    let client = WebhookClient::new(&block, "/password", Question::Password).unwrap();
    let step = connection.step(MeasuredStep::Config);
    let call = AskOptions { limit: SOON, log: &connection, step: &step };
    let question = json!({});
    let asking = client.ask(call, &question, |_| Ok(()));
    let starting = async {
        while !captured.text(&log).contains("a try to ask the webhook failed") {
            tokio::task::yield_now().await;
        }
        FakeWebhook::start_unix(&socket, |_, _| yes())
    };
    let (answered, fake) = tokio::join!(asking, starting);
    assert!(answered.expect("asked again").retried);
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn password_is_asked_again_where_the_connection_broke_before_it_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = FakeWebhook::start_tls("localhost", |_, _| yes()).await;
    let url = WebhookUrl::Http(format!("https://localhost:{port}").parse().unwrap());
    let block = HttpClientConfig { url, ..tls.block() };
    let closing = async {
        for _ in 0..3 {
            drop(listener.accept().await.unwrap());
        }
    };
    tokio::select! {
        outcome = ask_for(Question::Password, &block, SOON) => panic!("{outcome:?} before the third connection"),
        () = closing => {}
    }
}

#[tokio::test]
async fn password_is_asked_on_a_connection_of_its_own_and_survives_a_server_that_closes_idle_ones() {
    for (question, own) in [(Question::Password, true), (Question::PublicKey, false)] {
        for reply in [yes as fn() -> FakeReply, || FakeReply::Last(200, r#"{"success":true}"#)] {
            let fake = FakeWebhook::start(move |_, _| reply()).await;
            let client = WebhookClient::new(&fake.block(), "/x", question).unwrap();
            let log = quiet();
            for _ in 0..50 {
                let step = log.step(MeasuredStep::Config);
                client.ask(AskOptions { limit: SOON, log: &log, step: &step }, &json!({}), |_| Ok(())).await.unwrap();
            }
            if own {
                assert_eq!((fake.asked().len(), fake.connections()), (50, 50));
            }
        }
    }
}

#[tokio::test]
async fn question_keeps_its_id_over_its_tries_and_shares_it_with_no_other() {
    for question in REPEATED {
        let fake =
            FakeWebhook::start(|at, _| if at % 3 == 2 { yes() } else { FakeReply::Answer(503, String::new()) }).await;
        for _ in 0..2 {
            ask_for(question, &fake.block(), SOON).await.unwrap();
        }
        let asked = fake.asked();
        let ids: Vec<_> = asked
            .iter()
            .filter_map(|asked| asked.headers.iter().find_map(|line| line.strip_prefix("idempotency-key: ")))
            .collect();
        assert_eq!(ids.len(), 6, "{asked:?}");
        assert!(ids[..3].iter().all(|id| *id == ids[0]) && ids[3..].iter().all(|id| *id == ids[3]), "{ids:?}");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 2, "{ids:?}");
        let inner = ids[0].strip_prefix('"').and_then(|id| id.strip_suffix('"')).expect("a string of RFC 8941");
        assert!(inner.len() == 32 && inner.bytes().all(|byte| byte.is_ascii_hexdigit()), "{inner}");
    }
}

#[tokio::test]
async fn query_of_the_url_stays_behind_the_path_and_out_of_the_log() {
    let fake = FakeWebhook::start(|_, _| FakeReply::Answer(403, String::new())).await;
    let WebhookUrl::Http(mut url) = fake.block().url else { panic!("a URL") };
    url.set_query(Some("token=s3cret"));
    url.set_username("me").unwrap();
    url.set_password(Some("s3cret")).unwrap();
    let block = HttpClientConfig { url: WebhookUrl::Http(url), ..fake.block() };
    let (log, captured) = capture::log(LogFormat::Text);
    let connection = connection(&log);
    let client = WebhookClient::new(&block, "/password", Question::Password).unwrap();
    let step = connection.step(MeasuredStep::Config);
    let call = AskOptions { limit: SOON, log: &connection, step: &step };
    let error = client.ask(call, &json!({}), |_| Ok(())).await.expect_err("403");
    let asked = fake.asked().remove(0);
    assert_eq!(asked.path, "/hook/password?token=s3cret");
    assert!(asked.headers.iter().any(|line| line.starts_with("authorization: basic ")), "{:?}", asked.headers);
    let text = captured.text(&log);
    assert!(text.contains("/hook/password") && !text.contains("s3cret"), "{text}");
    assert!(!error.to_string().contains("s3cret") && !format!("{client:?}").contains("s3cret"), "{error} {client:?}");
}
