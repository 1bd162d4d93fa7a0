//! The certificate authority of one cluster and the server's certificate, made fresh at each start and never written to
//! disk with a key.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::IpAddr;
use std::sync::Arc;

/// Error of making the cluster's certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFailure {
    /// A key pair or certificate could not be made.
    #[error("could not make the cluster's certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// rustls refused the certificate or its settings.
    #[error("could not set up TLS: {0}")]
    SetUp(#[from] rustls::Error),
}

/// The server's TLS configuration and the CA that it is trusted by.
#[derive(Debug)]
pub(crate) struct ServerIdentity {
    /// The CA certificate as PEM.
    pub(crate) ca_pem: String,
    pub(crate) server: Arc<ServerConfig>,
}

/// Makes a CA and a server certificate for an address.
pub(crate) fn identity(address: IpAddr) -> Result<ServerIdentity, CertificateFailure> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "podgate-devcluster CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_certificate = ca.self_signed(&ca_key)?;

    let server_key = KeyPair::generate()?;
    let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let names = names.into_iter().map(str::to_owned).chain([address.to_string()]).collect::<Vec<_>>();
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    let server_certificate = server.signed_by(&server_key, &Issuer::new(ca, &ca_key))?;

    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(vec![server_certificate.der().clone()], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(ServerIdentity { ca_pem: ca_certificate.pem(), server: Arc::new(config) })
}
