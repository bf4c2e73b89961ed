//! Tests of programs that start with the host's MPI, with two real MPICHs: Debian's is in the
//! image, and that of PyPI's wheel is the host's, at a path like Cray's. Test comments begin with
//! the number of the statement that a test shows.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::{Account, CommandOutput, Installation, Run, TestDir, as_both, parts};

/// Program whose ranks print what their library says about itself.
const PROGRAM: &str = r#"
#include <mpi.h>
#include <stdio.h>
#include <string.h>
int main(int count, char **words) {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length, rank, size, sum;
  MPI_Init(&count, &words);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  rank += 1;
  MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  MPI_Get_library_version(text, &length);
  *strchr(text, '\n') = 0;
  printf("rank %d of %d, sum %d: %s\n", rank - 1, size, sum, strpbrk(strrchr(text, ':'), "0123456789"));
  MPI_Finalize();
  return 0;
}
"#;

/// Directory of the host's libraries below that of a test.
const CRAY: &str = "opt/cray/pe/mpich/8.1.29/ofi/gnu/12.3/lib-abi-mpich";

/// Makes `software/bin/sum` and, in `software/lib`, Debian's MPICH with the libraries that it
/// needs, and the host's MPICH. Returns the catalogue that says where the latter is.
fn prepared(test: &TestDir) -> PathBuf {
    for dir in ["software", "software/bin", "software/lib"] {
        test.make_dir(dir);
    }
    let code = test.write("sum.c", PROGRAM);
    let program = test.path("software/bin/sum");
    let mut compiler = Command::new("mpicc.mpich");
    compiler.arg("-o").args([&program, &code]);
    assert!(compiler.status().unwrap().success());
    let output = Command::new("ldd").arg(&program).run().succeeded();
    for line in output.stdout.lines() {
        let path = line.split_whitespace().nth(2).unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        if path.starts_with('/') && !name.starts_with("libc.") && !name.starts_with("libm.") {
            fs_err::copy(path, test.path("software/lib").join(name)).unwrap();
        }
    }
    let host = test.path(CRAY);
    fs_err::create_dir_all(host.parent().unwrap()).unwrap();
    let copied = Command::new("cp")
        .arg("-rl")
        .args([&parts().other_mpich(), &host])
        .status();
    assert!(copied.unwrap().success());
    let pattern = test.path("opt/cray/pe/mpich/*/ofi/gnu/*/lib-abi-mpich/libmpi.so.12");
    test.write(
        "catalogue.toml",
        &format!(
            "schema = 1\n[site.local]\ncontainer_src = \"{}\"\n[site.local.host_mpi]\nlibraries = [\"{}\"]\n",
            parts().base().display(),
            pattern.display()
        ),
    )
}

fn wrap(test: &TestDir, catalogue: &Path, words: &[&str]) -> CommandOutput {
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command
        .args([
            "wrap-install",
            "--prefix",
            "installation",
            "-w",
            "bin",
            "--force",
        ])
        .args(words)
        .arg("software")
        // Findings would end the build before.
        .env("CONDENSE_ALLOW", "missing-library,mpi-abi,mpi-mixed")
        .env("CONDENSE_CATALOGUE", catalogue)
        .env("TMPDIR", test.scratch())
        .run()
}

/// Runs two ranks of a program, whose links are kept in the test's directory.
fn ranks(account: Account, test: &TestDir, installation: &Installation, mpi: &str) -> Vec<String> {
    let mut job = account.command("mpiexec.mpich");
    job.args(["-n", "2"])
        .arg(installation.bin("sum"))
        .env("USER", user(test))
        .env("CONDENSE_MPI", mpi)
        // Each rank has a user namespace of its own otherwise, and no rank may read the memory of
        // another.
        .env("APPTAINER_SHARENS", "1");
    let output = job.run().succeeded();
    let lines = output
        .stdout
        .lines()
        .filter(|line| line.starts_with("rank"));
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Returns a name of a user for the directory of links that no other test has.
fn user(test: &TestDir) -> String {
    let name = test.dir().file_name().unwrap().to_string_lossy();
    format!("{name}-{}", std::process::id())
}

/// Removes the links of a test.
struct Links(PathBuf);

impl Links {
    fn of(test: &TestDir) -> Self {
        Self(Path::new("/tmp").join(format!("condense-mpi-{}", user(test))))
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// I5, T20, T21: ranks in a container print the version of the host's library, or of the image's;
/// a host whose MPI has vanished is one clear line.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn ranks_print_the_host_s_library() {
    as_both(|account| {
        let test = TestDir::new(account, "host-mpi");
        let _links = Links::of(&test);
        let catalogue = prepared(&test);
        let base = parts().base();
        let base = ["--base-image", base.to_str().unwrap()];
        wrap(&test, &catalogue, &[&base[..], &["--mpi", "host"]].concat()).succeeded();
        let installation = test.installation();
        let said = Command::new("mpichversion").run().succeeded();
        let of_image = said.stdout.lines().next().unwrap();
        let of_image = of_image.split_whitespace().last().unwrap();
        for (mpi, version) in [("", "5.0.2"), ("host", "5.0.2"), ("image", of_image)] {
            assert_eq!(
                ranks(account, &test, &installation, mpi),
                [
                    format!("rank 0 of 2, sum 3: {version}"),
                    format!("rank 1 of 2, sum 3: {version}")
                ],
                "{mpi}"
            );
        }
        let words = ["/bin/sh", "-c", "echo $LD_LIBRARY_PATH"];
        let mut command = installation.command(account, "_debug_exec", words);
        let output = command.env("USER", user(&test)).run().succeeded();
        let expected = format!("/.condense-mpi:{}/lib", installation.mount_point());
        assert!(output.stdout.starts_with(&expected), "{output:?}");
        fs_err::rename(test.path("opt"), test.path("away")).unwrap();
        let mut command = installation.command(account, "sum", [] as [&str; 0]);
        let output = command.env("USER", user(&test)).run();
        assert_eq!(output.status, 125, "{output:?}");
        assert!(
            output.stderr.contains("the host's MPI is gone"),
            "{output:?}"
        );
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    });
}

/// I5 (1): programs of Open MPI are refused.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn programs_of_open_mpi_are_refused() {
    let account = Account::Ordinary;
    let test = TestDir::new(account, "host-openmpi");
    let catalogue = prepared(&test);
    let library = parts().other_mpich().with_file_name("openmpi");
    let library = library.join("usr/lib/x86_64-linux-gnu/libmpi.so.40");
    let code = test.write(
        "init.c",
        "int MPI_Init(int *, char ***); int main(void) { return MPI_Init(0, 0); }",
    );
    let mut compiler = Command::new("cc");
    compiler.args(["-Wl,--allow-shlib-undefined", "-o"]).args([
        &test.path("software/bin/init"),
        &code,
        &library,
    ]);
    assert!(compiler.status().unwrap().success());
    let output = wrap(&test, &catalogue, &["--mpi", "host"]);
    assert_eq!(output.status, 1, "{output:?}");
    assert!(
        output
            .text()
            .contains("bin/init needs Open MPI's libmpi.so.40"),
        "{output:?}"
    );
    assert!(!test.installation().dir.exists());
}

/// `condense doctor --mpi` starts two ranks through the wrappers, and names the host's library.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_doctor_measures_the_host_s_library() {
    let account = Account::Ordinary;
    let test = TestDir::new(account, "host-mpi-doctor");
    let _links = Links::of(&test);
    let catalogue = prepared(&test);
    // The site's base shows the host's Python.
    wrap(&test, &catalogue, &["--mpi", "host"]).succeeded();
    let mut command = test.command(env!("CARGO_BIN_EXE_condense"));
    command
        .args(["doctor", "--json", "--mpi", "installation"])
        .env("CONDENSE_CATALOGUE", &catalogue)
        .env("USER", user(&test))
        .env("APPTAINER_SHARENS", "1");
    let output = command.run().succeeded();
    let value: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let mpi = &value["mpi"];
    assert_eq!(mpi["library"], "MPICH Version: 5.0.2", "{value}");
    let file = test.path(CRAY).join("libmpi.so.12");
    assert_eq!(mpi["file"], file.to_str().unwrap(), "{value}");
    assert_eq!(mpi["of_host"], true);
    for key in [
        "bytes_per_second",
        "bytes_per_second_of_sockets",
        "latency_seconds",
    ] {
        assert!(
            mpi[key].as_f64().is_some_and(|value| value > 0.0),
            "{value}"
        );
    }
    let provider = mpi["provider"].as_str().unwrap();
    assert!(
        provider.starts_with("UCX") || provider.starts_with("libfabric"),
        "{value}"
    );
}
