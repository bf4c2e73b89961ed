//! Responsible for pip without a container: its process on this machine, judged like one in a
//! container.

use std::{ffi::OsString, path::Path, process::Command};

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

/// This machine.
#[derive(Clone, Copy)]
pub(super) struct HostRunner<'a> {
    pub(super) checks: &'a Checks,
    /// The directory of the steps' inputs and results.
    pub(super) build_dir: &'a Path,
    /// The user's variables and files that the steps see.
    pub(super) build_env: &'a BuildEnv,
    pub(super) report: &'a Report,
}

impl StepRunner for HostRunner<'_> {
    fn run(
        &self,
        argv: &[OsString],
        line: &mut dyn FnMut(&str),
    ) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
        let Some((program, words)) = argv.split_first() else {
            return Err("there is nothing to run".into());
        };
        let mut command = Command::new(program);
        command.args(words);
        if let Some(home) = self.build_env.make_home(self.build_dir)? {
            command.env(env_vars::HOME, home);
        }
        self.build_env.screen(&mut command);
        pip_preflight::enable(&mut command, Some(self.checks));
        let mut listener = PipMonitor::new(Some(self.checks), self.build_dir, self.report);
        run_streaming(command, SignalScope::Group, self.report, &mut |text| {
            if !listener.on_line(text, &|path| path.to_owned())? {
                line(text);
            }
            Ok(())
        })
    }
}
