//! Responsible for the launcher: a script in the image that sources activation scripts which need a
//! shell at every start.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::quote::quote_line;

const BODY: &str = include_str!("launcher.sh");

/// Sources scripts inside the container and then becomes the program.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// In the order of activation, as paths in the container.
    pub scripts: Vec<PathBuf>,
    /// The shell inside that understands them: `/bin/bash`, or the environment's own.
    pub shell: PathBuf,
}

impl Launcher {
    /// The script's bytes; it belongs into the image, executable, at the path that
    /// [`super::Launch::launcher`] names.
    ///
    /// # Panics
    /// Never: the body has a first line and a place for the scripts.
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
