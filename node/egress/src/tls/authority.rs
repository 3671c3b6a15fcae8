//! The installation's certificate authority: mints one leaf per name, all with one key of this process.
use crate::limits::{LEAF_VALIDITY, LEAVES};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

pub struct Authority {
    pub server: Arc<ServerConfig>,
}

struct Minter {
    issuer: Issuer<'static, KeyPair>,
    chain: CertificateDer<'static>,
    key: KeyPair,
    leaves: Mutex<HashMap<String, (Arc<CertifiedKey>, Instant)>>,
}

impl Authority {
    /// Both as PEM. That they belong together is shown by minting one leaf.
    pub fn new(certificate: &str, key: &str) -> Result<Self, String> {
        let broken = |error: &dyn fmt::Display| format!("cannot use the certificate authority: {error}");
        let ca_key = KeyPair::from_pem(key).map_err(|error| broken(&error))?;
        let chain = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|error| broken(&error))?;
        let issuer = Issuer::from_ca_cert_pem(certificate, ca_key).map_err(|error| broken(&error))?;
        let minter = Minter {
            issuer,
            chain,
            key: KeyPair::generate().map_err(|error| broken(&error))?,
            leaves: Mutex::default(),
        };
        let probe = minter
            .leaf("probe.invalid")
            .ok_or_else(|| broken(&"it mints no leaf"))?;
        verify(&probe, &minter.chain).map_err(|error| broken(&error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| broken(&error))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(minter));
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|error| broken(&error))?;
        Ok(Self {
            server: Arc::new(server),
        })
    }
}

/// A certificate and a key of different authorities would only show in the sandbox.
fn verify(leaf: &CertifiedKey, ca: &CertificateDer<'static>) -> Result<(), String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.clone()).map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| error.to_string())?;
    let name = rustls::pki_types::ServerName::try_from("probe.invalid").map_err(|error| error.to_string())?;
    let end = leaf.cert.first().ok_or("it mints no leaf")?;
    rustls::client::danger::ServerCertVerifier::verify_server_cert(
        verifier.as_ref(),
        end,
        &[],
        &name,
        &[],
        rustls::pki_types::UnixTime::now(),
    )
    .map(|_| ())
    .map_err(|error| error.to_string())
}

impl Minter {
    fn leaf(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let now = Instant::now();
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((leaf, until)) = leaves.get(name)
            && *until > now
        {
            return Some(leaf.clone());
        }
        let leaf = Arc::new(self.mint(name).ok()?);
        if leaves.len() >= LEAVES {
            let oldest = leaves
                .iter()
                .min_by_key(|(_, (_, until))| *until)
                .map(|(name, _)| name.clone());
            oldest.and_then(|name| leaves.remove(&name));
        }
        leaves.insert(name.to_owned(), (leaf.clone(), now + LEAF_VALIDITY / 2));
        Some(leaf)
    }

    fn mint(&self, name: &str) -> Result<CertifiedKey, Box<dyn std::error::Error>> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        let mut subject = DistinguishedName::new();
        // A common name holds 64 characters; the names that count are in the extension.
        subject.push(DnType::CommonName, if name.len() <= 64 { name } else { "atoll egress" });
        params.distinguished_name = subject;
        let now = SystemTime::now();
        params.not_before = (now - Duration::from_secs(3_600)).into();
        params.not_after = (now + LEAF_VALIDITY).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&self.key, &self.issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let signer = rustls::crypto::ring::sign::any_supported_type(&key)?;
        Ok(CertifiedKey::new(
            vec![certificate.der().clone(), self.chain.clone()],
            signer,
        ))
    }
}

impl fmt::Debug for Minter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Minter")
    }
}

impl ResolvesServerCert for Minter {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.leaf(&crate::name::normalise(hello.server_name()?)?)
    }
}
