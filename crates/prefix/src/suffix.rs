//! Responsible for the suffix that distinguishes the mount points of different environments.

use sha2::{Digest, Sha256};

use crate::{lock, solution::Solution, spec::EnvironmentSpec, steps::Finished};

/// Characters of a mount point's suffix: only lower-case letters and digits, since some tools
/// ignore case. Seven of them make 36^7 different names.
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Returns seven characters that identify this environment and end its mount point. They are
/// made from [`environment_digest`].
pub fn mount_point_suffix(spec: &EnvironmentSpec, solution: &Solution) -> String {
    let digest = environment_digest(spec, solution);
    let characters = digest.iter().take(7);
    characters
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % 36]))
        .collect()
}

/// Returns a digest of names, versions, builds and digests of all packages and of all other
/// contents of the spec.
pub fn environment_digest(spec: &EnvironmentSpec, solution: &Solution) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut identities: Vec<String> = solution
        .records
        .iter()
        .map(|record| {
            let digest = record
                .package_record
                .sha256
                .map(hex::encode)
                .unwrap_or_default();
            format!(
                "{}/{} {digest}\n",
                record.package_record.subdir,
                record.identifier.to_file_name()
            )
        })
        .collect();
    identities.sort_unstable();
    for identity in identities {
        hash.update(identity);
    }
    match &solution.locked_pip {
        // The pip packages in a lock file are more exact than the lines
        // in the environment file.
        Some(locked) if !locked.is_empty() => {
            for package in locked {
                hash.update(package.identity());
                hash.update([0]);
            }
            hash.update(spec.digest_of_variables());
        }
        _ => hash.update(spec.digest_beyond_conda()),
    }
    hash.finalize().into()
}

/// Returns a digest of everything that the files of an environment are made from, or `None` if
/// pip does not tell from which archives it has installed its packages.
pub fn finished_digest(
    spec: &EnvironmentSpec,
    solution: &Solution,
    finished: &Finished,
) -> Option<[u8; 32]> {
    let digest = environment_digest(spec, solution);
    let is_locked = solution
        .locked_pip
        .as_ref()
        .is_some_and(|locked| !locked.is_empty());
    if is_locked || finished.pip_packages.is_empty() {
        return Some(digest);
    }
    let installed = lock::from_report(finished.pip_report.as_deref()?).ok()?;
    let mut hash = Sha256::new();
    hash.update(digest);
    for package in installed {
        hash.update(package.identity());
        hash.update([0]);
    }
    Some(hash.finalize().into())
}
