//! Tests of SIF files with apptainer itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use condense_image::sif::{
    DataKind, FileSystem, Link, NewObject, PartitionRole, SifOptions, SifWriter,
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
        .add_with(&root, |room| {
            let image = pack_at(&tree, room.path, room.offset, &PackOptions::default())?;
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

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn changes_are_those_of_apptainer_byte_for_byte() {
    let scratch = tempfile::tempdir().unwrap();
    let (ours, theirs) = (
        scratch.path().join("ours.sif"),
        scratch.path().join("theirs.sif"),
    );
    let json = scratch.path().join("note.json");
    fs_err::write(&json, b"{\"a\": 1}").unwrap();
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/gzip.sqfs");
    let same = |step: &str| {
        let (ours, theirs) = (fs_err::read(&ours).unwrap(), fs_err::read(&theirs).unwrap());
        assert!(ours == theirs, "the files differ after {step}");
    };
    let change = |change: &dyn Fn(&mut SifWriter)| {
        let mut writer = SifWriter::open(&ours, None).unwrap();
        change(&mut writer);
        writer.finish().unwrap();
    };
    let run = |arguments: &[&str]| apptainer(&[&["sif"], arguments].concat(), scratch.path());

    // Apptainer keeps a reproducible file reproducible, so the clock does not influence the
    // comparison.
    SifWriter::create(&ours, &SifOptions::default())
        .unwrap()
        .finish()
        .unwrap();
    fs_err::copy(&ours, &theirs).unwrap();

    let note = NewObject::new(DataKind::Json)
        .named("note.json")
        .in_group(None);
    change(&|writer| assert_eq!(writer.add_file(&note, &json).unwrap(), 1));
    run(&[
        "add",
        text(&theirs),
        text(&json),
        "--datatype",
        "6",
        "--filename",
        "note.json",
    ]);
    same("adding JSON");

    let root = NewObject::partition(
        FileSystem::SquashFs,
        PartitionRole::PrimarySystem,
        Arch::X86_64,
    )
    .named("root")
    .in_group(Some(1));
    change(&|writer| assert_eq!(writer.add_file(&root, &image).unwrap(), 2));
    run(&[
        "add",
        text(&theirs),
        text(&image),
        "--datatype",
        "4",
        "--partarch",
        "2",
        "--partfs",
        "1",
        "--parttype",
        "2",
        "--groupid",
        "1",
        "--filename",
        "root",
    ]);
    same("adding a partition");

    let generic = NewObject::new(DataKind::Generic)
        .named("x")
        .in_group(Some(2))
        .linked_to(Link::Object(2))
        .aligned_to(512);
    change(&|writer| assert_eq!(writer.add_file(&generic, &json).unwrap(), 3));
    run(&[
        "add",
        text(&theirs),
        text(&json),
        "--datatype",
        "7",
        "--groupid",
        "2",
        "--link",
        "2",
        "--alignment",
        "512",
        "--filename",
        "x",
    ]);
    same("adding a linked object");

    change(&|writer| writer.delete(1, false, false).unwrap());
    run(&["del", "1", text(&theirs)]);
    same("deleting the first object");
    change(&|writer| assert_eq!(writer.add_file(&note, &json).unwrap(), 1));
    run(&[
        "add",
        text(&theirs),
        text(&json),
        "--datatype",
        "6",
        "--filename",
        "note.json",
    ]);
    same("using its slot again");
    change(&|writer| writer.delete(2, false, false).unwrap());
    run(&["del", "2", text(&theirs)]);
    same("deleting the root file system");
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
        .add_with(&overlay, |room| {
            Ok(pack_at(&tree, room.path, room.offset, &PackOptions::default())?.size_bytes)
        })
        .unwrap();
    writer.finish().unwrap();
    let said = apptainer(&["exec", text(&path), "cat", "/opt/over"], scratch.path());
    assert_eq!(said, "laid over\n");
}
