//! Responsible for the inputs of surroundings.sh, which prepares pip, uv and user scripts: the
//! environment's activation, certificates and configuration.

use std::path::{Path, PathBuf};

use crate::{error::Error, shell::quote, target::Place};
use condense_activation::{Activation, ActivationStep};
use condense_within::Within;

pub(super) const SURROUNDINGS_SH: &str = include_str!("surroundings.sh");
const CERTIFICATE_VARIABLES: [&str; 4] = [
    "PIP_CERT",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];
/// System-wide configuration file of pip on a host.
const HOST_CONFIGURATION: &str = "/etc/pip.conf";

/// Writes the files that surroundings.sh reads into the directory of build steps: the activation of
/// the environment at `place`, certificates, configuration.
pub(crate) fn write_surroundings(place: &Place, build_dir: &Within) -> Result<(), Error> {
    let write = |name: &str, text: &str| build_dir.write(name, text);
    if let Some(text) = activate(place)? {
        write("pip-activate", &text)?;
    }
    copy_certificates(build_dir)?;
    copy_configuration(build_dir)?;
    Ok(write("surroundings.sh", SURROUNDINGS_SH)?)
}

/// Returns shell code that sets the variables from the environment's own files.
pub(super) fn activate_variables(place: &Place) -> Result<String, Error> {
    let steps = Activation::from_variables(&place.scratch_env())?.steps;
    let lines = steps.into_iter().filter_map(|step| match step {
        ActivationStep::Set { name, value } => Some(format!("export {name}={}\n", quote(&value))),
        _ => None,
    });
    Ok(lines.collect())
}

/// Returns shell code that activates the environment, or `None` if there is nothing to activate.
fn activate(place: &Place) -> Result<Option<String>, Error> {
    if !place.open_root()?.is_dir(&place.environment) {
        // The environment is missing only before a virtual environment is made.
        return Ok(None);
    }
    let env_dir = place.open_env()?;
    let mut text = activate_variables(place)?;
    let scripts = env_dir.names("etc/conda/activate.d")?.into_iter();
    for name in scripts.filter(|name| Path::new(name).extension().is_some_and(|end| end == "sh")) {
        let inside = place.mounted_env().join("etc/conda/activate.d").join(name);
        text.push_str(&format!(". {}\n", quote(&inside.to_string_lossy())));
    }
    Ok((!text.is_empty()).then_some(text))
}

/// Copies the host's certificates. They are in the host's /etc, which the container may not show.
fn copy_certificates(build_dir: &Within) -> Result<(), Error> {
    build_dir.make_dir("certificates")?;
    for name in CERTIFICATE_VARIABLES {
        if let Some(file) = std::env::var_os(name).map(PathBuf::from)
            && file.is_file()
        {
            let bytes = condense_input::read(&file, condense_input::TEXT_MOST)
                .map_err(Error::io("read", &file))?;
            build_dir.write(Path::new("certificates").join(name), bytes)?;
        }
    }
    Ok(())
}

/// Copies the host's configuration of pip, in which administrators set indices. It may contain
/// their credentials: other users cannot read scratch, and the directory is not part of the image.
fn copy_configuration(build_dir: &Within) -> Result<(), Error> {
    let Ok(text) = condense_input::read_to_string(HOST_CONFIGURATION, condense_input::TEXT_MOST)
    else {
        // The file does not exist, or this user may not read it.
        return Ok(());
    };
    // Certificates are passed by environment variables; the paths of the host are invalid in the
    // container.
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.split('=').next().unwrap_or("").trim() != "cert")
        .collect();
    build_dir.make_dir("config/pip")?;
    Ok(build_dir.write("config/pip/pip.conf", lines.join("\n") + "\n")?)
}
