//! Responsible for the certificates that servers are checked against.

use std::path::Path;

use reqwest::Certificate;
use rustls_native_certs::{CertificateResult, load_certs_from_paths};

use super::{settings::Trust, unusable};
use crate::error::Error;

impl Trust {
    /// All certificates; those of the system are left out where `offline` makes them useless.
    pub(super) fn load(&self, offline: bool) -> Result<Vec<Certificate>, Error> {
        let mut certificates = Vec::new();
        for path in self.files.iter().chain(&self.dirs).chain(&self.extra) {
            certificates.extend(named(path)?);
        }
        if self.files.is_empty() && self.dirs.is_empty() && !offline {
            // What cannot be read there is the system's affair; a server that needs it is refused.
            certificates.extend(readable(&rustls_native_certs::load_native_certs()));
        }
        Ok(certificates)
    }
}

/// Directories of systems hold odd things; one that rustls cannot use must not stop the others.
fn readable(found: &CertificateResult) -> Vec<Certificate> {
    found
        .certs
        .iter()
        .filter(|der| rustls::RootCertStore::empty().add((*der).clone()).is_ok())
        .filter_map(|der| Certificate::from_der(der).ok())
        .collect()
}

/// The certificates of a file or a directory.
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

/// A file that was named must be one of certificates; a directory may hold other things, and be
/// empty.
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
