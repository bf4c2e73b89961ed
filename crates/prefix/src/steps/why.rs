//! Responsible for asking pip why it has found no archive for a requirement. pip treats archives
//! for other Pythons and machines, and servers that do not answer, like archives that do not
//! exist, and names them only in its log.

use std::ffi::OsString;

use super::runner::StepRunner;
use crate::{error::Error, secrets::without_secrets, target::Place};

const WHY_SH: &str = include_str!("why.sh");

/// Looks for the archives of one requirement once more. Returns the lines of pip's log about
/// archives that it left out, and about pages that it did not get. `argv` is the command line of
/// the script in which pip failed.
///
/// # Errors
/// Returns [`Error::Io`] if the script cannot be written.
pub(super) fn ask(
    requirement: &str,
    argv: &[OsString],
    container: &dyn StepRunner,
    place: &Place,
) -> Result<String, Error> {
    // The arguments are the shell, the script, the environment and the directory of the steps.
    let [shell, script, environment, build, ..] = argv else {
        return Ok(String::new());
    };
    let build_dir = place.open_build_dir()?;
    build_dir.write("why.sh", WHY_SH)?;
    build_dir.write("why.txt", requirement.to_owned() + "\n")?;
    let mut path = std::path::PathBuf::from(script);
    path.set_file_name("why.sh");
    let argv = [
        shell.clone(),
        path.into(),
        environment.clone(),
        build.clone(),
    ];
    let mut lines = Vec::new();
    // Without an answer the failure is told with fewer facts.
    let _ = container.run(&argv, &mut |line| {
        lines.push(without_secrets(line).into_owned());
    });
    Ok(lines.join("\n"))
}
