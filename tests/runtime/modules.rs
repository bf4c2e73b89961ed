//! Modules under Debian's Lmod and Environment Modules, with the real runtime. Test comments begin
//! with the numbers of the statements that a test shows.

use std::{path::Path, process::Command};

use crate::harness::{Account, CommandOutput, Run, TestDir, as_both, need, parts};

/// Tool that loads modules, and the language that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Lmod,
    LmodWithTcl,
    EnvironmentModules,
}

pub(crate) const TOOLS: [Tool; 3] = [Tool::Lmod, Tool::LmodWithTcl, Tool::EnvironmentModules];

impl Tool {
    /// Returns the shell function `module` of this tool.
    pub(crate) fn function(self) -> String {
        let dir = parts().path("modules");
        need(dir.exists(), "the module tools are missing");
        let program = match self {
            Self::Lmod | Self::LmodWithTcl => {
                format!(
                    "lua5.3 {}/lmod/usr/share/lmod/lmod/libexec/lmod",
                    dir.display()
                )
            }
            Self::EnvironmentModules => format!(
                "tclsh {}/environment-modules/usr/lib/*/modulecmd.tcl",
                dir.display()
            ),
        };
        format!("module() {{ eval \"$({program} bash \"$@\")\"; }}\n")
    }

    fn format(self) -> &'static str {
        match self {
            Self::Lmod => "lua",
            _ => "tcl",
        }
    }
}

pub(crate) fn condense(test: &TestDir) -> Command {
    let mut command = test.command(parts().path("programs/condense"));
    command
        .env("TMPDIR", test.scratch())
        .env("CONDENSE_CACHE_DIR", test.path("cache"));
    command
}

/// Writes a module of the image with this directory.
fn write(test: &TestDir, image: &Path, tool: Tool, root: &str, more: &[&str]) -> CommandOutput {
    let mut command = condense(test);
    command
        .arg("module")
        .arg(image)
        .args([
            "--name",
            "T-x.z",
            "--version",
            "1",
            "--to",
            "mods",
            "--force",
        ])
        .args(["--format", tool.format(), "--root", root])
        .args(more);
    command.run().succeeded()
}

/// Runs lines of bash with the function `module`.
fn bash(test: &TestDir, tool: Tool, lines: &str) -> CommandOutput {
    let script = format!(
        "{}module use \"$PWD/mods\"\nshow() {{ printf '<%s>' \"${{SINGULARITY_BIND-unset}}\" \"${{SINGULARITY_BINDPATH-unset}}\" \"${{APPTAINER_BIND-unset}}\"; echo; }}\n{lines}",
        tool.function()
    );
    let mut command = test.command("/bin/bash");
    command.args(["-c", &script]).run()
}

/// M12, M13, M14, M19: the binds of the user are the same bytes before and after, in each order;
/// paths have signs that both languages treat in their own way.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn binds_of_the_user_survive_loading_and_unloading() {
    let test = TestDir::new(Account::Ordinary, "modules-binds");
    let root = "ro ot's $HOME [exit] {\\";
    for tool in TOOLS {
        println!("{tool:?}");
        write(&test, &parts().base(), tool, root, &[]);
        let root = test.path(root).display().to_string();
        let packed = Path::new(&root).join("user-software.squashfs");
        for is_packed in [false, true] {
            let mut own = format!("{root}/runscripts:/runscripts,");
            if is_packed {
                let mut command = condense(&test);
                command
                    .args(["user-software", "pack"])
                    .arg(&root)
                    .run()
                    .succeeded();
                own.push_str(&format!("{}:/user-software:image-src=/", packed.display()));
            } else {
                own.push_str(&format!("{root}/user-software:/user-software"));
            }
            let odd = "/a/:/b//,/c.sqfs:/d:image-src=/,,/a";
            let said = bash(
                &test,
                tool,
                &format!(
                    "show; module load T-x.z/1; show; module unload T-x.z; show\n\
                     export SINGULARITY_BIND='{odd}'; module load T-x.z; show; module load T-x.z/1; show; module unload T-x.z; show\n\
                     export SINGULARITY_BINDPATH=/q/; module load T-x.z; show; module unload T-x.z; show\n\
                     export SINGULARITY_BIND=/new APPTAINER_BIND=/z/; module load T-x.z; show; module unload T-x.z; show\n"
                ),
            );
            let expected = [
                "<unset><unset><unset>".to_owned(),
                format!("<{own}><unset><unset>"),
                "<unset><unset><unset>".to_owned(),
                format!("<{odd}><{own}><unset>"),
                format!("<{odd}><{own}><unset>"),
                format!("<{odd}><unset><unset>"),
                format!("<{odd},{own}></q/><unset>"),
                format!("<{odd}></q/><unset>"),
                format!("</new,{own}></q/></z/,{own}>"),
                "</new></q/></z/>".to_owned(),
            ];
            let lines: Vec<&str> = said.stdout.lines().collect();
            assert_eq!(
                lines, expected,
                "{tool:?} packed: {is_packed}: {}",
                said.stderr
            );
        }
        fs_err::remove_file(&packed).unwrap();
        // Loading again is one run of the tool, which unloads first.
        let program = parts().path("programs/condense").display().to_string();
        let said = bash(
            &test,
            tool,
            &format!(
                "module load T-x.z; {program} -q user-software pack \"$CONTAINERROOT\"; module load T-x.z/1; show\n\
                 rm -f \"$CONTAINERROOT/user-software.squashfs\"; module unload T-x.z; module load T-x.z; show\n\
                 {program} -q user-software pack --remove \"$CONTAINERROOT\"; module load T-x.z/1\n\
                 {program} -q user-software unpack --edit \"$CONTAINERROOT\"; module load T-x.z/1; show; module unload T-x.z; show\n"
            ),
        );
        let plain = format!("{root}/runscripts:/runscripts,{root}/user-software");
        let lines: Vec<&str> = said.stdout.lines().collect();
        let unpacked = format!("<{plain}:/user-software><unset><unset>");
        if tool != Tool::EnvironmentModules {
            // Environment Modules loads a loaded module only with `module reload`.
            let packed = format!("<{plain}.squashfs:/user-software:image-src=/><unset><unset>");
            assert_eq!(lines[0], packed, "{tool:?}: {said:?}");
        }
        assert_eq!(lines[1], unpacked, "{tool:?}: {said:?}");
        if tool != Tool::EnvironmentModules {
            assert_eq!(lines[2], unpacked, "{tool:?}: {said:?}");
        }
        assert_eq!(lines[3], "<unset><unset><unset>", "{tool:?}: {said:?}");
        fs_err::remove_file(Path::new(&root).join("user-software.squashfs.old")).unwrap();
    }
}

/// M8, M10, M11, M20: a vanished image is an error of loading only; two modules of images are not
/// loaded together; help and show work.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_vanished_image_is_an_error_of_loading_only() {
    let test = TestDir::new(Account::Ordinary, "modules-vanished");
    for tool in TOOLS {
        println!("{tool:?}");
        write(&test, &parts().base(), tool, "root", &["--copy"]);
        let said = bash(
            &test,
            tool,
            "module load T-x.z/1; echo \"$? $SIF $SIFTMINXZ $EBROOTTMINXZ\"\n\
             rm -f root/base.sif; module unload T-x.z; echo \"$? ${SIF-unset}\"\n\
             module load T-x.z/1; echo \"$? ${SIF-unset}\"; module show T-x.z/1; echo $?; module help T-x.z/1; echo $?\n",
        );
        let image = test.path("root/base.sif").display().to_string();
        let first = format!("0 {image} {image} {}", test.path("root").display());
        let words: Vec<&str> = said.stdout.lines().collect();
        assert_eq!(words[..2], [first.as_str(), "0 unset"], "{said:?}");
        assert!(words[2].starts_with("1 unset"), "{said:?}");
        assert_eq!(words[3..], ["0", "0"], "{said:?}");
        let text = said.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        let error = "ERROR: Cannot locate the singularity container file base.sif. One potential cause is that it may have been removed from the system.";
        assert!(text.contains(error), "{said:?}");
        assert!(text.contains("CONTAINERROOT, EBROOTTMINXZ"), "{said:?}");
    }
}

/// B2 to B9, M7: a user loads the module, installs with pip, packs, and runs Python again.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_session_of_a_user() {
    as_both(|account| {
        let test = TestDir::new(account, "modules-session");
        test.environment("python=3.11, pip");
        let mut command = condense(&test);
        command
            .args([
                "cotainr",
                "build",
                "--yes",
                "--accept-licenses",
                "--conda-env",
                "env.yml",
            ])
            .args(["my-env.sif", "--base-image"])
            .arg(parts().base());
        command.run().succeeded();
        write(&test, &test.path("my-env.sif"), Tool::Lmod, "root", &[]);
        let wheels = parts().wheels().display().to_string();
        let python = "import sys, edge_pip_lib; print(sys.prefix, edge_pip_lib.__file__)";
        let said = bash(
            &test,
            Tool::Lmod,
            &format!(
                "export PIP_NO_INDEX=1 PIP_FIND_LINKS={wheels}\nmodule load T-x.z\n\
                 pip install -q edge_pip_lib || exit 1\n\
                 python -c '{python}'\nlist-packages | grep -i edge.pip.lib\n\
                 make-squashfs --remove 2>/dev/null || exit 2\n\
                 module load T-x.z/1; python -c '{python}'\n\
                 pip install -q edge_pip_lib; echo $?\n\
                 start-shell -c '$WITH_CONDA && $WITH_VENV && python -V && python -c pass; echo $?'\n\
                 start-shell -- sh -c 'exit 7'; echo $?\n\
                 unmake-squashfs --edit 2>/dev/null; pip uninstall -q -y edge_pip_lib; echo $?\n\
                 module load T-x.z/1; apptainer -s exec \"$SIF\" python -c 'import sys; print(sys.prefix)'\n"
            ),
        );
        let lines: Vec<&str> = said.stdout.lines().collect();
        let venv = "/user-software/venv/conda_container_env";
        let module = format!("{venv} {venv}/lib/python3.11/site-packages/edge_pip_lib");
        assert!(lines[0].starts_with(&module), "{said:?}");
        assert!(lines[1].to_lowercase().contains("edge"), "{said:?}");
        assert_eq!(lines[2], lines[0], "{said:?}");
        assert_eq!(lines[3], "1", "{said:?}");
        assert!(
            said.stderr.contains("run unmake-squashfs --edit first"),
            "{said:?}"
        );
        assert!(lines[4].starts_with("Python 3.11"), "{said:?}");
        assert_eq!(lines[5..], ["0", "7", "0", venv], "{said:?}");
    });
}
