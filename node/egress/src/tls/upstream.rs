//! TLS towards the real server: verified against real roots, always by name.
use crate::limits::UPSTREAM_TLS_SESSIONS;
use crate::sandboxes::pool::TlsConfigs;
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// The certificates of a PEM bundle; those that cannot be used are left out, as every client does.
pub fn read_roots(path: &Path) -> Result<RootCertStore, String> {
    let broken =
        |error: &dyn std::fmt::Display| format!("cannot read the root certificates {}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| broken(&error))? {
        let certificate = certificate.map_err(|error| broken(&error))?;
        // One that rustls cannot use is none that it trusts.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err(broken(&"it holds none"));
    }
    Ok(roots)
}

pub fn client_configs(roots: &Arc<RootCertStore>) -> Result<TlsConfigs, String> {
    let config = |protocols: &[&[u8]]| -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("cannot set up TLS: {error}"))?
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(UPSTREAM_TLS_SESSIONS);
        Ok(Arc::new(config))
    };
    Ok(TlsConfigs {
        any: config(&[b"h2", b"http/1.1"])?,
        http1: config(&[b"http/1.1"])?,
    })
}
