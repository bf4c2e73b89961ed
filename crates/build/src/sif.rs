//! Responsible for making a SIF of a base and an environment: the base's blocks are taken as they
//! are, and nothing is seen at the destination before it has been read back and started once.

mod base;
mod copies;
mod on_top;
mod overlay;
mod request;
mod write;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use condense_base::BaseImage;
use condense_image::{Existing, Mtime, ScanOptions, Tree};
use condense_installation::{
    ContainerEnvironment, ContainerFiles, ContainerSite, EnvironmentKind, Exec, HostView,
    Isolation, Runtime,
};
use condense_prefix::{BUILD_DIR, EnvironmentSpec};
use condense_publish::Staging;
use indicatif::HumanBytes;
use sha2::{Digest, Sha256};

use super::{
    Build, LoadedInputs, Pull, find_runtime, lock, pip_asks_network, pull, refused_offline,
    scratch::Scratch, space, spawn_digest, target,
};
use crate::{
    interrupt::Interrupt,
    plan::{Layout, SifPlan},
    report::{Phase, Report},
};
use condense_diagnostics::UserError;

/// Where the lock and what was asked for are kept in the image.
pub(super) const KEPT: &str = ".singularity.d/condense";
pub(super) const LOCK: &str = "condense.lock";
const INPUT: &str = "environment.yml";
const INSTALLED: &str = "installed.txt";
/// The first two words are a variable and what must be in it; the others are a program and its
/// arguments.
const START: &str = "eval \"found=\\${$1-}\"
[ \"$found\" = \"$2\" ] || { echo \"$1 is '$found', not '$2'\"; exit 1; }
shift 2; exec \"$@\"";

/// Everything that is known when the image is written.
struct Parts {
    installed: Option<Installed>,
    base_digest: Option<String>,
}

/// An environment in scratch, and what is said of it.
struct Installed {
    /// What lies at the directory of environments.
    root: PathBuf,
    environment: ContainerEnvironment,
    /// When the newest of its packages was made.
    newest: Option<u32>,
    /// conda's and pip's packages with their digests.
    lock: Option<Vec<u8>>,
    /// What the image keeps of how it came to be, each with its place.
    kept: Vec<(PathBuf, Vec<u8>)>,
}

/// Makes the SIF that `plan` describes; `search_path` is the user's PATH.
///
/// # Errors
/// Whatever stopped it; the destination is then as it was, and scratch is gone.
pub fn build_sif(
    plan: &SifPlan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let out = &plan.build.prefix_dir;
    check_destination(out)?;
    let reference = plan.build.base.reference();
    let mut inputs = LoadedInputs::load(&plan.build)?;
    inputs.add_commands(&plan.post);
    let with_pip = plan.build.inputs.requirements.is_some();
    let mut spec = if plan.on_top {
        None
    } else {
        request::read(&plan.request, with_pip, &plan.build.settings.spec_context)?
    };
    if let (Some(condarc), Some(spec)) = (&plan.build.settings.condarc, &mut spec) {
        condarc.apply(spec)?;
    }
    if let Some(spec) = &mut spec {
        inputs.require(spec);
    }
    for warning in spec.iter().flat_map(EnvironmentSpec::warnings) {
        report.warn_of(warning);
    }
    super::check::check_request(
        (spec.as_ref(), inputs.pip_lines()),
        plan.request
            .file
            .as_deref()
            .unwrap_or(Path::new("the request")),
        reference,
        &plan.build.settings.checks,
        report,
    )?;
    let located = pull::locate(
        reference,
        &Pull::for_a_base(
            &plan.build.settings.registries,
            &plan.build.settings.scratch_parent,
            plan.build.source_date_epoch,
        ),
        report,
    )?;
    let image = BaseImage::open(&located.path)?;
    image.check_architecture()?;
    let facts = image.facts()?;
    let [transport, from] = base::origin(reference)?;
    let definition = format!("bootstrap: {transport}\nfrom: {from}\n\n");
    let files = base::files(&image, &facts)?;
    base::warn_of_signatures(&image, report);
    let mut start = match plan.layout {
        Layout::Flat => base::start(&image, report)?,
        Layout::Overlay => overlay::start(&image)?,
    };
    let environment_dir = plan.mount_point.join(&plan.build.env_path);
    if (plan.has_environment() || plan.on_top) && image.exists(&environment_dir)? {
        bail!(UserError::new(
            format!(
                "there is an environment at `{}` in the base image already",
                environment_dir.display()
            ),
            "put the new one elsewhere with `--mount-point DIR`",
        ));
    }
    let base_bytes = base::size(image.path());
    space::check(&[space::Need {
        dir: out,
        bytes: base_bytes,
        what: "the base image in the new one",
        hint: "make room there, or name another place",
    }])?;
    let digest = spawn_digest(&located.path)?;

    let build = Build {
        venv: None,
        plan: &plan.build,
        inputs,
        report,
        base: image,
        base_is_cached: located.is_cached,
        facts,
        view: HostView::Base,
        bytes_beside: base_bytes,
        has_wrappers: false,
        runtime: None,
        scratch: Scratch::of(&plan.build.settings, report, interrupt)?,
    };
    build.check_context().check_base()?;
    if plan.on_top || !plan.has_environment() {
        build.check_context().check_packages_of_base()?;
    }
    let (build, installed) = if plan.on_top {
        install_on_top(build, plan, search_path)?
    } else if plan.has_environment() {
        install(build, plan, spec, search_path)?
    } else {
        let runtime = find_runtime(
            plan.build.settings.runtime.as_deref(),
            &[],
            search_path,
            report,
        )?;
        (Build { runtime, ..build }, None)
    };
    let base_digest = digest
        .join()
        .map_err(|_| anyhow::anyhow!("failed to take the digest of the base image"))??;
    let parts = Parts {
        installed,
        base_digest: located
            .digest
            .or(base_digest.map(|hex| format!("sha256:{hex}"))),
    };

    report.info("Adding metadata to container");
    let container = ContainerFiles {
        base: files,
        labels: labels(plan, &parts, [transport, from]),
        definition,
        environment: parts
            .installed
            .as_ref()
            .map(|installed| installed.environment.clone()),
        site: ContainerSite {
            name: plan.build.settings.checks.machine.site.clone(),
            variables: plan.build.rules.variables_for(build.known())?,
            binds: build.site_binds()?,
            flags: plan.build.rules.flags_for(build.known())?,
        },
    };
    let stamp = build.stamp(&parts, &start);
    build.graft(plan, &mut start.tree, &parts, &container, stamp)?;

    report.info("Building container image");
    // Beside its place, so that one rename puts it there.
    let staging = Staging::beside(out)
        .map_err(condense_image::Error::from)
        .with_context(|| format!("cannot write `{}`", out.display()))?;
    interrupt.remove_on_exit(staging.path().to_owned());
    let staged = staging.path().join(out.file_name().unwrap_or_default());
    let packed = match plan.layout {
        Layout::Flat => build.write(&staged, &start, &container, stamp)?,
        Layout::Overlay => {
            let donor = start.donor.as_ref().expect("the base is a SIF");
            overlay::settle(&mut start.tree, donor.reader())?;
            build.write_overlay(&staged, &start, &container, stamp)?
        }
    };
    report.begin(Phase::Publish, None);
    build.start_sif(&staged, &parts)?;
    build.refuse_interrupted()?;
    check_destination(out)?;
    let published = staging.publish(&staged, out, condense_publish::Existing::Replace);
    published.map_err(condense_image::Error::from)?;
    report.end(Phase::Publish);
    report.info(match plan.layout {
        Layout::Flat => format!(
            "{} of the base were taken as they are, the image has {}",
            HumanBytes(packed.taken_bytes),
            HumanBytes(packed.size_bytes)
        ),
        Layout::Overlay => format!(
            "The base is as it was, its overlay has {}",
            HumanBytes(packed.size_bytes)
        ),
    });
    report.info(format!("Seconds: {}", report.timing()));
    Ok(())
}

fn check_destination(out: &Path) -> anyhow::Result<()> {
    if out.is_dir() {
        bail!(UserError::new(
            format!("cannot write `{}`: it is a directory", out.display()),
            "name a file",
        ));
    }
    match out.parent() {
        Some(dir) if dir.is_dir() => Ok(()),
        _ => bail!(UserError::new(
            format!(
                "cannot write `{}`: there is no directory for it",
                out.display()
            ),
            "make the directory first",
        )),
    }
}

/// Solves, fetches, links, and runs what must run in the build container.
fn install<'a>(
    build: Build<'a>,
    plan: &'a SifPlan,
    spec: Option<EnvironmentSpec>,
    search_path: &OsStr,
) -> anyhow::Result<(Build<'a>, Option<Installed>)> {
    let report = build.report;
    let name = match (&plan.request.file, &plan.build.lock) {
        (Some(file), _) => file.display().to_string(),
        (None, Some(lock)) => lock.path.display().to_string(),
        (None, None) => plan.build.env_path.display().to_string(),
    };
    report.info(format!("Installing Conda environment: {name}"));
    let target = target::target(
        &build.facts,
        build.view,
        &plan.build.settings.overrides,
        report,
    )?;
    let lock = lock::load(plan.build.lock.as_ref(), spec.as_ref(), &target, report)?;
    let Some(mut spec) = spec.or_else(|| lock.as_ref().map(condense_prefix::Lock::spec)) else {
        unreachable!("there is an environment")
    };
    build.inputs.mix_into_digest(&mut spec);
    if let Some(lock) = &lock {
        build.inputs.compare(lock, report);
    }
    let locked = lock.map(|lock| lock.solution().clone());
    if plan.build.settings.network.offline && pip_asks_network(&plan.build, &spec, locked.as_ref())
    {
        return Err(refused_offline(locked.as_ref()).into());
    }
    let needs = build.inputs.needs_container(&spec, locked.as_ref());
    let runtime = find_runtime(
        plan.build.settings.runtime.as_deref(),
        &needs,
        search_path,
        report,
    )?;
    let build = Build { runtime, ..build };
    let mount_point = Some(plan.mount_point.clone());
    let made = build.make_prefix(&spec, &target, locked, mount_point)?;
    let lock = condense_prefix::render_lock(
        &made.solution,
        &spec,
        made.finished.pip_report.as_deref(),
        &made.finished.pip_packages,
    )?;
    let input = Path::new(KEPT).join(INPUT);
    let mut kept = kept(&build, &input);
    let lock = lock.into_bytes();
    kept.push((Path::new(KEPT).join(LOCK), lock.clone()));
    if plan.is_asked() {
        kept.push((input, spec.text().as_bytes().to_vec()));
    }
    report.info(format!("Finished installing conda environment: {name}"));
    let scripts = made.finished.activation.dynamic.iter();
    let installed = Installed {
        environment: ContainerEnvironment {
            kind: EnvironmentKind::Conda,
            prefix: made.place.mounted_env(),
            conda: made.place.conda_command(),
            steps: made.finished.activation.steps.clone(),
            dynamic: scripts.map(PathBuf::from).collect(),
            has_python: made.solution.python().is_some(),
            packages: made.solution.len() + made.finished.pip_packages.len(),
        },
        newest: made.solution.newest_timestamp(),
        lock: Some(lock),
        kept,
        root: made.place.root,
    };
    Ok((build, Some(installed)))
}

fn install_on_top<'a>(
    build: Build<'a>,
    plan: &'a SifPlan,
    search_path: &OsStr,
) -> anyhow::Result<(Build<'a>, Option<Installed>)> {
    if plan.build.settings.network.offline && !plan.build.settings.pip_without_index {
        return Err(refused_offline(None).into());
    }
    let needs = ["`--on-top`".to_owned()];
    let runtime = find_runtime(
        plan.build.settings.runtime.as_deref(),
        &needs,
        search_path,
        build.report,
    )?;
    let build = Build { runtime, ..build };
    let made = build.install_on_top(plan)?;
    build.check_result(&made.root, &plan.mount_point, &[])?;
    let list = Path::new(KEPT).join(INSTALLED);
    let mut kept = kept(&build, &list);
    kept.push((list, made.installed));
    let installed = Installed {
        root: made.root,
        environment: made.environment,
        newest: None,
        lock: None,
        kept,
    };
    Ok((build, Some(installed)))
}

/// The files that were named beside the environment; `taken` is another's place.
fn kept(build: &Build, taken: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let kept = build.inputs.kept(Path::new(KEPT), taken).into_iter();
    kept.map(|(_, path, bytes)| (path, bytes)).collect()
}

fn labels(
    plan: &SifPlan,
    parts: &Parts,
    [transport, from]: [String; 2],
) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = plan.labels.iter().cloned().collect();
    let mut put = |name: &str, value: String| labels.insert(name.to_owned(), value);
    put("condense.version", env!("CARGO_PKG_VERSION").to_owned());
    put(
        "condense.base",
        condense_prefix::without_secrets(plan.build.base.reference()).into_owned(),
    );
    let definition = "org.label-schema.usage.singularity.deffile";
    put(&format!("{definition}.bootstrap"), transport);
    put(&format!("{definition}.from"), from);
    if let Some(digest) = &parts.base_digest {
        put("condense.base.digest", digest.clone());
    }
    let lock = parts
        .installed
        .as_ref()
        .and_then(|installed| installed.lock.as_ref());
    if let Some(lock) = lock {
        let digest = hex::encode(Sha256::digest(lock));
        put("condense.lock.digest", format!("sha256:{digest}"));
    }
    labels
}

impl Build<'_> {
    /// The time of everything that is added, so that the same inputs give the same bytes.
    fn stamp(&self, parts: &Parts, start: &base::Start) -> u32 {
        let installed = parts.installed.as_ref();
        self.plan
            .source_date_epoch
            .or_else(|| installed.and_then(|installed| installed.newest))
            .or_else(|| Some(start.donor.as_ref()?.reader().superblock().created))
            .unwrap_or(0)
    }

    /// Puts the environment, the user's files and the runtime's into the base.
    fn graft(
        &self,
        plan: &SifPlan,
        tree: &mut Tree,
        parts: &Parts,
        container: &ContainerFiles,
        stamp: u32,
    ) -> anyhow::Result<()> {
        tree.set_mtime_of_additions(stamp);
        if let Some(installed) = &parts.installed {
            let options = ScanOptions {
                mtime: Mtime::Set(stamp),
                exclude: vec![BUILD_DIR.into()],
                ..ScanOptions::default()
            };
            let environments = Tree::scan(&installed.root, &options)?;
            tree.graft(&plan.mount_point, environments, Existing::Merge)?;
        }
        let mut files = Tree::new();
        files.set_mtime_of_additions(stamp);
        for (path, bytes, mode) in container.files()? {
            files.add_bytes(path, bytes, mode)?;
        }
        for (path, bytes) in parts.installed.iter().flat_map(|installed| &installed.kept) {
            files.add_bytes(path, bytes.clone(), 0o644)?;
        }
        tree.graft("/", files, Existing::Merge)?;
        for copy in &plan.copies {
            let copied = self.copied(copy, stamp)?;
            tree.graft("/", copied, Existing::Merge)
                .with_context(|| format!("cannot copy `{}`", copy.source.display()))?;
        }
        Ok(())
    }

    /// Runs something in the new image, as its users will.
    fn start_sif(&self, sif: &Path, parts: &Parts) -> anyhow::Result<()> {
        let Some(runtime) = &self.runtime else {
            return Ok(());
        };
        if !self.facts.has_sh {
            return Ok(());
        }
        let words: Vec<OsString> = match &parts.installed {
            None => ["/bin/sh", "-c", ":"].map(OsString::from).into(),
            Some(Installed { environment, .. }) => {
                let mut words = ["/bin/sh", "-c", START, "sh"].map(OsString::from).to_vec();
                words.push(environment.kind.variable().into());
                words.push(environment.prefix.clone().into());
                let program: &[&str] = if environment.has_python {
                    &["python", "-c", "import sys"]
                } else {
                    &["/bin/sh", "-c", ":"]
                };
                words.extend(program.iter().map(OsString::from));
                words
            }
        };
        try_to_start(runtime, sif, words)
    }
}

fn try_to_start(runtime: &Runtime, sif: &Path, argv: Vec<OsString>) -> anyhow::Result<()> {
    let exec = Exec {
        base: sif.to_owned(),
        isolation: Isolation {
            clean_env: true,
            ..Isolation::default()
        },
        argv,
        ..Exec::default()
    };
    let mut command = runtime.exec(&exec);
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .with_context(|| format!("failed to start `{}`", runtime.program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    bail!(
        "the finished image does not start ({}):\n{}",
        output.status,
        String::from_utf8_lossy(&said).trim()
    )
}
