//! Responsible for the progress of pip, as its output shows it: what it looks at, how many
//! archives it has of those that it needs, what it builds and installs.

use std::collections::BTreeSet;

/// Progress of one run of pip or uv.
#[derive(Debug, Default)]
pub(super) struct PipProgress {
    /// Projects that pip has looked at.
    collected: BTreeSet<String>,
    /// Number of archives that pip has fetched or taken from its cache.
    fetched: usize,
    /// Archive that pip is fetching.
    archive: String,
    /// Projects that pip builds.
    to_build: usize,
    built: usize,
}

impl PipProgress {
    /// Returns whether a line is one of `--progress-bar raw`, which is only meant for programs.
    pub(super) fn is_only_progress(line: &str) -> bool {
        raw(line).is_some()
    }

    /// Reads a line. Returns the work that pip is at if the line is about that.
    pub(super) fn activity(&mut self, line: &str) -> Option<String> {
        let line = line.trim();
        if let Some((done, total)) = raw(line) {
            let percent = done.saturating_mul(100).checked_div(total)?;
            return Some(format!("{}, {percent} %", self.downloading()));
        }
        if let Some(rest) = line.strip_prefix("Collecting ") {
            let name = rest.split(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)));
            let name = crate::normalized_name(name.clone().next().unwrap_or(rest));
            self.collected.insert(name.clone());
            return Some(format!(
                "looking at {name}, {} so far",
                self.collected.len()
            ));
        }
        let fetched = ["Downloading ", "Using cached "];
        if let Some(rest) = fetched.iter().find_map(|start| line.strip_prefix(start)) {
            let file = rest.split_whitespace().next()?;
            let file = file.rsplit('/').next().unwrap_or(file);
            let file = file.split(['#', '?']).next().unwrap_or(file);
            if file.ends_with(".metadata") {
                return None;
            }
            self.fetched += 1;
            let size = rest.split_once(" (").map_or("", |(_, size)| size);
            self.archive = match size.trim_end_matches(')') {
                "" => file.to_owned(),
                size => format!("{file} ({size})"),
            };
            return Some(self.downloading());
        }
        if let Some(rest) = line.strip_prefix("Building wheels for collected packages: ") {
            self.to_build = rest.split(", ").count();
            return None;
        }
        if let Some(rest) = line.strip_prefix("Building wheel for ") {
            let name = rest.split_whitespace().next()?;
            if rest.contains(": started") || !rest.contains(": ") {
                self.built += 1;
            }
            let all = self.to_build.max(self.built);
            return Some(format!("building {name}, {} of {all}", self.built));
        }
        let rest = line.strip_prefix("Installing collected packages: ")?;
        let count = rest.split(", ").count();
        Some(format!("installing {count} packages"))
    }

    /// Returns the archive that is fetched, with its number among those that are known by now.
    fn downloading(&self) -> String {
        let all = self.collected.len().max(self.fetched);
        format!("downloading {} of {all}: {}", self.fetched, self.archive)
    }
}

/// Returns the bytes in a line of pip's `--progress-bar raw`: `Progress 1024 of 4096`.
fn raw(line: &str) -> Option<(u64, u64)> {
    let (done, total) = line.trim().strip_prefix("Progress ")?.split_once(" of ")?;
    Some((done.parse().ok()?, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::PipProgress;

    fn activities(text: &str) -> Vec<String> {
        let mut progress = PipProgress::default();
        text.lines()
            .filter_map(|line| progress.activity(line))
            .collect()
    }

    /// Row B30: lines of pip 25, which fetches metadata first.
    #[test]
    fn archives_are_counted_among_the_projects_that_pip_has_looked_at() {
        let said = activities(
            "Looking in indexes: https://h/simple\n\
             Collecting NumPy>=2 (from -r requirements.txt (line 1))\n  \
             Downloading numpy-2.0-cp311-cp311-manylinux_2_17_x86_64.whl.metadata (60 kB)\n\
             Collecting rich\n\
             Downloading numpy-2.0-cp311-cp311-manylinux_2_17_x86_64.whl (18.2 MB)\n   \
             Progress 0 of 1000\n   Progress 500 of 1000\n\
             Using cached rich-13.0-py3-none-any.whl (238 kB)\n\
             Building wheels for collected packages: a, b\n  \
             Building wheel for a (pyproject.toml): started\n  \
             Building wheel for a (pyproject.toml): finished with status 'done'\n  \
             Building wheel for b (pyproject.toml): started\n\
             Installing collected packages: numpy, rich, a, b\n\
             Successfully installed numpy-2.0",
        );
        assert_eq!(
            said,
            [
                "looking at numpy, 1 so far",
                "looking at rich, 2 so far",
                "downloading 1 of 2: numpy-2.0-cp311-cp311-manylinux_2_17_x86_64.whl (18.2 MB)",
                "downloading 1 of 2: numpy-2.0-cp311-cp311-manylinux_2_17_x86_64.whl (18.2 MB), 0 %",
                "downloading 1 of 2: numpy-2.0-cp311-cp311-manylinux_2_17_x86_64.whl (18.2 MB), 50 %",
                "downloading 2 of 2: rich-13.0-py3-none-any.whl (238 kB)",
                "building a, 1 of 2",
                "building a, 1 of 2",
                "building b, 2 of 2",
                "installing 4 packages",
            ]
        );
    }

    /// Row B30: lines of pip 19, which fetches each archive when it comes to it.
    #[test]
    fn the_lines_of_old_versions_are_counted_too() {
        let said = activities(
            "Collecting click\n  Downloading https://h/p/click-7.1.2-py2.py3-none-any.whl#sha256=ab (82kB)\n",
        );
        assert_eq!(
            said[1],
            "downloading 1 of 1: click-7.1.2-py2.py3-none-any.whl (82kB)"
        );
        assert!(PipProgress::is_only_progress("   Progress 5 of 10"));
        assert!(!PipProgress::is_only_progress("Progress is good"));
    }
}
