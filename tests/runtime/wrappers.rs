//! Tests of wrappers that are called by users, job scripts and other programs, as root and as an
//! ordinary user.

mod arguments;
mod binds;
mod debug;
mod host_files;
mod nested;
mod places;
mod signals;
mod surroundings;
mod venv;
