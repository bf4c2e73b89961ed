//! An [`EnvironmentSpec`] becomes a [`Solution`], and a [`Solution`] becomes a prefix that lies in
//! scratch but believes to live at its mount point.
//!
//! [`EnvironmentSpec::load`] reads what the user asks for, [`solve`] turns it into exact packages
//! for a [`Target`], [`fetch`] has their archives on disk, [`complete`] reads what they say about
//! themselves where no channel has, [`install`] links them, [`Prefix::finish`] runs what must run
//! in the build container. rattler, tokio and the network live behind these doors; public
//! signatures use this crate's own types.
//!
//! ```no_run
//! # use condense_prefix::*;
//! # async fn build(target: &Target, place: &Place, container: &dyn BuildContainer, progress: &dyn Progress) -> Result<(), Error> {
//! let network = Network::open(NetworkSettings::new("/tmp/cache"))?;
//! let spec = EnvironmentSpec::load("env.yml".as_ref(), &Surroundings::default())?;
//! let solution = solve(&spec, target, &network, &place.root, progress).await?;
//! let archives = fetch(&solution, &network, progress).await?;
//! let (mut solution, archives) = complete(&spec, target, solution, archives, progress)?;
//! let prefix = install(&spec, &mut solution, &archives, place, progress)?;
//! let finished = prefix.finish(Runner::Container(container), progress)?;
//! # Ok(()) }
//! ```
//!
//! What this crate does not do: start a container runtime (it asks through [`BuildContainer`]),
//! print (it tells [`Progress`]), read environment variables, know SquashFS.

pub mod activation;
mod bytecode;
mod conda;
mod condarc;
mod error;
mod explicit;
mod extend;
mod fetch;
mod index;
mod install;
mod landmarks;
mod link;
mod lock;
mod network;
mod package;
mod progress;
mod python;
mod records;
mod secrets;
mod solve;
mod spec;
mod steps;
mod target;
mod text;
mod update;
mod venv;
mod within;
mod wrapped;
mod yaml_limits;

pub use bytecode::stamp_bytecode;
pub use conda::{CondaFacts, CondaSettings};
pub use condarc::{Condarc, condarc_files};
pub use error::Error;
pub use explicit::complete;
pub use extend::{Change, Extended, Removal, Site, extend, remove};
pub use fetch::{Archives, fetch, missing_bytes};
pub use install::{Prefix, install};
pub use landmarks::{Files, landmarks};
pub use lock::{Lock, render_lock, render_updated_lock};
pub use network::{Mirrors, Network, NetworkSettings, Proxies, Trust};
#[doc(hidden)]
pub use package::readers as package_readers;
pub use progress::{Progress, Stage, Warning};
pub use secrets::without_secrets;
pub use solve::{NamedPackage, Solution, solve};
pub use spec::{ChannelPriority, EnvironmentSpec, Kind, Surroundings};
pub use steps::{
    ASK_SH, BuildContainer, Finished, Runner, Scripts, UserScript, Uv, pip_packages, pip_to_build,
};
pub use target::{Architecture, BUILD_DIR, Place, Target};
pub use update::{Graft, Grafted, graft, has_own_conda};
pub use venv::{HostPython, Interpreter, Venv};
pub use within::Within;
