//! Desktops: a VNC server, a window manager and noVNC, which a container brings.
//!
//! A shell script starts the programs in the container. It ends them when its standard input is
//! closed, which happens when this process ends in any way. Secrets are in files that only the user
//! can read: neither a command line nor a log has them.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use condense_desktop::{Desktop, Session, Settings};
//!
//! let session = Session::create(std::path::Path::new("/tmp"))?;
//! let mut container = std::process::Command::new("apptainer");
//! container.args(["exec", "image.sif", "/bin/sh"]);
//! let settings = Settings::default();
//! let desktop = Desktop::start(session, container, &settings, &|| false)?;
//! println!("display :{}", desktop.facts().display);
//! # Ok(())
//! # }
//! ```
//!
//! This crate starts no runtime by itself: the caller gives the beginning of the command line. It
//! knows neither sites nor installations.

mod error;
mod facts;
mod ports;
mod processes;
mod secrets;
mod server;
mod session;

pub use error::{Error, Part};
pub use facts::Facts;
pub use secrets::Password;
pub use server::{Desktop, Settings};
pub use session::{MARK, Record, Session, running, stop};

type Result<T> = std::result::Result<T, Error>;
