//! Assembles an image, a base and wrappers into an installation, and runs the container runtime.
//!
//! [`Destination::inspect`] finds out the state of the destination, [`Destination::claim`] locks it
//! for one build, [`Claim::stage`] assembles a whole generation that is not visible yet, and
//! [`Staged::publish`] makes it visible by one rename. [`Runtime`] finds apptainer or singularity,
//! tries bind mounts and images, and builds command lines.
//!
//! This crate never opens an image or a base, knows nothing about conda packages, and never prints.
//!
//! ```no_run
//! use std::path::Path;
//! use condense_installation::{Assembly, BaseMode, Destination};
//!
//! # fn example(launch: condense_installation::Launch, receipt: condense_installation::Receipt,
//! #            programs: &[condense_installation::Program]) -> condense_installation::Result<()> {
//! let claim = Destination::inspect(Path::new("/appl/myenv"))?.claim(false)?;
//! let staged = claim.stage(&Assembly {
//!     image: Some(Path::new("/tmp/scratch/img.sqfs")),
//!     base: Path::new("/appl/base.sif"),
//!     base_mode: BaseMode::Link,
//!     launch: &launch,
//!     programs,
//!     landmarks: &[],
//!     share: &[],
//!     receipt: &receipt,
//! })?;
//! // Start one of the wrappers in `staged.generation_dir()` here: nothing is visible yet.
//! let installation = staged.publish()?;
//! # let _ = installation; Ok(()) }
//! ```

mod bind;
mod container_files;
mod error;
mod host_files;
mod layout;
mod mode;
mod node_copy;
mod quote;
mod receipt;
mod runtime;
mod tykky;
mod update_state;
mod user_hooks;
mod user_settings;
mod wrapper;

pub use bind::{Bind, HostView};
pub use container_files::{
    BaseFiles, ContainerEnvironment, ContainerFile, ContainerFiles, ContainerSite, EnvironmentKind,
};
pub use error::{Error, Result};
pub use host_files::{HOST_FILE_VARIABLES, HostFileForm, HostFileVariable};
pub use layout::{
    Assembly, BaseMode, Claim, Destination, Generation, History, Installation, Program, Removal,
    Staged, State, is_reserved_name, remove,
};
pub use mode::InstallationMode;
pub use node_copy::{
    CopyProgress, NodeCopy, NodeDir, NodeFile, NodeSource, OldCopy, digest_of_source,
};
pub use quote::{quote, quote_line};
pub use receipt::{
    BaseRecord, FileRecord, FileRole, ImageRecord, InterpreterOrigin, InterpreterRecord, Placement,
    RECEIPT_NAME, Receipt, render_time,
};
pub use runtime::{Exec, Isolation, Mounting, Runtime, RuntimeKind};
pub use tykky::Tykky;
pub use update_state::{AliasedFile, FileAlias, UpdateState};
pub use user_hooks::UserHooks;
pub use user_settings::remove_user_settings;
pub use wrapper::{
    Digests, HostInterpreter, HostMpi, Launch, Launcher, MpiSource, SHARED_CONTAINER, Shell,
    SiteVariable, conda_activation, device_of_flag, render_site_settings,
};
