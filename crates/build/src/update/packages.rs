//! Responsible for conda packages that an update adds or removes.

use std::path::PathBuf;

use anyhow::bail;
use condense_diagnostics::{UserError, closest};
use condense_prefix::{
    Change as Addition, EnvFiles, EnvironmentSpec, Extended, InstallContext, Kind, Lock, Network,
    PipPackage, Place, Planned, Removal, Solution,
};

use super::{
    change::{PackageFacts, Update},
    previous::PreviousGeneration,
    wheels,
};
use crate::{
    build::Build,
    plan::{PackageChange, PackageSettings, UpdatePlan},
    report::Report,
};

/// Change of conda packages, with the environment file of the request loaded.
#[derive(Debug, Default)]
pub(super) struct CondaChange {
    addition: Addition,
    remove: Vec<String>,
    /// Packages that an environment file asks for, with its path.
    of_file: Option<(PathBuf, Vec<String>)>,
    /// Request of the environment file, whose lines for pip are installed as well.
    pub(super) file: Option<EnvironmentSpec>,
}

/// An environment after a change of its conda packages.
pub(super) struct ChangedPackages {
    pub(super) solution: Solution,
    /// Everything that is asked for now.
    pub(super) asked: EnvironmentSpec,
    /// Result of the change, with the steps that new packages need.
    pub(super) extended: Extended,
}

impl CondaChange {
    /// Loads the environment file of the change, if there is one.
    ///
    /// # Errors
    /// Returns an error if the file cannot be used for a change, or if the generation is a virtual
    /// environment, which has no conda packages.
    pub(super) fn load(plan: &UpdatePlan, before: &PreviousGeneration) -> anyhow::Result<Self> {
        let PackageChange {
            file,
            add,
            channels,
            remove,
            update_all,
        } = &plan.change;
        if (file.is_some() || !add.is_empty() || *update_all) && before.is_venv() {
            bail!(UserError::new(
                format!(
                    "`{}` is a virtual environment, which has no conda packages",
                    plan.dir.display()
                ),
                "name requirements for pip: `--pip REQ`, or `-r FILE`",
            ));
        }
        let mut change = Self {
            addition: Addition {
                packages: add.clone(),
                channels: plan.packages.channel_urls(channels)?,
                free: *update_all,
                ..Addition::default()
            },
            remove: remove.clone(),
            of_file: None,
            file: None,
        };
        if let Some(path) = file {
            let asked = EnvironmentSpec::load(path, &plan.packages.spec_context)?;
            let problem = match asked.kind() {
                Kind::Environment | Kind::List if asked.variables().is_empty() => None,
                Kind::Environment | Kind::List => {
                    Some("has `variables:`, which are fixed when an installation is made")
                }
                Kind::Explicit => Some("is an `@EXPLICIT` file, which is for new installations"),
                Kind::Requirements => Some("is a requirements file: give it with `-r`"),
            };
            if let Some(problem) = problem {
                bail!(UserError::new(
                    format!("`{}` {problem}", path.display()),
                    "name an environment.yml with `dependencies:`, or the packages themselves",
                ));
            }
            let of_file = Addition::from_spec(&asked);
            change.of_file = Some((path.clone(), of_file.packages.clone()));
            change.addition.packages.extend(of_file.packages);
            let urls = plan.packages.channel_urls(&of_file.channels)?;
            change.addition.channels.extend(urls);
            change.file = Some(asked);
        }
        Ok(change)
    }

    /// Returns whether the packages stay as they are.
    ///
    /// # Errors
    /// Returns an error if a package to add is not valid.
    pub(super) fn is_idle(
        &self,
        spec: &EnvironmentSpec,
        lock: Option<&Lock>,
    ) -> anyhow::Result<bool> {
        if !self.remove.is_empty() {
            return Ok(false);
        }
        if self.addition.packages.is_empty() && !self.addition.free {
            return Ok(true);
        }
        Ok(match lock {
            Some(lock) => self.addition.is_satisfied(spec, lock.solution())?,
            None => false,
        })
    }

    /// Takes the packages out of the removal that pip has installed, and returns their normalised
    /// names. A name that conda has installed as well means conda's package.
    pub(super) fn take_pip_removals(
        &mut self,
        solution: &Solution,
        pip: &[PipPackage],
    ) -> Vec<String> {
        let mut of_pip = Vec::new();
        self.remove.retain(|name| {
            let is_conda_s = solution.names().any(|known| known == name.to_lowercase());
            let normal = condense_prefix::normalized_name(name);
            let mut packages = pip.iter();
            let is_pip_s =
                packages.any(|package| condense_prefix::normalized_name(&package.name) == normal);
            if is_pip_s && !is_conda_s {
                of_pip.push(normal);
                return false;
            }
            true
        });
        of_pip
    }

    /// Refuses packages that are asked for and to be removed as well. Those of pip, which
    /// [`Self::take_pip_removals`] takes out, give way to conda's of the same names.
    ///
    /// # Errors
    /// Returns an error that names the package, and the file that asks for it.
    pub(super) fn refuse_both(&self) -> anyhow::Result<()> {
        let removed = |package: &String| {
            let name = EnvironmentSpec::package_name(package)?;
            let mut removed = self.remove.iter();
            removed.any(|it| it.to_lowercase() == name).then_some(name)
        };
        if let Some((path, packages)) = &self.of_file
            && let Some(both) = packages.iter().find_map(removed)
        {
            bail!(UserError::new(
                format!(
                    "`{}` asks for `{both}`, which `--remove {both}` removes",
                    path.display()
                ),
                format!("leave out `--remove {both}`, or the package in the file"),
            ));
        }
        let mut packages = self.addition.packages.iter();
        let found = packages.find_map(|package| Some((package, removed(package)?)));
        let Some((package, name)) = found else {
            return Ok(());
        };
        bail!(UserError::new(
            format!("`{package}` is to be there, and `--remove {name}` removes it"),
            format!(
                "leave out `--remove {name}`: another version takes the place of the installed one"
            ),
        ));
    }

    /// Solves the change without making it, for an environment of these packages in which `asked`
    /// was requested.
    ///
    /// # Errors
    /// Returns an error if the environment cannot be solved, if a wheel needs a package that goes,
    /// or if a finding is not allowed.
    pub(super) fn plan(
        &self,
        (asked, solution): (&EnvironmentSpec, &Solution),
        facts: &PackageFacts,
        before: &PreviousGeneration,
        build: &Build,
    ) -> anyhow::Result<Planned> {
        let progress: &Report = build.report();
        let runtime = condense_threads::network()?;
        let network = Network::open(build.network_settings())?;
        let pip = before.pip_packages();
        let needed = if self.remove.is_empty() || pip.is_empty() {
            Vec::new()
        } else {
            wheels::needed(before, &facts.removed_pip)?
        };
        let planned = runtime.block_on(condense_prefix::plan_change(
            asked,
            solution,
            (self.removal(&needed), &self.addition),
            &facts.target,
            &network,
            build.scratch(),
            progress,
        ))?;
        if let Some(kept) = planned.kept_of(&self.removal(&[])).first() {
            bail!(needed_anew(&kept.package, &kept.by));
        }
        build.check_context().check_solution(&planned.solution)?;
        wheels::check(&planned, before, &pip, &facts.removed_pip, build.report())?;
        Ok(planned)
    }

    /// Checks the packages to remove: they must be installed, and no request may name or need them.
    ///
    /// # Errors
    /// Returns an error that names the package, and a similar one or the request.
    pub(super) fn check_removal(
        &self,
        spec: &EnvironmentSpec,
        solution: &Solution,
        pip: &[PipPackage],
    ) -> anyhow::Result<()> {
        let removal = self.removal(&[]);
        if let Some(missing) = removal.missing(solution).next() {
            bail!(not_installed(missing, solution, pip));
        }
        self.refuse_both()?;
        let needed = removal.still_needed(spec, solution);
        if let Some(first) = needed.first() {
            let names: Vec<String> = std::iter::once(&first.by)
                .chain(&self.remove)
                .map(|name| format!("--remove {name}"))
                .collect();
            bail!(UserError::new(
                format!(
                    "`{}` cannot be removed: `{}`, which was asked for, needs it",
                    first.package, first.by
                ),
                format!("remove both: `{}`", names.join(" ")),
            ));
        }
        Ok(())
    }

    /// Returns the removal, in which the packages `needed` stay unless they are named.
    fn removal<'a>(&'a self, needed: &'a [String]) -> Removal<'a> {
        Removal {
            packages: &self.remove,
            alone: false,
            needed,
        }
    }
}

/// Returns the error for a package to remove that a new package needs.
fn needed_anew(package: &str, by: &str) -> UserError {
    UserError::new(
        format!("`{package}` cannot be removed: `{by}`, which was asked for, needs it"),
        format!("leave out `--remove {package}`, or what needs it"),
    )
}

/// Returns the error for a package to remove that is not installed.
fn not_installed(name: &str, solution: &Solution, pip: &[PipPackage]) -> UserError {
    let of_pip = pip.iter().map(|package| package.name.as_str());
    let hint = match closest(name, solution.names().chain(of_pip)) {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => "`condense packages` lists what is installed".to_owned(),
    };
    UserError::new(format!("there is no package `{name}` to remove"), hint)
}

impl PackageSettings {
    /// Returns the URLs of channels, by the user's conda configuration if it is followed.
    ///
    /// # Errors
    /// Returns an error if a channel has no meaning in the configuration.
    pub(crate) fn channel_urls(&self, channels: &[String]) -> anyhow::Result<Vec<String>> {
        let Some(condarc) = &self.condarc else {
            return Ok(channels.to_vec());
        };
        let mut urls = Vec::new();
        for channel in channels {
            urls.extend(condarc.urls(channel)?);
        }
        Ok(urls)
    }
}

impl Update<'_> {
    /// Removes and adds conda packages in the unpacked environment, as planned or as it is solved
    /// now.
    ///
    /// # Errors
    /// Returns an error if a package is needed or missing, or if the environment cannot be solved,
    /// fetched or linked.
    pub(super) fn change_packages(
        &self,
        place: &Place,
        solution: &Solution,
        planned: Option<Planned>,
    ) -> anyhow::Result<ChangedPackages> {
        let (facts, build) = (&self.change.facts, self.build);
        let change = &facts.conda;
        let planned = if let Some(planned) = planned {
            planned
        } else {
            let mut asked = facts.spec.clone();
            asked.add_requests_of_history(place)?;
            if !change.remove.is_empty() {
                let pip = condense_prefix::pip_packages(place)?;
                change.check_removal(&asked, solution, &pip)?;
            }
            change.plan((&asked, solution), facts, self.change.before, build)?
        };
        let progress: &Report = build.report();
        let runtime = condense_threads::network()?;
        let network = Network::open(build.network_settings())?;
        let context = InstallContext {
            target: &facts.target,
            network: &network,
            place,
            scratch: build.scratch(),
        };
        let applied = condense_prefix::apply(&planned, &context, EnvFiles::All, progress);
        let extended = runtime.block_on(applied)?;
        describe(&extended, progress);
        Ok(ChangedPackages {
            solution: extended.solution.clone(),
            asked: planned.asked,
            extended,
        })
    }
}

/// Tells which packages have changed.
pub(super) fn describe(extended: &Extended, report: &Report) {
    for (verb, names) in [
        ("Removed", &extended.removed),
        ("Added", &extended.added),
        (
            "Linked again, for files that they share",
            &extended.relinked,
        ),
    ] {
        if !names.is_empty() {
            report.info(format!("{verb}: {}", names.join(", ")));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use condense_prefix::{Architecture, Target};

    use super::*;

    /// Packages that are left to conda's removals are not added, whoever asks for them. Those of
    /// pip give way.
    #[test]
    fn only_a_package_of_pip_is_removed_and_asked_for() {
        let change = |packages: &[&str], of_file: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            CondaChange {
                addition: Addition {
                    packages: owned(&[packages, of_file].concat()),
                    ..Addition::default()
                },
                remove: owned(&["Rich"]),
                of_file: Some((PathBuf::from("e.yml"), owned(of_file))),
                file: None,
            }
        };
        let solution = Solution::without_packages(&Target {
            architecture: Architecture::X86_64,
            glibc: None,
            linux: None,
            archspec: None,
            cuda: None,
        });
        for (packages, of_file, told) in [
            (
                &["click", "rich>=13"][..],
                &[][..],
                "`rich>=13` is to be there, and `--remove rich` removes it",
            ),
            (
                &["click"],
                &["conda-forge::rich"],
                "`e.yml` asks for `rich`, which `--remove rich` removes",
            ),
        ] {
            let mut change = change(packages, of_file);
            assert_eq!(change.refuse_both().unwrap_err().to_string(), told);
            let pip = [PipPackage::new("other", "1"), PipPackage::new("rich", "13")];
            assert!(change.take_pip_removals(&solution, &pip[..1]).is_empty());
            assert!(change.refuse_both().is_err());
            assert_eq!(change.take_pip_removals(&solution, &pip), ["rich"]);
            change.refuse_both().unwrap();
        }
        change(&["click"], &["rich-click"]).refuse_both().unwrap();
    }
}
