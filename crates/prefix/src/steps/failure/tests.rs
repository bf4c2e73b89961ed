//! Tests with the words of pip 19 to 25 and of uv 0.4 to 0.13, row B16.

#![allow(clippy::unwrap_used)]

use super::{PipContext, PipFailure, explain_pip_failure, shortened};

fn explain_with(text: &str, log: &str) -> PipFailure {
    let lines: Vec<&str> = text.lines().collect();
    let context = PipContext {
        python: Some("3.11".to_owned()),
        log: log.to_owned(),
        ..PipContext::default()
    };
    explain_pip_failure(&lines, &context).unwrap()
}

/// Explains a text with and without its empty lines, which a step's output does not keep.
fn explain(text: &str) -> PipFailure {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let dense: Vec<&str> = lines.collect();
    let failure = explain_with(&dense.join("\n"), "");
    assert_eq!(failure, explain_with(text, ""), "{text}");
    failure
}

/// Returns the failure as users see it.
fn told(failure: &PipFailure) -> String {
    let machine = std::env::consts::ARCH;
    let mut lines = vec![failure.problem.replace(machine, "[MACHINE]")];
    lines.extend(failure.details.iter().map(|line| format!("  {line}")));
    lines.extend(failure.advice.iter().map(|hint| format!("hint: {hint}")));
    lines.join("\n")
}

#[test]
fn a_conflict_is_told_by_its_causes() {
    let failure = explain(
        "Processing ./w/aa-1.0-py3-none-any.whl (from -r conflict.txt (line 1))\n\
         INFO: pip is looking at multiple versions of bb to determine which version is compatible with other requirements. This could take a while.\n\
         ERROR: Cannot install -r conflict.txt (line 1) and -r conflict.txt (line 2) because these package versions have conflicting dependencies.\n\
         \n\
         The conflict is caused by:\n    aa 1.0 depends on pebble<1.1\n    bb 1.0 depends on pebble>=1.2\n\
         \n\
         To fix this you could try to:\n\
         1. loosen the range of package versions you've specified\n\
         2. remove package versions to allow pip attempt to solve the dependency conflict\n\
         \n\
         ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/dependency-resolution/#dealing-with-dependency-conflicts",
    );
    insta::assert_snapshot!("conflict", told(&failure));
    assert!(!failure.needs_log);
}

#[test]
fn versions_that_exist_are_named_and_not_all_of_them() {
    let versions: Vec<String> = (0..170).map(|n| format!("1.{n}")).collect();
    let line = format!(
        "ERROR: Could not find a version that satisfies the requirement pebble>=9 (from aa) (from versions: {})\n\
         ERROR: No matching distribution found for pebble>=9",
        versions.join(", ")
    );
    insta::assert_snapshot!("versions", told(&explain(&line)));
    assert!(shortened(line.lines().next().unwrap()).len() < 200);
}

#[test]
fn other_pythons_are_named() {
    let ignored = "ERROR: Ignored the following versions that require a different python version: 2.0.0 Requires-Python >=3.12; 2.1.0 Requires-Python >=3.13\n";
    let none = "ERROR: Could not find a version that satisfies the requirement newpy (from versions: none)\nERROR: No matching distribution found for newpy";
    insta::assert_snapshot!("python-none", told(&explain(&format!("{ignored}{none}"))));
    let some = "ERROR: Could not find a version that satisfies the requirement newpy==2.0.0 (from versions: 1.0)\n";
    insta::assert_snapshot!("python-some", told(&explain(&format!("{ignored}{some}"))));
    let metadata = "ERROR: Package 'newpy' requires a different Python: 3.11.7 not in '>=3.14'";
    insta::assert_snapshot!("python-metadata", told(&explain(metadata)));
}

#[test]
fn a_program_that_pip_itself_needs_is_named() {
    let text = "  Cloning file:///x/edge-git to ./tmp/edge-git\n\
                ERROR: Cannot find command 'git' - do you have 'git' installed and in your PATH?";
    let failure = explain(text);
    assert!(
        failure.problem.starts_with("`git` is needed"),
        "{failure:?}"
    );
    let advice = failure.advice.unwrap_or_default();
    assert!(
        advice.contains("add `git` to the conda packages"),
        "{advice}"
    );
}

#[test]
fn wheels_for_other_machines_are_named() {
    let none = "ERROR: Could not find a version that satisfies the requirement win-only (from versions: none)\nERROR: No matching distribution found for win-only";
    let log = "2026-11-28T22:59:37,866   Skipping link: none of the wheel's tags (cp312-cp312-win_amd64) are compatible (run pip debug --verbose to show compatible tags): file:///w/win_only-1.0-cp312-cp312-win_amd64.whl\n\
               2026-11-28T22:59:37,866   Skipping link: none of the wheel's tags (cp39-cp39-win32) are compatible (run pip debug): file:///w/other-1.0-cp39-cp39-win32.whl";
    insta::assert_snapshot!("machine", told(&explain_with(none, log)));
    let machine = std::env::consts::ARCH;
    let log = format!(
        "2026 Skipping link: none of the wheel's tags (cp311-cp311-manylinux_2_39_{machine}) are compatible (run pip debug): https://h/win_only-1.0-cp311-cp311-manylinux_2_39_{machine}.whl"
    );
    insta::assert_snapshot!("glibc", told(&explain_with(none, &log)));
}

#[test]
fn a_name_that_no_index_has_is_told_with_the_indices() {
    let text = "Looking in indexes: https://h/simple\nLooking in links: /wheels\n\
                ERROR: Could not find a version that satisfies the requirement pebbel[x]>1 (from versions: none)";
    insta::assert_snapshot!("name", told(&explain(text)));
    let log = "2026 Could not fetch URL https://h/simple/pebbel/: 404 Client Error: Not Found for url: https://h/simple/pebbel/ - skipping";
    assert!(explain_with(text, log).problem.starts_with("there is no"));
}

#[test]
fn a_server_that_does_not_answer_is_told_from_a_missing_name() {
    let retried = "Looking in indexes: http://127.0.0.1:9/simple\n\
        WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPConnection object at 0x7f25a3c6b610>: Failed to establish a new connection: [Errno 111] Connection refused')': /simple/pebble/\n\
        ERROR: Could not find a version that satisfies the requirement pebble (from versions: none)\n\
        ERROR: No matching distribution found for pebble";
    let expected = "`http://127.0.0.1:9/simple` does not answer: connection refused";
    assert_eq!(explain(retried).problem, expected);
    let none = "ERROR: Could not find a version that satisfies the requirement pebble (from versions: none)";
    let log = "2026 Could not fetch URL https://nosuch.invalid/simple/pebble/: connection error: HTTPSConnectionPool(host='nosuch.invalid', port=443): Max retries exceeded with url: /simple/pebble/ (Caused by NewConnectionError('<x>: Failed to establish a new connection: [Errno -2] Name or service not known')) - skipping";
    insta::assert_snapshot!("server", told(&explain_with(none, log)));
    let log = "2026 Could not fetch URL https://h/simple/pebble/: 403 Client Error: Forbidden for url: https://h/simple/pebble/ - skipping";
    let failure = explain_with(none, log);
    assert_eq!(
        failure.problem,
        "`https://h/simple/pebble/` refuses with status 403"
    );
    let broken = "ERROR: Could not install packages due to an OSError: HTTPSConnectionPool(host='files.h', port=443): Max retries exceeded with url: /p.whl (Caused by ConnectTimeoutError(<x>, 'Connection to files.h timed out. (connect timeout=15)'))";
    assert_eq!(
        explain(broken).problem,
        "`files.h` does not answer: no answer in time"
    );
    let uv = "Using Python 3.11.7 environment at: v\n\
        error: Failed to fetch: http://127.0.0.1:9/simple/pebble/\n  cause: error sending request for url (http://127.0.0.1:9/simple/pebble/)\n  cause: client error (Connect)\n  cause: tcp connect error\n  cause: Connection refused (os error 111)";
    assert_eq!(
        explain(uv).problem,
        "`http://127.0.0.1:9/simple/pebble/` does not answer: connection refused"
    );
}

#[test]
fn digests_are_shown_side_by_side() {
    let text = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated the package versions, please update the hashes. Otherwise, examine the package contents carefully; someone may have tampered with them.\n    \
        pebble==1.0 from file:///w/pebble-1.0-py3-none-any.whl (from -r hash.txt (line 1)):\n        \
        Expected sha256 0000\n             Got        fa32\n";
    insta::assert_snapshot!("digest-pip", told(&explain(text)));
    let uv = "  × Failed to download `pebble==1.0`\n  ╰─▶ Hash mismatch for `pebble==1.0`\n\n      Expected:\n        sha256:0000\n\n      Computed:\n        sha256:fa32\n";
    insta::assert_snapshot!("digest-uv", told(&explain(uv)));
    let missing = "ERROR: Hashes are required in --require-hashes mode, but they are missing from some requirements here is a list of those requirements along with the hashes their downloaded archives actually had.\n    pebble==1.0 --hash=sha256:fa32\n";
    let failure = explain(missing);
    assert_eq!(failure.details, ["pebble==1.0"]);
}

const COMPILED: &str = "Processing ./cext
  Preparing metadata (pyproject.toml): started
  Building wheel for cext (pyproject.toml): finished with status 'error'
  error: subprocess-exited-with-error
  
  × Building wheel for cext (pyproject.toml) did not run successfully.
  │ exit code: 1
  ╰─> [18 lines of output]
      running bdist_wheel
      gcc -Wsign-compare -DNDEBUG -c cext.c -o build/cext.o
      cext.c: In function ‘f’:
      cext.c:1:22: error: ‘nope’ undeclared (first use in this function)
          1 | int f(void) { return nope; }
            |                      ^~~~
      cext.c:1:22: note: each undeclared identifier is reported only once for each function
      cext.c:1:28: warning: control reaches end of non-void function [-Wreturn-type]
          1 | int f(void) { return nope; }
            |                            ^
      error: command '/usr/bin/gcc' failed with exit code 1
      [end of output]
  
  note: This error originates from a subprocess, and is likely not a problem with pip.
  ERROR: Failed building wheel for cext
ERROR: Could not build wheels for cext, which is required to install pyproject.toml-based projects
";

#[test]
fn the_compiler_s_first_error_and_last_lines_are_shown() {
    let failure = explain(COMPILED);
    assert!(failure.needs_log);
    insta::assert_snapshot!("compiler-pip", told(&failure));
    let uv = "Resolved 1 package in 1.05s\n   Building cext @ file:///tmp/cext\n\
        error: Failed to build `cext @ file:///tmp/cext`\n  cause: The build backend returned an error\n  cause: Call to `setuptools.build_meta.build_wheel` failed (exit status: 1)\n\n         \
        [stdout]\n         running bdist_wheel\n\n         [stderr]\n         \
        cext.c:1:22: error: ‘nope’ undeclared\n         error: command '/usr/bin/gcc' failed with exit code 1\n\n\
        hint: Build failures usually indicate a problem with the package or the build environment";
    insta::assert_snapshot!("compiler-uv", told(&explain(uv)));
    let old = "Collecting cext\n  ERROR: Command errored out with exit status 1:\n   command: /env/bin/python -c x\n  Complete output (3 lines):\n  running bdist_wheel\n  unable to execute 'gcc': No such file or directory\n  error: command 'gcc' failed with exit status 1\n  ----------------------------------------\n  ERROR: Failed building wheel for cext\n";
    insta::assert_snapshot!("compiler-old", told(&explain(old)));
}

#[test]
fn what_a_build_is_built_with_may_be_missing() {
    let text = "Processing ./bad\n  Installing build dependencies: started\n  Installing build dependencies: finished with status 'error'\n  error: subprocess-exited-with-error\n  \n  × pip subprocess to install build dependencies did not run successfully.\n  │ exit code: 1\n  ╰─> [3 lines of output]\n      Looking in links: /wheels\n      ERROR: Could not find a version that satisfies the requirement nosuchbackend (from versions: none)\n      ERROR: No matching distribution found for nosuchbackend\n      [end of output]\n  \n  note: This error originates from a subprocess, and is likely not a problem with pip.\nerror: subprocess-exited-with-error\n\n× pip subprocess to install build dependencies did not run successfully.\n│ exit code: 1\n╰─> See above for output.\n";
    insta::assert_snapshot!("build-tools", told(&explain(text)));
}

#[test]
fn uv_is_quoted() {
    let text = "Using Python 3.11.7 environment at: v\nerror: No solution found when resolving dependencies\n  cause: Because all versions of bb depend on pebble>=1.2 and all versions of aa depend on pebble<1.1, we can conclude that all versions of aa and all versions of bb are incompatible.\n         And because you require aa and bb, we can conclude that your requirements are unsatisfiable.\n";
    insta::assert_snapshot!("uv-conflict", told(&explain(text)));
    let older = "  × No solution found when resolving dependencies:\n  ╰─▶ Because winonly==1.0 has no wheels with a matching Python implementation tag (e.g., `cp311`) and only winonly==1.0 is available, we can conclude that all versions of winonly cannot be used.\n\n      hint: You require CPython 3.11 (`cp311`), but we only found wheels for `winonly` (v1.0) with the following Python implementation tag: `cp312`\n";
    insta::assert_snapshot!("uv-tags", told(&explain(older)));
}

#[test]
fn any_other_error_of_pip_is_its_last_one() {
    for (text, expected) in [
        (
            "ERROR: x-1.0-cp312-cp312-win_amd64.whl is not a supported wheel on this platform.",
            "x-1.0-cp312-cp312-win_amd64.whl is not a supported wheel on this platform",
        ),
        (
            "ERROR: Invalid requirement: 'rich=13': Expected end or semicolon\n",
            "invalid requirement: 'rich=13': Expected end or semicolon",
        ),
        (
            "ERROR: HTTP error 404 while getting https://h/x-1.0.whl",
            "`https://h/x-1.0.whl` answers with status 404",
        ),
    ] {
        assert_eq!(explain(text).problem, expected);
    }
    let lines = ["Collecting rich", "Killed"];
    assert_eq!(explain_pip_failure(&lines, &PipContext::default()), None);
}

/// Row B20: pip's words are kept, and the hint names the file system.
#[test]
fn a_full_disk_is_named_in_the_hint() {
    let text = "Installing collected packages: x\nERROR: Could not install packages due to an OSError: [Errno 28] No space left on device: '/env/x'\n";
    let lines: Vec<&str> = text.lines().collect();
    let context = PipContext {
        dir: Some("/proc".into()),
        ..PipContext::default()
    };
    let failure = explain_pip_failure(&lines, &context).unwrap();
    assert!(failure.problem.contains("No space left"), "{failure:?}");
    let advice = failure.advice.unwrap();
    assert!(advice.starts_with("`/proc` (proc) has no"), "{advice}");
    let quota =
        "ERROR: Could not install packages due to an OSError: [Errno 122] Disk quota exceeded\n";
    let advice = explain(quota).advice.unwrap();
    assert!(
        advice.starts_with("your quota of bytes or of files"),
        "{advice}"
    );
}
