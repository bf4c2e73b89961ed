//! Run scripts: small programs in `/runscripts` of an image, which jobs start instead of Python.
//!
//! The scripts are POSIX shell, need no Python, and end in `exec`. Each is one file that works
//! alone. They are put together from the files in `run_scripts/`, where the lines that source a
//! part are replaced by the part's text.
//!
//! ```
//! let scripts = condense_jobs::run_scripts();
//! let distributed = &scripts[0];
//! assert_eq!(distributed.name, "conda-python-distributed");
//! assert!(distributed.text.starts_with("#!/bin/sh\n"));
//! ```
//!
//! This crate writes no file and knows no site: rules of sites reach the scripts as environment
//! variables, which wrappers and images set.

mod run_scripts;

pub use run_scripts::{RUN_SCRIPTS_DIR, RunScript, is_run_script, run_scripts};
