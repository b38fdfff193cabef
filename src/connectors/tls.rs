//! TLS as options of a connector: whom a client believes and what it shows, what a server shows and whom it lets in.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, InconsistentKeys, RootCertStore, ServerConfig,
    SignatureScheme,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::io_reason;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::tree::Node;

/// How a server is known, and what is shown to it. Files are in PEM, and relative to the pipeline's file.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ClientTls {
    /// Certificates of authorities that are believed beside those that the system believes: `ca.pem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"ca.pem")]
    pub ca: Option<String>,
    /// The certificate that is shown to the server, and those that lead from it to an authority. Needs `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"client.pem")]
    pub certificate: Option<String>,
    /// The private key of `certificate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"client-key.pem")]
    pub key: Option<String>,
    /// Whether the server has to show a certificate of its name by an authority that is believed. Without it, whoever stands
    /// in between can read and change everything.
    #[serde(default = "default_verify")]
    pub verify: bool,
}

/// What a server shows, and whom it lets in. Files are in PEM, and relative to the pipeline's file.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// The certificate, and those that lead from it to an authority.
    #[schemars(length(min = 1), example = "server.pem")]
    pub certificate: String,
    /// The private key of `certificate`.
    #[schemars(length(min = 1), example = "server-key.pem")]
    pub key: String,
    /// Certificates of authorities: only clients that show a certificate by one of them are let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"clients-ca.pem")]
    pub client_ca: Option<String>,
}

impl ServerTls {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &String> {
        [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten()
    }
}

fn default_verify() -> bool {
    true
}

impl Default for ClientTls {
    fn default() -> Self {
        ClientTls { ca: None, certificate: None, key: None, verify: true }
    }
}

impl ClientTls {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &String> {
        [&self.ca, &self.certificate, &self.key].into_iter().flatten()
    }

    /// Pure: a certificate is of no use without its key, nor is an authority where nobody is asked for one. `node` is where
    /// the options are written.
    pub fn check(&self, node: &Node, found: &mut Diagnostics) {
        let mut wrong = |key: &str, message: &str, help: &str| {
            let place = Some(node.get(key).unwrap_or(node).span.clone());
            found.push(Diagnostic::error("bad-tls", message, place).help(help));
        };
        match (&self.certificate, &self.key) {
            (Some(_), None) => wrong("certificate", "`certificate` needs its private key", "add `key: PATH`"),
            (None, Some(_)) => wrong("key", "`key` is the key of no certificate", "add `certificate: PATH`"),
            _ => {}
        }
        if self.ca.is_some() && !self.verify {
            let help = "leave `verify` out, so that `ca` counts";
            wrong("verify", "with `verify: false` any certificate will do, and `ca` has no meaning", help);
        }
    }

    /// I/O: reads the files. The error is a sentence that names the file.
    pub fn config(&self, directory: &Path) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = versions.map_err(|e| format!("TLS cannot be used: {e}"))?;
        let builder = if self.verify {
            builder.with_root_certificates(self.roots(directory)?)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        };
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Ok(Arc::new(builder.with_no_client_auth()));
        };
        let (chain, private) = (certificates(directory, certificate)?, private_key(directory, key)?);
        let config = builder.with_client_auth_cert(chain, private);
        config.map(Arc::new).map_err(|e| misfit(certificate, key, &e))
    }

    fn roots(&self, directory: &Path) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        // Those of the system that cannot be read are as good as not there.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if let Some(ca) = &self.ca {
            add(&mut roots, directory, ca)?;
        }
        Ok(roots)
    }
}

impl ServerTls {
    /// I/O: the same files, wherever they are asked for from; those that are not there as they are written.
    pub fn at(&self, directory: &Path) -> ServerTls {
        let whole = |path: &String| {
            let found = std::fs::canonicalize(directory.join(path)).ok();
            found.and_then(|found| Some(found.to_str()?.to_owned())).unwrap_or_else(|| path.clone())
        };
        ServerTls {
            certificate: whole(&self.certificate),
            key: whole(&self.key),
            client_ca: self.client_ca.as_ref().map(whole),
        }
    }

    /// I/O: when its files were written last, of those that are there.
    pub fn written(&self, directory: &Path) -> Vec<Option<SystemTime>> {
        let files = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        let at = |path: &String| std::fs::metadata(directory.join(path)).and_then(|file| file.modified()).ok();
        files.into_iter().flatten().map(at).collect()
    }

    /// I/O: reads the files. The error is a sentence that names the file.
    pub fn config(&self, directory: &Path) -> Result<Arc<ServerConfig>, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = versions.map_err(|e| format!("TLS cannot be used: {e}"))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                add(&mut roots, directory, ca)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|e| format!("`{ca}` cannot be used: {e}"))?)
            }
        };
        let (chain, private) = (certificates(directory, &self.certificate)?, private_key(directory, &self.key)?);
        let config = builder.with_single_cert(chain, private);
        config.map(Arc::new).map_err(|e| misfit(&self.certificate, &self.key, &e))
    }
}

/// Adds the authorities of a file.
fn add(roots: &mut RootCertStore, directory: &Path, path: &str) -> Result<(), String> {
    for certificate in certificates(directory, path)? {
        roots.add(certificate).map_err(|e| format!("`{path}` has a certificate that cannot be used: {}", said(&e)))?;
    }
    Ok(())
}

fn certificates(directory: &Path, path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(directory, path)?;
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match list {
        Ok(list) if list.is_empty() => Err(no_item(path, "certificate", "CERTIFICATE")),
        Ok(list) => Ok(list),
        Err(e) => Err(broken(path, &e)),
    }
}

fn private_key(directory: &Path, path: &str) -> Result<PrivateKeyDer<'static>, String> {
    let text = read(directory, path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|e| match e {
        PemError::NoItemsFound if text.windows(9).any(|part| part == b"ENCRYPTED") => {
            format!("`{path}` is locked with a passphrase; write it without one (`openssl pkey -in {path}`)")
        }
        PemError::NoItemsFound => no_item(path, "private key", "PRIVATE KEY"),
        e => broken(path, &e),
    })
}

fn read(directory: &Path, path: &str) -> Result<Vec<u8>, String> {
    std::fs::read(directory.join(path)).map_err(|e| format!("`{path}` cannot be read: {}", io_reason(&e)))
}

fn no_item(path: &str, what: &str, label: &str) -> String {
    format!("`{path}` has no {what} in PEM; one begins with the line `-----BEGIN {label}-----`")
}

fn broken(path: &str, error: &PemError) -> String {
    // What the library says may quote lines of the file, and those of a key are a secret.
    let why = match error {
        PemError::MissingSectionEnd { .. } => "a part of it has no `-----END` line",
        PemError::IllegalSectionStart { .. } => "a `-----BEGIN` line is damaged",
        PemError::Base64Decode(_) => "what is between its lines is no Base64",
        _ => "it cannot be taken apart",
    };
    format!("`{path}` is no sound PEM file: {why}")
}

/// What is wrong with a certificate and its key.
fn misfit(certificate: &str, key: &str, error: &Error) -> String {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("`{key}` is not the key of the certificate in `{certificate}`")
        }
        Error::InvalidCertificate(_) => {
            format!("`{certificate}` has a certificate that cannot be used: {}", said(error))
        }
        _ => format!("the key in `{key}` cannot be used: {error}"),
    }
}

fn said(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::BadEncoding) => "it is damaged".to_owned(),
        error => error.to_string(),
    }
}

/// Believes everybody. That the peer has the key of what it shows is looked at all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::{ClientConnection, ServerConnection, StreamOwned};

    use super::*;

    fn key() -> KeyPair {
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
    }

    /// Two authorities, each with a certificate for `localhost` and its key: `a.pem`, `a-cert.pem`, `a-key.pem`, and `b…`.
    fn files() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            let mut params = CertificateParams::new(vec![]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let authority = CertifiedIssuer::self_signed(params, key()).unwrap();
            let own = key();
            let shown =
                CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&own, &authority).unwrap();
            std::fs::write(dir.path().join(format!("{name}.pem")), authority.pem()).unwrap();
            std::fs::write(dir.path().join(format!("{name}-cert.pem")), shown.pem()).unwrap();
            std::fs::write(dir.path().join(format!("{name}-key.pem")), own.serialize_pem()).unwrap();
        }
        dir
    }

    fn client(ca: Option<&str>, own: Option<&str>) -> ClientTls {
        ClientTls {
            ca: ca.map(|ca| format!("{ca}.pem")),
            certificate: own.map(|own| format!("{own}-cert.pem")),
            key: own.map(|own| format!("{own}-key.pem")),
            verify: true,
        }
    }

    fn server(client_ca: Option<&str>) -> ServerTls {
        let client_ca = client_ca.map(|ca| format!("{ca}.pem"));
        ServerTls { certificate: "a-cert.pem".into(), key: "a-key.pem".into(), client_ca }
    }

    /// Whether a client of these options gets a byte to a server of those and one back.
    fn meet(dir: &Path, client: &ClientTls, server: &ServerTls, name: &str) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let config = server.config(dir).unwrap();
        let serving = std::thread::spawn(move || {
            let stream = listener.accept().unwrap().0;
            let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
            let mut byte = [0];
            stream.read_exact(&mut byte).and_then(|()| stream.write_all(&byte)).is_ok()
        });
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(client.config(dir).unwrap(), name).unwrap();
        let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
        let mut byte = [0];
        let met = stream.write_all(b"x").and_then(|()| stream.read_exact(&mut byte)).is_ok();
        drop(stream);
        serving.join().unwrap() && met
    }

    #[test]
    fn only_those_who_are_known_meet() {
        let dir = files();
        let dir = dir.path();
        assert!(meet(dir, &client(Some("a"), None), &server(None), "localhost"));
        assert!(!meet(dir, &client(Some("a"), None), &server(None), "example.org"), "another name");
        assert!(!meet(dir, &client(Some("b"), None), &server(None), "localhost"), "another authority");
        assert!(!meet(dir, &client(None, None), &server(None), "localhost"), "no authority");
        let anybody = ClientTls { verify: false, ..ClientTls::default() };
        assert!(meet(dir, &anybody, &server(None), "example.org"));
        assert!(!meet(dir, &client(Some("a"), None), &server(Some("b")), "localhost"), "shows nothing");
        assert!(!meet(dir, &client(Some("a"), Some("a")), &server(Some("b")), "localhost"), "shows another's");
        assert!(meet(dir, &client(Some("a"), Some("b")), &server(Some("b")), "localhost"));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let dir = files();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let key = std::fs::read_to_string(dir.path().join("a-key.pem")).unwrap();
        write("empty.pem", "");
        write("torn.pem", key.split("-----END").next().unwrap());
        write("letters.pem", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n");
        write("bad.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
        write("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n");
        for (ca, own, key, wanted) in [
            ("no.pem", "a-cert.pem", "a-key.pem", "`no.pem` cannot be read: "),
            ("empty.pem", "a-cert.pem", "a-key.pem", "`empty.pem` has no certificate in PEM"),
            ("letters.pem", "a-cert.pem", "a-key.pem", "`letters.pem` is no sound PEM file: what is between"),
            ("bad.pem", "a-cert.pem", "a-key.pem", "`bad.pem` has a certificate that cannot be used: it is damaged"),
            ("a.pem", "a-cert.pem", "b-key.pem", "`b-key.pem` is not the key of the certificate in `a-cert.pem`"),
            ("a.pem", "a-cert.pem", "a.pem", "`a.pem` has no private key in PEM"),
            ("a.pem", "a-cert.pem", "torn.pem", "`torn.pem` is no sound PEM file: a part of it has no `-----END` line"),
            ("a.pem", "a-cert.pem", "locked.pem", "`locked.pem` is locked with a passphrase"),
        ] {
            let (certificate, key) = (Some(own.into()), Some(key.into()));
            let said =
                ClientTls { ca: Some(ca.into()), certificate, key, verify: true }.config(dir.path()).unwrap_err();
            assert!(said.starts_with(wanted), "{said}");
        }
        let said = ServerTls { client_ca: Some("empty.pem".into()), ..server(None) }.config(dir.path()).unwrap_err();
        assert!(said.starts_with("`empty.pem` has no certificate"), "{said}");
    }
}
