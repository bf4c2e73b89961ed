//! Responsible for the launcher: a script in the image that sources those activation scripts that
//! need a shell at every start.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::quote::quote_line;

const BODY: &str = include_str!("launcher.sh");

/// A script that sources activation scripts in the container and then executes the program.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// Paths of the activation scripts in the container, in the order of activation.
    pub scripts: Vec<PathBuf>,
    /// Path of a shell in the container that understands the scripts: `/bin/bash`, or a shell of
    /// the environment.
    pub shell: PathBuf,
}

impl Launcher {
    /// Returns the text of the script. It must be stored in the image as an executable file, at the
    /// path in [`super::Launch::launcher`].
    ///
    /// # Panics
    /// Never: the body has a first line and a placeholder for the scripts.
    pub fn render(&self) -> Vec<u8> {
        let (head, tail) = BODY
            .strip_prefix("#!/bin/sh")
            .and_then(|body| body.split_once("@SCRIPTS@"))
            .expect("launcher.sh starts with its shell and has a place for the scripts");
        let mut text = OsString::from("#!");
        text.push(&self.shell);
        text.push(head);
        text.push(quote_line(&self.scripts));
        text.push(tail);
        text.into_vec()
    }
}
