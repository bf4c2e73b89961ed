//! Recipes of `condense easyconfig` under the real EasyBuild, with both module tools and the real
//! runtime. Test comments begin with the numbers of the statements that a test shows.

use std::{collections::BTreeMap, path::Path};

use crate::{
    harness::{Account, CommandOutput, Run, TestDir, Tmpfs, names, need, parts, shared},
    modules::{TOOLS, Tool, condense},
};

/// Runs lines of bash with EasyBuild as the function `eb` and with the function `module`.
fn bash(test: &TestDir, tool: Tool, lines: &str) -> CommandOutput {
    let dir = parts().path("modules");
    let easybuild = dir.join("easybuild");
    need(easybuild.exists(), "EasyBuild is missing");
    let (name, syntax) = match tool {
        Tool::Lmod => ("Lmod", "Lua"),
        Tool::LmodWithTcl => ("Lmod", "Tcl"),
        Tool::EnvironmentModules => ("EnvironmentModules", "Tcl"),
    };
    let root = test.dir().display();
    let script = format!(
        "{}export -f module\nexport HOME='{root}' PYTHONPATH='{}' PYTHONDONTWRITEBYTECODE=1\n\
         export LMOD_CMD='{dir}/lmod/usr/share/lmod/lmod/libexec/lmod'\n\
         MODULES_CMD=$(echo {dir}/environment-modules/usr/lib/*/modulecmd.tcl); export MODULES_CMD\n\
         export EASYBUILD_PREFIX='{root}/{name}{syntax}' EASYBUILD_MODULES_TOOL={name}\n\
         export EASYBUILD_MODULE_SYNTAX={syntax} EASYBUILD_ALLOW_MODULES_TOOL_MISMATCH=1\n\
         export EASYBUILD_ALLOW_USE_AS_ROOT_AND_ACCEPT_CONSEQUENCES=1\n\
         eb() {{ (unset PIP_NO_INDEX; /usr/bin/python3 -m easybuild.main \"$@\") >eb.log 2>&1 || {{ cat eb.log >&2; exit 90; }}; }}\n\
         mkdir -p \"$EASYBUILD_PREFIX/modules/all\"; module use \"$EASYBUILD_PREFIX/modules/all\"\n{lines}",
        tool.function(),
        easybuild.display(),
        dir = dir.display(),
    );
    let mut command = test.command("/bin/bash");
    command.args(["-c", &script]).run()
}

/// Writes a recipe, and returns the line with which it is installed.
fn recipe(test: &TestDir, words: &[&str]) -> String {
    let mut command = condense(test);
    let said = command.arg("easyconfig").args(words).run().succeeded();
    said.stdout.trim().to_owned()
}

/// Builds an image with a Python of its own, in the directory `images`.
fn image(test: &TestDir) {
    test.environment("python=3.11, pip");
    test.make_dir("images");
    let mut command = condense(test);
    command
        .args(["cotainr", "build", "--yes", "--accept-licenses"])
        .args([
            "--conda-env",
            "env.yml",
            "images/my env.sif",
            "--base-image",
        ])
        .arg(parts().base());
    command.run().succeeded();
}

/// Returns the variables that a module has set, with one word for its directory.
fn variables(said: &CommandOutput, root: &Path) -> BTreeMap<String, String> {
    let of_tools = [
        "_",
        "LMOD",
        "LOADED",
        "MODULEPATH",
        "PWD",
        "SHLVL",
        "BASH_FUNC",
    ];
    let lines = said.stdout.lines().filter_map(|line| line.split_once('='));
    let own = lines.filter(|(name, _)| !of_tools.iter().any(|start| name.starts_with(start)));
    let word = |value: &str| value.replace(&root.display().to_string(), "ROOT");
    own.map(|(name, value)| (name.to_owned(), word(value)))
        .collect()
}

/// E1, E2, E6, E9, B9: EasyBuild installs the recipe for both tools; what the user has installed
/// survives `--rebuild`, as a directory and as one file.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn software_of_users_survives_a_new_installation() {
    let test = TestDir::new(Account::Ordinary, "easyconfig-rebuild");
    image(&test);
    test.make_dir("recipes");
    let words = ["images/my env.sif", "--name", "T-x.z", "--version", "1.0"];
    let eb = recipe(&test, &[&words[..], &["-o", "recipes/T.eb"]].concat());
    assert!(eb.contains(" --sourcepath "), "{eb}");
    let wheels = parts().wheels().display().to_string();
    let python = "import sys, edge_pip_lib; print(sys.prefix, edge_pip_lib.__file__)";
    for tool in TOOLS {
        println!("{tool:?}");
        let said = bash(
            &test,
            tool,
            &format!(
                "{eb} -D; grep -o '\\[ \\] .*(module: T-x.z/1.0)' eb.log | wc -l\n{eb}\nmodule load T-x.z/1.0\n\
                 export PIP_NO_INDEX=1 PIP_FIND_LINKS={wheels}\n\
                 echo \"$EBVERSIONTMINXZ ${{SIF##*/}} $(list-packages | grep -c '^pip ')\"\n\
                 pip install -q edge_pip_lib || exit 1\n\
                 module unload T-x.z; {eb} --rebuild\nmodule load T-x.z; python -c '{python}'\n\
                 make-squashfs --remove 2>/dev/null || exit 2\n\
                 module unload T-x.z; {eb} --rebuild\nmodule load T-x.z; python -c '{python}'\n\
                 apptainer -s exec \"$SIF\" python -c '{python}'\n\
                 make-squashfs 2>/dev/null; echo $?\n\
                 unmake-squashfs --edit 2>/dev/null; pip uninstall -q -y edge_pip_lib; echo $?\n\
                 module unload T-x.z; module load T-x.z; apptainer -s exec \"$SIF\" list-packages | grep -c '^pip '\n\
                 module unload T-x.z; echo \"${{SIF-unset}} ${{SINGULARITY_BIND-unset}}\"\n"
            ),
        )
        .succeeded();
        let venv = "/user-software/venv/conda_container_env";
        let module = format!("{venv} {venv}/lib/python3.11/site-packages/edge_pip_lib");
        let lines: Vec<&str> = said.stdout.lines().collect();
        assert_eq!(lines[..2], ["1", "1.0 my env.sif 1"], "{tool:?}: {said:?}");
        for line in &lines[2..5] {
            assert!(line.starts_with(&module), "{tool:?}: {said:?}");
        }
        assert_eq!(
            lines[5..],
            ["2", "0", "1", "unset unset"],
            "{tool:?}: {said:?}"
        );
    }
}

/// E3, M4: the module of a recipe sets what the module of `condense module` sets, and besides it
/// what EasyBuild sets for each module.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn both_modules_of_an_image_set_the_same() {
    let test = TestDir::new(Account::Ordinary, "easyconfig-same");
    image(&test);
    let words = ["images/my env.sif", "--name", "T-x.z", "--version", "1.0"];
    let eb = recipe(&test, &[&words[..], &["-o", "images/T.eb"]].concat());
    assert!(!eb.contains(" --sourcepath "), "{eb}");
    let data = test.path("mine").display().to_string();
    let by_recipe = bash(
        &test,
        Tool::Lmod,
        &format!(
            "export CONDENSE_USER_SOFTWARE='{data}'\n{eb}; unset CONDENSE_USER_SOFTWARE\n\
             module load T-x.z; env"
        ),
    )
    .succeeded();
    assert!(test.path("mine/user-software/venv").is_dir());
    let mut command = condense(&test);
    command
        .arg("module")
        .args(words)
        .args(["--to", "mods", "--copy"])
        .run()
        .succeeded();
    let by_module = bash(&test, Tool::Lmod, "module use mods; module load T-x.z; env").succeeded();
    let mut found = variables(&by_recipe, &test.path("LmodLua/software/T-x.z/1.0"));
    let expected = variables(&by_module, &test.path("software/T-x.z/1.0"));
    for (name, value) in [
        ("CMAKE_PREFIX_PATH", "ROOT"),
        ("XDG_DATA_DIRS", "ROOT/share"),
        ("EBDEVELTMINXZ", "ROOT/easybuild/T-x.z-1.0-easybuild-devel"),
    ] {
        assert_eq!(found.remove(name).as_deref(), Some(value), "{found:?}");
    }
    assert_eq!(found, expected);
}

/// E5: the recipe of an installation makes a module that refers to it.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_installation_has_a_recipe_without_files() {
    let test = TestDir::new(Account::Ordinary, "easyconfig-installation");
    let dir = shared().dir.display().to_string();
    let eb = recipe(
        &test,
        &[&dir, "--name", "mine", "--version", "2", "-o", "mine-2.eb"],
    );
    for tool in TOOLS {
        let said = bash(
            &test,
            tool,
            &format!("{eb}\nmodule load mine; command -v python; echo \"$CONTAINERROOT\"; python -c 'print(6 * 7)'"),
        )
        .succeeded();
        let lines: Vec<&str> = said.stdout.lines().collect();
        let python = format!("{dir}/bin/python");
        assert_eq!(lines, [python.as_str(), dir.as_str(), "42"], "{said:?}");
    }
}

/// M10: Lmod swaps two modules of images, and Environment Modules refuses the second one.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn two_modules_of_images_are_not_loaded_together() {
    let test = TestDir::new(Account::Ordinary, "modules-two");
    for name in ["a", "b"] {
        let mut command = condense(&test);
        command.arg("module").arg(parts().base()).args([
            "--name",
            name,
            "--version",
            "1",
            "--to",
            "mods",
        ]);
        command.run().succeeded();
    }
    for tool in TOOLS {
        let said = bash(
            &test,
            tool,
            "module use mods\nmodule load a; module load b; echo $?\n\
             echo \"${SIFA-unset} ${SIFB-unset}\"; module unload a b; echo \"${SINGULARITY_BIND-unset}\"\n",
        );
        let image = parts().base().display().to_string();
        let lines: Vec<&str> = said.stdout.lines().collect();
        let expected = match tool {
            Tool::EnvironmentModules => ["1".to_owned(), format!("{image} unset")],
            _ => ["0".to_owned(), format!("unset {image}")],
        };
        assert_eq!(lines[..2], expected, "{tool:?}: {said:?}");
        assert_eq!(lines[2], "unset", "{tool:?}: {said:?}");
    }
}

/// B2, B4: packing is refused in each container, and a full disk leaves everything as it was.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn packing_loses_nothing() {
    let test = TestDir::new(Account::Ordinary, "modules-full");
    let tmpfs = Tmpfs::mount(&test.path("small"), "8m");
    let mut command = condense(&test);
    command.arg("module").arg(parts().base()).args([
        "--name",
        "a",
        "--version",
        "1",
        "--to",
        "mods",
        "--root",
        "small/root",
    ]);
    command.run().succeeded();
    let root = test.path("small/root");
    let run = |lines: &str| {
        let lines = format!("cd small/root; {lines}");
        let mut command = test.command("/bin/bash");
        command.args(["-c", &lines]).run()
    };
    run("head -c 5000000 /dev/urandom > user-software/noise; sha256sum user-software/noise > ../sum").succeeded();
    let before = names(&root);
    let said = run("bin/make-squashfs --remove");
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.stderr.contains("o space left"), "{said:?}");
    assert_eq!(names(&root), before, "{said:?}");
    run("sha256sum -c ../sum").succeeded();

    let other = parts().other_base().display().to_string();
    let here = root.display().to_string();
    let said = run(&format!(
        "bin/start-shell -- {here}/bin/make-squashfs; echo $?\n\
         apptainer -s exec -B {here} {other} {here}/bin/make-squashfs; echo $?\n\
         bin/start-shell -- {here}/bin/start-shell -c 'echo inside'\n\
         apptainer -s exec -B {here} {other} {here}/bin/start-shell -c 'echo inside'; echo $?\n"
    ));
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(lines, ["1", "1", "inside", "125"], "{said:?}");
    let refusal = "The make-squashfs command should not be run in the container.";
    assert_eq!(said.stderr.matches(refusal).count(), 2, "{said:?}");
    run("rm user-software/noise; bin/make-squashfs; bin/make-squashfs; [ $? = 3 ]").succeeded();
    drop(tmpfs);
}
