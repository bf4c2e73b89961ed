//! `--mpi host` of the builders, of modules and of `condense run`, and `condense doctor --mpi`,
//! with a fake runtime and libraries that are compiled here. Test comments begin with the number of
//! the statement that a test shows.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::{CommandOutput, Run, TestEnv};

/// Runtime that prints its arguments, one on each line, and the library path of the container.
const RUNTIME: &str = "#!/bin/sh\ncase $1 in --version) echo apptainer version 1.4.5; exit ;; esac\n\
     for word; do echo \"$word\"; done\necho \"path $SINGULARITYENV_LD_LIBRARY_PATH\"\nexit 7\n";

/// Code of programs whose libraries are neither in the environment nor in the base.
const MISSING: &str = "missing-library";
/// Start of the value that the container gets.
const IN_FRONT: &str = "path /.condense-mpi";

fn cc(words: &[&str], source: &Path, target: &Path) {
    fs_err::create_dir_all(target.parent().unwrap()).unwrap();
    let mut command = Command::new("cc");
    command
        .args(["-nostdlib", "-o"])
        .args([target, source])
        .args(words);
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// Makes a library `NAME` of an MPI, and a directory `work/software` with a program that needs it;
/// `more` is for the linker of the program.
fn software(test: &TestEnv, name: &str, more: &[&str]) -> PathBuf {
    let code = test.write("code.c", "int MPI_Init(void) { return 0; }\n");
    let library = test.path("host").join(name);
    let soname = format!("-Wl,-soname,{name}");
    cc(&["-shared", "-fPIC", &soname], &code, &library);
    let main = test.write(
        "main.c",
        "int MPI_Init(void); void _start(void) { MPI_Init(); }\n",
    );
    let program = test.path("work/software/bin/program");
    let words = [&[library.to_str().unwrap()][..], more].concat();
    cc(&words, &main, &program);
    library
}

/// Wraps the directory; `allowed` is a finding that does not end the build.
fn wrap(test: &TestEnv, words: &[&str], allowed: &str) -> CommandOutput {
    let all = [
        "wrap-install",
        "--prefix",
        "wrapped",
        "-w",
        "bin",
        "software",
    ];
    let all = [&all[..], &["--base-image", "../base"], words].concat();
    test.condense(&all).env("CONDENSE_ALLOW", allowed).run()
}

/// Runs a command whose links are kept below the test's directory, so that nothing is left in /tmp.
fn with_links(test: &TestEnv, mut command: Command) -> CommandOutput {
    // The name of a user with a slash has no directory of its own in /tmp.
    let name = test
        .path("x")
        .parent()
        .unwrap()
        .file_name()
        .unwrap()
        .to_owned();
    let links = Path::new("/tmp").join(format!("condense-mpi-{}", name.to_str().unwrap()));
    let said = command.env("USER", &name).run();
    let _ = std::fs::remove_dir_all(links);
    said
}

/// I5 (1): a build records what the programs need, and they start with the host's library.
#[test]
fn wrappers_take_the_host_s_mpi() {
    let test = TestEnv::new();
    let library = software(&test, "libmpi.so.12", &[]);
    test.fake_program("apptainer", RUNTIME);
    let settings = |expected: &[&str]| {
        let common = fs_err::read_to_string(test.path("work/wrapped/common.sh")).unwrap();
        for line in expected {
            assert!(common.contains(line), "no {line} in {common}");
        }
    };
    let program = test.path("work/wrapped/bin/program");
    // A library that the host brings is not missing.
    for (words, allowed, default, is_host) in [
        (&["--mpi", "host"][..], "", "mpi_from=host", true),
        (&["--force"], MISSING, "mpi_from=image", false),
    ] {
        // The fake runtime runs nothing, so that the start at the end of a build fails with it.
        fs_err::remove_file(test.path("programs/apptainer")).unwrap();
        wrap(&test, words, allowed).succeeded();
        test.fake_program("apptainer", RUNTIME);
        settings(&[default, "mpi_needs=libmpi.so.12", "GLIBC_2.36"]);
        for (variable, expected) in [("", is_host), ("host", true), ("image", false)] {
            let mut command = test.command(&program);
            command.env("CONDENSE_MPI", variable);
            command.env("CONDENSE_MPI_LIBRARY", &library);
            let said = with_links(&test, command);
            assert_eq!(said.status, 7, "{said:?}");
            assert_eq!(
                said.stdout.contains(IN_FRONT),
                expected,
                "{variable} {said:?}"
            );
        }
        let mut command = test.condense(&["run", "--mpi", "host", "wrapped", "program"]);
        command.env("CONDENSE_MPI_LIBRARY", &library);
        assert!(with_links(&test, command).stdout.contains(IN_FRONT));
    }
    // Bad input: a vanished library is one clear line.
    let mut command = test.command(&program);
    command
        .env("CONDENSE_MPI", "host")
        .env("CONDENSE_MPI_LIBRARY", "/gone/libmpi.so.12");
    let said = with_links(&test, command);
    assert_eq!(
        (said.status, said.stderr.lines().count()),
        (125, 1),
        "{said:?}"
    );
    assert!(
        said.stderr.contains("there is no file /gone/libmpi.so.12"),
        "{said:?}"
    );
}

/// I5 (1): Open MPI, an RPATH and programs without an MPI are refused, and nothing is made.
#[test]
fn what_the_host_cannot_replace_is_refused() {
    let refused = |name: &str, more: &[&str], own: bool, words: &str| {
        let test = TestEnv::new();
        let library = software(&test, name, more);
        if own {
            let copy = test.path("work/software/lib").join(name);
            fs_err::create_dir_all(copy.parent().unwrap()).unwrap();
            fs_err::copy(library, copy).unwrap();
        }
        let said = wrap(&test, &["--mpi", "host"], MISSING);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.text().contains(words), "{said:?}");
        assert!(!test.path("work/wrapped").exists());
        // Without the option the same is built.
        wrap(&test, &[], MISSING).succeeded();
    };
    refused(
        "libmpi.so.40",
        &[],
        false,
        "bin/program needs Open MPI's libmpi.so.40",
    );
    let rpath = ["-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib"];
    let words = "bin/program takes libmpi.so.12 from lib by its RPATH";
    refused("libmpi.so.12", &rpath, true, words);
    refused(
        "libother.so.1",
        &[],
        false,
        "no program of the image needs an MPI library",
    );
}

/// Returns a test with a SIF `mine.sif` whose base has an MPICH, and the host's library.
fn with_sif() -> (TestEnv, PathBuf) {
    let test = TestEnv::new();
    let library = software(&test, "libmpi.so.12", &[]);
    let own = test.path("base/usr/lib");
    fs_err::create_dir_all(&own).unwrap();
    fs_err::copy(&library, own.join("libmpi.so.12")).unwrap();
    test.environment("tool");
    let words = "cotainr build --base-image ../base --conda-env env.yml mine.sif";
    let words: Vec<&str> = words.split(' ').collect();
    test.condense(&words).run().succeeded();
    test.fake_program("apptainer", RUNTIME);
    (test, library)
}

/// `condense run` of a SIF takes the host's library; the image is looked at once.
#[test]
fn programs_of_a_sif_take_the_host_s_mpi() {
    let (test, library) = with_sif();
    let kept = test.path("home/.cache/condense/host-mpi");
    for (words, variable, expected) in [
        (&["--mpi", "host"][..], "", true),
        (&[], "host", true),
        (&[], "", false),
        (&["--mpi", "image"], "host", false),
    ] {
        let words = [&["run"][..], words, &["mine.sif", "--", "tool", "a b"]].concat();
        let mut command = test.condense(&words);
        command.env("CONDENSE_MPI", variable);
        command.env("CONDENSE_MPI_LIBRARY", &library);
        let said = with_links(&test, command);
        assert_eq!(said.status, 7, "{said:?}");
        assert_eq!(
            said.stdout.contains(IN_FRONT),
            expected,
            "{words:?} {said:?}"
        );
        assert!(said.stdout.contains("\ntool\na b\npath"), "{said:?}");
        assert_eq!(fs_err::read_dir(&kept).unwrap().count(), 1);
    }
    let mut command = test.condense(&["run", "mine.sif", "tool"]);
    let said = command.env("CONDENSE_MPI", "cray").run();
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.stderr.contains("neither `host` nor `image`: `cray`"),
        "{said:?}"
    );
}

/// The commands of a module take the host's library.
#[test]
fn commands_of_a_module_take_the_host_s_mpi() {
    let (test, library) = with_sif();
    let module = |words: &[&str]| {
        let all = [
            "module",
            "mine.sif",
            "--name",
            "m",
            "--version",
            "1",
            "--to",
            "mods",
        ];
        test.condense(&[&all[..], words].concat()).run().succeeded();
    };
    for (words, is_host) in [(&["--mpi", "host"][..], true), (&["--force"], false)] {
        module(words);
        let start = test.path("work/software/m/1/bin/start-shell");
        for (variable, expected) in [("", is_host), ("host", true), ("image", false)] {
            let mut command = test.command(&start);
            command.env("CONDENSE_MPI", variable);
            command.env("CONDENSE_MPI_LIBRARY", &library);
            let said = with_links(&test, command);
            assert_eq!(said.status, 7, "{said:?}");
            assert_eq!(
                said.stdout.contains(IN_FRONT),
                expected,
                "{variable} {said:?}"
            );
        }
    }
    let env = test.path("work/env.yml");
    fs_err::remove_file(test.path("programs/apptainer")).unwrap();
    test.build(&[env.to_str().unwrap()]).succeeded();
    let words = ["module", "installation", "--mpi", "host", "--to", "mods"];
    let said = test.condense(&words).run();
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.stderr.contains("`condense update --mpi host"),
        "{said:?}"
    );
}

/// Returns the line of a rank.
fn rank(rank: u32, size: u32, host: &str, seconds: f64) -> String {
    format!(
        r#"condense-mpi: {{"rank": {rank}, "size": {size}, "host": "{host}", "library": "libmpi.so.12", "version": "MPICH Version: 4.0", "device": "ch4:ofi", "mapped": [], "of_host": "/opt/cray/libmpi.so.12", "latency": 1.5e-06, "bytes": 4000000, "seconds": {seconds}, "socket_seconds": 0.002}}"#
    )
}

/// `condense doctor --mpi` says library, provider and bandwidth, and what is wrong.
#[test]
fn the_doctor_measures_two_ranks() {
    let test = TestEnv::new();
    let doctor = |lines: &[String], words: &[&str]| {
        let text = lines.join("\n");
        test.fake_program("mpiexec", &format!("#!/bin/sh\ncat <<'END'\n{text}\nEND\n"));
        test.condense(&[&["doctor", "--mpi"][..], words].concat())
            .run()
    };
    let provider = "PE 0: MPICH CH4 OFI netmod using cxi provider".to_owned();
    let good = [
        provider.clone(),
        rank(1, 2, "b", 0.0004),
        rank(0, 2, "a", 0.0004),
    ];
    let said = doctor(&good, &[]).succeeded();
    assert_eq!(
        said.stdout,
        "library           MPICH Version: 4.0, the host's\n\
         file              /opt/cray/libmpi.so.12\n\
         device            ch4:ofi\n\
         provider          libfabric, cxi\n\
         ranks             a and b\n\
         latency           1.5 us\n\
         bandwidth         10.00 GB/s\n\
         sockets           2.00 GB/s\n"
    );
    assert_eq!(said.stderr, "");
    let slow = [provider, rank(0, 2, "a", 0.002), rank(1, 2, "b", 0.002)];
    let said = doctor(&slow, &["--json"]).succeeded();
    assert!(said.stderr.contains("as slow as sockets"), "{said:?}");
    let value: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(value["schema"], "condense.doctor/1");
    assert_eq!(value["mpi"]["provider"], "libfabric, cxi");
    assert_eq!(value["mpi"]["is_as_slow_as_sockets"], true);
    let alone = [rank(0, 1, "a", 1.0), rank(0, 1, "a", 1.0)];
    let said = doctor(&alone, &[]);
    assert_eq!(said.status, 2, "{said:?}");
    assert!(said.stderr.contains("each rank is alone"), "{said:?}");
    let said = doctor(&["ImportError: no ctypes".to_owned()], &[]);
    assert_eq!(said.status, 2, "{said:?}");
    assert!(
        said.stderr.contains("0 of two ranks have started"),
        "{said:?}"
    );
    assert!(said.stderr.contains("ImportError: no ctypes"), "{said:?}");
    fs_err::remove_file(test.path("programs/mpiexec")).unwrap();
    let said = test.condense(&["doctor", "--mpi"]).run();
    assert_eq!(said.status, 2, "{said:?}");
    assert!(
        said.stderr.contains("nothing starts two ranks here"),
        "{said:?}"
    );
}

/// In a job of Slurm, srun starts the ranks, on two nodes if there are two.
#[test]
fn the_doctor_takes_srun_in_a_job() {
    let test = TestEnv::new();
    test.fake_program("srun", "#!/bin/sh\necho \"srun $1 $2 $3 $4 $5\"\n");
    for (nodes, expected) in [
        ("1", "srun -N 1 -n 2 python3"),
        ("8", "srun -N 2 -n 2 python3"),
    ] {
        let mut command = test.condense(&["doctor", "--mpi"]);
        command
            .env("SLURM_JOB_ID", "7")
            .env("SLURM_JOB_NUM_NODES", nodes);
        let said = command.run();
        assert!(said.stderr.contains(expected), "{said:?}");
    }
}
