//! Solves conda environments and installs them. An [`EnvironmentSpec`] becomes a [`Solution`], and
//! a [`Solution`] becomes a prefix. The prefix is in a scratch directory, but its files contain the
//! path at which the image will be mounted.
//!
//! [`EnvironmentSpec::load`] reads the user's file of packages. [`solve()`] turns it into exact
//! packages for a [`Target`]. [`fetch()`] downloads their archives to disk. [`complete`] reads the
//! metadata in the archives where no channel index has them. [`install()`] links the packages into
//! the prefix and returns its [`BuildSteps`]. [`BuildSteps::finish`] runs the build steps, which
//! need the build container. rattler, tokio and network clients are used only inside of this crate;
//! public signatures use the crate's own types.
//!
//! ```no_run
//! # use condense_prefix::*;
//! # async fn build(
//! #     target: &Target,
//! #     place: &Place,
//! #     container: &dyn StepRunner,
//! #     progress: &dyn Progress,
//! # ) -> Result<(), Error> {
//! let network = Network::open(NetworkSettings::new("/tmp/cache"))?;
//! let spec = EnvironmentSpec::load("env.yml".as_ref(), &SpecContext::default())?;
//! let solution = solve(&spec, target, &network, &place.root, progress).await?;
//! let archives = fetch(&solution, &network, progress).await?;
//! let (mut solution, archives) = complete(&spec, target, solution, archives, progress)?;
//! let steps = install(&spec, &mut solution, &archives, place, progress)?;
//! let finished = steps.finish(Runner::Container(container), progress)?;
//! # Ok(()) }
//! ```
//!
//! This crate does not start a container runtime (it calls a [`StepRunner`]), print (it calls a
//! [`Progress`]), or know SquashFS. Settings come from the caller; environment variables are read
//! only for build steps: for the certificates that pip needs in the container, and for programs
//! that run without a container.

mod bytecode;
mod conda;
mod condarc;
mod error;
mod explicit;
mod extend;
mod fetch;
mod held;
mod index;
mod index_repair;
mod install;
mod interpreter;
mod landmarks;
mod link;
mod lock;
mod network;
mod package;
mod pip_package;
mod prefix;
mod progress;
mod python;
mod pyvenv;
mod reach;
mod records;
mod search;
mod secrets;
mod shell;
mod solution;
mod solve;
mod spec;
mod spool;
mod steps;
mod suffix;
mod sys_executable;
mod target;
mod text;
mod update;
mod venv;
mod wheel;
mod yaml_limits;

pub use bytecode::stamp_bytecode;
pub use conda::{CondaFacts, CondaSettings};
pub use condarc::{Condarc, condarc_files};
pub use error::{Error, MissingPackage};
pub use explicit::complete;
pub use extend::{
    Change, EnvFiles, Extended, InstallContext, Planned, Removal, StillNeeded, Transaction, apply,
    byte_code_of, extend, old_byte_code_of, plan_change, remove,
};
pub use fetch::{Archive, Archives, archives, fetch, missing_archives};
pub use held::{Held, HeldContents};
pub use install::{install, install_held};
pub use landmarks::{Files, landmarks};
pub use lock::{
    ImageKind, Lock, LockContents, LockedPackage, Recipe, render_lock, render_updated_lock,
};
pub use network::{Mirrors, Network, NetworkSettings, Proxies, Trust};
#[doc(hidden)]
pub use package::readers as package_readers;
pub use package::{KeptPackages, NewPackage, is_whole_package};
pub use pip_package::PipPackage;
pub use prefix::Prefix;
pub use progress::{Phase, Progress, Warning};
pub use reach::{Reach, reach};
pub use search::{Found, FoundPackage, search};
pub use secrets::without_secrets;
pub use solution::{NamedPackage, Solution};
pub use solve::solve;
pub use spec::{ChannelPriority, EnvironmentSpec, Kind, SpecContext};
pub use spool::block_digest;
pub use steps::{
    ASK_SH, BuildSteps, CodeKey, CompiledCode, Finished, HeldImage, PipContext, PipFailure,
    Refusal, Runner, Scripts, Start, StartFiles, StepRunner, UserScript, Uv, explain_pip_failure,
    pip_links, pip_packages, pip_to_build,
};
pub use suffix::{environment_digest, finished_digest, mount_point_suffix};
pub use target::{Architecture, BUILD_DIR, BUILD_DIR_BESIDE, Place, Target};
pub use update::{
    Graft, GraftOptions, Grafted, byte_code_of_interpreter, compile_beside, graft, has_own_conda,
};
pub use venv::{HostPython, Interpreter, Venv};
pub use wheel::{WheelDependency, is_allowed, normalized_name, wheel_dependencies};
