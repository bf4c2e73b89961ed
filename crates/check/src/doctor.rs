//! Responsible for a machine itself.
