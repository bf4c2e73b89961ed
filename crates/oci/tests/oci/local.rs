//! Tests with layouts and archives in the formats of other tools.

use condense_diagnostics::Hint as _;
use std::path::Path;

use condense_oci::Error;
use serde_json::json;

use crate::image::{Image, digest, gzip, tar};
use crate::{TestDirs, assert_is_base, assert_says, content};

/// Returns the files of a layout with these images under these names.
fn layout(images: &[(Option<&str>, &Image)]) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![(
        "oci-layout".to_owned(),
        b"{\"imageLayoutVersion\":\"1.0.0\"}".to_vec(),
    )];
    let mut entries = Vec::new();
    for (name, image) in images {
        let mut entry = image.entry("linux/amd64");
        entry.as_object_mut().unwrap().remove("platform");
        if let Some(name) = name {
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        }
        entries.push(entry);
        let manifest = (digest(&image.manifest), image.manifest.clone());
        for (digest, bytes) in image.blobs.clone().into_iter().chain([manifest]) {
            files.push((format!("blobs/{}", digest.replace(':', "/")), bytes));
        }
    }
    let index = json!({"schemaVersion": 2, "manifests": entries});
    files.push(("index.json".to_owned(), index.to_string().into_bytes()));
    files
}

fn write_dir(dir: &Path, files: &[(String, Vec<u8>)]) {
    for (path, bytes) in files {
        let path = dir.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    }
}

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
        .collect();
    tar(&files)
}

/// Returns an archive as `docker save` writes it. The second layer is a link, as in older versions.
fn docker(image: &Image, tags: &[&str]) -> Vec<u8> {
    let manifest = json!([{"Config": "config.json", "RepoTags": tags, "Layers": ["one/layer.tar", "two/layer.tar"]}]);
    let files = [
        ("config.json".to_owned(), image.config.clone()),
        ("one/layer.tar".to_owned(), image.layers[0].clone()),
        ("shared/layer.tar".to_owned(), gzip(&image.layers[1])),
        (
            "manifest.json".to_owned(),
            manifest.to_string().into_bytes(),
        ),
    ];
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in &files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, bytes.as_slice())
            .unwrap();
    }
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder
        .append_link(&mut link, "two/layer.tar", "../shared/layer.tar")
        .unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn every_form_gives_the_same_files() {
    let dirs = TestDirs::new();
    let image = Image::new("x");
    let files = layout(&[(Some("v1"), &image)]);
    write_dir(&dirs.path("layout"), &files);
    fs_err::write(dirs.path("oci.tar"), archive(&files)).unwrap();
    fs_err::write(dirs.path("oci.tar.gz"), gzip(&archive(&files))).unwrap();
    let zstd = zstd::stream::encode_all(&docker(&image, &["a/b:1"])[..], 1).unwrap();
    fs_err::write(dirs.path("docker.tar.zst"), zstd).unwrap();
    fs_err::write(dirs.path("docker.tar"), docker(&image, &["a/b:1"])).unwrap();
    let manifest = digest(&image.manifest);
    for (number, (scheme, rest)) in [
        ("oci", "layout".to_owned()),
        ("oci", "layout:v1".to_owned()),
        ("oci", format!("layout:@{manifest}")),
        ("oci-archive", "oci.tar".to_owned()),
        ("oci-archive", "oci.tar:v1".to_owned()),
        ("oci-archive", "oci.tar.gz".to_owned()),
        ("docker-archive", "docker.tar".to_owned()),
        ("docker-archive", "docker.tar:a/b:1".to_owned()),
        ("docker-archive", "docker.tar.zst".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let reference = format!("{scheme}:{}", dirs.path(&rest).display());
        let pulled = dirs
            .pull(&reference, &format!("{number}.sif"))
            .unwrap_or_else(|error| panic!("{reference}: {}", crate::said(&error)));
        assert_is_base(&pulled.path);
        assert_eq!(content(&pulled.path, "name").unwrap(), b"x");
        assert_eq!(content(&pulled.path, "changed").unwrap(), b"second");
    }
    assert!(
        dirs.cached("blobs").is_empty(),
        "what is here is not copied"
    );
}

#[test]
fn an_archive_of_several_images_needs_a_selector() {
    let dirs = TestDirs::new();
    let [one, two] = ["one", "two"].map(Image::new);
    write_dir(
        &dirs.path("l"),
        &layout(&[(Some("one"), &one), (Some("two"), &two)]),
    );
    let oci = |selector: &str| format!("oci:{}{selector}", dirs.path("l").display());
    let pulled = dirs.pull(&oci(":two"), "two.sif").unwrap();
    assert_eq!(content(&pulled.path, "name").unwrap(), b"two");
    fs_err::remove_file(&pulled.path).unwrap();
    for selector in ["", ":three", ":@sha256:0"] {
        let error = dirs.refused(&oci(selector));
        assert_says(&error, &["`one`, `two`"]);
        assert!(error.hint().unwrap().contains(":NAME"));
    }
    fs_err::write(dirs.path("d.tar"), docker(&one, &["r/x:1", "r/x:latest"])).unwrap();
    let docker =
        |selector: &str| format!("docker-archive:{}{selector}", dirs.path("d.tar").display());
    assert_says(&dirs.refused(&docker(":r/x:2")), &["r/x:1"]);
    dirs.pull(&docker(":r/x"), "latest.sif").unwrap();
}

#[test]
fn damage_is_named() {
    let dirs = TestDirs::new();
    let image = Image::new("x");
    let mut other = image.clone();
    other.layers[1] = tar(&[("name", b"other")]);
    fs_err::write(dirs.path("swapped.tar"), docker(&other, &[])).unwrap();
    let (lowest, _) = image.lowest();
    let dir = dirs.path("l");
    write_dir(&dir, &layout(&[(None, &image)]));
    let blob = dir.join("blobs").join(lowest.replace(':', "/"));
    let mut bytes = fs_err::read(&blob).unwrap();
    let end = bytes.len() - 20_000;
    bytes[end] ^= 1;
    fs_err::write(&blob, bytes).unwrap();
    fs_err::write(dirs.path("empty"), b"").unwrap();
    let path = |name: &str| dirs.path(name).display().to_string();
    for (reference, words) in [
        (
            format!("docker-archive:{}", path("swapped.tar")),
            &["layer sha256:"][..],
        ),
        (format!("oci:{}", path("l")), &[lowest.as_str()]),
        (format!("oci:{}", path("out")), &["index.json"]),
        (
            format!("oci:{}", path("swapped.tar")),
            &["a file", "oci-archive:"],
        ),
        (
            format!("oci-archive:{}", path("l")),
            &["a directory", "`oci:`"],
        ),
        (
            format!("oci-archive:{}", path("swapped.tar")),
            &["no `index.json`"],
        ),
        (
            format!("oci-archive:{}", path("empty")),
            &["no `index.json`"],
        ),
        (format!("docker-archive:{}", path("missing")), &["missing"]),
    ] {
        assert_says(&dirs.refused(&reference), words);
    }
    fs_err::remove_file(&blob).unwrap();
    let error = dirs.refused(&format!("oci:{}", path("l")));
    assert!(matches!(error, Error::Io { .. }), "{error}");
}
