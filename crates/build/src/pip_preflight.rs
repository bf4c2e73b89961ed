//! Responsible for checking the packages that pip plans to install, before pip downloads them. If
//! pip can list them beforehand, the step asks: one line of its output is the question, and a file
//! beside the one that the line names is the answer. If pip cannot, or if a user's script calls
//! pip, the wheels that pip names are checked before they are downloaded.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use condense_check::{Gpu, PipPackage};
use condense_prefix::BUILD_DIR;
use condense_within::Within;
use serde::Deserialize;

use super::check;
use crate::{plan::Checks, report::Report};

/// Variable that makes the steps ask.
const VARIABLE: &str = "CONDENSE_ASKS";
const QUESTION: &str = "::condense-ask ";

/// Returns whether dependencies of pip's packages are worth a question: PyPI's builds are for
/// NVIDIA's GPUs, which costs gigabytes on machines with AMD's.
fn matters(checks: &Checks) -> bool {
    let code = condense_check::find_code("cuda-on-amd");
    let allowed = code.is_some_and(|code| checks.allowed.contains(&code));
    checks.machine.gpu == Some(Gpu::Amd) && !allowed
}

/// Makes the steps of a command ask, if the rules need it.
pub(super) fn enable(command: &mut Command, checks: Option<&Checks>) {
    if checks.is_some_and(matters) {
        command.env(VARIABLE, "1");
    } else {
        command.env_remove(VARIABLE);
    }
}

/// Reader of the lines that a process of the build prints.
pub(super) struct PipMonitor<'a> {
    checks: Option<&'a Checks>,
    /// Directory of the steps' files.
    build_dir: &'a Path,
    report: &'a Report,
    /// Packages that pip has named so far. Of each project, it is the version that pip looked at
    /// last.
    named: BTreeMap<String, String>,
}

impl<'a> PipMonitor<'a> {
    pub(super) fn new(checks: Option<&'a Checks>, build_dir: &'a Path, report: &'a Report) -> Self {
        Self {
            build_dir,
            checks: checks.filter(|checks| matters(checks)),
            report,
            named: BTreeMap::new(),
        }
    }

    /// Reads a line. If it is the question, answers it and returns true. If it names a wheel,
    /// checks the wheel. `on_host` converts a path of the process to one on this machine.
    ///
    /// # Errors
    /// Returns an error if a package must not be installed, if a file cannot be read or written, or
    /// if a file is outside of the directory of build steps. The last is checked because any
    /// process of a step can print the question.
    pub(super) fn on_line(
        &mut self,
        line: &str,
        on_host: &dyn Fn(&Path) -> PathBuf,
    ) -> anyhow::Result<bool> {
        let Some(asked) = line.strip_prefix(QUESTION) else {
            return self.judge_wheel(line).map(|()| false);
        };
        let asked = on_host(Path::new(asked.trim()));
        let dir = self.dir_of(&asked)?;
        let name = asked.file_name().context("it has been looked at")?;
        let judged = match self.checks {
            Some(checks) => {
                let packages = packages(&dir.read_required_text(name)?);
                check::check_pip_request(&packages, "what pip would fetch", checks, self.report)
            }
            None => Ok(()),
        };
        let answer = if judged.is_ok() { "go\n" } else { "stop\n" };
        let mut answer_name = name.to_owned();
        answer_name.push(".answer");
        dir.write(answer_name, answer)?;
        judged.map(|()| true)
    }

    /// Opens the directory of build steps, in which the file of a question must be.
    fn dir_of(&self, asked: &Path) -> anyhow::Result<Within> {
        let refused = || {
            format!(
                "a build step asks about `{}`, which is no file of its own",
                asked.display()
            )
        };
        let root = self.build_dir.parent().unwrap_or(Path::new("/"));
        let is_its = asked.parent() == Some(self.build_dir) && asked.file_name().is_some();
        anyhow::ensure!(is_its, refused());
        // The steps may have replaced the directory by a link.
        Within::open(root)?
            .make_own_dir(BUILD_DIR)
            .with_context(refused)
    }

    /// Checks a wheel that pip names before it downloads it. If the index has metadata beside the
    /// wheels, pip fetches the metadata of all candidates first, also of those that it does not
    /// install. The check waits until pip comes to the wheels.
    fn judge_wheel(&mut self, line: &str) -> anyhow::Result<()> {
        let Some((checks, (package, is_wheel))) = self.checks.zip(fetched(line)) else {
            return Ok(());
        };
        self.named.insert(package.name, package.version);
        if !is_wheel {
            return Ok(());
        }
        let named = self.named.clone().into_iter();
        let named: Vec<_> = named.map(Into::into).collect();
        check::check_pip_request(&named, "what pip is about to fetch", checks, self.report)
    }
}

/// Returns the wheel that a line of pip names, with whether it is the wheel itself or its metadata
/// alone: `Downloading torch-2.5.1-cp312-….whl (906.4 MB)`.
fn fetched(line: &str) -> Option<(PipPackage, bool)> {
    let line = line.trim_start();
    let rest = line
        .strip_prefix("Downloading ")
        .or_else(|| line.strip_prefix("Using cached "))?;
    let name = rest.split_whitespace().next()?;
    let wheel = name.strip_suffix(".metadata").unwrap_or(name);
    Some((PipPackage::from_wheel(wheel)?, wheel == name))
}

#[derive(Deserialize)]
struct PipReport {
    install: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    version: String,
}

/// Returns names and versions from pip's report, or from the output of uv.
pub(super) fn packages(text: &str) -> Vec<condense_prefix::PipPackage> {
    if let Ok(report) = serde_json::from_str::<PipReport>(text) {
        let items = report.install.into_iter();
        return items
            .map(|item| condense_prefix::PipPackage::new(item.metadata.name, item.metadata.version))
            .collect();
    }
    let lines = text.lines().filter_map(|line| line.strip_prefix(" + "));
    let pair = |line: &str| {
        let (name, version) = line.split_once("==")?;
        let version = version.split_whitespace().next()?;
        Some(condense_prefix::PipPackage::new(name, version))
    };
    lines.filter_map(pair).collect()
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn reports_of_both_installers_are_read() {
        let pip =
            r#"{"version":"1","install":[{"metadata":{"name":"torch","version":"2.5.1+cu121"}}]}"#;
        let uv = "Resolved 2 packages in 5ms\nWould install 1 package\n + torch==2.5.1+cu121\n ~ x==1\n - y==2\n";
        for text in [pip, uv] {
            let expected = condense_prefix::PipPackage::new("torch", "2.5.1+cu121");
            assert_eq!(packages(text), [expected], "{text}");
        }
        assert!(packages("nothing to do").is_empty());
    }

    fn checks(gpu: Option<Gpu>, allowed: &[&str]) -> Checks {
        Checks {
            machine: condense_check::Machine {
                gpu,
                ..condense_check::Machine::default()
            },
            allowed: allowed
                .iter()
                .filter_map(|name| condense_check::find_code(name))
                .collect(),
            host_python: condense_check::HostPython::default(),
        }
    }

    /// Returns the line of pip's output at which the check stops it, or `None` if no finding stops
    /// it.
    fn stopped_at(checks: &Checks, lines: &str) -> Option<String> {
        let report = Report::silent();
        let mut listener = PipMonitor::new(Some(checks), Path::new("/nowhere"), &report);
        let mut lines = lines.lines();
        let stop = |line: &&str| listener.on_line(line, &|path| path.to_owned()).is_err();
        lines.find(stop).map(|line| line.trim().to_owned())
    }

    /// Checks lines as pip 21.3, 22.2, 23.2 and 24.0 print them.
    #[test]
    fn wheels_are_judged_when_pip_names_them() {
        let amd = checks(Some(Gpu::Amd), &[]);
        let one_by_one = "Collecting edge-model\n  Downloading https://h/files/edge_model-1.0-py3-none-any.whl (807 bytes)\n\
            Collecting torch\n  Downloading torch-2.5.1-cp311-cp311-manylinux1_x86_64.whl (906.4 MB)\n\
            Collecting nvidia-cublas-cu12\n  Downloading nvidia_cublas_cu12-12.1.3-py3-none-any.whl (410.6 MB)\n";
        let last = "Downloading nvidia_cublas_cu12-12.1.3-py3-none-any.whl (410.6 MB)";
        assert_eq!(stopped_at(&amd, one_by_one).as_deref(), Some(last));
        let at_once = "Collecting torch (from edge-model)\n  \
            Obtaining dependency information for torch from https://h/torch-2.5.1-cp311-cp311-linux_x86_64.whl.metadata\n  \
            Downloading torch-2.5.1-cp311-cp311-linux_x86_64.whl.metadata (28 kB)\n\
            Collecting nvidia-cublas-cu12 (from torch->edge-model)\n  \
            Using cached nvidia_cublas_cu12-12.1.3-py3-none-any.whl.metadata (1.5 kB)\n\
            Downloading edge_model-1.0-py3-none-any.whl (807 bytes)\n\
            Downloading torch-2.5.1-cp311-cp311-linux_x86_64.whl (906.4 MB)\n";
        let first = "Downloading edge_model-1.0-py3-none-any.whl (807 bytes)";
        assert_eq!(stopped_at(&amd, at_once).as_deref(), Some(first));
        let by_tag = "Downloading https://download.pytorch.org/whl/cu121/torch-2.5.1%2Bcu121-cp311-cp311-linux_x86_64.whl (780.4 MB)";
        assert_eq!(stopped_at(&amd, by_tag).as_deref(), Some(by_tag));
        // These candidates were only tried.
        let tried = "  Downloading torch-2.6.0%2Bcu121-cp311-cp311-linux_x86_64.whl.metadata (28 kB)\n  \
            Downloading torch-2.5.1%2Brocm6.2-cp311-cp311-linux_x86_64.whl.metadata (28 kB)\n\
            Downloading torch-2.5.1%2Brocm6.2-cp311-cp311-linux_x86_64.whl (3.9 GB)\nDownloading x-1.tar.gz (1 kB)\n";
        assert_eq!(stopped_at(&amd, tried), None);
        for checks in [
            checks(Some(Gpu::Nvidia), &[]),
            checks(Some(Gpu::Amd), &["cuda-on-amd"]),
            checks(None, &[]),
        ] {
            assert_eq!(stopped_at(&checks, at_once), None);
        }
    }

    #[test]
    fn only_files_of_the_build_steps_are_asked_about() {
        let room = tempfile::tempdir().expect("a directory");
        let (scratch, outside) = (room.path().join("cw-x"), room.path().join("outside"));
        let dir = scratch.join("root").join(BUILD_DIR);
        for path in [&dir, &outside, &outside.join(BUILD_DIR)] {
            fs_err::create_dir_all(path).expect("a directory");
        }
        let report = Report::silent();
        let mut listener = PipMonitor::new(None, &dir, &report);
        let mut ask = |path: &Path| {
            let line = format!("{QUESTION}{}", path.display());
            listener.on_line(&line, &|path| path.to_owned()).is_ok()
        };
        for refused in [
            outside.join("x"),
            outside.join(BUILD_DIR).join("x"),
            dir.join("home/x"),
            dir.join("../x"),
            dir.join(".."),
            scratch.join("x"),
            "x".into(),
        ] {
            assert!(!ask(&refused), "{}", refused.display());
        }
        let answer = dir.join("pip-asked.answer");
        std::os::unix::fs::symlink(outside.join("victim"), &answer).expect("a link");
        assert!(ask(&dir.join("pip-asked")));
        assert_eq!(fs_err::read_to_string(&answer).expect("an answer"), "go\n");
        let left = fs_err::read_dir(&outside).expect("a directory").count();
        assert_eq!(left, 1);
        fs_err::rename(&dir, scratch.join("aside")).expect("a directory");
        std::os::unix::fs::symlink(outside.join(BUILD_DIR), &dir).expect("a link");
        assert!(!ask(&dir.join("pip-asked")));
    }

    #[test]
    fn it_matters_where_the_gpus_are_amds() {
        assert!(matters(&checks(Some(Gpu::Amd), &[])));
        assert!(matters(&checks(Some(Gpu::Amd), &["mpi-abi"])));
        assert!(!matters(&checks(Some(Gpu::Amd), &["cuda-on-amd"])));
        assert!(!matters(&checks(Some(Gpu::Nvidia), &[])));
        assert!(!matters(&checks(None, &[])));
    }
}
