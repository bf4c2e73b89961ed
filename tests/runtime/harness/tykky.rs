//! Responsible for installations in the form of Tykky's versions, converted from installations of
//! condense.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use super::{Account, Installation, Run, TestDir, parts};

const WRAPPER: &str = r#"#!/bin/bash
DIR="$( cd -P "$( dirname "${BASH_SOURCE[0]}" )" && pwd )"
source "$DIR/../common.sh"
run=$(readlink "$DIR/../_bin/$(basename "$0")")
if [ -e "$DIR/../pyvenv.cfg" ]; then
  run=$0
  export SINGULARITY_BIND="/opt,$DIR/../_bin:$DIR"
fi
exec apptainer -s exec -B "$SQFS_IMAGE:$INSTALLATION_PATH:image-src=/" "$CONTAINER_IMAGE" "$run" "$@"
"#;

const COMMON: &str = r#"_C_DIR="$( cd -P "$( dirname "${BASH_SOURCE[0]}" )" && pwd )"
SQFS_IMAGE=$_C_DIR/img.sqfs
_DIRS=(/opt)
SINGULARITYENV_PATH=$PATH
"#;

/// Lines in common.sh that a user has given with `--environ` or has added by hand.
const OWN_LINES: &str = r#"list=("from $env_root")
export SAID_BY_HOOK="${list[0]}"
export SINGULARITYENV_PATH="$_C_DIR/tools:$SINGULARITYENV_PATH"
for d in "${_DIRS[@]}"; do :; done
"#;

/// Returns a Python program that prints the effect of [`OWN_LINES`]: the variable that the lines
/// set, and whether their directory comes first on PATH.
pub(crate) fn about_own_lines(installation: &Installation) -> String {
    format!(
        "import os; path = os.environ['PATH'].split(':'); print(os.environ['SAID_BY_HOOK'], path.index('{}/tools') < path.index('/usr/bin'))",
        installation.dir.display()
    )
}

/// Properties of an installation of Tykky.
pub(crate) struct Tykky<'a> {
    /// Name of the directory with its conda; a virtual environment has none.
    pub(crate) conda_root: Option<&'a str>,
    pub(crate) version: &'a str,
    /// File name of the base image.
    pub(crate) container: &'a str,
}

impl Tykky<'_> {
    /// Replaces an installation of condense by one of Tykky's form with the same environment.
    pub(crate) fn take_over(&self, test: &TestDir, built: &Installation) -> Installation {
        let (mount_point, prefix) = (built.mount_point(), built.env_prefix());
        let (made, unpacked) = (test.path("made"), test.path("unpacked"));
        fs_err::rename(&built.dir, &made).unwrap();
        image(&["extract".as_ref(), &made.join("img.sqfs"), &unpacked]);
        let dir = test.make_dir("installation");
        for name in [
            "bin",
            "_bin",
            "share",
            "share/previous_input",
            "share/previous_input/0",
        ] {
            test.make_dir(&format!("installation/{name}"));
        }
        let input = match self.conda_root {
            None => {
                fs_err::copy(unpacked.join("env1/pyvenv.cfg"), dir.join("pyvenv.cfg")).unwrap();
                fs_err::create_dir_all(dir.join("lib/python3.11")).unwrap();
                let packages = "lib/python3.11/site-packages";
                symlink(Path::new(&prefix).join(packages), dir.join(packages)).unwrap();
                symlink("lib", dir.join("lib64")).unwrap();
                ("req.txt", "edge_pip_lib\n")
            }
            Some(conda_root) => {
                if conda_root != "miniforge" {
                    fs_err::remove_file(unpacked.join(conda_root)).unwrap();
                    fs_err::rename(unpacked.join("miniforge"), unpacked.join(conda_root)).unwrap();
                }
                // The records of the conda installation itself.
                test.make_dir(&format!("unpacked/{conda_root}/conda-meta"));
                test.write(&format!("unpacked/{conda_root}/conda-meta/history"), "");
                ("env.yml", "dependencies: [python]\n")
            }
        };
        let compression = ["--compression".as_ref(), "gzip:6".as_ref()];
        let words = ["pack".as_ref(), unpacked.as_path(), &dir.join("img.sqfs")];
        image(&[&words[..], &compression].concat());
        fs_err::copy(parts().base(), dir.join(self.container)).unwrap();
        let (container, version) = (self.container, self.version);
        let common =
            format!("CONTAINER_IMAGE=$_C_DIR/{container}\nINSTALLATION_PATH={mount_point}\n");
        let prefix = match self.conda_root {
            Some(conda_root) => format!("{mount_point}/{conda_root}/envs/env1"),
            None => prefix,
        };
        let ends = format!("export install_root={mount_point}\nexport env_root={prefix}/\n");
        let kind = if self.conda_root.is_some() {
            "conda"
        } else {
            "venv"
        };
        let isolate = self.conda_root.is_some();
        for (name, text) in [
            ("bin/python".to_owned(), WRAPPER.to_owned()),
            (
                "common.sh".to_owned(),
                format!("{COMMON}{common}{ends}{OWN_LINES}"),
            ),
            (
                format!("share/previous_input/0/{}", input.0),
                input.1.to_owned(),
            ),
            (
                "share/conf.yaml".to_owned(),
                format!(
                    "add_ld: true\nbuild_tmpdir: /tmp/cw-ABCDEF\ncomposable: true\ncontainer_image: {container}\n\
                     container_src: docker://x\ncreate_wrappers: true\nenv_name: env1\nextra_envs:\n- file: e.sh\ninstallation_path: {mount_point}\n\
                     isolate: {isolate}\nmode: {kind}\nsqfs_image: img.sqfs\nsqfs_options: -noappend\n\
                     update_installation: 'no'\nwrap_all: false\n"
                ),
            ),
            (
                "share/VERSION.yml".to_owned(),
                format!("tag: {version}\nbuild-time: then\n"),
            ),
        ] {
            let path = test.write(&format!("installation/{name}"), &text);
            fs_err::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        symlink(format!("{prefix}/bin/python"), dir.join("_bin/python")).unwrap();
        let mut own = Account::Root.command("chown");
        own.args(["-R", "-h", "--reference"])
            .args([test.dir(), &dir])
            .run()
            .succeeded();
        Installation { dir }
    }
}

fn image(words: &[&Path]) {
    Command::new(parts().path("programs/condense"))
        .arg("image")
        .args(words)
        .run()
        .succeeded();
}
