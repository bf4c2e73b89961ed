//! Responsible for running the scripts of a stage: `%post` in an unpacked file system, and `%test`
//! in the finished image.

use std::path::Path;

use anyhow::bail;
use condense_definition::Stage;
use condense_diagnostics::UserError;
use condense_image::Tree;
use condense_installation::{Exec, Isolation};
use condense_prefix::Progress as _;

use super::{
    Builder, Made,
    apps::{install, lines_of},
    metadata::BUILD_LABELS,
    root::{Found, find, resolve},
};
use crate::{
    child::{SignalScope, run_streaming},
    root_script::{Origin, RootScript, RootSettings, ScriptRoot, usual_variables},
};

/// Script that puts the variables of the source in force, and starts a program with the mask of new
/// files that apptainer gives to scripts.
const WITH_ENVIRONMENT: &str = "umask 0002; for script in /.singularity.d/env/*.sh; do [ ! -f \"$script\" ] || . \"$script\"; done; exec \"$@\"";
/// Shell of scripts that name none.
const SHELL: &str = "/bin/sh";
/// File to which `%post` writes variables of the image.
const ENVIRONMENT: &str = "/.singularity.d/env/91-environment.sh";
/// Number of the last lines of a failed test that are shown.
const TAIL: usize = 20;

/// Returns the shell that puts variables in force before a script: the usual one, or the script's
/// own if the image has no other. Another program than a shell runs without them.
fn wrapper(tree: &Tree, named: &[String]) -> anyhow::Result<Option<String>> {
    let usual = resolve(tree, SHELL.as_ref())?;
    if find(tree, &usual) == Some(Found::File) {
        return Ok(Some(SHELL.to_owned()));
    }
    let own = named.first().filter(|own| own.ends_with("sh"));
    Ok(own.cloned())
}

impl Builder<'_> {
    /// Runs `%post`, and returns what it has made of the tree.
    ///
    /// # Errors
    /// Returns an error if the script fails, or if nothing here can run it.
    pub(super) fn run_post(&self, tree: Tree, stage: &Stage) -> anyhow::Result<Tree> {
        let (plan, report) = (self.plan, self.session.report);
        let post = stage.script("post");
        let named = match post {
            Some(post) => post.shell()?,
            None => vec![SHELL.to_owned(), "-ex".to_owned()],
        };
        let wrapper = wrapper(&tree, &named)?;
        let mut shell = Vec::new();
        if let Some(wrapper) = &wrapper {
            shell.extend([wrapper.as_str(), "-c", WITH_ENVIRONMENT, "sh"].map(str::to_owned));
        }
        shell.extend(named);
        let mut text = post.map_or_else(String::new, |post| post.text.clone());
        let mut lines = post.map_or_else(Vec::new, |post| lines_of(post, 0));
        install(stage, &mut text, &mut lines);
        let mut variables = usual_variables();
        for (name, value) in [
            ("APPTAINER_ENVIRONMENT", ENVIRONMENT.to_owned()),
            ("SINGULARITY_ENVIRONMENT", ENVIRONMENT.to_owned()),
            ("APPTAINER_LABELS", format!("/{BUILD_LABELS}")),
            ("SINGULARITY_LABELS", format!("/{BUILD_LABELS}")),
            ("LD_LIBRARY_PATH", "/.singularity.d/libs".to_owned()),
        ] {
            variables.insert(name.to_owned(), value);
        }
        let settings = RootSettings {
            binds: plan
                .options
                .binds
                .iter()
                .map(|bind| (bind.source.clone(), bind.destination.clone()))
                .collect(),
            allow_no_root: plan.options.allows_no_root,
            shell: wrapper.unwrap_or_else(|| SHELL.to_owned()),
        };
        let scratch = self
            .scratch_dir()?
            .join(format!("stage-{}", self.done.len()));
        let runtime = self.runtime.as_ref();
        let root = ScriptRoot::open(self.session, &scratch, tree, runtime, &settings)?;
        let script = RootScript {
            name: "%post",
            text: &text,
            shell,
            arguments: Vec::new(),
            variables,
            origin: Some(Origin {
                file: &plan.file,
                lines,
            }),
        };
        if plan.options.explains {
            report.info(root.explanation());
        }
        report.info("Running %post");
        root.run(&script)?;
        let (mut tree, _) = root.finish(plan.source_date_epoch)?;
        tree.set_mtime_of_additions(self.now);
        Ok(tree)
    }

    /// Runs `%test` in an image, if it is to run.
    ///
    /// # Errors
    /// Returns an error if the test fails.
    pub(super) fn test(&self, made: &Made, image: &Path) -> anyhow::Result<()> {
        let (plan, report) = (self.plan, self.session.report);
        let (Some(script), Some(runtime)) = (made.stage.script("test"), &self.runtime) else {
            return Ok(());
        };
        if !plan.runs(made.stage, "test") {
            return Ok(());
        }
        let mut flags = self.session.settings.rules.flags_of_every_start();
        flags.extend(plan.options.flags.iter().cloned());
        let mut binds = Vec::new();
        for bind in &plan.options.binds {
            binds.push(condense_installation::Bind::path(
                &bind.source,
                &bind.destination,
            )?);
        }
        let exec = Exec {
            base: image.to_owned(),
            binds,
            isolation: Isolation {
                clean_env: true,
                ..Isolation::default()
            },
            argv: vec!["/.singularity.d/test".into()],
            ..Exec::default()
        };
        report.info("Running %test");
        let command = runtime.clone().with_flags(flags).exec(&exec);
        let mut lines = Vec::new();
        let status = run_streaming(command, SignalScope::Process, report, &mut |line| {
            report.output(line);
            lines.push(line.to_owned());
            if lines.len() > TAIL {
                lines.remove(0);
            }
            Ok(())
        });
        let status = status.map_err(anyhow::Error::from_boxed)?;
        self.session.refuse_interrupted()?;
        if status == 0 {
            return Ok(());
        }
        let output = lines.join("\n");
        bail!(UserError::at(
            script.location.clone(),
            format!("%test failed: exit status {status}\n{output}").trim_end(),
            Some("no image is made; `--notest` builds without the test".to_owned()),
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_variables_of_the_image_are_set_by_a_shell_that_it_has() {
        let shell = |paths: &[&str], named: &str| {
            let mut tree = Tree::new();
            for path in paths {
                tree.add_bytes(path, *b"x", 0o755).unwrap();
            }
            tree.add_symlink("bin", "usr/bin").unwrap();
            let named = named.split(' ').map(str::to_owned).collect::<Vec<_>>();
            wrapper(&tree, &named).unwrap().unwrap_or_default()
        };
        let bash = "/usr/bin/bash -eu";
        assert_eq!(shell(&["usr/bin/sh", "usr/bin/bash"], bash), "/bin/sh");
        assert_eq!(shell(&["usr/bin/bash"], bash), "/usr/bin/bash");
        assert_eq!(shell(&["usr/bin/python3"], "/usr/bin/python3"), "");
    }
}
