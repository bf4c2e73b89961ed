//! Tests of sources that pip builds beside conda packages that are held back: the result is that of
//! a build in which every package is unpacked, and so is each error.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use condense_image::Reader;

use crate::{
    harness::{Account, CommandOutput, Run, TestDir, parts},
    hot_zone::noting_runtime,
    pip_held::{KEPT, UNPACKED, assert_same_results, same_image},
};

/// Program that writes source packages: one of Python, one in C with a module of what its build
/// sees, one with the places that it sees, one that writes into the environment, and one that fails
/// when its wheel is built.
const SOURCES: &str = r#"
import io, sys, tarfile

def write(name, version, setup, files={}):
    stem = "%s-%s" % (name, version)
    files = dict(files, **{"setup.py": "import os, sys\nfrom setuptools import Extension, setup\n" + setup})
    files[name + ".py"] = "version = %r\n" % version
    with tarfile.open("%s/%s.tar.gz" % (sys.argv[1], stem), "w:gz") as source:
        for path, text in files.items():
            entry = tarfile.TarInfo(stem + "/" + path)
            entry.size = len(text)
            source.addfile(entry, io.BytesIO(text.encode()))

def setup(name, more=""):
    return "setup(name=%r, version='1.0', py_modules=[%r]%s)\n" % (name.replace("_", "-"), name, more)

write("edge_source", "1.0", setup("edge_source"))
library = "sys.prefix + '/lib/libz.so.1', '-Wl,-rpath,' + sys.prefix + '/lib'"
write("edge_ext", "1.0", '''
with open('edge_ext.py', 'w') as module:
    module.write('value = %r\\nfrom edge_c import zlib\\n' % os.environ['EDGE_VALUE'])
''' + setup("edge_ext", ", ext_modules=[Extension('edge_c', ['edge_c.c'], "
    "extra_compile_args=['-g0'], extra_link_args=[" + library + "])]"), {"edge_c.c": '''
#include <Python.h>
extern const char *zlibVersion(void);
static PyObject *zlib(PyObject *self, PyObject *none) { return PyUnicode_FromString(zlibVersion()); }
static PyMethodDef methods[] = {{"zlib", zlib, METH_NOARGS, ""}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "edge_c", "", -1, methods};
PyMODINIT_FUNC PyInit_edge_c(void) { return PyModule_Create(&module); }
'''})
write("edge_places", "1.0", '''
with open('edge_places.py', 'w') as module:
    module.write('places = %r' % [os.getcwd(), os.environ['TMPDIR'], os.path.expanduser('~')])
''' + setup("edge_places"))
write("edge_writes", "1.0", "open(sys.prefix + '/written', 'a').close()\n" + setup("edge_writes"))
write("edge_fails", "1.0", "if 'bdist_wheel' in sys.argv: sys.exit('edge-fails has no turbine')\n"
    + setup("edge_fails"))
"#;

/// Backend of a project, in the project. It needs a package of the index, and writes its version
/// and that of the interpreter into the wheel.
const BACKEND: &str = r#"
import os, sys, zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    import edge_pip_lib
    info = "edge_isolated-1.0.dist-info/"
    files = {
        "edge_isolated.py": "built = %r\n" % ((edge_pip_lib.VERSION, sys.prefix),),
        info + "METADATA": "Metadata-Version: 2.1\nName: edge-isolated\nVersion: 1.0\n",
        info + "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[info + "RECORD"] = "".join(name + ",,\n" for name in files)
    with zipfile.ZipFile(directory + "/edge_isolated-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(zipfile.ZipInfo(name), text)
    return "edge_isolated-1.0-py3-none-any.whl"
"#;

fn write_sources(test: &TestDir) -> PathBuf {
    let (dir, program) = (test.make_dir("sources"), test.write("sources.py", SOURCES));
    let made = Command::new("python3").arg(program).arg(&dir).status();
    assert!(made.unwrap().success());
    dir
}

fn environment(test: &TestDir, lines: &str) -> PathBuf {
    let sources = test.path("sources");
    let lines = format!("'--find-links {}', {lines}", sources.display());
    let packages =
        format!("python=3.11, pip, setuptools, wheel, edge-activate, {{pip: [{lines}]}}");
    test.environment(&packages)
}

/// Takes packages from files alone. What a build needs is in the environment.
fn offline(command: &mut Command) -> &mut Command {
    command
        .arg("--verbose")
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", parts().wheels())
        .env("PIP_NO_BUILD_ISOLATION", "0")
}

/// Returns the command that builds into `dir` with the host's compilers, as with a site's base.
fn new_at_site(test: &TestDir, dir: &Path) -> Command {
    let text = format!("defaults:\n  container_src: {}\n", parts().base().display());
    let mut command = test.program(["new", "--prefix"]);
    command.arg(dir);
    offline(&mut command).env("CW_GLOBAL_YAML", test.write("site.yml", &text));
    command
}

fn python(test: &TestDir, dir: &Path, text: &str) -> CommandOutput {
    test.command(dir.join("bin/python"))
        .args(["-c", text])
        .run()
}

/// Sources of all kinds are built beside what is held back. The lock has them built again.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests), a C compiler"]
fn sources_are_built_beside_packages_that_are_held_back() {
    let test = TestDir::new(Account::Ordinary, "pip-sources");
    write_sources(&test);
    test.make_dir("edge-dir");
    let setup = "from setuptools import setup\nsetup(name='edge-dir', version='1.0', py_modules=['edge_dir'])\n";
    test.write("edge-dir/setup.py", setup);
    test.write("edge-dir/edge_dir.py", "place = 'a directory'\n");
    let environment = environment(&test, "edge-source, edge-ext, ./edge-dir, edge-pip-app");
    let (held, files) = (test.path("held"), test.path("files"));
    let mut command = new_at_site(&test, &held);
    command.env("PATH", noting_runtime(&test, ""));
    let said = command.arg(&environment).run().succeeded().text();
    assert!(!said.contains(UNPACKED), "{said}");
    let counts = fs_err::read_to_string(test.path("counts")).unwrap();
    let counts: Vec<u32> = counts.lines().map(|line| line.parse().unwrap()).collect();
    let reader = Reader::open_raw(held.join("img.sqfs")).unwrap();
    let inodes = reader.superblock().inode_count;
    println!("{counts:?} files of {inodes}");
    let most = inodes / 50 + 250;
    assert!(
        counts.len() >= 2 && counts.iter().all(|count| *count < most),
        "{counts:?} of {most}"
    );
    test.left_nothing();

    let mut command = new_at_site(&test, &files);
    command.env(KEPT, "1").arg(&environment).run().succeeded();
    test.empty_scratch();
    assert!(same_image(&held, &files), "the images differ");
    assert_same_results(&held, &files);
    let compiled = "import edge_source, edge_ext, edge_dir, os; \
                    print(edge_ext.value, edge_ext.zlib()[0], edge_dir.place, \
                    [os.path.exists(one.__cached__) for one in (edge_source, edge_ext, edge_dir)])";
    python(&test, &held, compiled).says("set by edge-activate 1 a directory [True, True, True]");

    let of_lock = ["lock-held", "lock-files"].map(|name| test.path(name));
    for (dir, kept) in of_lock.iter().zip([false, true]) {
        let mut command = new_at_site(&test, dir);
        command.arg("--lock").arg(held.join("share/condense.lock"));
        if kept {
            command.env(KEPT, "1");
        }
        let said = command.run().succeeded().text();
        assert!(!said.contains(UNPACKED), "{said}");
    }
    let [locked, unpacked] = &of_lock;
    assert!(
        same_image(locked, unpacked),
        "the images of the lock differ"
    );
    assert_same_results(locked, unpacked);
}

/// Packages that an isolated build needs are installed for it alone.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn isolated_builds_get_what_they_need() {
    let test = TestDir::new(Account::Ordinary, "pip-isolated");
    write_sources(&test);
    test.make_dir("edge-isolated");
    test.write("edge-isolated/backend.py", BACKEND);
    test.write(
        "edge-isolated/pyproject.toml",
        "[build-system]\nrequires = ['edge-pip-lib<1.1']\nbuild-backend = 'backend'\nbackend-path = ['.']\n",
    );
    let environment = environment(&test, "./edge-isolated");
    let (held, files) = (test.path("held"), test.path("files"));
    for (dir, kept) in [(&held, false), (&files, true)] {
        let mut command = test.new_command(dir, &environment);
        offline(&mut command).env_remove("PIP_NO_BUILD_ISOLATION");
        if kept {
            command.env(KEPT, "1");
        }
        let said = command.run().succeeded().text();
        assert!(!said.contains(UNPACKED), "{said}");
    }
    test.empty_scratch();
    assert!(same_image(&held, &files), "the images differ");
    assert_same_results(&held, &files);
    let text = "import edge_isolated, sys; print(edge_isolated.built == ('1.0', sys.prefix)); import edge_pip_lib";
    let said = python(&test, &held, text);
    assert_eq!(said.stdout, "True\n", "{said:?}");
    assert!(said.stderr.contains("No module named 'edge_pip_lib'"));
}

/// A build that writes into the environment gets files, and the image has what it has written.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_build_that_writes_into_the_environment_gets_files() {
    let test = TestDir::new(Account::Ordinary, "pip-writes");
    write_sources(&test);
    let environment = environment(&test, "edge-writes, edge-pip-app");
    let (held, files) = (test.path("held"), test.path("files"));
    let mut command = test.new_command(&held, &environment);
    let said = offline(&mut command).run().succeeded().text();
    let reason = "building `edge-writes` fails where the environment cannot be written";
    let words = format!("{UNPACKED} pip needs files: {reason}");
    assert_eq!(said.matches(&words).count(), 1, "{said}");
    assert!(
        !said.contains("ERROR") && !said.contains("Read-only"),
        "{said}"
    );
    test.left_nothing();
    let mut command = test.new_command(&files, &environment);
    offline(&mut command).env(KEPT, "1").run().succeeded();
    test.empty_scratch();
    assert!(same_image(&held, &files), "the images differ");
    assert_same_results(&held, &files);
    let written = "import os, sys; print(os.path.exists(sys.prefix + '/written'))";
    python(&test, &held, written).says("True");
}

/// A build that fails with and without files ends with the same words and status.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_build_that_fails_is_told_as_where_everything_is_a_file() {
    let test = TestDir::new(Account::Ordinary, "pip-fails");
    write_sources(&test);
    let environment = environment(&test, "edge-fails, edge-source");
    let fail = |kept: bool| {
        let mut command = test.new_command(&test.installation().dir, &environment);
        if kept {
            command.env(KEPT, "1");
        }
        let output = offline(&mut command).run();
        let said = output.stdout.contains("building `edge-fails` fails");
        assert_eq!(said, !kept, "{output:?}");
        let words = ["`edge-fails` cannot be built", "edge-fails has no turbine"];
        let output = output.failed_on_either_stream(1, &words);
        let runs: Vec<&str> = output.stdout.split("Build step: pip install\n").collect();
        let (last, before) = runs.split_last().unwrap();
        assert_eq!(before.len(), if kept { 1 } else { 2 }, "{output:?}");
        assert!(!before.concat().contains("turbine"), "{output:?}");
        let differs = ["Stored in", "Created wheel", "all of its output", "scratch"];
        let lines = last
            .lines()
            .filter(|line| !differs.iter().any(|words| line.contains(words)));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        (lines, output.stderr)
    };
    let held = fail(false);
    assert!(!test.installation().dir.exists());
    test.left_nothing();
    assert_eq!(held, fail(true));
}

/// Images of `cotainr build` are built in the same way, and nothing in them names scratch.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_sif_has_sources_that_were_built_beside_its_packages() {
    let test = TestDir::new(Account::Ordinary, "pip-sif");
    write_sources(&test);
    environment(&test, "edge-source, edge-places");
    let mut command = test.command(parts().path("programs/condense"));
    command
        .args(["cotainr", "build", "--conda-env", "env.yml", "--base-image"])
        .arg(parts().base())
        .args(["-vv", "out.sif"])
        .env("TMPDIR", test.scratch())
        .env("CONDENSE_CACHE_DIR", test.path("cache"));
    let said = offline(&mut command).run().succeeded();
    let says = |words: &str| said.stdout.contains(words) || said.stderr.contains(words);
    assert!(
        says("Successfully built edge-source edge-places"),
        "{said:?}"
    );
    assert!(!says(UNPACKED), "{said:?}");
    let text = "import edge_source, edge_places, os; \
                print(edge_source.version, os.path.exists(edge_source.__cached__)); \
                print(*[place.rsplit('/edge_places-1.0')[0] for place in edge_places.places])";
    let mut command = test.command("apptainer");
    command.args(["exec", "out.sif", "python3", "-c", text]);
    let said = command.run().succeeded().text();
    let (first, places) = said.split_once('\n').unwrap();
    assert_eq!(first, "1.0 True");
    let is_told = |place: &str| !place.starts_with("/.condense-build/");
    assert!(!places.split(' ').any(is_told), "{places}");
}
