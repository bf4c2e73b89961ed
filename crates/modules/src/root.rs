//! Responsible for the directory of a module, `CONTAINERROOT`: its commands, their settings, and
//! the user's software, which stays when the rest is written anew.

use std::path::{Path, PathBuf};

use condense_installation::{HostMpi, SHARED_CONTAINER, SiteVariable, quote, render_site_settings};
use condense_publish::{Existing, Staging, sync_tree};

use crate::{
    error::{Error, Result},
    file::{ContainerModule, check_path},
    name::ModuleName,
    packages::Distribution,
    user_software::UserSoftware,
    venv::{Venv, link, make_executable},
};

const START: &str = include_str!("text/start.sh");
const KEEPER: &str = include_str!("text/keep-user-software");
/// Directory of the script behind all commands, and of its settings.
const SHARE: &str = "share/condense";
const SETTINGS: &str = "settings.sh";
const PACKAGES: &str = "packages.json";
const HOST_MPI: &str = "host-mpi.sh";
/// Directory in an archive for a recipe, from which user-software is made at its installation.
pub(crate) const RECIPE_SOFTWARE: &str = "share/condense/user-software";
/// Target of the links in `bin`.
const TARGET: &str = "../share/condense/start";
/// Start of the name of the file that shows a container to be one of this module.
const MARKER: &str = ".condense-";
/// Prefix of variables that a runtime sets in the container.
const INSIDE: &str = "SINGULARITYENV_";
/// Maximum size of the list of packages in bytes.
const PACKAGES_MOST: u64 = 16 << 20;

/// Directory of a module.
#[derive(Debug, Clone)]
pub struct Root {
    dir: PathBuf,
}

/// Contents of the directory of a module.
#[derive(Debug, Clone)]
pub struct RootFiles<'a> {
    /// Name and version of the module.
    pub module: &'a ModuleName,
    /// Image, binds and variables, as in the module file.
    pub container: &'a ContainerModule,
    /// Variables of the site, which are set when a program starts.
    pub variables: &'a [SiteVariable],
    /// Flags of the runtime.
    pub flags: &'a [String],
    /// Names of the commands in `bin`.
    pub commands: &'a [String],
    /// Settings of the host's MPI, if the image needs an MPI.
    pub host_mpi: Option<&'a HostMpi>,
    /// Python packages of the image.
    pub packages: &'a [Distribution],
    /// Virtual environment in `/user-software`.
    pub venv: Option<&'a Venv>,
    /// Whether the image has bash.
    pub has_bash: bool,
    /// Runtime that was found on this machine.
    pub runtime: Option<&'a Path>,
    /// The program condense itself, which packs and lists.
    pub condense: &'a Path,
    /// Image that is copied into the directory.
    pub copied: Option<&'a Path>,
}

impl Root {
    /// Returns the directory of a module at this path. It need not exist.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Returns the path of the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns whether something is there.
    pub fn exists(&self) -> bool {
        self.dir.symlink_metadata().is_ok()
    }

    /// Returns whether condense has written what is there.
    pub fn is_ours(&self) -> bool {
        self.dir.join(SHARE).join(SETTINGS).is_file()
    }

    /// Returns the user's software in the directory.
    pub fn user_software(&self) -> UserSoftware {
        UserSoftware::below(&self.dir)
    }

    /// Returns the Python packages of the image, as they were when the module was written.
    ///
    /// # Errors
    /// Returns an error if there is no list, or if it is damaged.
    pub fn packages(&self) -> Result<Vec<Distribution>> {
        let path = self.dir.join(SHARE).join(PACKAGES);
        let text = condense_input::read_to_string(&path, PACKAGES_MOST)?;
        serde_json::from_str(&text).map_err(|source| Error::Record { path, source })
    }

    /// Writes the directory. A new one appears complete; in an existing one, each file is replaced
    /// as a whole, and the user's software stays.
    ///
    /// # Errors
    /// Returns an error if a path cannot be a part of a bind mount, or if a file cannot be written.
    pub fn write(&self, files: &RootFiles) -> Result<()> {
        let text = self.dir.to_str().ok_or_else(|| Error::Path {
            path: self.dir.clone(),
            problem: "it is not UTF-8",
        })?;
        check_path(text)?;
        if self.exists() {
            return fill(&self.dir, files);
        }
        let parent = self.dir.parent().unwrap_or(Path::new("/"));
        fs_err::create_dir_all(parent)?;
        let staging = Staging::create(parent)?;
        let made = staging.path().join("root");
        fs_err::create_dir(&made)?;
        fill(&made, files)?;
        sync_tree(&made)?;
        Ok(staging.publish(&made, &self.dir, Existing::Refuse)?)
    }
}

impl Root {
    /// Writes the script by which a recipe links user-software to where it is kept.
    pub(crate) fn write_keeper(&self) -> Result<()> {
        let path = self.dir.join(SHARE).join("keep-user-software");
        condense_publish::write(&path, KEEPER.as_bytes())?;
        make_executable(&path)
    }
}

/// Writes the files into `dir`, which becomes the directory of the module.
fn fill(dir: &Path, files: &RootFiles) -> Result<()> {
    let share = dir.join(SHARE);
    let runscripts = dir.join("runscripts");
    for path in [&dir.join("bin"), &runscripts, &share] {
        fs_err::create_dir_all(path)?;
    }
    if let Some(image) = files.copied {
        copy(image, &dir.join(&files.container.image.file))?;
    }
    let marker = marker(files);
    for entry in fs_err::read_dir(&runscripts)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(MARKER) && name != *marker {
            fs_err::remove_file(entry.path())?;
        }
    }
    condense_publish::write(&runscripts.join(&marker), b"")?;
    write_run_scripts(&runscripts)?;
    let packages = serde_json::to_vec(files.packages).expect("names and versions are texts");
    condense_publish::write(&share.join(PACKAGES), &packages)?;
    if let Some(host_mpi) = files.host_mpi {
        let text = host_mpi.render()?;
        condense_publish::write(&share.join(HOST_MPI), text.as_bytes())?;
    }
    for (name, text) in SHARED_CONTAINER {
        condense_publish::write(&share.join(name), text.as_bytes())?;
    }
    condense_publish::write(&share.join(SETTINGS), settings(files)?.as_bytes())?;
    let start = share.join("start");
    condense_publish::write(&start, START.as_bytes())?;
    make_executable(&start)?;
    let software = UserSoftware::below(dir);
    if let Some(venv) = files.venv.filter(|_| !software.packed.exists()) {
        venv.write(&software.dir)?;
    } else if !software.packed.exists() {
        fs_err::create_dir_all(&software.dir)?;
    }
    link_commands(&dir.join("bin"), files.commands)
}

/// Writes the run scripts, also over those of an older version. The user's own files of these names
/// stay.
fn write_run_scripts(dir: &Path) -> Result<()> {
    for script in condense_jobs::run_scripts() {
        let path = dir.join(script.name);
        if path.symlink_metadata().is_ok() {
            let text = fs_err::read(&path).unwrap_or_default();
            if !condense_jobs::is_run_script(&text) {
                continue;
            }
        }
        condense_publish::write(&path, script.text.as_bytes())?;
        if script.mode & 0o111 != 0 {
            make_executable(&path)?;
        }
    }
    Ok(())
}

/// Makes the links in `bin`, and removes those that are no longer asked for.
fn link_commands(bin: &Path, commands: &[String]) -> Result<()> {
    for name in commands {
        link(TARGET, &bin.join(name))?;
    }
    for entry in fs_err::read_dir(bin)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_ours = fs_err::read_link(&path).is_ok_and(|to| to == Path::new(TARGET));
        if is_ours && !commands.iter().any(|command| *command == *name) {
            fs_err::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Copies an image beside its final name and renames the copy.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut output = condense_publish::Output::create_image(to, Existing::Replace)?;
    let mut source = fs_err::File::open(from)?;
    std::io::copy(&mut source, &mut output)?;
    Ok(output.publish()?)
}

/// Returns the name of the file in `runscripts` by which a command finds out that it runs in a
/// container of this module.
fn marker(files: &RootFiles) -> String {
    format!("{MARKER}{}", files.container.image.sha256)
}

/// Returns the settings of the commands, as shell code in parts.
fn settings(files: &RootFiles) -> Result<String> {
    let container = files.container;
    let image = &container.image;
    let word = |text: &str| quote(text).to_string_lossy().into_owned();
    let path = |path: &Path| quote(path).to_string_lossy().into_owned();
    let mut text = String::from(
        "# Written by condense: the settings of the commands in bin/, in parts that `start` asks for.\n",
    );
    text.push_str("case ${1-} in\n'')\n");
    let runtime = files.runtime.map_or("''".to_owned(), path);
    let shell = if files.has_bash { "bash" } else { "sh" };
    let mpi_from = match files.host_mpi {
        Some(host_mpi) if host_mpi.is_default => "host",
        Some(_) => "image",
        None => "''",
    };
    for (name, value) in [
        ("module", word(&files.module.to_string())),
        ("suffix", word(&files.module.suffix())),
        ("file", word(&image.file)),
        ("image", word(&image.path)),
        ("digest", word(&image.sha256)),
        ("marker", word(&format!("/runscripts/{}", marker(files)))),
        ("inside_path", word(&container.path.join(":"))),
        ("shell", shell.to_owned()),
        ("runtime", runtime),
        ("mpi_from", mpi_from.to_owned()),
        ("condense", path(files.condense)),
    ] {
        text.push_str(&format!("  {name}={value}\n"));
    }
    text.push_str("  ;;\ncopies)\n  shift\n  for each; do try \"$each\" && return 0; done\n");
    for dir in &image.dirs {
        let start = match &dir.variable {
            Some(name) => format!(
                "  each=${{{name}-}}; [ -n \"$each\" ] || each={}\n",
                word(&dir.start)
            ),
            None => format!("  each={}\n", word(&dir.start)),
        };
        let rest = word(&format!("{}/{}", dir.rest, image.file));
        text.push_str(&format!("{start}  try \"$each\"{rest} && return 0\n"));
    }
    text.push_str("  return 1\n  ;;\nbinds)\n");
    for bind in &container.binds {
        let (source, destination) = (word(&bind.source), word(&bind.destination));
        text.push_str(&format!("  show {source} {destination}\n"));
    }
    text.push_str("  ;;\nvariables)\n");
    for variable in &container.variables {
        if let Some(name) = variable.name.strip_prefix(INSIDE) {
            text.push_str(&format!("  inside {name} {}\n", word(&variable.value)));
        }
    }
    for line in render_site_settings(files.flags, files.variables)?.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str("  ;;\nesac\n");
    Ok(text)
}
