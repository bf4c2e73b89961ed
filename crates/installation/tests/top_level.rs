//! A test that creates a directory at the top of the file system. It is alone in its test program,
//! because other tests would see the directory appear and disappear.

#![allow(clippy::unwrap_used)]
#![allow(dead_code, reason = "the scene is made for more than one test")]

mod shared;

#[path = "real_apptainer/parts.rs"]
mod parts;
#[path = "real_apptainer/scene.rs"]
mod scene;

use std::path::Path;

use condense_installation::HostView;

use crate::scene::{Account, Scene};

#[test]
#[ignore = "needs: apptainer"]
fn a_name_that_contains_dev_is_nothing_special() {
    let devel = Path::new("/scratch_dev_condense_test");
    std::fs::create_dir_all(devel).unwrap();
    let code = format!("import os; print(os.path.isdir({devel:?}))");
    let seen = [HostView::Host, HostView::Base]
        .map(|view| Scene::new(Account::Ordinary, view, "/srv").python(&code));
    std::fs::remove_dir(devel).unwrap();
    assert_eq!(seen, ["True", "True"]);
}
