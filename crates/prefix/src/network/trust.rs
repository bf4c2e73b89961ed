//! Responsible for reading the certificates that servers are checked against.

use std::path::Path;

use reqwest::Certificate;
use rustls_native_certs::{CertificateResult, load_certs_from_paths};

use super::{settings::Trust, unusable};
use crate::error::Error;

impl Trust {
    /// Reads all certificates. The system's certificates are left out in offline mode, which does
    /// not need them.
    pub(super) fn load(&self, offline: bool) -> Result<Vec<Certificate>, Error> {
        let mut certificates = Vec::new();
        for path in self.files.iter().chain(&self.dirs).chain(&self.extra) {
            certificates.extend(named(path)?);
        }
        if self.files.is_empty() && self.dirs.is_empty() && !offline {
            // Certificates of the system that cannot be read are ignored; connections to servers
            // that need them fail.
            certificates.extend(readable(&rustls_native_certs::load_native_certs()));
        }
        Ok(certificates)
    }
}

/// Returns the certificates that rustls can use. The system's directories contain other
/// certificates, too, which must not cause an error.
fn readable(found: &CertificateResult) -> Vec<Certificate> {
    found
        .certs
        .iter()
        .filter(|der| rustls::RootCertStore::empty().add((*der).clone()).is_ok())
        .filter_map(|der| Certificate::from_der(der).ok())
        .collect()
}

/// Reads the certificates of a file or a directory that the settings name.
fn named(path: &Path) -> Result<Vec<Certificate>, Error> {
    if !path.is_dir() {
        condense_input::check(path, condense_input::TEXT_MOST).map_err(Error::io("read", path))?;
    }
    let found = if path.is_dir() {
        load_certs_from_paths(None, Some(path))
    } else {
        load_certs_from_paths(Some(path), None)
    };
    refuse_empty(path, &found)?;
    Ok(readable(&found))
}

/// Returns an error if the settings name a file without certificates. A directory may have other
/// files or be empty, but reading it must not fail.
fn refuse_empty(path: &Path, found: &CertificateResult) -> Result<(), Error> {
    if let Some(error) = found.errors.first()
        && found.certs.is_empty()
    {
        return Err(unusable(path, format!("cannot be read: {error}")));
    }
    if found.certs.is_empty() && !path.is_dir() {
        return Err(unusable(path, "there is no certificate in PEM form in it"));
    }
    Ok(())
}
