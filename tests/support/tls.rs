//! Certificates of a test's own, and TLS before a port of this machine.
// Each test file uses its own part of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says why")]

use std::fs;
use std::path::Path;

use millstream::connectors::tls::ServerTls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// An authority `ca.pem`, and certificates by it for `localhost` and for a client: `localhost.pem`, `localhost-key.pem`,
/// `client.pem`, `client-key.pem`.
pub fn certificates(home: &Path) {
    let key = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    // Of certificates of one name OpenSSL takes each for its own authority.
    let params = |host: Option<&str>, name: &str| {
        let mut params = CertificateParams::new(host.map(str::to_owned).into_iter().collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let mut params_of_authority = params(None, "authority");
    params_of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params_of_authority, key()).unwrap();
    fs::write(home.join("ca.pem"), authority.pem()).unwrap();
    for name in ["localhost", "client"] {
        let own = key();
        let shown = params(Some(name), name).signed_by(&own, &authority).unwrap();
        fs::write(home.join(format!("{name}.pem")), shown.pem()).unwrap();
        fs::write(home.join(format!("{name}-key.pem")), own.serialize_pem()).unwrap();
    }
}

/// Stands before a port with TLS: shows the certificate for `localhost` in `home`, and lets in whoever shows one by its
/// authority. Ends with the test.
pub fn before(port: u16, home: &Path) -> u16 {
    let tls = ServerTls {
        certificate: "localhost.pem".into(),
        key: "localhost-key.pem".into(),
        client_ca: Some("ca.pem".into()),
    };
    let acceptor = TlsAcceptor::from(tls.config(home).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let own = listener.local_addr().unwrap().port();
    let accept = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let Ok(mut to) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut to).await;
            });
        }
    };
    std::thread::spawn(move || runtime.block_on(accept));
    own
}
