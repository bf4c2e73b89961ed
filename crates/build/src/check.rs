//! Responsible for gathering the subject of a check (an environment file, an installation, an image
//! or a directory) and the system around it, and for reporting the findings.

pub(crate) mod base_context;
mod host_python;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::bail;
use condense_base::{BaseFacts, BaseImage};
use condense_check::{
    CondaPackage, Finding, HostPython, Inventory, Machine, MpiUse, PipPackage, Request,
    RuntimeContext, Severity, Verdict,
};
use condense_image::{Reader, Tree};
use condense_installation::{HostView, InterpreterOrigin, MpiSource, Placement, Receipt};
use condense_prefix::{BUILD_DIR, EnvironmentSpec, NamedPackage, Solution};

use crate::{generation::IMAGE, plan::Checks, report::Report};
use base_context::{BaseContext, destinations, moves};
use condense_catalogue::SiteRules;
use condense_diagnostics::UserError;
use host_python::hides_user_site;

/// Kind of the file or directory that is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// An environment or requirements file.
    File,
    /// An installation of condense.
    Installation,
    /// A SIF, or a bare image of a root file system.
    Image,
    /// A directory that is no installation.
    Directory,
}

impl Subject {
    /// Returns the word for the kind in messages and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Installation => "installation",
            Self::Image => "image",
            Self::Directory => "directory",
        }
    }

    fn of(path: &Path) -> anyhow::Result<Self> {
        let metadata = fs_err::metadata(path)?;
        if metadata.is_dir() {
            let ours = path.join("common.sh").exists() && path.join("share").exists();
            return Ok(if ours {
                Self::Installation
            } else {
                Self::Directory
            });
        }
        let is_image = condense_image::Sif::is_at(path)? || starts_as_squashfs(path)?;
        Ok(if is_image { Self::Image } else { Self::File })
    }
}

fn starts_as_squashfs(path: &Path) -> anyhow::Result<bool> {
    use std::io::Read;
    let mut head = Vec::new();
    condense_input::open(path)?.take(4).read_to_end(&mut head)?;
    Ok(head == b"hsqs")
}

/// Machine and site that a check is for.
#[derive(Debug, Clone, Copy)]
pub struct CheckTarget<'a> {
    /// The machine that jobs will run on.
    pub machine: &'a Machine,
    /// Binds of the site.
    pub rules: &'a SiteRules,
    /// Variables and files that an environment file may refer to.
    pub spec_context: &'a condense_prefix::SpecContext,
    /// Python packages of the user.
    pub host_python: &'a HostPython,
}

/// Checks `path` for a machine. `base` is the base of a subject that brings none itself.
///
/// # Errors
/// Returns an error if a file cannot be read or understood.
pub fn check(
    path: &Path,
    base: Option<&str>,
    target: CheckTarget,
) -> anyhow::Result<(Subject, Vec<Finding>)> {
    let CheckTarget { machine, rules, .. } = target;
    let subject = Subject::of(path)?;
    let findings = match subject {
        Subject::File => {
            let spec = EnvironmentSpec::load_by_name(path, target.spec_context)?;
            let base = base.map(BaseContext::of_reference).transpose()?;
            let request = request(&spec, path);
            match &base {
                Some(base) => {
                    condense_check::check_request(&request, &base.runtime_context(), machine)
                }
                None => {
                    condense_check::check_request(&request, &RuntimeContext::default(), machine)
                }
            }
        }
        Subject::Installation => of_installation(path, target)?,
        Subject::Image => {
            refuse_base(base, path)?;
            let image = BaseImage::open(path)?;
            let image = BaseContext::of_image(Arc::new(image))?.following(rules)?;
            let reader = Reader::open(path)?;
            let inventory = Inventory::from_image(&reader, Path::new("/"), true)?;
            let context = image.runtime_context();
            let mut found = condense_check::check_environment(&inventory, &context, machine);
            let hides = hides_user_site(&reader)?;
            let host = host_python::seen(target.host_python, HostView::Base, hides);
            found.extend(condense_check::check_host_python(&inventory, &host));
            found
        }
        Subject::Directory => {
            let base = BaseContext::of_reference(base.unwrap_or("/"))?.following(rules)?;
            let inventory = Inventory::from_dir(path, path, None)?;
            condense_check::check_environment(&inventory, &base.runtime_context(), machine)
        }
    };
    Ok((subject, findings))
}

fn refuse_base(base: Option<&str>, path: &Path) -> anyhow::Result<()> {
    if base.is_some() {
        bail!(UserError::new(
            format!("`{}` has its own base", path.display()),
            "leave out `--base`",
        ));
    }
    Ok(())
}

fn of_installation(dir: &Path, target: CheckTarget) -> anyhow::Result<Vec<Finding>> {
    let CheckTarget { machine, rules, .. } = target;
    let receipt = Receipt::load(dir)?;
    let container = dir.join("container.sif");
    let base = Arc::new(BaseImage::open(container)?);
    let base = match receipt.host_view {
        HostView::Base => {
            let mut base = BaseContext::of_image(base)?;
            match &receipt.update_state.launch {
                // The binds of the wrappers count, not those that the site has now.
                Some(launch) => base.bound = destinations(&launch.binds),
                None => base = base.following(rules)?,
            }
            base
        }
        HostView::Host => BaseContext::under_host(&base, &base.facts()?)?,
    };
    let interpreter = receipt
        .interpreter
        .iter()
        .filter(|found| found.origin == InterpreterOrigin::Host);
    let trees = interpreter.filter_map(|found| found.path.parent()?.parent());
    let image = dir.join(IMAGE);
    let base = base.showing(&trees.map(Path::to_owned).collect::<Vec<_>>());
    let base = base.mounting(&image);
    let inventory = if image.exists() {
        Inventory::from_image(&Reader::open_raw(&image)?, &receipt.mount_point, false)?
    } else {
        Inventory::default()
    };
    let mut context = base.runtime_context();
    if receipt.base.placement == Placement::Symlink {
        context.linked_base = Some(receipt.base.path.display().to_string());
    }
    let mut found = condense_check::check_environment(&inventory, &context, machine);
    let launch = receipt.update_state.launch.as_deref();
    let hides = launch.is_some_and(host_python::is_hidden_by);
    let mut host = host_python::seen(target.host_python, receipt.host_view, hides);
    if launch.is_some_and(|launch| launch.interpreter.is_some()) {
        // The wrappers remove the variable for a Python of the host.
        host.python_path.clear();
    }
    found.extend(condense_check::check_host_python(&inventory, &host));
    Ok(found)
}

/// A request for packages, before anything is fetched.
pub(super) struct RequestToCheck<'a> {
    /// Environment file or requirements, if there are any.
    pub(super) spec: Option<&'a EnvironmentSpec>,
    /// Lines for pip that are checked without a spec.
    pub(super) pip_lines: &'a [String],
    /// Name of the request in findings.
    pub(super) path: &'a Path,
    /// Reference of the base. It is empty if the base does not change.
    pub(super) base: &'a str,
}

/// Checks a request.
///
/// # Errors
/// Returns an error if a finding is not allowed.
pub(super) fn check_request(
    asked: &RequestToCheck,
    checks: &Checks,
    report: &Report,
) -> anyhow::Result<()> {
    let context = RuntimeContext {
        mutable_name: moves(asked.base).then(|| asked.base.to_owned()),
        ..RuntimeContext::default()
    };
    let request = match asked.spec {
        Some(spec) => request(spec, asked.path),
        None => Request {
            file: asked.path.display().to_string(),
            pip: asked.pip_lines.to_vec(),
            ..Request::default()
        },
    };
    let mut findings = condense_check::check_request(&request, &context, &checks.machine);
    // The packages themselves are checked for this when they are there.
    findings.retain(|finding| finding.code.name != "channel-terms");
    report_findings(findings, checks, report)
}

/// Checks the packages that the solver has chosen or that a lock names.
///
/// # Errors
/// Returns an error if a finding is not allowed.
pub(super) fn check_solution(
    solution: &Solution,
    checks: &Checks,
    report: &Report,
) -> anyhow::Result<()> {
    let pip = pip_packages(&solution.locked_pip_packages());
    let conda = conda_packages(solution.packages());
    let findings = condense_check::check_packages(&conda, &pip, "the solution", &checks.machine);
    report_findings(findings, checks, report)
}

/// Checks the packages that pip would install, before they are fetched. Warnings are left for the
/// check of the installed packages.
///
/// # Errors
/// Returns an error if a finding is not allowed.
pub(super) fn check_pip_request(
    packages: &[condense_prefix::PipPackage],
    seen: &str,
    checks: &Checks,
    report: &Report,
) -> anyhow::Result<()> {
    let mut findings = of_pip(packages, seen, checks);
    findings.retain(|finding| finding.code.severity == Severity::Error);
    report_findings(findings, checks, report)
}

fn of_pip(packages: &[condense_prefix::PipPackage], seen: &str, checks: &Checks) -> Vec<Finding> {
    condense_check::check_packages(&[], &pip_packages(packages), seen, &checks.machine)
}

fn pip_packages(packages: &[condense_prefix::PipPackage]) -> Vec<PipPackage> {
    let packages = packages.iter();
    packages
        .map(|package| PipPackage::new(&package.name, &package.version))
        .collect()
}

/// Base, view and site by which the findings of a build are judged.
#[derive(Clone, Copy)]
pub(super) struct CheckContext<'a> {
    pub(super) base: &'a Arc<BaseImage>,
    pub(super) facts: &'a BaseFacts,
    pub(super) view: HostView,
    pub(super) rules: &'a SiteRules,
    pub(super) checks: &'a Checks,
    pub(super) report: &'a Report,
}

impl CheckContext<'_> {
    fn base_context(&self) -> anyhow::Result<BaseContext> {
        match self.view {
            HostView::Base => {
                BaseContext::new(Arc::clone(self.base), self.facts.clone())?.following(self.rules)
            }
            HostView::Host => BaseContext::under_host(self.base, self.facts),
        }
    }

    /// Checks the base, before any package is fetched for it.
    ///
    /// # Errors
    /// Returns an error if a finding is not allowed.
    pub(super) fn check_base(&self) -> anyhow::Result<()> {
        report_findings(
            self.of_base(&self.base_context()?),
            self.checks,
            self.report,
        )
    }

    fn of_base(&self, base: &BaseContext) -> Vec<Finding> {
        let request = Request {
            file: "the base image".to_owned(),
            ..Request::default()
        };
        condense_check::check_request(&request, &base.runtime_context(), &self.checks.machine)
    }

    /// Checks the packages of a base whose own programs will run, by names and versions.
    ///
    /// # Errors
    /// Returns an error if a finding is not allowed or the image is damaged.
    pub(super) fn check_packages_of_base(&self) -> anyhow::Result<()> {
        let machine = &self.checks.machine;
        // A sandbox is not searched: its mounts may hold any number of files.
        let (Some(_), Some(reader)) = (machine.gpu, self.base.reader()) else {
            return Ok(());
        };
        let found = Inventory::from_packages(reader)?;
        let findings = condense_check::check_packages(
            &found.conda,
            &found.pip,
            "packages of the base image",
            machine,
        );
        report_findings(findings, self.checks, self.report)
    }

    /// Checks the files of a new environment. `shown` are directories of this machine that its
    /// programs will see.
    ///
    /// # Errors
    /// Returns an error if a finding is not allowed.
    pub(super) fn check_inventory(
        &self,
        inventory: &Inventory,
        shown: &[PathBuf],
    ) -> anyhow::Result<()> {
        let started = std::time::Instant::now();
        let mut around = self.base_context()?.showing(shown);
        if self.rules.mpi.source == Some(MpiSource::Host) {
            around.bound.extend(crate::host_mpi::of_host());
        }
        let of_base = self.of_base(&around);
        let mut findings = condense_check::check_environment(
            inventory,
            &around.runtime_context(),
            &self.checks.machine,
        );
        let hides = self.rules.no_user_site;
        let host = host_python::seen(&self.checks.host_python, self.view, hides);
        findings.extend(condense_check::check_host_python(inventory, &host));
        // Findings of the base were reported before.
        findings.retain(|finding| !of_base.contains(finding));
        self.report.debug(format!(
            "{} ELF files were judged in {:.0} ms",
            inventory.elf_count(),
            started.elapsed().as_secs_f64() * 1000.0
        ));
        report_findings(findings, self.checks, self.report)
    }

    /// Checks the packages that the solver has chosen or that a lock names, before they are
    /// fetched.
    ///
    /// # Errors
    /// Returns an error if a finding is not allowed.
    pub(super) fn check_solution(&self, solution: &Solution) -> anyhow::Result<()> {
        check_solution(solution, self.checks, self.report)
    }

    /// Checks the packages that pip has installed, by names and versions.
    ///
    /// # Errors
    /// Returns an error if a finding is not allowed.
    pub(super) fn check_pip(&self, packages: &[condense_prefix::PipPackage]) -> anyhow::Result<()> {
        let findings = of_pip(packages, "pip's packages", self.checks);
        report_findings(findings, self.checks, self.report)
    }

    /// Checks a directory in scratch that is about to be packed, and returns the MPI that its
    /// programs need. `shown` are directories of this machine that its programs will see.
    ///
    /// # Errors
    /// Returns an error if a finding is not allowed.
    pub(super) fn check_result(
        &self,
        root: &Path,
        mount_point: &Path,
        shown: &[PathBuf],
    ) -> anyhow::Result<Option<MpiUse>> {
        let inventory = Inventory::from_dir(root, mount_point, Some(BUILD_DIR))?;
        self.check_inventory(&inventory, shown)?;
        self.mpi_use(&inventory)
    }

    /// Checks the tree of a finished environment like [`CheckContext::check_result`].
    ///
    /// # Errors
    /// Returns the errors of [`CheckContext::check_result`].
    pub(super) fn check_tree(
        &self,
        tree: &Tree,
        mount_point: &Path,
        shown: &[PathBuf],
    ) -> anyhow::Result<Option<MpiUse>> {
        let inventory = Inventory::from_tree(tree, mount_point)?;
        self.check_inventory(&inventory, shown)?;
        self.mpi_use(&inventory)
    }

    /// Finds the MPI that the programs of an environment need.
    ///
    /// # Errors
    /// Returns an error if the base is damaged.
    pub(super) fn mpi_use(&self, inventory: &Inventory) -> anyhow::Result<Option<MpiUse>> {
        let around = self.base_context()?;
        let of_base = crate::host_mpi::of_base(self.facts, self.view);
        Ok(MpiUse::find(inventory, &around.runtime_context(), &of_base))
    }
}

/// Reports warnings, one line each. Errors end the build.
fn report_findings(findings: Vec<Finding>, checks: &Checks, report: &Report) -> anyhow::Result<()> {
    /// Number of warnings that are shown. A longer list helps no user.
    const SHOWN: usize = 8;
    let verdict = Verdict::new(findings, &checks.allowed);
    for finding in &verdict.allowed {
        report.debug(format!("allowed: {finding}"));
    }
    let of = |severity: Severity| {
        let findings = verdict.findings.iter();
        findings.filter(move |finding| finding.code.severity == severity)
    };
    for warning in of(Severity::Warning).take(SHOWN) {
        report.warning(warning.to_string());
    }
    let more = of(Severity::Warning).count().saturating_sub(SHOWN);
    if more > 0 {
        report.warning(format!(
            "{more} more findings: `condense check` shows all of them"
        ));
    }
    let errors: Vec<&Finding> = of(Severity::Error).collect();
    let Some(first) = errors.first() else {
        report.keep_findings(&verdict.findings);
        return Ok(());
    };
    let mut codes: Vec<&str> = errors.iter().map(|error| error.code.name).collect();
    codes.dedup();
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    bail!(UserError::new(
        format!("this would not run:\n{}", lines.join("\n")),
        format!(
            "{}; `condense explain {}` says more, CONDENSE_ALLOW={} lets it pass",
            first.fix,
            first.code.name,
            codes.join(",")
        ),
    ));
}

/// Returns the packages that a file asks for, as the checks read them.
fn request(spec: &EnvironmentSpec, path: &Path) -> Request {
    Request {
        file: path.display().to_string(),
        channels: spec.channels(),
        conda: conda_packages(spec.conda_packages()),
        pip: spec.pip_as_written().to_vec(),
    }
}

/// Converts conda packages for the checks.
fn conda_packages(packages: Vec<NamedPackage>) -> Vec<CondaPackage> {
    let of = |package: NamedPackage| CondaPackage {
        name: package.name,
        version: package.version,
        build: package.build,
        channel: package.channel,
    };
    packages.into_iter().map(of).collect()
}
