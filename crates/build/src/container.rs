//! Responsible for the build container: the real runtime with the real base, and scratch bound at
//! the mount point.

use std::{
    ffi::{OsStr, OsString},
    path::{Component, Path, PathBuf},
};

use condense_installation::{Bind, Exec, HostView, Isolation, Runtime};
use condense_prefix::StepRunner;

use super::{
    child::{SignalScope, run_streaming},
    pip_preflight::{self, PipMonitor},
};
use crate::{
    plan::{BuildEnv, Checks},
    report::Report,
};
use condense_env_vars as env_vars;

/// Container in which build steps run.
pub(super) struct Container<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) base: &'a Path,
    pub(super) view: HostView,
    pub(super) mounted: Mounted<'a>,
    pub(super) mount_point: &'a Path,
    /// Directory of the steps' inputs and results on this machine.
    pub(super) build_dir: PathBuf,
    /// Path of this directory in the container, if it is shown apart from the mount point.
    pub(super) steps_at: Option<&'a Path>,
    /// The user's variables and files that the steps see.
    pub(super) build_env: &'a BuildEnv,
    /// Files and directories of the user that the steps must see.
    pub(super) shown: Vec<PathBuf>,
    /// Rules by which pip's questions are answered. Without them, pip does not ask.
    pub(super) checks: Option<&'a Checks>,
    pub(super) report: &'a Report,
}

/// Directory or image at the mount point.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mounted<'a> {
    /// A directory that steps can write.
    Directory(&'a Path),
    /// A directory that is read-only.
    ReadOnlyDirectory(&'a Path),
    /// A finished image, which is read-only.
    Image(&'a Path),
}

impl Container<'_> {
    /// Returns the binds of the container. `home` takes the place of the user's own home directory.
    fn binds(&self, home: Option<&Path>) -> condense_installation::Result<Vec<Bind>> {
        let mut binds = self.view.host_directories()?;
        binds.extend(binds_of(self.view, &self.shown)?);
        let shows = |top: &OsStr| self.view.shows(top);
        binds.extend(self.build_env.binds(home, shows, &self.shown)?);
        let shows = |top: &OsStr| self.view.shows(top);
        let named = self.build_env.host_file_binds(home.is_none(), shows);
        let is_new = |bind: &Bind| {
            !binds
                .iter()
                .any(|other| other.destination() == bind.destination())
        };
        let named: Vec<Bind> = named.binds.into_iter().filter(is_new).collect();
        binds.extend(named);
        if let Some(steps_at) = self.steps_at {
            binds.push(Bind::path(&self.build_dir, steps_at)?);
        }
        binds.push(match self.mounted {
            Mounted::Directory(root) => Bind::path(root, self.mount_point)?,
            Mounted::ReadOnlyDirectory(root) => Bind::path(root, self.mount_point)?.read_only(),
            Mounted::Image(image) => Bind::image(image, self.mount_point)?,
        });
        Ok(binds)
    }

    /// Starts the container exactly as the steps will need it, and returns the variables that the
    /// base sets.
    ///
    /// # Errors
    /// Returns an error with the runtime's reason if it cannot bind scratch at the mount point.
    pub(super) fn probe(&self) -> condense_installation::Result<Vec<(String, String)>> {
        let mut argv: Vec<OsString> = ["/bin/sh", "-c", "test -d \"$1\" && exec env -0", "sh"]
            .iter()
            .map(OsString::from)
            .collect();
        argv.push(self.mount_point.into());
        let exec = Exec {
            base: self.base.to_owned(),
            binds: self.binds(None)?,
            isolation: Isolation {
                clean_env: true,
                no_home: !self.build_env.has_own_home(),
                ..Isolation::default()
            },
            argv,
            ..Exec::default()
        };
        let output = self.runtime.run(&exec)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
        Ok(pairs
            .filter(|(name, _)| is_of_base(name))
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect())
    }
}

/// Returns binds of the paths that the view hides: those below directories that are the base's own.
pub(super) fn binds_of(
    view: HostView,
    paths: &[PathBuf],
) -> condense_installation::Result<Vec<Bind>> {
    let hidden = |path: &&PathBuf| {
        let mut parts = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        });
        // The runtime shows the host's /tmp in any view.
        parts
            .next()
            .is_some_and(|top| top != "tmp" && !view.shows(top))
            && path.exists()
    };
    paths
        .iter()
        .filter(hidden)
        .map(|path| Bind::path(path, path))
        .collect()
}

/// Returns whether the base sets a variable. The runtime and the shell set others in any container.
fn is_of_base(name: &str) -> bool {
    let of_runtime = ["APPTAINER", "SINGULARITY"]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    let of_shell = [
        "HOME",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
        "TERM",
        "USER",
        "USER_PATH",
        "PS1",
        "PROMPT_COMMAND",
    ];
    !of_runtime && !of_shell.contains(&name) && !matches!(name, "LD_LIBRARY_PATH" | "LANG")
}

impl StepRunner for Container<'_> {
    fn run(
        &self,
        argv: &[OsString],
        line: &mut dyn FnMut(&str),
    ) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
        let home = self.build_env.make_home(&self.build_dir)?;
        let exec = Exec {
            base: self.base.to_owned(),
            binds: self.binds(home.as_deref())?,
            working_dir: Some(self.mount_point.to_owned()),
            isolation: Isolation {
                no_home: home.is_some(),
                ..Isolation::default()
            },
            argv: argv.to_vec(),
            ..Exec::default()
        };
        let mut command = self.runtime.exec(&exec);
        self.build_env.screen(&mut command);
        if self.view == HostView::Host {
            // These values lead to compilers and modules of the user's shell. The runtime replaces
            // them by the base's own values.
            for (name, kept_as) in [
                (env_vars::PATH, "CONDENSE_HOST_PATH"),
                (env_vars::LD_LIBRARY_PATH, "CONDENSE_HOST_LD_LIBRARY_PATH"),
            ] {
                if let Some(value) = std::env::var_os(name) {
                    command.env(kept_as, value);
                }
            }
        }
        pip_preflight::enable(&mut command, self.checks);
        let mut listener = PipMonitor::new(self.checks, &self.build_dir, self.report);
        let on_host = |path: &Path| {
            let of_steps = self.steps_at.map(|steps_at| path.strip_prefix(steps_at));
            match (self.mounted, path.strip_prefix(self.mount_point)) {
                (Mounted::Directory(root), Ok(below)) => root.join(below),
                _ => match of_steps {
                    Some(Ok(below)) => self.build_dir.join(below),
                    _ => path.to_owned(),
                },
            }
        };
        run_streaming(command, SignalScope::Process, self.report, &mut |text| {
            if !listener.on_line(text, &on_host)? {
                line(text);
            }
            Ok(())
        })
    }
}
