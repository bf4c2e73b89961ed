//! Responsible for the question that pip's steps ask before they fetch anything: what is thought of what they would install. One
//! line of the container's output is the question, a file beside the one that it names the answer.

use std::path::{Path, PathBuf};

use condense_check::Gpu;
use serde::Deserialize;

use super::{
    check,
    container::{Container, Mounted},
};
use crate::plan::Checks;

/// Set in the container where somebody wants to know.
pub(super) const VARIABLE: &str = "CONDENSE_ASKS";
const QUESTION: &str = "::condense-ask ";

/// Whether it can matter what is in pip's train: PyPI's builds are for NVIDIA's GPUs, which costs gigabytes on AMD's.
pub(super) fn matters(checks: &Checks) -> bool {
    let code = condense_check::find_code("cuda-on-amd");
    let allowed = code.is_some_and(|code| checks.allowed.contains(&code));
    checks.machine.gpu == Some(Gpu::Amd) && !allowed
}

impl Container<'_> {
    /// Answers if this line is the question. Nothing comes back where it was none, or where all is well.
    ///
    /// # Errors
    /// What must not be installed; a file that cannot be read or written.
    pub(super) fn answer(&self, line: &str) -> anyhow::Result<bool> {
        let Some(asked) = line.strip_prefix(QUESTION) else {
            return Ok(false);
        };
        let asked = self.on_host(Path::new(asked.trim()));
        let judged = match self.checks {
            Some(checks) => {
                let packages = packages(&fs_err::read_to_string(&asked)?);
                check::before_pip(&packages, checks, self.report)
            }
            None => Ok(()),
        };
        let answer = if judged.is_ok() { "go\n" } else { "stop\n" };
        let (mut new, mut path) = (asked.clone().into_os_string(), asked.into_os_string());
        new.push(".new");
        path.push(".answer");
        fs_err::write(&new, answer)?;
        fs_err::rename(&new, &path)?;
        judged.map(|()| true)
    }

    /// Where a file of the container lies on this machine.
    fn on_host(&self, path: &Path) -> PathBuf {
        match (self.mounted, path.strip_prefix(self.mount_point)) {
            (Mounted::Directory(root), Ok(below)) => root.join(below),
            _ => path.to_owned(),
        }
    }
}

#[derive(Deserialize)]
struct Report {
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

/// Names and versions, out of pip's report or of what uv prints.
fn packages(text: &str) -> Vec<(String, String)> {
    if let Ok(report) = serde_json::from_str::<Report>(text) {
        let items = report.install.into_iter();
        return items
            .map(|item| (item.metadata.name, item.metadata.version))
            .collect();
    }
    let lines = text.lines().filter_map(|line| line.strip_prefix(" + "));
    let pair = |line: &str| {
        let (name, version) = line.split_once("==")?;
        let version = version.split_whitespace().next()?;
        Some((name.to_owned(), version.to_owned()))
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
            let expected = ("torch".to_owned(), "2.5.1+cu121".to_owned());
            assert_eq!(packages(text), [expected], "{text}");
        }
        assert!(packages("nothing to do").is_empty());
    }

    #[test]
    fn it_matters_where_the_gpus_are_amds() {
        let checks = |gpu, allowed: &[&str]| Checks {
            machine: condense_check::Machine {
                gpu,
                ..condense_check::Machine::default()
            },
            allowed: allowed
                .iter()
                .filter_map(|name| condense_check::find_code(name))
                .collect(),
        };
        assert!(matters(&checks(Some(Gpu::Amd), &[])));
        assert!(matters(&checks(Some(Gpu::Amd), &["mpi-abi"])));
        assert!(!matters(&checks(Some(Gpu::Amd), &["cuda-on-amd"])));
        assert!(!matters(&checks(Some(Gpu::Nvidia), &[])));
        assert!(!matters(&checks(None, &[])));
    }
}
