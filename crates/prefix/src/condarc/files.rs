//! Responsible for finding conda's configuration files.

use std::path::{Path, PathBuf};

/// Lists the existing condarc files; later ones have priority. They are the machine's files below
/// `root`, the user's files, and last the file in the environment variable CONDARC, which is listed
/// even if it does not exist, so that reading it gives an error.
pub fn condarc_files(
    root: &Path,
    home: Option<&Path>,
    xdg_config_home: Option<&Path>,
    condarc: Option<&Path>,
) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folder = |dir: &Path| {
        for name in [".condarc", "condarc"] {
            files.push(dir.join(name));
        }
        let entries = std::fs::read_dir(dir.join("condarc.d"));
        let mut more: Vec<PathBuf> = entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                let ending = path.extension().and_then(|ending| ending.to_str());
                matches!(ending, Some("yml" | "yaml"))
            })
            .collect();
        more.sort();
        files.append(&mut more);
    };
    folder(&root.join("etc/conda"));
    folder(&root.join("var/lib/conda"));
    if let Some(dir) = xdg_config_home {
        folder(&dir.join("conda"));
    }
    if let Some(home) = home {
        folder(&home.join(".config/conda"));
        folder(&home.join(".conda"));
        files.push(home.join(".condarc"));
    }
    let mut seen = std::collections::BTreeSet::new();
    files.retain(|path| path.is_file() && seen.insert(path.clone()));
    files.extend(condarc.map(Path::to_owned));
    files
}
