//! Runs builds: from a plan to an installation, a SIF or an update. The order of work is here; the
//! work itself is done by the other crates, and this is the only one that uses all of them.
//!
//! A front end fills a plan of [`plan`] and calls one of the functions with a [`Report`], which
//! receives messages and progress. Nothing is printed, and nothing stays behind when a run fails.

mod ahead;
mod build;
mod cache;
mod check;
mod child;
mod claim;
mod compression;
mod conda;
mod container;
pub mod contents;
mod damage;
mod definition;
mod doctor;
mod environment;
mod generation;
mod held;
mod held_image;
mod hints;
mod host_mpi;
mod host_runner;
mod html_report;
mod inputs;
mod installation;
pub mod interrupt;
mod launch;
mod lock;
mod open_base;
mod os_packages;
mod output;
mod pack;
mod pip_preflight;
pub mod plan;
mod prefix;
mod prepared;
mod preview;
mod privacy;
mod processes;
mod programs;
mod pull;
mod rebuild;
mod recipe;
mod report;
mod request;
mod root_script;
mod runtime_search;
mod scratch;
mod search;
mod servers;
mod session;
mod sif;
mod sif_facts;
mod space;
mod stage;
mod start;
mod submission;
mod target;
mod update;
mod venv;
mod verify;
mod wrap;

pub use cache::{BlocksChecked, CacheCleaned, CacheCleaning, CacheDirs, CachePart, CacheUse};
pub use check::{CheckTarget, Subject, check};
pub use definition::{build_definition, preview_definition, read_definition};
pub use doctor::{Examined, doctor, is_shared, starts};
pub use hints::{hint, hint_of_cause, location};
pub use host_mpi::host_mpi_of;
pub use html_report::html_report;
pub use installation::build;
pub use interrupt::Interrupt;
pub use lock::lock;
pub use output::{check_image_output, check_output, check_output_dir};
pub use preview::{Preview, PreviewedBase, PreviewedPackage, PreviewedPip, preview_build};
pub use processes::end_all;
pub use pull::{Pull, missing as missing_base};
pub use rebuild::{RebuildPlan, Rebuilt, rebuild};
pub use report::{Level, Phase, Report, Reporter};
pub use root_script::run_root_script_child;
pub use search::{SearchPlan, search};
pub use servers::{ServerPlan, ask_servers};
pub use sif::{build_sif, preview_sif};
pub use sif_facts::{SifFacts, SifObject, verify_sif};
pub use stage::{
    NodeAnswer, NodeStep, Place, SlurmJob, StageSources, StagedCopies, answer_as_node,
    choose_place, clean_stage, size_of, stage_here, stage_in_job, staged_sif,
};
pub use submission::{Submission, SubmittedCommand};
pub use update::{preview_update, update};
pub use verify::verify;
pub use wrap::{preview_wrap, wrap};
