#![allow(clippy::unwrap_used)]
use super::*;

/// Makes a directory of images and a site that has it in `image_dirs`.
fn stage() -> (tempfile::TempDir, Site) {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "lumi-pytorch-rocm-6.2.4-python-3.12-pytorch-v2.6.0-dockerhash-36e16fb5b67b.sif",
        "lumi-pytorch-rocm-6.2.4-python-3.12-pytorch-v2.7.1-dockerhash-0d479e852886.sif",
        "lumi-pytorch-rocm-5.6.1-python-3.10-pytorch-v2.2.0-dockerhash-f72ddd8ef883.sif",
        "lumi-jax-rocm-6.2.4-python-3.12-jax-0.4.35-dockerhash-a5ec205941a2.sif",
        "unknown.sif",
    ] {
        fs_err::write(dir.path().join(name), "").unwrap();
    }
    std::os::unix::fs::symlink(
        "lumi-pytorch-rocm-6.2.4-python-3.12-pytorch-v2.7.1-dockerhash-0d479e852886.sif",
        dir.path().join("newest.sif"),
    )
    .unwrap();
    let site = Site {
        image_dirs: vec![dir.path().display().to_string()],
        ..Site::default()
    };
    (dir, site)
}

fn names(words: &[&str]) -> Vec<String> {
    let (_dir, site) = stage();
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let query = Query::parse(&words).unwrap();
    find(&Catalogue::default(), &site, &query, &EnvVars::of(&[]))
        .into_iter()
        .map(|found| {
            found
                .name
                .replace("lumi-", "")
                .split("-dockerhash")
                .next()
                .unwrap()
                .to_owned()
        })
        .collect()
}

#[test]
fn the_newest_comes_first() {
    assert_eq!(
        names(&["rocm=6.2", "python=3.12", "pytorch"]),
        [
            "pytorch-rocm-6.2.4-python-3.12-pytorch-v2.7.1",
            "newest",
            "pytorch-rocm-6.2.4-python-3.12-pytorch-v2.6.0",
        ]
    );
}

#[test]
fn software_is_found_by_version() {
    assert_eq!(
        names(&["pytorch=2.2"]),
        ["pytorch-rocm-5.6.1-python-3.10-pytorch-v2.2.0"]
    );
    assert_eq!(
        names(&["jax=0.4"]),
        ["jax-rocm-6.2.4-python-3.12-jax-0.4.35"]
    );
    assert_eq!(names(&["tensorflow"]), Vec::<String>::new());
    assert_eq!(names(&["rocm=6.20"]), Vec::<String>::new());
    assert_eq!(names(&["unknown"]), ["unknown"]);
    assert_eq!(names(&[]).len(), 6);
}

#[test]
fn links_say_where_they_lead_and_that_they_move() {
    let (dir, site) = stage();
    let query = Query::parse(&["newest".to_owned()]).unwrap();
    let found = find(&Catalogue::default(), &site, &query, &EnvVars::of(&[]));
    assert!(found[0].moving);
    let target = found[0].leads_to.as_ref().unwrap();
    assert!(target.starts_with(dir.path().canonicalize().unwrap()));
    assert_eq!(found[0].entry.rocm.as_deref(), Some("6.2.4"));
}

#[test]
fn nothing_cannot_be_looked_for() {
    for word in ["", "=6.2", "rocm="] {
        assert!(Query::parse(&[word.to_owned()]).is_err(), "{word}");
    }
}
