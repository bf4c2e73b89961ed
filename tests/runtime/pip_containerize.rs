//! Tests of `pip-containerize` with an interpreter that stays on the host, at the paths of Cray
//! Python. Numbers are those of the statements in the list of Tykky's own tests.

mod on_top;

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::harness::{
    Account, CommandOutput, Run, TestDir, Tykky, about_own_lines, as_both, parts, shared,
};

/// Python with NumPy at /opt/cray/pe/python/VERSION, removed when dropped.
struct Cray {
    dir: PathBuf,
}

const ABOVE: [&str; 3] = ["/opt/cray/pe/python", "/opt/cray/pe", "/opt/cray"];

/// Lock for changes of the directories in [`ABOVE`]: the last test must not remove a directory that
/// another test has just found.
static ABOVE_CHANGES: Mutex<()> = Mutex::new(());

impl Cray {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        let dir = Path::new(ABOVE[0]).join(format!("3.11.7-condense-test-{id}-{number}"));
        // From here on the directory exists, so no directory above it can be removed.
        let changes = ABOVE_CHANGES.lock();
        fs_err::create_dir_all(&dir).unwrap();
        drop(changes);
        let unpacked = parts().path(format!("unpacked-cray-{number}"));
        Command::new(parts().path("programs/condense"))
            .args(["image", "extract"])
            .args([&shared().image(), &unpacked])
            .run()
            .succeeded();
        // The interpreter of the tests' channel finds its library relative to its own `bin`.
        Command::new("cp")
            .arg("-aT")
            .arg(unpacked.join("miniforge/envs/env1"))
            .arg(&dir)
            .run()
            .succeeded();
        fs_err::remove_dir_all(unpacked).unwrap();
        Self { dir }
    }

    fn bin(&self) -> String {
        format!("{}/bin", self.dir.display())
    }

    fn site_packages(&self) -> String {
        format!("{}/lib/python3.11/site-packages", self.dir.display())
    }
}

impl Drop for Cray {
    fn drop(&mut self) {
        let _changes = ABOVE_CHANGES.lock();
        let _ = std::fs::remove_dir_all(&self.dir);
        // Only directories that no other test uses can be removed.
        for dir in ABOVE {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

/// File name of the base image in an installation of the site.
const CONTAINER_NAME: &str = "My_very_cool_name.sif";

/// Returns the command `pip-containerize new` with the site's base, which has the host view.
fn new_command(test: &TestDir, cray: &Cray, words: &[&str]) -> Command {
    let site = test.write(
        "site.yml",
        &format!(
            "defaults:\n  container_src: {}\n  container_image: {CONTAINER_NAME}\n",
            parts().base().display()
        ),
    );
    let mut command = test.command(parts().path("programs/condense"));
    command
        .args(["pip-containerize", "new", "--prefix", "installation"])
        .args(words)
        .env("CW_GLOBAL_YAML", site)
        .env("TMPDIR", test.scratch())
        .env(
            "PATH",
            format!("{}:/usr/local/bin:/usr/bin:/bin", cray.bin()),
        )
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels());
    command
}

fn build(test: &TestDir, cray: &Cray, words: &[&str]) -> CommandOutput {
    new_command(test, cray, words).run()
}

const ABOUT: &str = "import sys, site, edge_pip_lib
print(sys.executable, sys.prefix, sys.base_prefix, site.ENABLE_USER_SITE, edge_pip_lib.__file__)
try:
    import numpy
    print(numpy.__file__)
except ImportError:
    print('no numpy')";

/// Statements 40, 42, 44, 45 and 81 to 85 of the list of Tykky's tests: a virtual environment on
/// the interpreter, with and without its packages.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_python_of_cray_s_stays_outside_of_the_image() {
    let cray = Cray::new();
    for (account, more, with_site) in [
        (Account::Root, &[][..], false),
        (Account::Ordinary, &["--system"], true),
    ] {
        let test = TestDir::new(account, "cray");
        test.write("req.txt", "edge_pip_lib\n");
        build(&test, &cray, &[more, &["req.txt"]].concat()).succeeded();
        let installation = test.installation();
        let dir = installation.dir.display();
        let text = installation
            .command(account, "python3", ["-c", ABOUT])
            .run()
            .succeeded()
            .text();
        let numpy = if with_site {
            format!("{}/numpy/__init__.py", cray.site_packages())
        } else {
            "no numpy".to_owned()
        };
        let user_site = if with_site { "True" } else { "False" };
        let expected = format!(
            "{dir}/bin/python3 {dir} {} {user_site} {dir}/lib/python3.11/site-packages/edge_pip_lib.py\n{numpy}",
            cray.dir.display()
        );
        assert_eq!(text, expected);
        // A link to a wrapper works like the installation's Python as well.
        symlink(installation.bin("python"), test.path("mine")).unwrap();
        test.command(test.path("mine"))
            .args(["-c", "import edge_pip_lib"])
            .run()
            .succeeded();
        let receipt = installation.receipt();
        assert_eq!(receipt["mode"], "venv");
        assert_eq!(
            receipt["interpreter"]["path"].as_str().unwrap(),
            format!("{}/python3", cray.bin())
        );
        assert!(!installation.bin("conda").exists());
        test.left_nothing();
    }
}

/// Statements 41 to 43, 48 to 50 (without uv) and 88 to 91 of the list of Tykky's tests: an update
/// adds packages with the same interpreter and the same base.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_update_stays_on_its_python_and_its_base() {
    let cray = Cray::new();
    let test = TestDir::new(Account::Ordinary, "cray-update");
    test.write("req.txt", "edge_pip_lib<1.1\n");
    build(&test, &cray, &["req.txt"]).succeeded();
    let installation = test.installation();
    let named = || {
        installation
            .dir
            .join(CONTAINER_NAME)
            .canonicalize()
            .unwrap()
    };
    assert_eq!(named(), parts().base());
    // The base is a file of another user on another file system, so every generation has a link to
    // it.
    let base = |number: u32| {
        let own = installation
            .dir
            .join(format!(".condense/{number}/container.sif"));
        fs_err::read_link(own).unwrap()
    };
    test.write("more.txt", "edge_pip_lib==1.1\nedge_pip_app\n");
    let mut command = test.command(parts().path("programs/condense"));
    let said = command
        .args([
            "pip-containerize",
            "update",
            "installation",
            "--requirements-file",
            "more.txt",
        ])
        .env("TMPDIR", test.scratch())
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .run()
        .succeeded()
        .text();
    assert!(!said.contains("unpacked first"), "{said}");
    let text = "import sys, importlib.metadata as m; print(m.version('edge-pip-lib'), sys.base_prefix, sys.prefix == sys.argv[1])";
    let expected = format!("1.1 {} True", cray.dir.display());
    as_both(|account| {
        let dir = installation.dir.display().to_string();
        installation
            .command(account, "python3", ["-c", text, &dir])
            .run()
            .says(&expected);
        installation
            .command(account, "edge-pip-app", [""; 0])
            .run()
            .says("edge-pip-app 1.0 with edge-pip-lib 1.1");
    });
    assert_eq!(base(2), base(1));
    assert_eq!(named(), parts().base());
    let conf = fs_err::read_to_string(installation.dir.join("share/conf.yaml")).unwrap();
    assert!(
        conf.contains(&format!("container_image: {CONTAINER_NAME}\n")),
        "{conf}"
    );
    assert_eq!(installation.receipt()["generation"], 2);
    test.left_nothing();
}

/// Checks that an update takes over a virtual environment of Tykky's, with a site's own name for
/// the base.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_virtual_environment_of_tykky_s_is_carried_over() {
    let cray = Cray::new();
    let account = Account::Ordinary;
    let test = TestDir::new(account, "cray-tykky");
    test.write("req.txt", "edge_pip_lib<1.1\n");
    build(&test, &cray, &["req.txt"]).succeeded();
    let tykky = Tykky {
        conda_root: None,
        version: "v0.5.1",
        container: CONTAINER_NAME,
    };
    let installation = tykky.take_over(&test, &test.installation());
    let about = "import sys, edge_pip_lib as l; print(sys.prefix, sys.base_prefix, l.VERSION)";
    let says = |version: &str| {
        let (own, cray) = (installation.dir.display(), cray.dir.display());
        let said = installation.python(account, about).run();
        said.says(&format!("{own} {cray} {version}"));
    };
    says("1.0");
    let condense = |words: &[&str]| {
        let mut command = test.command(parts().path("programs/condense"));
        let command = command.args(words).arg("installation");
        command
            .env("TMPDIR", test.scratch())
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", parts().wheels())
            .run()
    };
    let info = condense(&["info"]).succeeded().text();
    for words in ["mode: venv", "by Tykky v0.5.1"] {
        assert!(info.contains(words), "{info}");
    }
    condense(&["conda-containerize", "update"])
        .failed_on_either_stream(1, &["is a virtual environment"]);
    test.write("more.txt", "edge_pip_lib==1.1\n");
    condense(&["pip-containerize", "update", "-r", "more.txt"]).succeeded();
    says("1.1");
    let own_lines = installation
        .python(account, &about_own_lines(&installation))
        .run();
    own_lines.says(&format!("from {} True", installation.env_prefix()));
    for name in ["container.sif", CONTAINER_NAME] {
        assert!(installation.dir.join(name).is_symlink(), "{name}");
    }
    let receipt = installation.receipt();
    assert_eq!(receipt["interpreter"]["of"], "host");
    condense(&["verify"]).succeeded();
    condense(&["rollback"]).succeeded();
    says("1.0");
    test.left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_python_that_has_vanished_is_missed_by_name() {
    let cray = Cray::new();
    let test = TestDir::new(Account::Root, "cray-gone");
    test.write("req.txt", "edge_pip_app\n");
    build(&test, &cray, &["req.txt"]).succeeded();
    let away = cray.dir.with_extension("away");
    fs_err::rename(&cray.dir, &away).unwrap();
    as_both(|account| {
        for name in ["python", "edge-pip-app"] {
            let words = ["is not on this machine", "(3.11.", &cray.bin()];
            test.installation()
                .command(account, name, [""])
                .run()
                .failed_on_either_stream(125, &words);
        }
    });
    fs_err::rename(&away, &cray.dir).unwrap();
    test.installation()
        .python(Account::Root, "import edge_pip_app")
        .run()
        .succeeded();
}

/// Python 3.8 to 3.10 contain a pip of the same age.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_python_with_an_old_pip_carries_environments() {
    for pip in ["21.3.1", "23.0.1"] {
        let cray = Cray::new();
        let ensurepip = cray.dir.join("lib/python3.11/ensurepip");
        for wheel in fs_err::read_dir(ensurepip.join("_bundled")).unwrap() {
            let path = wheel.unwrap().path();
            if path.display().to_string().contains("/pip-") {
                fs_err::remove_file(path).unwrap();
            }
        }
        let name = format!("pip-{pip}-py3-none-any.whl");
        let wheel = parts().path(format!("old-channel/pips/{name}"));
        fs_err::copy(wheel, ensurepip.join("_bundled").join(name)).unwrap();
        let module = ensurepip.join("__init__.py");
        let text = fs_err::read_to_string(&module).unwrap();
        let (before, rest) = text.split_once("_PIP_VERSION = \"").unwrap();
        let (_, after) = rest.split_once('"').unwrap();
        let text = format!("{before}_PIP_VERSION = \"{pip}\"{after}");
        fs_err::write(&module, text).unwrap();
        // The byte code came out of an image, so Python would not compare it with the changed
        // source.
        fs_err::remove_dir_all(ensurepip.join("__pycache__")).unwrap();
        let test = TestDir::new(Account::Ordinary, "cray-old-pip");
        test.write("req.txt", "edge_pip_lib<1.1\n");
        build(&test, &cray, &["req.txt"]).succeeded();
        let installation = test.installation();
        let lock = fs_err::read_to_string(installation.dir.join("share/condense.lock")).unwrap();
        assert!(lock.contains("edge_pip_lib-1.0"), "pip {pip}: {lock}");
        test.write("more.txt", "edge_pip_app\n");
        let mut command = test.command(parts().path("programs/condense"));
        command
            .args(["pip-containerize", "update", "installation"])
            .args(["-r", "more.txt"])
            .env("TMPDIR", test.scratch())
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", parts().wheels());
        command.run().succeeded();
        let mut command = installation.command(Account::Ordinary, "edge-pip-app", [""; 0]);
        command.run().says("edge-pip-app 1.0 with edge-pip-lib 1.0");
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_a_module_puts_into_pythonpath_does_not_leak_in() {
    let cray = Cray::new();
    let test = TestDir::new(Account::Ordinary, "cray-path");
    test.write("req.txt", "edge_pip_lib\n");
    // PYTHONPATH of modules stays out during the build …
    new_command(&test, &cray, &["req.txt"])
        .env("PYTHONPATH", cray.site_packages())
        .run()
        .succeeded();
    // … and when programs run: the packages of another interpreter, and the directories that Lmod
    // or Environment Modules name as theirs.
    let own = test.make_dir("mine").display().to_string();
    let tree = cray.site_packages();
    let path_with = |variables: &[(&str, &str)]| {
        test.installation()
            .python(
                Account::Ordinary,
                "import os; print(os.environ.get('PYTHONPATH'))",
            )
            .envs(variables.iter().copied())
            .run()
            .succeeded()
            .text()
    };
    assert_eq!(path_with(&[("PYTHONPATH", &tree)]), "None");
    let both = format!("{own}:/modules/x:{tree}");
    let lmod = "/modules/y:1;/modules/x:2";
    assert_eq!(
        path_with(&[("PYTHONPATH", &both), ("__LMOD_REF_COUNT_PYTHONPATH", lmod)]),
        own
    );
    let share = "/modules/y:1:/modules/x:2";
    for name in ["__MODULES_SHARE_PYTHONPATH", "PYTHONPATH_modshare"] {
        assert_eq!(path_with(&[("PYTHONPATH", &both), (name, share)]), own);
    }
    // The variable lets PYTHONPATH in.
    assert_eq!(
        path_with(&[("PYTHONPATH", &both), ("CW_KEEP_PYTHONPATH", "1")]),
        both
    );
}

/// Checks that a build sees the compilers and all variables of the user, as with Tykky.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_host_s_compilers_build_for_it() {
    let cray = Cray::new();
    let account = Account::Ordinary;
    let test = TestDir::new(account, "cray-cc");
    test.write("req.txt", "edge_pip_lib\n");
    test.write("own.c", "int answer(void) { return ANSWER; }\n");
    let tools = test.make_dir("tools");
    let tool = test.write(
        "tools/of-a-module",
        "#!/bin/sh\necho -DANSWER=$FROM_MODULE\n",
    );
    fs_err::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    test.write(
            "post.sh",
            "[ \"$VIRTUAL_ENV\" = \"$env_root\" ]\n[ -z \"${CONDA_PREFIX-}\" ]\ncc -shared -fPIC $(of-a-module) own.c -o \"$env_root/lib/own.so\"\n",
        );
    new_command(&test, &cray, &["--post", "post.sh", "req.txt"])
        .env("FROM_MODULE", "42")
        .env(
            "PATH",
            format!(
                "{}:{}:/usr/local/bin:/usr/bin:/bin",
                tools.display(),
                cray.bin()
            ),
        )
        .run()
        .succeeded();
    let library = format!("{}/lib/own.so", test.installation().env_prefix());
    test.installation()
        .python(
            account,
            &format!("import ctypes; print(ctypes.CDLL('{library}').answer())"),
        )
        .run()
        .says("42");
}

/// Builds mpi4py from source with the host's MPICH, as with its module loaded. The ranks, each
/// started through the wrapper, form one job.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn mpi4py_is_built_against_the_host_s_mpich() {
    let cray = Cray::new();
    let account = Account::Ordinary;
    let test = TestDir::new(account, "cray-mpi");
    test.write("req.txt", "mpi4py\n");
    new_command(&test, &cray, &["req.txt"])
        .env("PIP_FIND_LINKS", parts().sdists())
        .env("MPICC", "mpicc.mpich")
        // Without optimisation, the build takes seconds instead of minutes.
        .env("CFLAGS", "-O0")
        .run()
        .succeeded();
    let ranks = "from array import array
from mpi4py import MPI
world = MPI.COMM_WORLD
total = array('i', [0])
world.Allreduce(array('i', [world.rank + 1]), total)
libraries = {line.split()[-1] for line in open('/proc/self/maps') if 'libmpi' in line}
every = world.gather((world.rank, world.size, total[0], sorted(libraries)))
if world.rank == 0:
    print(MPI.Get_library_version().split()[0], every)";
    let host = fs_err::canonicalize("/usr/lib/x86_64-linux-gnu/libmpich.so.12").unwrap();
    let host = host.display();
    let expected = format!("MPICH [(0, 2, 3, ['{host}']), (1, 2, 3, ['{host}'])]");
    as_both(|account| {
        let mut job = account.command("mpiexec.mpich");
        job.args(["-n", "2"])
            .arg(test.installation().bin("python"))
            .args(["-c", ranks])
            // Without this setting, each rank of an ordinary user has a user namespace of its own,
            // and no rank may read the memory of another.
            .env("APPTAINER_SHARENS", "1")
            .run()
            .says(&expected);
    });
    test.left_nothing();
}

/// Statement 39 of the list of Tykky's tests: packages that pip does not find, and an interpreter
/// that is not a Python.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_cannot_be_built_leaves_nothing() {
    let cray = Cray::new();
    let account = Account::Root;
    let test = TestDir::new(account, "cray-bad");
    test.write("req.txt", "edge_pip_typo\n");
    let output = build(&test, &cray, &["req.txt"]);
    test.refused(output, &["there is no `edge_pip_typo` in"]);
    // Statement 96: the Python of another installation.
    let output = new_command(&test, &cray, &["req.txt"])
        .env(
            "PATH",
            format!("{}/bin:/usr/bin:/bin", shared().dir.display()),
        )
        .run();
    test.refused(output, &["is a wrapper of an installation", "Remove "]);
    // A base that the user names is used as it is, so its own Python is used, and this base has
    // none.
    let base = parts().base();
    let output = build(
        &test,
        &cray,
        &["--base-image", base.to_str().unwrap(), "req.txt"],
    );
    test.refused(output, &["has no `python3`"]);
}

/// Checks that a base of its own shows the tree of the interpreter and nothing else below /opt.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_named_base_and_a_named_python_go_together() {
    let cray = Cray::new();
    let account = Account::Root;
    let test = TestDir::new(account, "cray-base");
    test.write("req.txt", "edge_pip_lib\n");
    let (base, python) = (parts().base(), format!("{}/python3", cray.bin()));
    let words = [
        "--base-image",
        base.to_str().unwrap(),
        "--interpreter",
        &python,
        "req.txt",
    ];
    build(&test, &cray, &words).succeeded();
    test.installation()
        .python(
            account,
            "import edge_pip_lib, os; print(os.listdir('/opt/cray/pe/python'))",
        )
        .run()
        .says(&format!(
            "['{}']",
            cray.dir.file_name().unwrap().to_str().unwrap()
        ));
}
