//! Packages with paths that lead outside of the package: the program reports them in one line,
//! exits with status 1, and changes none of the user's files. All of these paths lead into the
//! test's own directory.

use std::{io::Write, path::Path};

use serde_json::json;

use crate::harness::TestEnv;

/// Writes a channel with one package. Its paths.json lists these paths in addition to its program.
fn channel(dir: &Path, name: &str, paths: &[&str], link: Option<(&str, &str)>) -> String {
    let linux = dir.join("linux-64");
    fs_err::create_dir_all(&linux).unwrap();
    fs_err::create_dir_all(dir.join("noarch")).unwrap();
    let program = format!("bin/{name}");
    let listed: Vec<_> = std::iter::once(program.as_str())
        .chain(paths.iter().copied())
        .map(|path| json!({ "_path": path, "path_type": "hardlink" }))
        .collect();
    let index = json!({ "name": name, "version": "1.0", "build": "0", "build_number": 0, "depends": [], "subdir": "linux-64" });
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in [
        ("info/index.json", index.to_string()),
        (
            "info/paths.json",
            json!({ "paths": listed, "paths_version": 1 }).to_string(),
        ),
        (&program, "#!/bin/sh\n".to_owned()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    if let Some((path, target)) = link {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_entry_type(tar::EntryType::Symlink);
        tar.append_link(&mut header, path, target).unwrap();
    }
    let file = format!("{name}-1.0-0.tar.bz2");
    let archive = fs_err::File::create(linux.join(&file)).unwrap();
    let mut encoder = bzip2::write::BzEncoder::new(archive, bzip2::Compression::fast());
    encoder.write_all(&tar.into_inner().unwrap()).unwrap();
    encoder.finish().unwrap();
    let repodata = json!({ "info": { "subdir": "linux-64" }, "packages": { file: index }, "packages.conda": {}, "repodata_version": 1 });
    fs_err::write(linux.join("repodata.json"), repodata.to_string()).unwrap();
    let empty = json!({ "info": { "subdir": "noarch" }, "packages": {}, "packages.conda": {} });
    fs_err::write(dir.join("noarch/repodata.json"), empty.to_string()).unwrap();
    format!("file://{}", dir.display())
}

#[test]
fn paths_that_lead_out_are_refused_before_anything_is_touched() {
    let test = TestEnv::new();
    let victim = test.path("home/victim");
    fs_err::write(&victim, "precious").unwrap();
    let absolute = victim.to_str().unwrap();
    let up = format!("{}{}", "../".repeat(16), &absolute[1..]);
    let cases = [
        (
            "up",
            vec![up.as_str()],
            None,
            "leads out of the package with `..`",
        ),
        ("abs", vec![absolute], None, "is an absolute path"),
        (
            "link",
            vec!["h/victim"],
            Some(("h", test.path("home"))),
            "the archive does not hold it",
        ),
    ];
    for (name, paths, link, words) in cases {
        let target = link
            .as_ref()
            .map(|(path, target)| (*path, target.to_str().unwrap()));
        let channel = channel(&test.path("work").join(name), name, &paths, target);
        let text = format!("channels: ['{channel}']\ndependencies: [{name}]\n");
        test.write("env.yml", &text);
        test.build(&["env.yml"]).failed(
            1,
            &[
                "[ ERROR ] refused to install",
                &format!("`{name}-1.0-0.tar.bz2`"),
                words,
                "its channel should know of it",
            ],
        );
        assert_eq!(fs_err::read_to_string(&victim).unwrap(), "precious");
        assert!(!test.installation().exists());
        test.left_nothing();
    }
}

#[test]
fn a_package_of_another_name_is_installed_under_the_channel_s() {
    let test = TestEnv::new();
    let channel = channel(&test.path("work/ch"), "inside", &[], None);
    let linux = test.path("work/ch/linux-64");
    fs_err::rename(
        linux.join("inside-1.0-0.tar.bz2"),
        linux.join("outside-1.0-0.tar.bz2"),
    )
    .unwrap();
    let repodata = fs_err::read_to_string(linux.join("repodata.json")).unwrap();
    fs_err::write(
        linux.join("repodata.json"),
        repodata.replace("inside", "outside"),
    )
    .unwrap();
    test.write(
        "env.yml",
        &format!("channels: ['{channel}']\ndependencies: [outside]\n"),
    );
    test.build(&["env.yml"]).succeeded();
    assert!(test.installation().join("bin/inside").exists());
}
