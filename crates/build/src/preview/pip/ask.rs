//! Responsible for asking uv or pip which packages it would install.

use std::{
    ffi::{OsStr, OsString},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use condense_env_vars as env_vars;
use condense_prefix::BUILD_DIR;

use super::{PipQuestion, PythonVersion, pylock};
use crate::{
    child::{SignalScope, run_streaming},
    pip_preflight,
    preview::PreviewedPip,
};

/// Versions of the C library for which uv knows a platform, the newest first.
const UV_PLATFORMS: [&str; 12] = [
    "2_40", "2_39", "2_38", "2_37", "2_36", "2_35", "2_34", "2_33", "2_32", "2_31", "2_28", "2_17",
];
/// Oldest pip that reports without downloading.
const PIP_OLDEST: (u32, u32) = (25, 3);
/// Variables of pip that uv knows by another name.
const SAME_FOR_UV: [(&str, &str); 3] = [
    ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
    ("PIP_EXTRA_INDEX_URL", "UV_INDEX"),
    ("PIP_FIND_LINKS", "UV_FIND_LINKS"),
];
/// Variables that would direct pip to another environment.
const MISLEADING: [&str; 4] = [
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_REQUIRE_VIRTUALENV",
];

/// Program that is asked.
pub(super) enum Asked {
    Uv(PathBuf),
    /// Python with a pip that can report.
    Pip(PathBuf),
}

/// Answer of the program.
pub(super) enum Answer {
    Packages(Vec<PreviewedPip>),
    /// No version fits the requirements, for this reason.
    Impossible(String),
    /// Only the build can tell, for this reason.
    Unknown(String),
}

impl Asked {
    /// Finds a program that can answer for this version of Python.
    pub(super) fn find(question: &PipQuestion, python: &PythonVersion) -> Option<Self> {
        let search_path = question.session.search_path;
        let uv = question.uv_program.map(Path::to_owned);
        if let Some(uv) = uv.or_else(|| find_program(search_path, "uv")) {
            return Some(Self::Uv(uv));
        }
        if question.uses_uv {
            return None;
        }
        let named = format!("python{}", python.minor);
        let program = python.program.clone();
        let program = program.or_else(|| find_program(search_path, &named))?;
        can_report(&program).then_some(Self::Pip(program))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Uv(_) => "uv",
            Self::Pip(_) => "pip",
        }
    }

    /// Asks the program.
    ///
    /// # Errors
    /// Returns an error if the notes cannot be written, or if the run is interrupted.
    pub(super) fn ask(
        &self,
        question: &PipQuestion,
        python: &PythonVersion,
    ) -> anyhow::Result<Answer> {
        let requirements = question.notes.join("requirements.txt");
        fs_err::write(&requirements, question.spec.pip().join("\n") + "\n")?;
        let answer = question.notes.join(match self {
            Self::Uv(_) => "pylock.toml",
            Self::Pip(_) => "report.json",
        });
        let mut command = match self {
            Self::Uv(program) => ask_uv(program, question, python),
            Self::Pip(program) => ask_pip(program),
        };
        match self {
            Self::Uv(_) => command.arg("--output-file"),
            Self::Pip(_) => command.arg("--report"),
        };
        command.arg(&answer);
        match self {
            Self::Uv(_) => command.arg(&requirements),
            Self::Pip(_) => command.arg("-r").arg(&requirements),
        };
        let settings = question.session.settings;
        let build_dir = question.notes.join(BUILD_DIR);
        if let Some(home) = settings.build_env.make_home(&build_dir)? {
            command.env(env_vars::HOME, home);
        }
        settings.build_env.screen(&mut command);
        let report = question.session.report;
        let mut lines = Vec::new();
        let status = run_streaming(command, SignalScope::Group, report, &mut |line| {
            report.debug(line);
            lines.push(line.to_owned());
            Ok(())
        });
        question.session.refuse_interrupted()?;
        let status = match status {
            Ok(status) => status,
            Err(error) => return Ok(Answer::Unknown(format!("{} failed: {error}", self.name()))),
        };
        if status != 0 {
            return Ok(self.failed(&lines, question));
        }
        let text = condense_input::read_to_string(&answer, condense_input::TEXT_MOST)?;
        Ok(match self {
            Self::Uv(_) => match pylock::packages(&text, &python.minor) {
                Ok(packages) => Answer::Packages(packages),
                Err(error) => Answer::Unknown(format!("uv's answer cannot be read: {error}")),
            },
            Self::Pip(_) => {
                let packages = pip_preflight::packages(&text).into_iter();
                Answer::Packages(packages.map(super::of_unknown_size).collect())
            }
        })
    }

    fn failed(&self, lines: &[String], question: &PipQuestion) -> Answer {
        let text: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
        let text = text.join(" ");
        match self {
            Self::Uv(_) => {
                let reason = reason_of_uv(&text);
                let needs_build = text.contains("no usable wheels")
                    || text.contains("building from source is disabled");
                // uv does not read pip's own configuration, so it may have asked another index.
                let is_sure = question.uses_uv || !has_pip_configuration(question);
                if text.contains("No solution found") && !needs_build && is_sure {
                    return Answer::Impossible(reason);
                }
                Answer::Unknown(format!("uv: {reason}"))
            }
            Self::Pip(_) => {
                let mut errors = lines.iter().rev();
                let last = errors.find_map(|line| line.strip_prefix("ERROR: "));
                let last = last.unwrap_or("it failed");
                Answer::Unknown(format!("pip finds no wheels: {last}"))
            }
        }
    }
}

fn ask_uv(program: &Path, question: &PipQuestion, python: &PythonVersion) -> Command {
    let mut command = Command::new(program);
    command.args([
        "pip",
        "compile",
        "--quiet",
        "--color",
        "never",
        "--no-header",
    ]);
    command.args(["--no-build", "--no-python-downloads"]);
    command.args(["--index-strategy", "unsafe-best-match"]);
    command.args(["--python-version", &python.minor]);
    if let Some(platform) = platform(question) {
        command.args(["--python-platform", &platform]);
    }
    let env = &question.session.settings.build_env.installers;
    let value = |name: &str| env.iter().find(|(known, _)| known == name);
    for (of_pip, of_uv) in SAME_FOR_UV {
        if let (Some((_, text)), None) = (value(of_pip), value(of_uv)) {
            command.env(of_uv, text);
        }
    }
    if let Some((_, file)) = value("PIP_CERT") {
        command.env("SSL_CERT_FILE", file);
    }
    if question.settings.pip_without_index {
        command.arg("--no-index");
    }
    command
}

fn ask_pip(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["-m", "pip", "install", "--dry-run", "--ignore-installed"]);
    command.args(["--only-binary", ":all:", "--use-feature", "fast-deps"]);
    command.args(["--no-input", "--disable-pip-version-check", "-q"]);
    command.env("PIP_BREAK_SYSTEM_PACKAGES", "1");
    command.env("PIP_USER", "0");
    command.env("PYTHONNOUSERSITE", "1");
    for name in MISLEADING {
        command.env_remove(name);
    }
    command
}

/// Returns uv's name of the platform: the newest one whose C library is not newer than the
/// target's. uv knows no platform of other architectures.
fn platform(question: &PipQuestion) -> Option<String> {
    let machine = match question.target.platform() {
        "linux-64" => "x86_64",
        "linux-aarch64" => "aarch64",
        _ => return None,
    };
    let glibc = question.target.glibc.as_deref().unwrap_or("2.17");
    let numbers = |text: &str| -> Vec<u32> {
        let parts = text.split(['.', '_']);
        parts.filter_map(|part| part.parse().ok()).collect()
    };
    let mut known = UV_PLATFORMS.iter();
    let found = known.find(|platform| numbers(platform) <= numbers(glibc));
    Some(format!("{machine}-manylinux_{}", found.unwrap_or(&"2_17")))
}

/// Returns uv's explanation, without what it says about the command.
fn reason_of_uv(text: &str) -> String {
    let explanation = text
        .split("Because ")
        .nth(1)
        .map(|rest| format!("because {rest}"));
    let text = explanation.unwrap_or_else(|| text.trim_start_matches("error: ").to_owned());
    let text = text.split("hint:").next().unwrap_or(&text);
    text.trim().trim_end_matches('.').to_owned()
}

fn has_pip_configuration(question: &PipQuestion) -> bool {
    let env = &question.session.settings.build_env;
    let mut files = vec![PathBuf::from("/etc/pip.conf")];
    files.extend(env.home.iter().map(|home| home.join(".pip/pip.conf")));
    files.extend(env.config_dir.iter().map(|dir| dir.join("pip/pip.conf")));
    let is_named = env
        .installers
        .iter()
        .any(|(name, _)| name == "PIP_CONFIG_FILE");
    is_named || files.iter().any(|file| file.exists())
}

/// Returns whether the pip of a Python reports what it would install without downloading it.
fn can_report(program: &Path) -> bool {
    let output = Command::new(program)
        .args(["-c", "import pip; print(pip.__version__)"])
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else { return false };
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.trim().split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= PIP_OLDEST,
        _ => false,
    }
}

fn find_program(search_path: &OsStr, name: &str) -> Option<PathBuf> {
    let name = OsString::from(name);
    std::env::split_paths(search_path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(&name))
        .find(|program| {
            let found = program.metadata();
            found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}

#[cfg(test)]
mod tests {
    use super::reason_of_uv;

    /// Checks texts as uv 0.13 prints them.
    #[test]
    fn the_explanation_of_uv_is_kept_alone() {
        let text = "error: No solution found when resolving dependencies cause: Because there is no version of numpy==99 and you require numpy==99, we can conclude that your requirements are unsatisfiable.";
        assert_eq!(
            reason_of_uv(text),
            "because there is no version of numpy==99 and you require numpy==99, we can conclude that your requirements are unsatisfiable"
        );
        let text = "error: Request failed after 3 retries hint: try again";
        assert_eq!(reason_of_uv(text), "Request failed after 3 retries");
    }
}
