//! Harness of the offline tests: the shared harness of `tests/support`, and an environment of its
//! own for every test: channel, base image, cache, scratch, and the program as users call it.

use std::{
    ffi::OsStr,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{
    channel::{PLACEHOLDER, Package, write_channel},
    files::{assert_nothing_left, hidden_names},
};
pub use crate::support::{
    files::names,
    output::{CommandOutput, Run, finish},
};

pub struct TestEnv {
    dir: tempfile::TempDir,
    pub channel: String,
}

impl TestEnv {
    pub fn new() -> Self {
        Self::with(&packages())
    }

    /// Makes an environment whose channel also has `bulky`: 24 MB that hardly compress, so that its
    /// build takes long enough to be interrupted.
    pub fn with_bulky() -> Self {
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 25) as u8
        });
        let bulk: Vec<u8> = noise.take(24_000_000).collect();
        let bulky = Package::new("bulky", "1.0")
            .file("share/bulk", bulk)
            .program("bin/bulky", "#!/bin/sh\n");
        let mut all = packages();
        all.push(bulky);
        Self::with(&all)
    }

    /// Makes an environment whose channel also has `large-text`, 600 KB that can be compressed, and
    /// `large-library`.
    pub fn with_large_text() -> Self {
        let lines = (0..).flat_map(|line: u32| format!("{line}\n").into_bytes());
        let text: Vec<u8> = lines.take(600_000).collect();
        let mut all = packages();
        all.push(Package::new("large-text", "1.0").file("share/text", text));
        // Checks read the beginning of a library.
        let library = fs_err::read("/bin/bash").unwrap();
        assert!(library.len() > 500_000);
        all.push(Package::new("large-library", "1.0").file("lib/liblarge.so", library));
        Self::with(&all)
    }

    pub fn with(packages: &[Package]) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("condense-cli-")
            .tempdir()
            .unwrap();
        for name in ["channel", "tmp", "cache", "home", "work", "programs"] {
            fs_err::create_dir(dir.path().join(name)).unwrap();
        }
        let channel = write_channel(&dir.path().join("channel"), packages);
        write_base(&dir.path().join("base"), "2.36");
        // Programs of the host that wrappers need; a container runtime of the host stays out of
        // PATH.
        for program in ["sh", "env", "sed", "readlink", "cat", "sleep"] {
            let found = ["/usr/bin", "/bin"]
                .iter()
                .map(|dir| Path::new(dir).join(program))
                .find(|path| path.exists());
            symlink(found.unwrap(), dir.path().join("programs").join(program)).unwrap();
        }
        symlink(
            env!("CARGO_BIN_EXE_condense"),
            dir.path().join("programs/conda-containerize"),
        )
        .unwrap();
        Self { dir, channel }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the directory of the installation that most tests build.
    pub fn installation(&self) -> PathBuf {
        self.path("work/installation")
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path("work").join(name);
        fs_err::write(&path, text.replace("CHANNEL", &self.channel)).unwrap();
        path
    }

    /// Writes an environment file with these packages.
    pub fn environment(&self, packages: &str) -> PathBuf {
        self.write(
            "env.yml",
            &format!("channels: [CHANNEL]\ndependencies: [{packages}]\n"),
        )
    }

    /// Writes a program into the only directory of the test's PATH. A link to a program of the host
    /// is replaced: the text must never be written into that program.
    pub fn fake_program(&self, name: &str, text: &str) {
        let path = self.path("programs").join(name);
        let _ = fs_err::remove_file(&path);
        fs_err::write(&path, text).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", self.path("programs"))
            .env("HOME", self.path("home"))
            .env("CONDENSE_CACHE_DIR", self.path("cache"))
            .env("TMPDIR", self.path("tmp"))
            .current_dir(self.path("work"));
        command
    }

    /// Returns the program under its own name, `condense`.
    pub fn condense(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_condense"));
        command.args(arguments);
        command
    }

    /// Returns the paths of this test, each with the word that snapshots have instead.
    pub fn paths(&self) -> [(String, &'static str); 8] {
        let paths = [
            ("work", "[WORK]"),
            ("tmp", "[TMP]"),
            ("cache", "[CACHE]"),
            ("home", "[HOME]"),
            ("channel", "[CHANNEL]"),
            ("base", "[BASE]"),
            ("programs", "[PROGRAMS]"),
            ("", "[TEST]"),
        ];
        paths.map(|(name, word)| {
            let path = self.path(name).display().to_string();
            (path.trim_end_matches('/').to_owned(), word)
        })
    }

    /// Returns the command `conda-containerize` with these arguments.
    pub fn program(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(self.path("programs/conda-containerize"));
        command.args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> CommandOutput {
        self.program(arguments).run()
    }

    /// Returns the command `conda-containerize new` with the usual destination and base image.
    pub fn new_command(&self, more: &[&str]) -> Command {
        let mut command = self.program(&["new", "--prefix"]);
        command
            .arg(self.installation())
            .arg("--base-image")
            .arg(self.path("base"))
            .args(more);
        command
    }

    pub fn build(&self, more: &[&str]) -> CommandOutput {
        self.new_command(more).run()
    }

    /// Checks that neither the scratch directory nor the directory of the destination holds files
    /// of a build.
    #[track_caller]
    pub fn left_nothing(&self) {
        assert_nothing_left(&self.path("tmp"), &self.path("work"));
    }

    /// Returns the names of hidden entries beside the destination, which only builds make.
    pub fn beside(&self) -> Vec<String> {
        hidden_names(&self.path("work"))
    }
}

/// Writes a sandbox directory that has just enough files to be recognised as a root file system.
pub fn write_base(dir: &Path, glibc: &str) {
    for path in ["bin", "etc", "usr/bin", "lib/x86_64-linux-gnu", "lib64"] {
        fs_err::create_dir_all(dir.join(path)).unwrap();
    }
    fs_err::write(
        dir.join("etc/os-release"),
        "ID=test\nVERSION_ID=1\nPRETTY_NAME=\"Test 1\"\n",
    )
    .unwrap();
    // The file has an ELF header for x86-64 and the version banner of glibc.
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([3, 0, 62, 0, 1, 0, 0, 0]);
    elf.resize(64, 0);
    elf.extend(
        format!("\0GNU C Library (Test) stable release version {glibc}.\nCopyright\0").bytes(),
    );
    fs_err::write(dir.join("lib/x86_64-linux-gnu/libc.so.6"), elf).unwrap();
    fs_err::copy("/bin/sh", dir.join("bin/sh")).unwrap();
}

pub fn packages() -> Vec<Package> {
    vec![
        Package::new("tool", "1.0")
            .depends("library >=2")
            .program("bin/tool", format!("#!{PLACEHOLDER}/bin/sh\necho tool\n"))
            .program("bin/other tool", "#!/bin/sh\n")
            .file("bin/readme", "no program")
            .link("bin/tool-link", "tool")
            .link("bin/dangling", "nothing"),
        Package::new("library", "2.0").file("lib/library.txt", "two"),
        Package::new("gated", "1.0")
            .depends("__glibc >=2.17")
            .program("bin/old", "#!/bin/sh\n"),
        Package::new("gated", "2.0")
            .depends("__glibc >=2.36")
            .program("bin/new", "#!/bin/sh\n"),
        Package::new("wants-one", "1.0").depends("library 1.*"),
        Package::new("wants-two", "1.0").depends("library 2.*"),
        Package::new("scripted", "1.0")
            .program("bin/.scripted-post-link.sh", "#!/bin/sh\n")
            .program("bin/scripted", "#!/bin/sh\n"),
        Package::new("activated", "1.0")
            .file("etc/conda/activate.d/a.sh", "export A=1\n")
            .program("bin/activated", "#!/bin/sh\n"),
        Package::new("no-programs", "1.0").file("share/x", "x"),
    ]
}
