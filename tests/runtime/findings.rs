//! Tests that compare findings with reality: `condense check` examines real binaries for a real
//! base, and the runtime starts them in it. A program with a finding fails with the message of the
//! dynamic linker; a similar program without a finding runs.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use crate::harness::{Account, CommandOutput, Run, TestDir, parts};

const CALLS_F: &str = "int f(void); int main(void) { return f(); }\n";
const HAS_F: &str = "int f(void) { return 0; }\n";
const LOADS: &str = "#include <dlfcn.h>\n#include <stdio.h>\n\
    int main(int n, char **words) {\n\
    if (dlopen(words[1], RTLD_NOW)) return 0;\n\
    fprintf(stderr, \"%s\\n\", dlerror()); return 1; }\n";
const BESIDE: &str = "-Wl,-rpath,$ORIGIN/../lib";

/// Directory with compiled programs.
struct CompiledPrograms<'a> {
    test: &'a TestDir,
    dir: PathBuf,
}

impl CompiledPrograms<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn make_dir(&self, name: &str) {
        self.test.make_dir(self.path(name).to_str().unwrap());
    }

    fn write(&self, name: &str, text: &str) {
        fs_err::write(self.path(name), text).unwrap();
    }

    fn compile(&self, name: &str, source: &str, words: &[&str]) {
        let file = self.test.write("source.c", source);
        let mut compiler = self.test.command("cc");
        compiler.arg("-o").arg(self.path(name)).arg(file);
        compiler.args(words).current_dir(&self.dir);
        compiler.run().succeeded();
    }

    /// Compiles a library with this soname, which has the function `f` in this version.
    fn library(&self, name: &str, soname: &str, version: &str) {
        self.test
            .write("v.map", &format!("{version} {{ global: f; }};\n"));
        let script = format!("-Wl,--version-script={}", self.test.path("v.map").display());
        let soname = format!("-Wl,-soname,{soname}");
        self.compile(name, HAS_F, &["-shared", "-fPIC", &soname, &script]);
    }

    fn remove(&self, name: &str) {
        fs_err::remove_file(self.path(name)).unwrap();
    }
}

/// Kind of finding: the code, the message of the failing program, the arguments of the program
/// `bin/it`, and the function that makes the failing or the working program.
struct Kind {
    code: &'static str,
    said: &'static str,
    words: &'static [&'static str],
    make: fn(&CompiledPrograms, bool),
}

const KINDS: [Kind; 7] = [
    Kind {
        code: "missing-library",
        said: "libneeded.so.1: cannot open shared object file",
        words: &[],
        make: |made, found| {
            made.library("lib/libneeded.so.1", "libneeded.so.1", "V_1");
            made.compile("bin/it", CALLS_F, &["lib/libneeded.so.1", BESIDE]);
            if found {
                made.remove("lib/libneeded.so.1");
            }
        },
    },
    Kind {
        code: "missing-module-library",
        said: "libneeded.so.1: cannot open shared object file",
        words: &["lib/module.so"],
        make: |made, found| {
            made.library("lib/libneeded.so.1", "libneeded.so.1", "V_1");
            let more = [
                "-shared",
                "-fPIC",
                "-Wl,--no-as-needed",
                "lib/libneeded.so.1",
            ];
            made.compile(
                "lib/module.so",
                HAS_F,
                &[&more[..], &["-Wl,-rpath,$ORIGIN"]].concat(),
            );
            made.compile("bin/it", LOADS, &["-ldl"]);
            if found {
                made.remove("lib/libneeded.so.1");
            }
        },
    },
    Kind {
        code: "glibc-too-old",
        said: "version `GLIBC_2.99' not found",
        words: &[],
        make: |made, found| {
            // This library stands for a newer C library while the program is linked, and is removed
            // before the program starts.
            let (soname, version) = if found {
                ("libm.so.6", "GLIBC_2.99")
            } else {
                ("libother.so.6", "OTHER_2.99")
            };
            let library = format!("lib/{soname}");
            made.library(&library, soname, version);
            made.compile("bin/it", CALLS_F, &[&library, BESIDE]);
            if found {
                made.remove(&library);
            }
        },
    },
    Kind {
        code: "symbol-version",
        said: "version `V_2' not found",
        words: &[],
        make: |made, found| {
            made.library("lib/libneeded.so.1", "libneeded.so.1", "V_2");
            made.compile("bin/it", CALLS_F, &["lib/libneeded.so.1", BESIDE]);
            if found {
                made.library("lib/libneeded.so.1", "libneeded.so.1", "V_1");
            }
        },
    },
    Kind {
        code: "wrong-architecture",
        // The kernel refuses the file, and the shell of the runtime takes it for a shell script.
        said: "bin/it",
        words: &[],
        make: |made, found| {
            made.compile("bin/it", "int main(void) { return 0; }\n", &[]);
            if found {
                let mut bytes = fs_err::read(made.path("bin/it")).unwrap();
                // Byte 18 is the number of the processor: RISC-V.
                bytes[18] = 243;
                fs_err::write(made.path("bin/it"), bytes).unwrap();
            }
        },
    },
    Kind {
        code: "python-missing",
        said: "no such file or directory",
        words: &[],
        make: |made, found| {
            // The check only tests whether the interpreter exists.
            let home = made.path("home");
            made.make_dir("home");
            let python = "int main(void) { return 0; }\n";
            made.compile("home/python3", python, &[]);
            made.write("pyvenv.cfg", &format!("home = {}\n", home.display()));
            symlink(home.join("python3"), made.path("bin/it")).unwrap();
            if found {
                made.remove("home/python3");
            }
        },
    },
    Kind {
        code: "moving-link",
        said: "No such file",
        words: &["share/data"],
        make: |made, found| {
            made.write("bin/it", "#!/bin/sh\nexec cat \"$1\"\n");
            let mode = std::fs::Permissions::from_mode(0o755);
            fs_err::set_permissions(made.path("bin/it"), mode).unwrap();
            made.make_dir("share");
            made.write("share/here", "data\n");
            let target = if found {
                "/scratch/of-others/data"
            } else {
                "here"
            };
            symlink(target, made.path("share/data")).unwrap();
        },
    },
];

fn checked(test: &TestDir, dir: &Path) -> Vec<String> {
    let mut command = test.command(parts().path("programs/condense"));
    command.args(["check", "--json"]).arg(dir);
    command.arg("--base").arg(parts().base());
    let said: serde_json::Value = serde_json::from_str(&command.run().stdout).unwrap();
    let findings = said["findings"].as_array().unwrap();
    let codes = findings.iter().map(|it| it["code"].as_str().unwrap());
    codes.map(str::to_owned).collect()
}

fn started(test: &TestDir, dir: &Path, words: &[&str]) -> CommandOutput {
    let mut command = test.command(parts().runtime());
    command
        .args(["exec", "--pwd"])
        .arg(dir)
        .arg("--bind")
        .arg(dir);
    command.arg(parts().base()).arg(dir.join("bin/it"));
    command.args(words).run()
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_is_found_fails_and_what_is_not_found_runs() {
    let test = TestDir::new(Account::Ordinary, "findings");
    for Kind {
        code,
        said,
        words,
        make,
    } in KINDS
    {
        for found in [true, false] {
            let dir = test.make_dir(&format!("{code}-{found}"));
            let made = CompiledPrograms { test: &test, dir };
            made.make_dir("bin");
            made.make_dir("lib");
            make(&made, found);
            let codes = checked(&test, &made.dir);
            let output = started(&test, &made.dir, words);
            if found {
                assert_eq!(codes, [code]);
                assert_ne!(output.status, 0, "{code}: {output:?}");
                assert!(output.stderr.contains(said), "{code}: {output:?}");
            } else {
                assert_eq!(codes, Vec::<String>::new(), "{code}");
                output.succeeded();
            }
        }
    }
}

/// Kinds of findings that this test cannot show, each with the reason.
const NOT_STARTED: [(&str, &str); 17] = [
    ("gui-parts", "runs, with boxes instead of letters"),
    ("mpi-abi", "wants two MPIs: crates/check/tests/real.rs"),
    ("mpi-mixed", "wants two MPIs: crates/check/tests/real.rs"),
    ("mpi-pinned", "wants two MPIs: crates/check/tests/real.rs"),
    ("cuda-on-amd", "wants GPUs: tests/runtime/pip_preflight.rs"),
    ("cuda-libraries", "runs, for nothing"),
    ("rocm-on-nvidia", "wants GPUs"),
    ("rocm-libraries", "runs, for nothing"),
    ("gpu-driver-range", "wants GPUs"),
    ("cpu-level", "wants an old processor"),
    (
        "image-codec",
        "wants both runtimes: tests/runtime/runtimes.rs",
    ),
    ("channel-terms", "runs, against a contract"),
    ("moving-source", "runs today"),
    (
        "user-site",
        "runs, with other packages: tests/cli/user_site.rs",
    ),
    (
        "pythonpath",
        "runs, with other packages: tests/cli/user_site.rs",
    ),
    ("module-image", "concerns modules: tests/cli/modules.rs"),
    ("module-copy", "concerns modules: tests/cli/modules.rs"),
];

#[test]
fn every_kind_of_finding_is_shown_or_it_is_said_why_not() {
    let page = fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/codes.md"));
    let page = page.unwrap();
    let (environments, _) = page.split_once("## Machines").unwrap();
    let mut codes: Vec<&str> = environments
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let mut known: Vec<&str> = KINDS.iter().map(|kind| kind.code).collect();
    known.extend(NOT_STARTED.iter().map(|(code, _)| *code));
    codes.sort_unstable();
    known.sort_unstable();
    assert_eq!(codes, known);
}
