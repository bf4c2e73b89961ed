//! Tests of SIF files with apptainer itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use condense_image::sif::{
    DataKind, DeleteOptions, FileSystem, Link, NewObject, PartitionRole, SifOptions, SifWriter,
};
use condense_image::{Arch, PackOptions, Sif, Tree, pack_at, verify};

/// Returns the path of the small Debian image of the runtime tests.
pub(crate) fn base() -> PathBuf {
    let parts = std::env::var_os("CONDENSE_TEST_PARTS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-parts"),
        PathBuf::from,
    );
    let base = parts.join("base.sif");
    assert!(base.exists(), "run scripts/setup-tests first");
    base
}

/// Runs apptainer, which must succeed, and returns its standard output.
pub(crate) fn apptainer(arguments: &[&str], home: &Path) -> String {
    let output = Command::new("apptainer")
        .args(arguments)
        .env("HOME", home)
        .output()
        .expect("apptainer is missing: run scripts/setup-tests first");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn apptainer_runs_and_inspects_what_is_written() {
    let scratch = tempfile::tempdir().unwrap();
    // The tree has the files of Debian, unpacked by apptainer and packed here into the SIF file.
    let sandbox = scratch.path().join("sandbox");
    apptainer(
        &["build", "--sandbox", text(&sandbox), text(&base())],
        scratch.path(),
    );
    let tree = Tree::scan(&sandbox, &condense_image::ScanOptions::default()).unwrap();
    let path = scratch.path().join("ours.sif");
    let mut writer = SifWriter::create(&path, &SifOptions::default()).unwrap();
    let definition = NewObject::new(DataKind::DefinitionFile);
    writer.add(&definition, b"bootstrap: scratch\n").unwrap();
    let metadata = NewObject::new(DataKind::Json).named("inspect-metadata.json");
    let told = br#"{"data":{"attributes":{"labels":{"made-by":"condense"},"deffile":"bootstrap: scratch\n"}},"type":"container"}"#;
    writer.add(&metadata, told).unwrap();
    let root = NewObject::partition(
        FileSystem::SquashFs,
        PartitionRole::PrimarySystem,
        Arch::host().unwrap(),
    );
    writer
        .add_with(&root, |slot| {
            let image = pack_at(&tree, slot.path, slot.offset, &PackOptions::default())?;
            verify(&image, &tree, None)?;
            Ok(image.size_bytes)
        })
        .unwrap();
    let environment = NewObject::new(DataKind::Environment);
    writer.add(&environment, b"A=1\n").unwrap();
    let labels = NewObject::new(DataKind::Labels);
    writer.add(&labels, b"{}").unwrap();
    let sif = writer.finish().unwrap();

    let listed = apptainer(&["sif", "list", text(&path)], scratch.path());
    for word in [
        "Def.FILE",
        "JSON.Generic",
        "FS (Squashfs/*System/",
        "Env.Vars",
        "JSON.Labels",
    ] {
        assert!(listed.contains(word), "{word} is not in\n{listed}");
    }
    for object in sif.descriptors() {
        let place = format!("{}-{}", object.offset, object.offset + object.size);
        assert!(listed.contains(&place), "{place} is not in\n{listed}");
    }
    let inspected = apptainer(&["inspect", text(&path)], scratch.path());
    assert!(inspected.contains("made-by: condense"), "{inspected}");
    let inspected = apptainer(&["inspect", "-d", text(&path)], scratch.path());
    assert!(inspected.contains("bootstrap: scratch"), "{inspected}");
    let said = apptainer(
        &["exec", text(&path), "cat", "/etc/os-release"],
        scratch.path(),
    );
    assert!(said.contains("ID=debian"), "{said}");
}

/// Two equal SIF files, of which this crate changes one and apptainer the other.
struct Pair {
    scratch: tempfile::TempDir,
    ours: PathBuf,
    theirs: PathBuf,
}

impl Pair {
    /// Creates two files without objects. Apptainer keeps a reproducible file reproducible, so the
    /// clock does not influence the comparison.
    fn new() -> Pair {
        let scratch = tempfile::tempdir().unwrap();
        let (ours, theirs) = (
            scratch.path().join("ours.sif"),
            scratch.path().join("theirs.sif"),
        );
        let writer = SifWriter::create(&ours, &SifOptions::default()).unwrap();
        writer.finish().unwrap();
        fs_err::copy(&ours, &theirs).unwrap();
        Pair {
            scratch,
            ours,
            theirs,
        }
    }

    /// Adds a file to both as object `id`. `flags` say to apptainer what `object` says to us.
    fn add(&self, id: u32, object: &NewObject, file: &Path, flags: &[&str]) {
        let mut writer = SifWriter::open(&self.ours, None).unwrap();
        assert_eq!(writer.add_file(object, file).unwrap(), id);
        writer.finish().unwrap();
        let add = ["sif", "add", text(&self.theirs), text(file)];
        apptainer(&[&add, flags].concat(), self.scratch.path());
        self.check_same(&format!("adding object {id} with {flags:?}"));
    }

    fn delete(&self, id: u32) {
        let mut writer = SifWriter::open(&self.ours, None).unwrap();
        writer.delete(id, DeleteOptions::default()).unwrap();
        writer.finish().unwrap();
        let id = id.to_string();
        let delete = ["sif", "del", &id, text(&self.theirs)];
        apptainer(&delete, self.scratch.path());
        self.check_same(&format!("deleting object {id}"));
    }

    fn check_same(&self, step: &str) {
        let ours = fs_err::read(&self.ours).unwrap();
        let theirs = fs_err::read(&self.theirs).unwrap();
        assert!(ours == theirs, "the files differ after {step}");
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn changes_are_those_of_apptainer_byte_for_byte() {
    let pair = Pair::new();
    let json = pair.scratch.path().join("note.json");
    fs_err::write(&json, b"{\"a\": 1}").unwrap();
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/gzip.sqfs");

    let note = NewObject::new(DataKind::Json)
        .named("note.json")
        .in_group(None);
    let note_flags = ["--datatype", "6", "--filename", "note.json"];
    pair.add(1, &note, &json, &note_flags);

    let root = NewObject::partition(
        FileSystem::SquashFs,
        PartitionRole::PrimarySystem,
        Arch::X86_64,
    )
    .named("root")
    .in_group(Some(1));
    #[rustfmt::skip]
    let root_flags = [
        "--datatype", "4", "--partarch", "2", "--partfs", "1", "--parttype", "2",
        "--groupid", "1", "--filename", "root",
    ];
    pair.add(2, &root, &image, &root_flags);

    let linked = NewObject::new(DataKind::Generic)
        .named("x")
        .in_group(Some(2))
        .linked_to(Link::Object(2))
        .aligned_to(512);
    #[rustfmt::skip]
    let linked_flags = [
        "--datatype", "7", "--groupid", "2", "--link", "2", "--alignment", "512",
        "--filename", "x",
    ];
    pair.add(3, &linked, &json, &linked_flags);

    pair.delete(1);
    // The free slot is used again.
    pair.add(1, &note, &json, &note_flags);
    // The root file system is deleted.
    pair.delete(2);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_apptainer_wrote_is_read_and_extended() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a.sif");
    fs_err::copy(base(), &path).unwrap();
    let sif = Sif::open(&path).unwrap();
    for object in sif.descriptors() {
        let mut ours = Vec::new();
        sif.copy_to(object, &mut ours).unwrap();
        let output = Command::new("apptainer")
            .args(["sif", "dump", &object.id.to_string(), text(&path)])
            .env("HOME", scratch.path())
            .output()
            .unwrap();
        assert!(output.stdout == ours, "object {} differs", object.id);
    }
    let header = apptainer(&["sif", "header", text(&path)], scratch.path());
    assert!(header.contains(&sif.header().uuid()), "{header}");

    // The overlay adds one more file to the root file system.
    let mut tree = Tree::new();
    tree.add_bytes("opt/over", *b"laid over\n", 0o644).unwrap();
    let mut writer = SifWriter::open(&path, None).unwrap();
    let overlay = NewObject::partition(
        FileSystem::SquashFs,
        PartitionRole::Overlay,
        sif.arch().unwrap(),
    );
    writer
        .add_with(&overlay, |slot| {
            Ok(pack_at(&tree, slot.path, slot.offset, &PackOptions::default())?.size_bytes)
        })
        .unwrap();
    writer.finish().unwrap();
    let said = apptainer(&["exec", text(&path), "cat", "/opt/over"], scratch.path());
    assert_eq!(said, "laid over\n");
}
