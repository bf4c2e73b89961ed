//! Responsible for checking virtual environments: their interpreter must be at the recorded path.

use std::path::Path;

use crate::context::RuntimeContext;
use crate::{code, finding::Finding, inventory::Inventory};

pub(super) fn check(inventory: &Inventory, context: &RuntimeContext) -> Vec<Finding> {
    let Some(system) = context.system else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for venv in &inventory.venvs {
        let program = venv.version.as_ref().map_or_else(
            || "python3".to_owned(),
            |version| format!("python{version}"),
        );
        let exists = |path: &Path| {
            let path = inventory.resolve(path);
            inventory.elves.contains_key(&path) || system.exists(&path)
        };
        // Not every interpreter has a name with its version beside the plain name.
        let wanted = venv.home.join(&program);
        let library = |lib: &str, prefix: &Path| {
            let dir = prefix.join(lib);
            // The name of the library directory ends in `t` for a free-threaded Python (without a
            // GIL).
            exists(&dir.join(&program)) || exists(&dir.join(format!("{program}t")))
        };
        let here = exists(&wanted)
            || exists(&inventory.resolve(&venv.dir.join("bin/python")))
                && venv
                    .home
                    .parent()
                    .is_some_and(|prefix| library("lib", prefix) || library("lib64", prefix));
        if !here {
            findings.push(Finding::new(
                &code::PYTHON_MISSING,
                format!(
                    "the virtual environment wants `{}`, which is not there",
                    wanted.display()
                ),
                inventory.display_path(&venv.dir.join("pyvenv.cfg")),
            ));
        }
    }
    findings
}
