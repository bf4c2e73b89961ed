//! Real parts of an installation: a base, and an image with a conda-like Python, both made from the
//! files of `scripts/setup-tests`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Mount point of the image. Nothing else on the machine has this path.
pub(crate) const MOUNT_POINT: &str = "/TEST_TYKKY_q7w8e9r";

/// Prefix of the environment in the image. It must not be longer than the prefix that a CPython of
/// the machine has compiled in.
pub(crate) const ENV_PREFIX: &str = "/TEST_TYKKY_q7w8e9r/env1";

/// Version of the image's contents. Raise it when they change.
const IMAGE_VERSION: u32 = 2;

pub(crate) fn base() -> PathBuf {
    need(&parts().join("base.sif"))
}

/// Returns the path of an image with a Python and two scripts. The image is made once and kept.
pub(crate) fn image() -> PathBuf {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(make_image).clone()
}

fn parts() -> PathBuf {
    std::env::var_os("CONDENSE_TEST_PARTS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-parts"),
        PathBuf::from,
    )
}

fn need(path: &Path) -> PathBuf {
    assert!(
        path.exists(),
        "`{}` is missing: run scripts/setup-tests",
        path.display()
    );
    path.canonicalize().unwrap()
}

fn make_image() -> PathBuf {
    let channel = need(&parts().join("channel/linux-64"));
    let python = find_package(&channel, "python-3.11.");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let image = cache.join(format!(
        "{}-{IMAGE_VERSION}.sqfs",
        python.file_stem().unwrap().to_str().unwrap()
    ));
    if image.exists() {
        return image;
    }
    let scratch = tempfile::tempdir_in(cache).unwrap();
    let prefix = scratch.path().join("root/env1");
    fs::create_dir_all(&prefix).unwrap();
    unpack(&python, &prefix);
    for name in [
        "libffi-",
        "openssl-",
        "libzlib-",
        "bzip2-",
        "liblzma-",
        "libexpat-",
        "libuuid-",
        "libsqlite-",
    ] {
        unpack(&find_package(&channel, name), &prefix);
    }
    script(
        &prefix.join("bin/report"),
        &format!("#!{ENV_PREFIX}/bin/python3.11\n{REPORT}"),
    );
    script(
        &prefix.join("bin/a tool"),
        "#!/bin/sh\necho \"a tool: $1\"\n",
    );
    let scripts = prefix.join("etc/conda/activate.d");
    fs::create_dir_all(&scripts).unwrap();
    fs::write(
        scripts.join("good.sh"),
        "export FROM_SCRIPT=\"at $CONDA_PREFIX\"\nset -- changed\n[ -n \"\" ]\n",
    )
    .unwrap();
    fs::write(scripts.join("ends.sh"), "exit 0\n").unwrap();
    let launcher = |scripts: &[&str]| {
        condense_installation::Launcher {
            scripts: scripts
                .iter()
                .map(|name| format!("{ENV_PREFIX}/etc/conda/activate.d/{name}").into())
                .collect(),
            shell: "/bin/sh".into(),
        }
        .render()
    };
    script(
        &prefix.join("launcher"),
        &String::from_utf8(launcher(&["good.sh"])).unwrap(),
    );
    script(
        &prefix.join("bad-launcher"),
        &String::from_utf8(launcher(&["good.sh", "ends.sh"])).unwrap(),
    );
    let finished = scratch.path().join("img.sqfs");
    run(Command::new("mksquashfs")
        .arg(scratch.path().join("root"))
        .arg(&finished)
        .args([
            "-noappend",
            "-all-root",
            "-comp",
            "gzip",
            "-Xcompression-level",
            "1",
            "-no-progress",
            "-quiet",
        ]));
    fs::rename(finished, &image).unwrap();
    image
}

/// A program that prints its arguments, paths and environment variables.
const REPORT: &str = r#"
import json, os, sys
json.dump({
    "argv": [os.fsencode(word).hex() for word in sys.argv], "executable": sys.executable, "prefix": sys.prefix,
    "base_prefix": sys.base_prefix, "cwd": os.getcwd(), "environment": dict(os.environ),
}, sys.stdout)
"#;

fn find_package(channel: &Path, start: &str) -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir(channel)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(start)
        })
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| {
        panic!(
            "no package `{start}*` in `{}`: run scripts/setup-tests",
            channel.display()
        )
    })
}

/// Unpacks a package as conda would: the placeholder is replaced by the environment's prefix.
fn unpack(package: &Path, prefix: &Path) {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    run(Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(package)
        .arg(dir));
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".tar.zst") {
            let target = if name.starts_with("pkg-") {
                prefix
            } else {
                dir
            };
            run(Command::new("tar")
                .args(["--zstd", "--no-same-owner", "-xf"])
                .arg(&path)
                .arg("-C")
                .arg(target));
        }
    }
    let paths: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("info/paths.json")).unwrap()).unwrap();
    for entry in paths["paths"].as_array().unwrap() {
        let path = prefix.join(entry["_path"].as_str().unwrap());
        let Some(placeholder) = entry["prefix_placeholder"].as_str() else {
            continue;
        };
        let text = entry["file_mode"] == "text";
        replace(&path, placeholder.as_bytes(), text);
    }
    // A package of conda-forge contains the placeholder. A CPython of the machine has its own
    // prefix compiled in instead, and `python -m venv` needs the prefix to be right. This prefix is
    // the only absolute path in libpython that ends in a version.
    let libraries = fs::read_dir(prefix.join("lib"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    for library in libraries.filter(|path| path.to_string_lossy().contains("libpython3.11.so.1")) {
        let bytes = fs::read(&library).unwrap();
        let compiled_in = bytes.split(|byte| *byte == 0).find(|text| {
            text.starts_with(b"/")
                && text.len() < 256
                && text.windows(10).any(|part| part == b"versions/3")
        });
        if let Some(compiled_in) = compiled_in.map(<[u8]>::to_vec) {
            replace(&library, &compiled_in, false);
        }
    }
}

fn replace(path: &Path, placeholder: &[u8], text: bool) {
    let bytes = fs::read(path).unwrap();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.as_slice();
    while let Some(at) = rest
        .windows(placeholder.len())
        .position(|window| window == placeholder)
    {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + placeholder.len()..];
        out.extend_from_slice(ENV_PREFIX.as_bytes());
        if !text {
            // A string in a binary keeps its length: the rest of the string moves up, and zeros
            // fill the gap.
            let end = rest.iter().position(|byte| *byte == 0).unwrap();
            let gap = placeholder
                .len()
                .checked_sub(ENV_PREFIX.len())
                .expect("the placeholder is longer");
            out.extend_from_slice(&rest[..end]);
            out.extend(std::iter::repeat_n(0, gap));
            rest = &rest[end..];
        }
    }
    out.extend_from_slice(rest);
    fs::write(path, out).unwrap();
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    run(Command::new("chmod").arg("755").arg(path));
}

pub(crate) fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}: run scripts/setup-tests"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
