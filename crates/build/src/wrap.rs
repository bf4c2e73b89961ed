//! Responsible for wrapping what is there already: the programs of a container, or those of a
//! directory, packed into one file.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use condense_activation::{ActivationStep, ValuePart};
use condense_base::{BaseFacts, BaseImage};
use condense_check::Inventory;
use condense_image::{Image, Mtime, PackOptions, ScanOptions, Tree};
use condense_installation::{
    Assembly, BaseRecord, HostView, InstallationMode, Launch, Placement, Program, Receipt, Runtime,
    Shell, Staged, UpdateState,
};
use condense_prefix::{BUILD_DIR, StepRunner};
use condense_within::Within;
use sha2::{Digest, Sha256};

use super::{
    Pull,
    assemble::{image_record, now},
    base_mode,
    check::CheckContext,
    claim, compression_for,
    container::{Container, Mounted},
    file_count, find_runtime,
    pull::locate,
    scratch::Scratch,
    spawn_digest, verify,
};
use crate::{
    interrupt::Interrupt,
    plan::{BaseChoice, WrapPlan, Wrapped},
    report::{Phase, Report},
};
use condense_catalogue::BaseView;
use condense_diagnostics::UserError;

/// In a masked image, whose mount point is on the host too: tells the wrappers that they run
/// inside.
const INSIDE: &str = ".condense-inside";

/// More than any interpreter or its library has.
const PYTHON_LEN_MAX: u64 = 1 << 28;

/// Sees the user's script as Tykky's users know it; `$1` its file, `$2` the mount point, `$3` where
/// the user stands.
const RUN_SCRIPT: &str = "set -e; CW_INSTALLATION_PATH=$2 install_root=$2 env_root=$2 CW_WORKDIR=$3 CW_BUILD_TMPDIR=$2/.condense-build
[ ! -d \"$CW_BUILD_TMPDIR/home\" ] || HOME=$CW_BUILD_TMPDIR/home
export CW_INSTALLATION_PATH install_root env_root CW_WORKDIR CW_BUILD_TMPDIR
cd \"$3\" 2>/dev/null || :
. \"$1\"";

struct Wrap<'a> {
    plan: &'a WrapPlan,
    report: &'a Arc<Report>,
    base: BaseImage,
    facts: BaseFacts,
    runtime: Option<Runtime>,
    mount_point: PathBuf,
    scratch: Scratch,
}

/// Builds the installation that `plan` describes; `search_path` is the user's PATH.
///
/// # Errors
/// Whatever stopped it; the destination is then as it was.
pub fn wrap(
    plan: &WrapPlan,
    search_path: &std::ffi::OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let (claim, kept) = claim(&plan.prefix_dir, plan.force, search_path, report)?;
    let located = locate(
        plan.base.reference(),
        &Pull::for_a_base(
            &plan.registries,
            &plan.scratch_parent,
            plan.source_date_epoch,
        ),
        report,
    )?;
    let base = BaseImage::open(&located.path)?;
    base.check_architecture()?;
    let facts = base.facts()?;
    let base_digest = spawn_digest(&located.path)?;
    let runtime = find_runtime(plan.runtime.as_deref(), &[], search_path, report)?;
    let scratch = Scratch::create(
        &plan.scratch_parent,
        plan.keep_scratch,
        report.as_ref(),
        interrupt,
    )?;
    let mut wrap = Wrap {
        plan,
        report,
        base,
        facts,
        runtime,
        mount_point: kept.unwrap_or_else(|| fresh_mount_point(plan)),
        scratch,
    };
    if let Wrapped::Directory { dir, mask: true } = &plan.what {
        wrap.mount_point.clone_from(dir);
    }
    wrap.check_context().check_base()?;
    if matches!(plan.what, Wrapped::Container) {
        wrap.check_context().check_packages_of_base()?;
    }
    let programs = wrap.find_programs()?;
    let base_environment = wrap.probe()?;
    let packed = match &plan.what {
        Wrapped::Container => None,
        Wrapped::Directory { dir, mask } => {
            Some(wrap.pack(dir, *mask, &plan.work_dir, &claim.image_path())?)
        }
    };
    let base_digest = base_digest
        .join()
        .map_err(|_| anyhow::anyhow!("failed to take the digest of the base image"))??;

    report.begin(Phase::Publish, None);
    let launch = wrap.launch(base_environment.into_iter().collect())?;
    let moving = wrap.base.is_moving_link();
    let staged = claim.stage(&Assembly {
        image: packed.as_ref().map(|(image, _)| image.path.as_path()),
        base: wrap.base.path(),
        base_mode: base_mode(plan.base_file, moving, located.is_cached),
        launch: &launch,
        programs: &programs,
        landmarks: &wrap.landmarks(&programs)?,
        share: &[],
        receipt: &wrap.receipt(packed.as_ref().map(|(image, _)| image), base_digest)?,
    })?;
    if let Some((mut image, tree)) = packed.clone() {
        image.path = staged.generation_dir().join(super::IMAGE);
        condense_image::verify(&image, &tree, None)?;
    }
    wrap.start_once(&staged, &programs)?;
    wrap.refuse_interrupted()?;
    let installation = staged.publish()?;
    report.end(Phase::Publish);

    let dir = installation.dir.display();
    if let Some((image, _)) = &packed {
        report.info(format!(
            "{} files of {} became one of {} ({})",
            indicatif::HumanCount(file_count(image)),
            indicatif::HumanBytes(image.bytes_in),
            indicatif::HumanBytes(image.size_bytes),
            image.compression
        ));
    }
    report.info(format!(
        "{} programs have been wrapped. Seconds: {}",
        installation.wrappers,
        report.timing()
    ));
    report.info(format!(
        "Program has been installed to {dir}\nTo use add the bin folder to your path e.g:\nexport PATH=\"{dir}/bin:$PATH\""
    ));
    Ok(())
}

/// The same for the same things: installations of one directory can be told apart from others, not
/// from each other.
fn fresh_mount_point(plan: &WrapPlan) -> PathBuf {
    let mut hasher = Sha256::new();
    hasher.update(format!(
        "{:?} {:?} {:?}",
        plan.what, plan.base, plan.wrapper_paths
    ));
    let digest = hex::encode(hasher.finalize());
    format!("{}_{}", plan.installation_path, &digest[..7]).into()
}

impl Wrap<'_> {
    fn check_context(&self) -> CheckContext<'_> {
        CheckContext {
            base: &self.base,
            facts: &self.facts,
            view: self.view(),
            rules: &self.plan.rules,
            checks: &self.plan.checks,
            report: self.report,
        }
    }

    fn view(&self) -> HostView {
        match (&self.plan.what, &self.plan.base) {
            (Wrapped::Directory { .. }, BaseChoice::Site(_)) => HostView::Host,
            _ => HostView::Base,
        }
    }

    /// Programs of all paths that were named: of the directory, or of the base.
    fn find_programs(&self) -> anyhow::Result<Vec<Program>> {
        let mut programs: Vec<Program> = Vec::new();
        for path in &self.plan.wrapper_paths {
            let found = self.programs_at(path)?;
            if found.is_empty() {
                bail!(UserError::new(
                    format!("there is no program at `{}`", path.display()),
                    "`-w` takes files and directories of programs: absolute in the container, or relative to what is installed",
                ));
            }
            for (name, target) in found {
                if let Some(other) = programs.iter().find(|other| other.name == name) {
                    if other.target == target {
                        continue;
                    }
                    bail!(UserError::new(
                        format!(
                            "Multiple binaries with the same name: `{}` and `{}`",
                            other.target.display(),
                            target.display()
                        ),
                        "name one of them with `-w`",
                    ));
                }
                programs.push(Program { name, target });
            }
        }
        programs.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(programs)
    }

    fn programs_at(&self, path: &Path) -> anyhow::Result<Vec<(OsString, PathBuf)>> {
        if let Wrapped::Directory { dir, .. } = &self.plan.what {
            let below = if path.is_absolute() {
                path.strip_prefix(&self.mount_point)
                    .or_else(|_| path.strip_prefix(dir))
                    .ok()
            } else {
                Some(path)
            };
            if let Some(below) = below {
                return programs_on_disk(dir, below, &self.mount_point);
            }
        }
        Ok(self.base.programs(path)?)
    }

    /// What the Pythons among the programs look for beside `bin`, and where it is.
    fn landmarks(&self, programs: &[Program]) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
        let mut found = Vec::new();
        for program in programs {
            let name = program.name.to_str();
            let prefix = program.target.parent().and_then(Path::parent);
            let (Some(name), Some(prefix)) = (name, prefix) else {
                continue;
            };
            let files = Below { wrap: self, prefix };
            let paths = condense_prefix::landmarks(name, prefix, &files)?;
            found.extend(paths.into_iter().map(|path| {
                let target = prefix.join(&path);
                (path, target)
            }));
        }
        Ok(found)
    }

    fn container<'b>(&'b self, root: &'b Path) -> Option<Container<'b>> {
        Some(Container {
            shown: Vec::new(),
            runtime: self.runtime.as_ref()?,
            base: self.base.path(),
            view: self.view(),
            mounted: Mounted::Directory(root),
            mount_point: &self.mount_point,
            build_dir: root.join(BUILD_DIR),
            build_env: &self.plan.build_env,
            checks: None,
            report: self.report,
        })
    }

    /// Starts the runtime with a directory at the mount point, and reads the base's variables.
    fn probe(&self) -> anyhow::Result<Vec<(String, String)>> {
        let empty = self.scratch.path().join("empty");
        fs_err::create_dir(&empty)?;
        let Some(container) = self.container(&empty) else {
            return Ok(Vec::new());
        };
        if !self.facts.has_sh {
            return Ok(Vec::new());
        }
        container.probe().with_context(|| {
            format!(
                "cannot use `{}` with `{}`",
                self.base.path().display(),
                container.runtime.program().display()
            )
        })
    }

    /// The user's directory is only read; scripts get a copy of it.
    fn pack(
        &self,
        dir: &Path,
        mask: bool,
        cwd: &Path,
        image: &Path,
    ) -> anyhow::Result<(Image, Tree)> {
        let copy = self.scratch.path().join("root");
        let root = if self.plan.scripts.is_empty() {
            dir
        } else {
            self.run_scripts(dir, &copy, cwd)?;
            copy.as_path()
        };
        let inventory = Inventory::from_dir(root, &self.mount_point, Some(BUILD_DIR))?;
        self.check_context().check_inventory(&inventory, &[])?;
        let options = ScanOptions {
            mtime: self.plan.source_date_epoch.map_or(Mtime::Keep, Mtime::Set),
            exclude: vec![BUILD_DIR.into()],
            ..ScanOptions::default()
        };
        let mut tree = Tree::scan(root, &options)?;
        if mask {
            tree.add_bytes(INSIDE, Vec::new(), 0o644)?;
        }
        self.report.begin(Phase::Pack, Some(tree.summary().bytes));
        let progress: Arc<dyn condense_image::Progress> = Arc::<Report>::clone(self.report);
        let options = PackOptions {
            compression: compression_for(self.runtime.as_ref(), self.plan.compression, self.report),
            progress: Some(progress),
            cancel: Some(self.report.cancel_flag()),
            ..PackOptions::default()
        };
        let image = condense_image::pack(&tree, image, &options)?;
        self.report.end(Phase::Pack);
        Ok((image, tree))
    }

    fn run_scripts(&self, dir: &Path, copy: &Path, cwd: &Path) -> anyhow::Result<()> {
        let Some(mut container) = self.container(copy) else {
            bail!(UserError::new(
                "the scripts must run in a container, and neither apptainer nor singularity is on PATH",
                "load the module of your container runtime",
            ));
        };
        // Scripts start in the user's current directory.
        container.shown.push(cwd.to_owned());
        copy_tree(dir, copy)?;
        let build = copy.join(BUILD_DIR);
        fs_err::create_dir(&build)?;
        let build = Within::open(&build)?;
        let shell = if self.facts.has_bash {
            "/bin/bash"
        } else {
            "/bin/sh"
        };
        for (number, script) in self.plan.scripts.iter().enumerate() {
            let name = format!("script-{number}.sh");
            build.write(&name, &script.text)?;
            let shown = script.path.display();
            self.report.info(format!("Build step: {shown}"));
            let mounted = self.mount_point.join(BUILD_DIR).join(&name);
            let argv: Vec<OsString> = [shell, "-c", RUN_SCRIPT, shell]
                .iter()
                .map(OsString::from)
                .chain([mounted.into(), self.mount_point.clone().into(), cwd.into()])
                .collect();
            let status = container
                .run(&argv, &mut |line| self.report.info(line))
                .map_err(|error| anyhow::anyhow!("failed to run the build container: {error}"))?;
            self.refuse_interrupted()?;
            if status != 0 {
                bail!("{shown} failed with exit status {status}");
            }
        }
        Ok(())
    }

    fn launch(
        &self,
        base_environment: std::collections::BTreeMap<String, String>,
    ) -> anyhow::Result<Launch> {
        let (has_image, inside) = match &self.plan.what {
            Wrapped::Container => (false, self.mount_point.clone()),
            Wrapped::Directory { mask: true, .. } => (true, self.mount_point.join(INSIDE)),
            Wrapped::Directory { mask: false, .. } => (true, self.mount_point.clone()),
        };
        let known = BaseView {
            base: &self.base,
            facts: &self.facts,
        };
        let binds = if self.view() == HostView::Base {
            self.plan.rules.binds_for(known)?
        } else {
            Vec::new()
        };
        Ok(Launch {
            mount_point: self.mount_point.clone(),
            has_image,
            container_marker: inside,
            env_prefix: self.mount_point.clone(),
            runtime: self
                .runtime
                .as_ref()
                .map(|runtime| runtime.program().to_owned()),
            host_view: self.view(),
            binds,
            flags: self.plan.rules.flags_for(known)?,
            variables: self.plan.rules.variables_for(known)?,
            base_env_vars: base_environment,
            interpreter: None,
            activation: self.library_path(),
            launcher: None,
            // Tykky's wrappers are bash, and so may be what its users write.
            shell: match self.plan.extra_text {
                Some(_) if Path::new("/bin/bash").exists() => Shell::Bash,
                _ => Shell::Sh,
            },
            extra_text: self.plan.extra_text.clone(),
            hand_written: None,
        })
    }

    /// What was installed finds its own libraries first, as with Tykky.
    fn library_path(&self) -> Vec<ActivationStep> {
        let Wrapped::Directory { dir, .. } = &self.plan.what else {
            return Vec::new();
        };
        let mounted: Vec<String> = ["lib", "lib64"]
            .iter()
            .filter(|name| dir.join(name).is_dir())
            .map(|name| self.mount_point.join(name).display().to_string())
            .collect();
        if mounted.is_empty() {
            return Vec::new();
        }
        vec![ActivationStep::Join {
            name: "LD_LIBRARY_PATH".to_owned(),
            parts: vec![
                ValuePart::Literal(mounted.join(":")),
                ValuePart::Variable {
                    name: "LD_LIBRARY_PATH".to_owned(),
                    before: ":".to_owned(),
                    after: String::new(),
                },
            ],
        }]
    }

    fn receipt(
        &self,
        image: Option<&Image>,
        base_digest: Option<String>,
    ) -> Result<Receipt, condense_image::Error> {
        Ok(Receipt {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            created: self.plan.source_date_epoch.map_or_else(now, u64::from),
            mode: match self.plan.what {
                Wrapped::Container => InstallationMode::WrapContainer,
                Wrapped::Directory { .. } => InstallationMode::WrapDirectory,
            },
            arguments: self
                .plan
                .command_line
                .iter()
                .map(|word| condense_prefix::without_secrets(word).into_owned())
                .collect(),
            inputs: Vec::new(),
            lock: None,
            base: BaseRecord {
                reference: self.plan.base.reference().to_owned(),
                path: self.base.path().to_owned(),
                sha256: base_digest,
                placement: Placement::default(),
            },
            image: image.map(image_record).transpose()?,
            mount_point: self.mount_point.clone(),
            env_prefix: self.mount_point.clone(),
            env_name: String::new(),
            interpreter: None,
            host_view: self.view(),
            update_state: UpdateState {
                file_aliases: self.plan.other_names.clone(),
                ..UpdateState::default()
            },
            generation: 0,
        })
    }

    fn start_once(&self, staged: &Staged, programs: &[Program]) -> anyhow::Result<()> {
        // A container without a shell has nothing that can be started without doing something.
        if self.runtime.is_none() || !self.facts.has_sh {
            return Ok(());
        }
        let targets: Vec<PathBuf> = programs
            .iter()
            .map(|program| program.target.clone())
            .collect();
        let said = verify::start_once(&staged.generation_dir().join("bin"), None, &targets)?;
        let Some(said) = said else { return Ok(()) };
        self.refuse_interrupted()?;
        bail!("the finished installation does not start:\n{said}")
    }

    fn refuse_interrupted(&self) -> anyhow::Result<()> {
        if self.report.cancelled() {
            return Err(condense_prefix::Error::Interrupted.into());
        }
        Ok(())
    }
}

/// Files below a directory of what is wrapped.
struct Below<'a> {
    wrap: &'a Wrap<'a>,
    prefix: &'a Path,
}

impl Below<'_> {
    /// Where it is on disk, if it is not in the base.
    fn on_disk(&self, path: &Path) -> Option<PathBuf> {
        let Wrapped::Directory { dir, .. } = &self.wrap.plan.what else {
            return None;
        };
        let below = self.prefix.strip_prefix(&self.wrap.mount_point).ok()?;
        Some(dir.join(below).join(path))
    }
}

impl condense_prefix::Files for Below<'_> {
    type Error = anyhow::Error;

    fn read(&self, path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
        match self.on_disk(path) {
            Some(path) if path.is_file() => Ok(Some(condense_input::read(
                path,
                condense_input::RECORD_MOST,
            )?)),
            Some(_) => Ok(None),
            None => Ok(self
                .wrap
                .base
                .read(self.prefix.join(path), PYTHON_LEN_MAX)?),
        }
    }

    fn exists(&self, path: &Path) -> anyhow::Result<bool> {
        match self.on_disk(path) {
            Some(path) => Ok(path.exists()),
            None => Ok(self.wrap.base.exists(self.prefix.join(path))?),
        }
    }
}

/// Programs of a directory on disk, as they are named inside.
fn programs_on_disk(
    dir: &Path,
    below: &Path,
    mount_point: &Path,
) -> anyhow::Result<Vec<(OsString, PathBuf)>> {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join(below);
    let Ok(metadata) = fs_err::metadata(&path) else {
        return Ok(Vec::new());
    };
    let candidates: Vec<PathBuf> = if metadata.is_dir() {
        let entries = fs_err::read_dir(&path)?;
        entries
            .map(|entry| entry.map(|entry| below.join(entry.file_name())))
            .collect::<Result<_, _>>()?
    } else {
        vec![below.to_owned()]
    };
    let mut programs = Vec::new();
    for below in candidates {
        // A link that leads nowhere here may lead somewhere inside, but nobody can know that it is
        // a program.
        let executable = fs_err::metadata(dir.join(&below))
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
        if executable {
            let name = below.file_name().unwrap_or_default().to_owned();
            programs.push((name, mount_point.join(&below)));
        }
    }
    programs.sort();
    Ok(programs)
}

/// Copies a tree as it is, for scripts to change.
fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs_err::create_dir(to)?;
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&source, &target)?;
        } else if kind.is_symlink() {
            fs_err::os::unix::fs::symlink(fs_err::read_link(&source)?, &target)?;
        } else {
            fs_err::copy(&source, &target)?;
        }
    }
    let permissions = fs_err::metadata(from)?.permissions();
    fs_err::set_permissions(to, permissions)?;
    Ok(())
}
