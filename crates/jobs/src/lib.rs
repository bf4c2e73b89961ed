//! Jobs of many processes: the batch scripts that start them, by the rules of a site, and the run
//! scripts that tell each process its rank.
//!
//! Run scripts are small programs in `/runscripts` of an image, which jobs start instead of Python.
//! They are POSIX shell, need no Python, and end in `exec`. Each is one file that works alone. They
//! are put together from the files in `run_scripts/`, where the lines that source a part are
//! replaced by the part's text.
//!
//! ```
//! let scripts = condense_jobs::run_scripts();
//! let distributed = &scripts[0];
//! assert_eq!(distributed.name, "conda-python-distributed");
//! assert!(distributed.text.starts_with("#!/bin/sh\n"));
//! ```
//!
//! A [`Job`] is planned from the rules of a site, which are data of a catalogue, from a
//! [`Request`] and from what is known of the [`Program`]. Everything that its script sets is a
//! [`Setting`] with a reason.
//!
//! This crate writes no file, reads no variable and knows no site by name.

mod batch;
mod build_script;
mod error;
mod job;
mod masks;
mod request;
mod resources;
mod rules;
mod run_scripts;
mod setting;
mod time_limit;

pub use batch::{BatchScript, Directive, Scheduler, quote};
pub use build_script::{BuildJob, BuildRules, build_script};
pub use error::{Error, Result};
pub use job::Job;
pub use masks::{CoreGroups, CpuMasks, TaskOrder};
pub use request::{Account, Binding, ModuleKind, Program, ProgramVariable, Request, Start};
pub use resources::{JobSite, Resources};
pub use rules::{DirectiveRule, JobRules, JobVariable, Launcher, Partition};
pub use run_scripts::{RUN_SCRIPTS_DIR, RunScript, is_run_script, run_scripts};
pub use setting::{Setting, SettingKind};
pub use time_limit::TimeLimit;

/// Names of the files in the directory of a job that builds.
pub mod build_job_files {
    pub use crate::build_script::{ERRORS, MESSAGES, OUTPUT, STATUS};
}
