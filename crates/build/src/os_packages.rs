//! Responsible for packages of the base's own distribution: a new base is made of the base, and
//! takes its place.

mod manager;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::{Context, bail};
use condense_base::BaseImage;
use condense_diagnostics::UserError;
use condense_image::{
    Arch, Donor, PackOptions, Tree,
    sif::{DataKind, FileSystem, NewObject, PartitionRole, SifOptions, SifWriter},
};
use condense_prefix::Proxies;
use condense_within::Within;
use indicatif::HumanBytes;

use crate::{
    open_base::OpenBase,
    pack::observed,
    plan::PackageSettings,
    pull::Pull,
    report::Phase,
    root_script::{self, RootScript, RootSettings, ScriptRoot},
    scratch::Scratch,
    session::Session,
    sif,
};
use manager::{Manager, Reason};

/// Name of the new base in its scratch directory. Messages of a runtime name it.
const NEW_BASE: &str = "base.sif";
/// Directory of the lists of packages, in the directory of temporary files of the script.
const NOTES: &str = "condense-os-packages";
/// Maximum size in bytes of a text of a base that is copied into the new one.
const TEXT_LIMIT: u64 = 4 << 20;

/// Packages that a package manager has installed, with their versions, sorted.
pub(crate) type Installed = Vec<(String, String)>;

/// A base with more packages, in a directory of its own.
pub(crate) struct NewBase {
    pub(crate) image: BaseImage,
    /// Directory that holds the image.
    pub(crate) scratch: Scratch,
    pub(crate) installed: Installed,
}

impl OpenBase {
    /// Installs packages of the base's distribution. The base with them takes the place of the
    /// base, which stays as it is. A dry run only checks whether that can be done.
    ///
    /// # Errors
    /// Returns an error if the base has no package manager, if there is no such package, or if no
    /// script can run as root here.
    pub(crate) fn with_os_packages(
        self,
        session: Session,
        wanted: &[String],
        packages: &PackageSettings,
        epoch: Option<u32>,
    ) -> anyhow::Result<Self> {
        if wanted.is_empty() {
            return Ok(self);
        }
        if session.is_dry_run() {
            check(&self, wanted, packages)?;
            return Ok(self);
        }
        match NewBase::make(session, &self, wanted, packages, epoch)? {
            Some(new) => self.replaced_by(new),
            None => Ok(self),
        }
    }

    /// Returns the step of a build that installs packages of the base's distribution, if there are
    /// any.
    ///
    /// # Errors
    /// Returns an error if they cannot be installed.
    pub(crate) fn os_packages_step(
        &self,
        wanted: &[String],
        packages: &PackageSettings,
    ) -> anyhow::Result<Option<String>> {
        if wanted.is_empty() {
            return Ok(None);
        }
        let manager = check(self, wanted, packages)?;
        Ok(Some(step(wanted, manager.name)))
    }
}

/// Returns the step of a build that installs packages with a package manager.
pub(crate) fn step(wanted: &[String], manager: &str) -> String {
    format!("install {} with {manager}", wanted.join(", "))
}

impl NewBase {
    /// Makes a base with more packages. Returns `None` if the base has them all.
    fn make(
        session: Session,
        base: &OpenBase,
        wanted: &[String],
        packages: &PackageSettings,
        epoch: Option<u32>,
    ) -> anyhow::Result<Option<Self>> {
        let report = session.report;
        let manager = check(base, wanted, packages)?;
        report.info(format!(
            "Installing packages of {} with {}: {}",
            system(base),
            manager.name,
            wanted.join(" ")
        ));
        let runtime = session.find_runtime(&[])?;
        let scratch = session.scratch()?;
        let (tree, donor) = sif::whole_tree(&base.image, report)?;
        let created = donor
            .as_ref()
            .map(|donor| donor.reader().superblock().created);
        let settings = RootSettings::default();
        let root = ScriptRoot::open(session, scratch.path(), tree, runtime.as_ref(), &settings)?;
        let text = manager.script();
        let script = RootScript {
            name: "--os-packages",
            text: &text,
            shell: vec!["/bin/sh".to_owned()],
            arguments: wanted.to_vec(),
            variables: variables(&packages.network.proxies),
            origin: None,
        };
        root.run(&script)
            .map_err(|error| explained(error, manager, base))?;
        let installed = installed(&Within::open(root.temporary_dir())?)?;
        if installed.is_empty() {
            report.info("The base has these packages already");
            return Ok(None);
        }
        let (tree, changes) = root.finish(epoch)?;
        let path = scratch.path().join(NEW_BASE);
        write(session, &base.image, &tree, donor, &path, epoch.or(created))?;
        drop(tree);
        // The contents are in the image now.
        let _ = fs_err::remove_dir_all(scratch.path().join(root_script::DIR));
        report.info(format!(
            "{} packages of the distribution are new in the base, {} of files were compressed: {}",
            installed.len(),
            HumanBytes(changes.bytes),
            records(&installed).join(" ")
        ));
        Ok(Some(Self {
            image: BaseImage::open(&path)?,
            scratch,
            installed,
        }))
    }
}

/// Returns packages as locks and receipts record them: `NAME=VERSION`.
pub(crate) fn records(installed: &Installed) -> Vec<String> {
    let packages = installed.iter();
    packages
        .map(|(name, version)| format!("{name}={version}"))
        .collect()
}

/// Returns records with new packages among them, which replace other versions of themselves.
pub(crate) fn merged(mut old: Vec<String>, new: &Installed) -> Vec<String> {
    let name = |record: &str| record.split('=').next().map(str::to_owned);
    let new = records(new);
    old.retain(|old| !new.iter().any(|new| name(new) == name(old)));
    old.extend(new);
    old.sort();
    old
}

/// Returns the name of the base's distribution.
fn system(base: &OpenBase) -> String {
    let distribution = base.facts.distribution.as_ref();
    let name = distribution.and_then(|found| found.pretty_name.clone());
    name.unwrap_or_else(|| "the base".to_owned())
}

/// Refuses to ask servers in a run without network.
///
/// # Errors
/// Returns an error if packages are wanted and the run is offline.
pub(crate) fn check_network(wanted: &[String], packages: &PackageSettings) -> anyhow::Result<()> {
    if !wanted.is_empty() && packages.network.offline {
        bail!(UserError::new(
            "`--os-packages` asks the servers of the base's distribution, and `--offline` forbids that",
            "leave one of them out, or make the base with its packages once: `condense build NEW.sif --base-image BASE --os-packages …`",
        ));
    }
    Ok(())
}

/// Checks a request before anything is written, and returns the package manager.
fn check(
    base: &OpenBase,
    wanted: &[String],
    packages: &PackageSettings,
) -> anyhow::Result<Manager> {
    check_network(wanted, packages)?;
    Manager::of(&base.image)?.ok_or_else(|| {
        UserError::new(
            format!(
                "the base `{}` ({}) has no package manager",
                base.image.reference().display(),
                system(base)
            ),
            format!("name a base that has one of {}", Manager::names()),
        )
        .into()
    })
}

/// Returns the variables of a package manager: it may need a proxy.
fn variables(proxies: &Proxies) -> BTreeMap<String, String> {
    let pairs = [
        ("http_proxy", proxies.http.as_ref().or(proxies.all.as_ref())),
        (
            "https_proxy",
            proxies.https.as_ref().or(proxies.all.as_ref()),
        ),
        ("no_proxy", proxies.no_proxy.as_ref()),
    ];
    pairs
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.clone())))
        .collect()
}

/// Replaces a failure that has a usual reason by that reason.
fn explained(error: anyhow::Error, manager: Manager, base: &OpenBase) -> anyhow::Error {
    let Some(root_script::Error::Failed { output, .. }) = error.downcast_ref() else {
        return error;
    };
    let system = system(base);
    match manager.reason(output) {
        Some(Reason::Unknown(name)) => UserError::new(
            format!("`--os-packages`: {system} has no package `{name}` in the places that its {} knows", manager.name),
            "packages have other names in other distributions; more places are named in a definition file's %post",
        )
        .into(),
        Some(Reason::Network) => error.context(UserError::new(
            format!("`--os-packages`: {} reaches no server of {system}", manager.name),
            "build where there is a network, or set http_proxy and https_proxy",
        )),
        None => error,
    }
}

/// Reads which packages are new or have another version.
fn installed(temporary: &Within) -> anyhow::Result<Installed> {
    let read = |name: &str| -> anyhow::Result<BTreeMap<String, String>> {
        let text = temporary.read_required_text(Path::new(NOTES).join(name))?;
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs
            .map(|(name, version)| (name.to_owned(), version.trim().to_owned()))
            .collect())
    };
    let before = read("before")?;
    let mut after: Installed = read("after")?.into_iter().collect();
    after.retain(|(name, version)| before.get(name) != Some(version));
    Ok(after)
}

/// Writes the new base with the texts in which the base describes itself.
fn write(
    session: Session,
    base: &BaseImage,
    tree: &Tree,
    donor: Option<Donor>,
    path: &Path,
    created: Option<u32>,
) -> anyhow::Result<()> {
    let report: &Arc<_> = session.report;
    let options = match donor {
        Some(donor) => PackOptions::onto(donor),
        None => PackOptions {
            compression: Pull::COMPRESSION,
            ..PackOptions::default()
        },
    };
    let Some(arch) = base
        .sif()
        .and_then(condense_image::Sif::arch)
        .or_else(Arch::host)
    else {
        bail!("this machine's architecture has no place in a SIF")
    };
    let mut writer = SifWriter::create(
        path,
        &SifOptions {
            created: created.unwrap_or(0).into(),
            ..SifOptions::default()
        },
    )?;
    for object in base
        .sif()
        .into_iter()
        .flat_map(condense_image::Sif::descriptors)
    {
        if matches!(object.kind, DataKind::DefinitionFile | DataKind::Json) {
            let sif = base.sif().context("the object is of a SIF")?;
            let bytes = sif.read(object, TEXT_LIMIT)?;
            writer.add(&NewObject::new(object.kind).named(&*object.name), &bytes)?;
        }
    }
    let changed: u64 = sif::added_bytes(tree);
    report.begin(Phase::Pack, Some(changed));
    let partition = NewObject::partition(FileSystem::SquashFs, PartitionRole::PrimarySystem, arch);
    sif::add_image(writer, &partition, tree, &observed(options, report), report)?;
    Ok(())
}
