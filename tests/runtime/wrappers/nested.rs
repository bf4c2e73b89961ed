//! Tests of programs in the container that call wrappers again.

use super::arguments::HOSTILE;
use crate::harness::{Account, Installation, Run, TestDir, as_both, parts, shared};

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn python_starts_itself() {
    let text = "import subprocess, sys
text = 'import sys, os, numpy; print(sys.executable, os.environ[\"CONDA_PREFIX\"], os.environ[\"EDGE_VALUE\"])'
print(subprocess.run([sys.executable, '-c', text], check=True, capture_output=True, text=True).stdout, end='')
print(subprocess.run(['python3', '-c', text], check=True, capture_output=True, text=True).stdout, end='')";
    as_both(|account| {
        let rest = format!("{} set by edge-activate", shared().env_prefix());
        let (python, python3) = (shared().bin("python"), shared().bin("python3"));
        let expected = format!("{} {rest}\n{} {rest}", python.display(), python3.display());
        shared().python(account, text).run().says(&expected);
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn arguments_and_status_pass_inside_too() {
    let text = "import subprocess, sys, os
bin = os.path.dirname(sys.executable)
sys.stdout.buffer.write(subprocess.run([bin + '/edge-argv', *sys.argv[1:]], check=True, capture_output=True).stdout)
sys.exit(subprocess.run([bin + '/edge-exit', '7']).returncode)";
    as_both(|account| {
        let output = shared().python(account, text).args(HOSTILE).run();
        assert_eq!(output.status, 7, "{output:?}");
        let mut found: Vec<&[u8]> = output.stdout_bytes.split(|byte| *byte == 0).collect();
        assert_eq!(found.pop(), Some(&[][..]));
        assert_eq!(found.len() - 1, HOSTILE.len());
        for (found, expected) in found[1..].iter().zip(HOSTILE) {
            assert_eq!(*found, expected.as_bytes());
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_shell_inside_calls_wrappers() {
    let script = format!(
        "\"{}\" -c 'import sys; print(sys.executable)'; python -c 'print(2)'",
        shared().bin("python").display()
    );
    as_both(|account| {
        let mut command = shared().command(account, "_debug_exec", ["/bin/sh", "-c", &script]);
        command
            .run()
            .says(&format!("{}\n2", shared().bin("python").display()));
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn worker_processes_start_in_every_way() {
    let text = "import multiprocessing as mp, sys, math
if __name__ == '__main__':
    for method in ('fork', 'spawn', 'forkserver'):
        with mp.get_context(method).Pool(2) as pool:
            print(method, pool.map(math.factorial, [3, 4]))";
    as_both(|account| {
        let test = TestDir::new(account, "workers");
        let script = test.write("workers.py", text);
        let mut command = shared().command(account, "python", [&script]);
        command
            .run()
            .says("fork [6, 24]\nspawn [6, 24]\nforkserver [6, 24]");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn scripts_with_a_shebang_find_their_python() {
    as_both(|account| {
        shared()
            .command(account, "edge-shebang", [""; 0])
            .run()
            .says(&shared().env_prefix());
        shared()
            .command(account, "edge-shebang-args", [""; 0])
            .run()
            .says("1");
        let python = shared().bin("python");
        for name in ["edge-shebang-env", "edge-executable"] {
            shared()
                .command(account, name, [""; 0])
                .run()
                .says(python.to_str().unwrap());
            // The same works for a program that another program in the container starts.
            let text = "import subprocess, sys; sys.exit(subprocess.run([sys.argv[1]]).returncode)";
            let nested = shared().python(account, text).arg(name).run();
            nested.says(python.to_str().unwrap());
        }
        // The user's script on the host names the wrapper in its shebang.
        let test = TestDir::new(account, "shebang");
        let script = test.write(
            "mine",
            &format!(
                "#!{}\nimport sys, numpy; print(sys.argv[1:])\n",
                python.display()
            ),
        );
        account
            .command("chmod")
            .arg("755")
            .arg(&script)
            .run()
            .succeeded();
        test.command(&script)
            .args(["a b", "$x"])
            .run()
            .says("['a b', '$x']");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn another_installation_is_told_apart() {
    let test = TestDir::new(Account::Root, "other");
    let other: Installation = test.build("edge-argv, edge-prefix");
    as_both(|account| {
        // In the container of one installation, the image of the other is not mounted: its wrapper
        // must not run a program of the first instead.
        let text = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)";
        let output = shared()
            .python(account, text)
            .arg(other.bin("edge-argv"))
            .run();
        assert_eq!(output.status, 125, "{output:?}");
        assert!(
            output
                .stderr
                .contains("found neither apptainer nor singularity inside the container"),
            "{output:?}"
        );
    });
}

/// Statements 56 and 58 of the list of Tykky's tests: programs of an installation call programs of
/// another installation on PATH, in both directions.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn installations_on_path_call_each_other() {
    as_both(|account| {
        let test = TestDir::new(account, "composed");
        let site = test.write(
            "site.yml",
            &format!("defaults:\n  container_src: {}\n", parts().base().display()),
        );
        let build = |name: &str, packages: &str| {
            let mut command = test.program(["new", "--prefix", name]);
            command
                .arg(test.environment(packages))
                .env("CW_GLOBAL_YAML", &site);
            command.run().succeeded();
            test.path(name).join("bin")
        };
        let (one, two) = (build("one", "python=3.11"), build("two words", "edge-argv"));
        let path = format!("{}:{}:/usr/bin:/bin", one.display(), two.display());
        let called = |bin: &std::path::Path, program: &str, words: &[&str]| {
            let mut command = test.command(bin.join(program));
            command.args(words).env("PATH", &path);
            command
        };
        let text = "import subprocess, sys
sys.stdout.buffer.write(subprocess.run(['edge-argv', 'a b'], check=True, capture_output=True).stdout.split(b'\\0')[1])";
        called(&one, "python3", &["-c", text]).run().says("a b");
        // The shell of the second installation calls the first: in the same container, not in
        // another one.
        let script = "edge-argv >/dev/null && python3 -c 'import os, sys; print(sys.executable, os.environ[\"SINGULARITY_CONTAINER\"])'";
        let [python, container] = [
            one.join("python3"),
            test.path("two words/.condense/1/container.sif"),
        ];
        called(&two, "_debug_exec", &["sh", "-c", script])
            .run()
            .says(&format!("{} {}", python.display(), container.display()));

        // The variable leaves the other installation out.
        let other = Installation {
            dir: test.path("two words"),
        };
        let image = other.image().canonicalize().unwrap();
        let bind = format!("{}:{}:image-src=/,ro", image.display(), other.mount_point());
        let mut command = called(&one, "_debug_exec", &["--explain", "true"]);
        assert!(command.run().succeeded().text().contains(&bind));
        command.env("CW_NO_COMPOSITION", "1");
        assert!(!command.run().succeeded().text().contains(&bind));
        // A damaged installation on PATH is left out.
        fs_err::remove_file(image).unwrap();
        called(&one, "python3", &["-c", "print(1)"]).run().says("1");
    });
}
