//! Responsible for the text of the run scripts.

/// Directory of the run scripts in a container.
pub const RUN_SCRIPTS_DIR: &str = "/runscripts";

/// Parts that more than one script has, or that are worth a file of their own.
const PARTS: [(&str, &str); 7] = [
    ("python.sh", include_str!("../run_scripts/parts/python.sh")),
    (
        "hostlist.sh",
        include_str!("../run_scripts/parts/hostlist.sh"),
    ),
    ("job.sh", include_str!("../run_scripts/parts/job.sh")),
    ("ranks.sh", include_str!("../run_scripts/parts/ranks.sh")),
    ("gpus.sh", include_str!("../run_scripts/parts/gpus.sh")),
    ("caches.sh", include_str!("../run_scripts/parts/caches.sh")),
    (
        "verbose.sh",
        include_str!("../run_scripts/parts/verbose.sh"),
    ),
];
/// Sentence in the comment of each script.
const MARK: &str = "Part of condense.";
/// Start of the comment that tells shellcheck the path of a part. The line after it sources the
/// part.
const DIRECTIVE: &str = "# shellcheck source=crates/jobs/run_scripts/parts/";

/// A run script with its name and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunScript {
    /// Name of the file, by which it is found on PATH.
    pub name: &'static str,
    /// Permissions of the file. A script for sourcing cannot be executed.
    pub mode: u16,
    /// Text of the whole file.
    pub text: String,
}

/// Returns all run scripts, sorted by name.
#[must_use]
pub fn run_scripts() -> Vec<RunScript> {
    let script = |name, mode, text| RunScript {
        name,
        mode,
        text: put_together(text),
    };
    vec![
        script(
            "conda-python-distributed",
            0o755,
            include_str!("../run_scripts/conda-python-distributed.sh"),
        ),
        script(
            "conda-python-simple",
            0o755,
            include_str!("../run_scripts/conda-python-simple.sh"),
        ),
        script(
            "get-master",
            0o755,
            include_str!("../run_scripts/get-master.sh"),
        ),
        script(
            "init-conda-venv",
            0o644,
            include_str!("../run_scripts/init-conda-venv.sh"),
        ),
        script(
            "list-packages",
            0o755,
            include_str!("../run_scripts/list-packages.sh"),
        ),
    ]
}

/// Returns whether a file is a run script, of this or another version of condense.
#[must_use]
pub fn is_run_script(text: &[u8]) -> bool {
    let mut words = text.windows(MARK.len());
    words.any(|words| words == MARK.as_bytes())
}

/// Replaces each line that sources a part, and the comment before it, by the part's text.
fn put_together(text: &str) -> String {
    let mut whole = String::with_capacity(4 * text.len());
    let mut lines = text.split_inclusive('\n');
    while let Some(line) = lines.next() {
        let part = line.strip_prefix(DIRECTIVE).and_then(|name| {
            let known = |(part, _): &&(&str, &str)| *part == name.trim_end();
            PARTS.iter().find(known)
        });
        if let Some((_, text)) = part {
            whole.push_str(text);
            lines.next();
        } else {
            whole.push_str(line);
        }
    }
    whole
}
