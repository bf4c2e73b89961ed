//! Responsible for finding a missing program or file that pip and the compilers under it name in
//! their output.

/// Missing program or file, and advice on how to provide it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Diagnosis {
    /// Problem in one sentence.
    pub(super) problem: String,
    /// Advice in one sentence.
    pub(super) advice: String,
}

/// Texts around the name of a program that could not be started, as printed by distutils and
/// setuptools, Python, shells, and Rust's linker.
const AROUND_PROGRAMS: [(&str, &str); 5] = [
    ("error: command '", "' failed: No such file or directory"),
    ("unable to execute '", "': No such file or directory"),
    ("[Errno 2] No such file or directory: '", "'"),
    ("error: linker `", "` not found"),
    ("Cannot find command '", "' - do you have"),
];

/// Messages of build tools about a missing kind of program.
const MISSING_KINDS: [(&str, &str); 8] = [
    ("Unknown compiler(s): [['cc']", "cc"),
    ("Unknown compiler(s): [['c++']", "c++"),
    ("Unknown compiler(s): [['gfortran']", "gfortran"),
    ("No CMAKE_C_COMPILER could be found", "cc"),
    ("No CMAKE_CXX_COMPILER could be found", "c++"),
    ("CMake must be installed", "cmake"),
    ("can't find Rust compiler", "cargo"),
    ("cargo, the Rust package manager, is not installed", "cargo"),
];

/// Returns the missing program or file that a line names.
pub(super) fn diagnose(line: &str) -> Option<Diagnosis> {
    if let Some(program) = missing_program(line) {
        return Some(of_program(program));
    }
    let header = between(line, "fatal error: ", ": No such file or directory")?;
    Some(Diagnosis {
        problem: format!("`{header}`, which this package is compiled with, is missing"),
        advice: format!(
            "add the conda package that brings `{header}` to `dependencies:`, or use a base image that has it"
        ),
    })
}

fn missing_program(line: &str) -> Option<&str> {
    if let Some((_, program)) = MISSING_KINDS.iter().find(|(text, _)| line.contains(text)) {
        return Some(program);
    }
    let named = AROUND_PROGRAMS
        .iter()
        .find_map(|(before, after)| between(line, before, after));
    let of_shell = || {
        let (before, _) = line.split_once(": command not found")?;
        before.rsplit([' ', ':']).next()
    };
    // Any file may be missing. A program that is searched on PATH has no slash in its name, and no
    // file extension.
    named
        .or_else(of_shell)
        .filter(|name| !name.is_empty() && !name.contains(['/', ' ', '.']))
}

fn between<'a>(line: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

fn of_program(program: &str) -> Diagnosis {
    let is = |words: &[&str]| {
        words
            .iter()
            .any(|word| program == *word || program.ends_with(&format!("-{word}")))
    };
    let (kind, package) = if is(&["gcc", "cc", "clang"]) {
        ("a C compiler", "c-compiler")
    } else if is(&["g++", "c++", "clang++"]) {
        ("a C++ compiler", "cxx-compiler")
    } else if is(&["gfortran", "f77", "f95"]) {
        ("a Fortran compiler", "fortran-compiler")
    } else if is(&["cargo", "rustc"]) {
        ("the Rust compiler", "rust")
    } else {
        ("a program", program)
    };
    let needs = match kind {
        "a program" => {
            format!("`{program}` is needed and is neither in the environment nor in the base image")
        }
        _ => format!(
            "{kind} is needed: `{program}` is neither in the environment nor in the base image"
        ),
    };
    Diagnosis {
        problem: needs,
        advice: format!(
            "add `{package}` to the conda packages, or use a base image that has `{program}`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::diagnose;

    #[test]
    fn what_is_missing_is_named() {
        for (line, problem, package) in [
            (
                "      error: command 'gcc' failed: No such file or directory",
                "a C compiler is needed: `gcc`",
                "`c-compiler`",
            ),
            (
                "unable to execute 'x86_64-conda-linux-gnu-c++': No such file or directory",
                "a C++ compiler is needed",
                "`cxx-compiler`",
            ),
            (
                "  FileNotFoundError: [Errno 2] No such file or directory: 'pg_config'",
                "`pg_config` is needed",
                "`pg_config`",
            ),
            (
                "ERROR: Cannot find command 'git' - do you have 'git' installed and in your PATH?",
                "`git` is needed",
                "`git`",
            ),
            (
                "/bin/sh: line 1: gfortran: command not found",
                "a Fortran compiler",
                "`fortran-compiler`",
            ),
            (
                "../meson.build:1:0: ERROR: Unknown compiler(s): [['cc'], ['gcc']]",
                "a C compiler",
                "`c-compiler`",
            ),
            (
                "error: can't find Rust compiler",
                "the Rust compiler",
                "`rust`",
            ),
            (
                "x.c:1:10: fatal error: hdf5.h: No such file or directory",
                "`hdf5.h`",
                "`hdf5.h`",
            ),
        ] {
            let found = diagnose(line);
            let fits = found.as_ref().is_some_and(|found| {
                found.problem.contains(problem) && found.advice.contains(package)
            });
            assert!(fits, "{line}: {found:?}");
        }
        for line in [
            "Collecting gcc",
            "FileNotFoundError: [Errno 2] No such file or directory: '/x/README.md'",
            "FileNotFoundError: [Errno 2] No such file or directory: 'README.md'",
            "error: command '/usr/bin/gcc' failed with exit code 1",
        ] {
            assert_eq!(diagnose(line), None, "{line}");
        }
    }
}
