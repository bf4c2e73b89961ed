//! Responsible for the source of a stage: the image that it begins with, and its signatures.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use anyhow::{Context, bail};
use condense_base::BaseImage;
use condense_definition::{Agent, Stage};
use condense_diagnostics::{Location, UserError};
use condense_image::{
    Arch, Donor, Tree,
    sif::signature::{Keyring, verify},
};
use condense_oci::{Reference, RuntimeEntry, runtime_entries};

use super::root::{Found, find, put, resolve};
use crate::{open_base::OpenBase, plan::DefinitionPlan, session::Session, sif::whole_tree};

/// Runscript of an image that has none.
const NO_RUNSCRIPT: &str =
    "#!/bin/sh\n\necho \"There is no runscript defined for this container\"\n";
/// Runscript of an image that begins with nothing.
const EMPTY_RUNSCRIPT: &str = "#!/bin/sh\n";
const RUNSCRIPT: &str = ".singularity.d/runscript";

/// Beginning of a stage.
pub(super) struct Source {
    pub(super) tree: Tree,
    /// Image whose blocks are reused.
    pub(super) donor: Option<Donor>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) arch: Arch,
    /// The image, unless the stage begins with nothing.
    pub(super) base: Option<OpenBase>,
}

/// Returns the words by which the source of a stage is found, or `None` if it is nothing.
pub(super) fn reference(stage: &Stage, plan: &DefinitionPlan) -> anyhow::Result<Option<String>> {
    let source = stage.source();
    let scheme = stage.agent.name();
    let words = match stage.agent {
        Agent::Scratch => return Ok(None),
        Agent::LocalImage => return Ok(Some(plan.cwd.join(source).display().to_string())),
        Agent::Docker | Agent::Oras => format!("{scheme}://{source}"),
        Agent::DockerArchive | Agent::Oci | Agent::OciArchive => format!("{scheme}:{source}"),
    };
    let parsed = Reference::parse(&words).map_err(|error| {
        let hint = condense_diagnostics::Hint::hint(&error);
        UserError::at(place(stage), error, hint)
    })?;
    Ok(Some(parsed.absolute(&plan.cwd).to_string()))
}

/// Returns the place of the source in the definition file.
pub(super) fn place(stage: &Stage) -> Location {
    let place = stage.source_location().cloned();
    place.unwrap_or_else(|| Location::new(std::path::Path::new("the definition"), 0, 0))
}

impl Source {
    /// Opens the source of a stage, and checks that the keys have signed it that the stage names.
    ///
    /// # Errors
    /// Returns an error if the source cannot be found, fetched or read, or if a signature is
    /// missing.
    pub(super) fn open(
        stage: &Stage,
        plan: &DefinitionPlan,
        session: Session,
    ) -> anyhow::Result<Self> {
        let Some(reference) = reference(stage, plan)? else {
            let Some(arch) = Arch::host() else {
                bail!("this machine's architecture has no place in a SIF")
            };
            let mut tree = Tree::new();
            tree.set_mtime_of_additions(plan.source_date_epoch.unwrap_or(0));
            return Ok(Self {
                tree,
                donor: None,
                labels: BTreeMap::new(),
                arch,
                base: None,
            });
        };
        if stage.agent == Agent::LocalImage {
            check_local(stage, &reference)?;
        }
        let epoch = plan.source_date_epoch;
        let base = OpenBase::open_source(session, &reference, epoch)
            .with_context(|| format!("{}: cannot use the source of the stage", place(stage)))?;
        check_signatures(stage, &base.image, &plan.keyrings)?;
        let (mut tree, donor) = whole_tree(&base.image, session.report)?;
        if plan.options.fixes_permissions {
            tree.change_modes(|entry| match entry.kind {
                condense_image::Kind::Directory(_) => entry.mode | 0o700,
                condense_image::Kind::File { .. } => entry.mode | 0o600,
                _ => entry.mode,
            });
        }
        let architecture = base.facts.architecture.as_deref();
        let Some(arch) = architecture.and_then(Arch::from_name).or_else(Arch::host) else {
            bail!("this machine's architecture has no place in a SIF")
        };
        Ok(Self {
            tree,
            donor,
            labels: base.facts.labels.clone(),
            arch,
            base: Some(base),
        })
    }
}

/// Refuses a local image that does not exist, with a hint about the agent.
fn check_local(stage: &Stage, reference: &str) -> anyhow::Result<()> {
    let from = stage.from();
    if std::path::Path::new(reference).exists() {
        return Ok(());
    }
    let hint = match Reference::parse(from) {
        Ok(Reference::Image(_)) => {
            "the scheme of an image is the word behind `Bootstrap:`, as in `Bootstrap: docker`"
                .to_owned()
        }
        _ => match condense_oci::suggest_scheme(from) {
            Some(_) => format!("`Bootstrap: docker` if `{from}` is an image in a registry"),
            None => "name a .sif file or a sandbox directory; relative paths start from the current directory".to_owned(),
        },
    };
    bail!(UserError::at(
        place(stage),
        format!("the image `{from}` does not exist"),
        Some(hint)
    ))
}

/// Checks that each key of `Fingerprints:` has signed the image.
fn check_signatures(stage: &Stage, image: &BaseImage, keyrings: &[PathBuf]) -> anyhow::Result<()> {
    let wanted = stage.fingerprints();
    if wanted.is_empty() {
        return Ok(());
    }
    let refused = |problem: String, hint: &str| {
        let header = stage.header("fingerprints");
        let location = header.map_or_else(|| place(stage), |it| it.value_location.clone());
        UserError::at(location, problem, Some(hint.to_owned()))
    };
    let shown = stage.from();
    let Some(sif) = image.sif().filter(|_| stage.agent == Agent::LocalImage) else {
        bail!(refused(
            format!("`{shown}` is not a SIF on this machine, which alone can be signed"),
            "leave out `Fingerprints:`, or name a signed SIF with `Bootstrap: localimage`",
        ));
    };
    let mut keyring = Keyring::default();
    for path in keyrings {
        if fs_err::metadata(path).is_ok_and(|metadata| metadata.len() > 0) {
            keyring.add_file(path)?;
        }
    }
    // The check uses the clock even if `SOURCE_DATE_EPOCH` is set.
    let now = u32::try_from(jiff::Timestamp::now().as_second())?;
    // Each group has a signature, or this is an error.
    let signatures = verify(sif, &keyring, now)?;
    let groups: BTreeSet<u32> = signatures.iter().map(|signature| signature.group).collect();
    for fingerprint in wanted {
        let of_key = signatures.iter().filter(|signature| {
            let found = signature.fingerprint.as_deref();
            found.is_some_and(|found| found.eq_ignore_ascii_case(&fingerprint))
        });
        let covered: BTreeSet<u32> = of_key.map(|signature| signature.group).collect();
        let missing = groups.difference(&covered).next();
        let ask = "ask the maker of the image for a signed one, or for the right fingerprint";
        match missing {
            Some(_) if covered.is_empty() => bail!(refused(
                format!("`{shown}` is not signed by the key {fingerprint}"),
                ask,
            )),
            Some(group) => bail!(refused(
                format!(
                    "the key {fingerprint} has not signed the group {group} of objects of `{shown}`"
                ),
                ask,
            )),
            None => {}
        }
    }
    // As runtimes do, a signature of another key must hold as well.
    for signature in &signatures {
        let Some(problem) = &signature.problem else {
            continue;
        };
        let key = signature.fingerprint.as_deref();
        bail!(refused(
            format!(
                "the signature of the key {} on `{shown}` does not hold: {problem}",
                key.unwrap_or("without a fingerprint")
            ),
            "import the key with `apptainer key import FILE`, or get the image again",
        ));
    }
    Ok(())
}

/// Adds everything that runtimes expect in an image and that is not there yet.
///
/// # Errors
/// Returns an error if something else is in the way.
pub(super) fn complete(tree: &mut Tree, agent: Agent) -> anyhow::Result<()> {
    let is_complete = !agent.has_definition() && agent != Agent::Scratch;
    if is_complete {
        return Ok(());
    }
    for entry in runtime_entries() {
        match entry {
            RuntimeEntry::Directory(path, mode) => {
                let path = resolve(tree, path.as_ref())?;
                if find(tree, &path).is_none() {
                    tree.add_directory(&path)?;
                    tree.set_mode(&path, mode)?;
                }
            }
            RuntimeEntry::File(path, text, mode) => {
                let path = resolve(tree, path.as_ref())?;
                match find(tree, &path) {
                    None => put(tree, &path, text.as_bytes(), mode)?,
                    Some(Found::File) => tree.set_mode(&path, mode)?,
                    Some(_) => {}
                }
            }
            RuntimeEntry::Link(path, target) => {
                use condense_image::Kind;
                let found = tree.entry_at(path).map(|entry| &entry.kind);
                match found {
                    None => tree.add_symlink(path, target)?,
                    Some(Kind::Symlink(found)) if **found != *target.as_bytes() => {
                        tree.remove(path)?;
                        tree.add_symlink(path, target)?;
                    }
                    Some(_) => {}
                }
            }
        }
    }
    let runscript = match agent {
        Agent::Scratch => EMPTY_RUNSCRIPT,
        _ => NO_RUNSCRIPT,
    };
    if find(tree, &resolve(tree, RUNSCRIPT.as_ref())?).is_none() {
        put(tree, RUNSCRIPT, runscript.as_bytes(), 0o755)?;
    }
    Ok(())
}
