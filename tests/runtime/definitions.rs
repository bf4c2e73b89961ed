//! Tests of definition files: those of fixtures/definitions are built by this program and by
//! apptainer, as an ordinary user, and the images are compared.

use std::{
    collections::BTreeMap,
    fs::Permissions,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use condense_image::{Kind, Sif, Tree, sif::DataKind};
use serde_json::Value;

use crate::harness::{Account, CommandOutput, Run, TestDir, parts};

/// Definitions that are compared on each run; `make test-all` compares all of them.
const USUAL: [&str; 10] = [
    "arguments-of-stages",
    "environment",
    "files-in-the-way",
    "files-links",
    "files-modes",
    "files-patterns",
    "labels",
    "oci",
    "post",
    "stages-links",
];
/// Base of most definitions, which apptainer builds first.
const BASE: &str = "base";
/// Files whose words are each program's own. Their modes are compared.
const OWN_WORDS: [&str; 7] = [
    ".singularity.d/actions/",
    ".singularity.d/env/01-base.sh",
    ".singularity.d/env/90-environment.sh",
    ".singularity.d/env/94-appsbase.sh",
    ".singularity.d/env/95-apps.sh",
    ".singularity.d/env/99-",
    ".singularity.d/labels.json",
];
/// Maximum size of a file that is compared, in bytes.
const FILE_MAX: usize = 8 << 20;

/// Directory with the definitions and everything that they name.
struct Scene {
    test: TestDir,
}

impl Scene {
    fn new() -> Self {
        let test = TestDir::new(Account::Ordinary, "definitions");
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/definitions");
        let script = "cp -R \"$1/.\" \"$2\" && cp -R \"$3\" \"$2/layout\" && cd \"$2\" && chmod -R u+rwX,go+rX . && chmod 755 input/tool && tar -C layout -cf layout.tar blobs index.json oci-layout && mkdir -p sandbox/bin sandbox/usr bare/bin && cp /bin/busybox sandbox/bin/busybox && ln -s busybox sandbox/bin/sh && cp /bin/busybox bare/bin/sh && mksquashfs bare bare.sqfs -quiet -no-progress -comp gzip";
        let mut command = Account::Root.command("/bin/sh");
        command.args(["-c", script, "sh"]);
        command
            .arg(fixtures)
            .arg(test.dir())
            .arg(parts().made("oci/umoci"));
        command.run().succeeded();
        let scene = Self { test };
        scene.add_odd_files();
        let mut owned = Account::Root.command("chown");
        owned.args(["-hR", "condense-test:"]).arg(scene.test.dir());
        owned.run().succeeded();
        scene
    }

    /// Makes what version control does not keep: links and modes.
    fn add_odd_files(&self) {
        let at = |name: &str| self.test.path(name);
        for dir in ["linked", "modes", "modes/private", "modes/shared"] {
            fs_err::create_dir(at(dir)).unwrap();
        }
        fs_err::write(at("values.txt"), "FIRST=file\nSECOND=file\n").unwrap();
        fs_err::write(at("linked/target"), "target\n").unwrap();
        for (name, target) in [
            ("file", "target"),
            ("directory", "../input/tree"),
            ("absolute", "/etc/hostname"),
        ] {
            symlink(target, at("linked").join(name)).unwrap();
        }
        for (name, mode) in [
            ("secret", 0o600),
            ("group", 0o640),
            ("program", 0o755),
            ("open", 0o666),
            ("setuid", 0o4755),
        ] {
            fs_err::write(at("modes").join(name), "x\n").unwrap();
            fs_err::set_permissions(at("modes").join(name), Permissions::from_mode(mode)).unwrap();
        }
        for (name, mode) in [("modes/private", 0o700), ("modes/shared", 0o1777)] {
            fs_err::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        }
    }

    /// Returns a command of the ordinary user in the directory of the definitions.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Account::Ordinary.command(program);
        command
            .env("TMPDIR", self.test.scratch())
            // Processes that share a cache of OCI images read each other's half-written index.
            .env("APPTAINER_CACHEDIR", self.test.path("cache"))
            .env("SINGULARITY_CACHEDIR", self.test.path("cache"))
            .current_dir(self.test.dir());
        command
    }

    fn apptainer(&self, arguments: &[&str]) -> CommandOutput {
        let mut command = self.command(parts().runtime());
        command.args(arguments).run()
    }

    fn condense(&self, arguments: &[&str]) -> CommandOutput {
        let mut command = self.command(parts().path("programs/condense"));
        command.args(arguments).run()
    }

    /// Returns the options in the first line of a definition.
    fn options(&self, name: &str) -> Vec<String> {
        let text = fs_err::read_to_string(self.test.path(format!("{name}.def"))).unwrap();
        let first = text.lines().next().unwrap_or_default();
        let options = first.strip_prefix("# options: ").unwrap_or_default();
        options.split_whitespace().map(str::to_owned).collect()
    }

    /// Builds a definition with both programs, and returns the names of the images.
    fn build(&self, name: &str) -> [String; 2] {
        let definition = format!("{name}.def");
        let options = self.options(name);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let ours = format!("{name}-ours.sif");
        let theirs = if name == BASE {
            "base.sif".to_owned()
        } else {
            format!("{name}-theirs.sif")
        };
        self.apptainer(&[&["build"], &options[..], &[&theirs, &definition]].concat())
            .succeeded();
        self.condense(&[&["build"], &options[..], &[&definition, &ours]].concat())
            .succeeded();
        [ours, theirs]
    }

    /// Builds a definition with both programs, and compares the images.
    fn compare(&self, name: &str) -> Vec<String> {
        let [ours, theirs] = self
            .build(name)
            .map(|name| Image::open(&self.test.path(name)));
        let mut differences = ours.differences(&theirs);
        if ours.attributes() != theirs.attributes() {
            differences.push(format!(
                "inspect: {} and {}",
                ours.attributes(),
                theirs.attributes()
            ));
        }
        differences
            .into_iter()
            .map(|difference| format!("{name}: {difference}"))
            .collect()
    }
}

/// Image with its files.
struct Image {
    tree: Tree,
    metadata: Value,
}

impl Image {
    fn open(path: &PathBuf) -> Self {
        let sif = Sif::open(path).unwrap();
        let mut objects = sif.descriptors().iter();
        let object = objects
            .find(|object| object.kind == DataKind::Json && object.name == "inspect-metadata.json");
        let metadata = sif.read(object.unwrap(), 1 << 20).unwrap();
        let reader = Arc::new(sif.reader().unwrap());
        Self {
            tree: Tree::from_image(&reader).unwrap(),
            metadata: serde_json::from_slice(&metadata).unwrap(),
        }
    }

    /// Returns what `inspect` prints and both programs must agree on.
    fn attributes(&self) -> Value {
        let mut attributes = self.metadata["data"]["attributes"].clone();
        let members = attributes.as_object_mut().unwrap();
        let labels = members["labels"].as_object_mut().unwrap();
        labels.retain(|name, _| {
            !name.ends_with("build-date")
                && !name.ends_with("apptainer.version")
                && !name.starts_with("condense.")
        });
        // The words of files that no section has are each program's own.
        for name in ["runscript", "startscript"] {
            let text = self.text(&format!(".singularity.d/{name}"));
            if is_own(&text) {
                members.remove(name);
            }
        }
        if let Some(environment) = members.get_mut("environment") {
            for (path, text) in environment.as_object_mut().unwrap() {
                let own = text.as_str().unwrap().lines();
                let own = own.skip_while(|line| line.starts_with('#') || line.is_empty());
                *text = if path.contains("10-docker") {
                    "as the image says".into()
                } else {
                    own.collect::<Vec<_>>().join("\n").into()
                };
            }
        }
        attributes
    }

    fn text(&self, path: &str) -> String {
        let bytes = self.tree.read(path, FILE_MAX).unwrap().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the kind, the mode and the target of each entry by its path.
    fn entries(&self) -> BTreeMap<PathBuf, String> {
        let entries = self.tree.walk();
        entries
            .map(|(path, entry)| {
                let what = match &entry.kind {
                    Kind::Directory(_) => "directory".to_owned(),
                    Kind::File { .. } => "file".to_owned(),
                    Kind::Symlink(target) => format!("link to {}", String::from_utf8_lossy(target)),
                    other => format!("{other:?}"),
                };
                (path, format!("{:o} {what}", entry.mode))
            })
            .collect()
    }

    fn differences(&self, other: &Self) -> Vec<String> {
        let (ours, theirs) = (self.entries(), other.entries());
        let mut differences = Vec::new();
        for path in ours
            .keys()
            .chain(theirs.keys().filter(|path| !ours.contains_key(*path)))
        {
            let (one, two) = (ours.get(path), theirs.get(path));
            if one != two {
                differences.push(format!("/{}: {one:?} and {two:?}", path.display()));
            } else if !has_own_words(path) {
                let [one, two] = [self, other].map(|image| image.text(path.to_str().unwrap()));
                if one != two && !(is_own(&one) && is_own(&two)) {
                    differences.push(format!("/{}: {one:?} and {two:?}", path.display()));
                }
            }
        }
        differences
    }
}

/// Returns whether a program has made a file of its own accord, in its own words.
fn is_own(text: &str) -> bool {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let lines: Vec<&str> = lines.collect();
    lines.is_empty()
        || text.contains("There is no runscript defined")
        || text.contains("SINGULARITY_NO_EVAL")
        || text.contains("SCIF_APPNAME=")
        || text.starts_with("#!/bin/sh\nexport UM=")
        || text.starts_with("#!/bin/sh\n[ -n \"${UM")
}

fn has_own_words(path: &Path) -> bool {
    let text = path.to_string_lossy();
    OWN_WORDS.iter().any(|own| text.starts_with(own)) || text.ends_with("10-docker2singularity.sh")
}

/// Rows D1 to D8, D15 and D16: the images have the same files, modes, labels, environment and
/// scripts.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn definitions_give_the_same_images_as_apptainer_s() {
    let scene = Scene::new();
    let all = std::env::var_os("CONDENSE_TEST_KILLS").is_some();
    let mut names: Vec<String> = fs_err::read_dir(scene.test.dir())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".def").map(str::to_owned))
        .filter(|name| name != BASE && (all || USUAL.contains(&name.as_str())))
        .collect();
    names.sort();
    assert!(names.len() >= if all { 40 } else { USUAL.len() });
    let mut differences = scene.compare(BASE);
    for name in names {
        differences.extend(scene.compare(&name));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Row D16: a runtime starts, tests and describes the images alike.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn runtimes_treat_the_images_alike() {
    let scene = Scene::new();
    let definition = "Bootstrap: oci\nFrom: layout\n%environment\n  export GREETING=hello\n%runscript\n  echo \"$GREETING $# $1\"\n%help\n  Help.\n%test\n  test \"$GREETING\" = hello && exit \"${1:-0}\"\n%labels\n  maker me\n";
    scene.test.write("base.def", definition);
    let [ours, theirs] = scene.build(BASE);
    for line in [
        &["run", "IMAGE", "a b", "c"][..],
        &["test", "IMAGE"],
        &["test", "IMAGE", "7"],
        &["run-help", "IMAGE"],
        &["inspect", "--runscript", "IMAGE"],
        &[
            "exec",
            "-e",
            "IMAGE",
            "sh",
            "-c",
            "echo $GREETING $UM $PATH",
        ],
    ] {
        let said = [&ours, &theirs].map(|image| {
            let words = line
                .iter()
                .map(|word| if *word == "IMAGE" { image } else { *word });
            let said = scene.apptainer(&[&["-s"], &words.collect::<Vec<_>>()[..]].concat());
            (said.status, said.stdout)
        });
        assert_eq!(said[0], said[1], "{line:?}");
    }
    let failing = definition.replace("&& exit", "&& exit 3 ||");
    scene.test.write("failing.def", &failing);
    let said = scene.condense(&["build", "failing.def", "failing.sif"]);
    said.failed_on_either_stream(1, &["%test failed: exit status 3"]);
    assert!(!scene.test.path("failing.sif").exists());
}

/// Row D14: a bind of a loaded module, without a mount point in the image, reaches no script.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_bind_variable_does_not_end_a_build() {
    let scene = Scene::new();
    let definition =
        "Bootstrap: oci\nFrom: layout\n%post\n  ! test -e /nowhere\n%test\n  ! test -e /nowhere\n";
    scene.test.write("bound.def", definition);
    let mut command = scene.command(parts().path("programs/condense"));
    command.args(["build", "bound.def", "bound.sif"]);
    for name in ["SINGULARITY_BIND", "APPTAINER_BINDPATH"] {
        command.env(
            name,
            format!(
                "{0}:/nowhere/in-the-image,/missing:/other",
                scene.test.dir().display()
            ),
        );
    }
    command.run().succeeded();
    // A bind of the user has its place below /tmp and everything that is mounted below it.
    let seen = "Bootstrap: oci\nFrom: layout\n%post\n  test -d /tmp/seen/scratch\n";
    scene.test.write("seen.def", seen);
    let build = |destination: &str| {
        let bind = format!("{}:{destination}", parts().dir().display());
        scene.condense(&["build", "seen.def", "seen.sif", "--bind", &bind])
    };
    build("/missing").failed_on_either_stream(1, &["the image has no `/missing`", "/mnt"]);
    build("/tmp/seen").succeeded();
}
