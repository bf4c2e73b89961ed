//! Responsible for writing down exactly what was installed.

use rattler_lock::{DEFAULT_ENVIRONMENT_NAME, LockFile, PlatformData, PlatformName};

use crate::{error::Error, install::scrubbed, solve::Solution};

/// The lock as text: YAML of rattler's lock format, every package with its sha256.
///
/// # Errors
/// [`Error::Install`] when a record cannot be expressed in the format.
pub fn render_lock(solution: &Solution) -> Result<String, Error> {
    let refused = |source: Box<dyn std::error::Error + Send + Sync>| Error::Install {
        package: "lock".to_owned(),
        source,
    };
    let platform = solution.subdir.as_str();
    let mut builder = LockFile::builder()
        .with_platforms(vec![PlatformData {
            name: PlatformName::try_from(platform)
                .map_err(|error| refused(error.to_string().into()))?,
            subdir: solution.subdir,
            virtual_packages: solution.virtual_packages.clone(),
        }])
        .map_err(|error| refused(error.to_string().into()))?;
    builder.set_channels(
        DEFAULT_ENVIRONMENT_NAME,
        solution.channels.iter().map(String::as_str),
    );
    for record in &solution.records {
        let record = scrubbed(record);
        builder
            .add_conda_package(DEFAULT_ENVIRONMENT_NAME, platform, record.into())
            .map_err(|error| refused(error.to_string().into()))?;
    }
    builder
        .finish()
        .render_to_string()
        .map_err(|error| refused(error.to_string().into()))
}
