//! A cluster's side of TLS, HTTP and WebSocket for the tests of this module: real sockets, a CA of its own, and a script
//! for each connection.

use super::client::{Clients, ClusterClient};
use crate::settings::{Cluster, InlineOrFile};
use crate::types::Secret;
use bytes::{Buf, BytesMut};
use data_encoding::BASE64;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha1::{Digest, Sha1};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(crate) const SUCCESS: &[u8] = br#"{"metadata":{},"status":"Success"}"#;

/// A certificate authority of one test.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
    /// The chain that its servers send, and their key.
    own: Option<(CertificateDer<'static>, Vec<u8>)>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key), own: None }
    }

    /// One whose own certificate is a server's for `name`, too, as `openssl req -x509` makes them.
    pub(crate) fn self_signed(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let own = Some((certificate.der().clone(), key.serialize_der()));
        Self { pem: certificate.pem(), issuer: Issuer::new(params, key), own }
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let (certificate, key) = self.own.clone().unwrap_or_else(|| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &self.issuer).unwrap().der().clone(), key.serialize_der())
        });
        let key = PrivateKeyDer::try_from(key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        // As an API server does: a client may show a certificate, and one that is shown must be good.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .unwrap();
        let config = config.with_client_cert_verifier(verifier).with_single_cert(vec![certificate], key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A client's certificate and key, PEM.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A listening endpoint; gone when dropped.
pub(crate) struct FakeApiServer {
    pub(crate) cluster: Cluster,
    _serving: JoinSet<()>,
}

impl FakeApiServer {
    /// Serves each connection with `script`, under a certificate for 127.0.0.1.
    pub(crate) async fn start<F, S>(script: S) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(FakeConnection) -> F + Send + Sync + 'static,
    {
        Self::named("127.0.0.1", &Authority::new(), script).await
    }

    /// The same under a certificate for `name`.
    pub(crate) async fn named<F, S>(name: &str, authority: &Authority, script: S) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(FakeConnection) -> F + Send + Sync + 'static,
    {
        let acceptor = authority.acceptor(name);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("https://{}", listener.local_addr().unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut conversations = JoinSet::new();
            let script = Arc::new(script);
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, script) = (acceptor.clone(), script.clone());
                tcp.set_nodelay(true).unwrap();
                conversations.spawn(async move {
                    let Ok(stream) = acceptor.accept(tcp).await else { return };
                    let Some(conversation) = FakeConnection::begin(stream).await else { return };
                    script(conversation).await;
                });
            }
        });
        let cluster = Cluster {
            host: host.parse().unwrap(),
            server_name: None,
            ca: Some(InlineOrFile::Inline(Secret::new(authority.pem.clone()))),
            client_certificate: None,
            bearer_token: Some(InlineOrFile::Inline(Secret::new("token-1"))),
            basic: None,
            qps_milli: 5000,
            burst: 10,
            from_webhook: false,
        };
        Self { cluster, _serving: serving }
    }

    pub(crate) fn client(&self) -> Arc<ClusterClient> {
        Clients::new().get(&Arc::new(self.cluster.clone()), Duration::from_secs(5)).unwrap()
    }
}

/// One connection whose first request has been read.
pub(crate) struct FakeConnection {
    stream: TlsStream<TcpStream>,
    buffer: BytesMut,
    /// The head of the client's request.
    pub(crate) head: String,
}

impl FakeConnection {
    async fn begin(stream: TlsStream<TcpStream>) -> Option<Self> {
        let mut conversation = Self { stream, buffer: BytesMut::new(), head: String::new() };
        conversation.request().await.then_some(conversation)
    }

    /// Reads the head of a request; false at the end of the stream.
    pub(crate) async fn request(&mut self) -> bool {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                self.head = String::from_utf8(self.buffer.split_to(end + 4).to_vec()).unwrap();
                return true;
            }
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                return false;
            }
        }
    }

    /// Tells if the client has sent a certificate.
    pub(crate) fn certified(&self) -> bool {
        self.stream.get_ref().1.peer_certificates().is_some()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        // A client that has gone is for the test to see.
        if self.stream.write_all(bytes).await.is_ok() {
            drop(self.stream.flush().await);
        }
    }

    pub(crate) async fn answer(&mut self, status: &str, body: &str) {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.raw(head.as_bytes()).await;
    }

    pub(crate) fn switching(&self, protocol: &str) -> String {
        let key = self.header("sec-websocket-key").unwrap();
        let accept = BASE64.encode(&Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
        )
    }

    /// Opens the stream as Kubernetes does: an empty message on stdout first.
    pub(crate) async fn accept(&mut self) {
        let head = self.switching("v5.channel.k8s.io");
        self.raw(head.as_bytes()).await;
        self.send(1, b"").await;
    }

    pub(crate) async fn send(&mut self, channel: u8, data: &[u8]) {
        self.raw(&frame(0x82, &[&[channel], data].concat())).await;
    }

    /// The next frame, unmasked: its first byte and its payload.
    pub(crate) async fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(frame) = self.whole_frame() {
                return Some(frame);
            }
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                return None;
            }
        }
    }

    fn whole_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let [first, second, rest @ ..] = self.buffer.as_ref() else { return None };
        assert_eq!(second & 0x80, 0x80, "a client masks");
        let (head, length) = match second & 0x7F {
            126 => (4, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
            127 => (10, usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).unwrap()),
            short => (2, usize::from(short)),
        };
        if self.buffer.len() < head + 4 + length {
            return None;
        }
        let first = *first;
        self.buffer.advance(head);
        let key: [u8; 4] = self.buffer.split_to(4).as_ref().try_into().unwrap();
        let mut payload = self.buffer.split_to(length).to_vec();
        for block in payload.chunks_mut(4) {
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        }
        Some((first, payload))
    }
}

/// Makes an unmasked frame, as a server sends it.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ ..=125 => frame.push(u8::try_from(short).unwrap()),
        medium @ ..=0xFFFF => {
            frame.push(126);
            frame.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}
