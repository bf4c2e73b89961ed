//! Wrappers as users, job scripts and other programs call them, as root and as an ordinary user.

mod arguments;
mod binds;
mod debug;
mod nested;
mod places;
mod signals;
mod surroundings;
mod venv;
