//! Tests with one package each, which contains a path that packages must not contain.

use serde_json::json;
use tar::EntryType::{self, Regular, Symlink};

use super::{
    Range,
    archive::{Archive, header},
};

/// Name of a case, its package, and the text of the refusal.
type Refused = (&'static str, fn(&Range) -> Archive, &'static str);

pub(super) fn x() -> Archive {
    Archive::new("x")
}

pub(super) fn noarch() -> Archive {
    x().noarch_python()
}

/// Returns a package of Python, which noarch packages need.
pub(super) fn python() -> Archive {
    let mut python = Archive::new("python");
    python.version = "3.11.2".to_owned();
    python
}

pub(super) fn command(text: &str) -> Archive {
    let link = json!({ "noarch": { "type": "python", "entry_points": [text] }, "package_metadata_version": 1 });
    noarch().info("info/link.json", &link.to_string())
}

fn sparse() -> tar::Header {
    let mut header = header(b"v", EntryType::GNUSparse, "", 0o644, 0);
    header.as_gnu_mut().unwrap().realsize = *b"00000000000\0";
    header.set_cksum();
    header
}

const LISTED: &[Refused] = &[
    (
        "leads out",
        |r| x().lists(&r.up("victim"), "hardlink"),
        "leads out of the package with `..`",
    ),
    (
        "leads out as a link",
        |r| x().lists(&r.up("victim"), "softlink"),
        "leads out",
    ),
    (
        "leads out as a directory",
        |r| x().lists(&r.up("outside/new"), "directory"),
        "leads out",
    ),
    (
        "absolute",
        |r| x().lists(&r.at("victim"), "hardlink"),
        "is an absolute path",
    ),
    (
        "absolute directory",
        |r| x().lists(&r.at("outside/new"), "directory"),
        "is an absolute path",
    ),
    (
        "up and down",
        |_| x().lists("bin/../../../victim", "hardlink"),
        "leads out",
    ),
    ("empty", |_| x().lists("", "hardlink"), "is empty"),
    (
        "its own directory",
        |_| x().lists("./.", "hardlink"),
        "own directory",
    ),
    ("NUL", |_| x().lists("a\0b", "hardlink"), "has a NUL byte"),
    (
        "too long",
        |_| x().lists(&"d/".repeat(3000), "hardlink"),
        "is longer than",
    ),
    (
        "long name",
        |_| x().lists(&"n".repeat(300), "hardlink"),
        "more than 255 bytes",
    ),
    (
        "control characters",
        |_| x().lists("a\u{1b}[2J\n", "hardlink"),
        "`a\\u{1b}[2J\\n` is listed",
    ),
    (
        "escapes in keys",
        |r| {
            x().paths_json(format!(
                r#"{{"paths":[{{"\u005fpath":"{}"}}],"paths_version":1}}"#,
                r.up("victim")
            ))
        },
        "leads out",
    ),
    (
        "half a surrogate pair",
        |_| x().paths_json(r#"{"paths":[{"_path":"a\ud800"}]}"#),
        "surrogate",
    ),
    (
        "dots of surrogates",
        |_| x().paths_json(r#"{"paths":[{"_path":"\udc2e\udc2e\udc2fvictim"}]}"#),
        "surrogate",
    ),
    (
        "not held",
        |_| x().lists("lib/other", "hardlink"),
        "`lib/other` is listed, and the archive does not hold it",
    ),
    (
        "file and below it",
        |_| x().file("a", "").lists("a/b", "hardlink"),
        "`a/b` is listed, and the archive does not",
    ),
    (
        "below an unlisted link",
        |r| {
            x().unlisted("lib/h", Symlink, &r.at("outside"), 0o777, "")
                .lists("lib/h/secret", "hardlink")
        },
        "`lib/h/secret` is listed, and the archive does not hold it",
    ),
    (
        "below a listed link",
        |r| {
            x().link("lib/h", &r.at("outside"))
                .lists("lib/h/secret", "softlink")
        },
        "the archive does not hold it",
    ),
    (
        "below a link to /",
        |r| {
            x().unlisted("h", Symlink, "/", 0o777, "")
                .lists(&format!("h{}", r.at("victim")), "hardlink")
        },
        "the archive does not hold it",
    ),
    (
        "a file as a directory",
        |_| x().lists("bin/x", "directory"),
        "is listed as a directory",
    ),
    (
        "a directory as a file",
        |_| {
            x().unlisted("d", EntryType::Directory, "", 0o755, "")
                .lists("d", "hardlink")
        },
        "is a directory",
    ),
    (
        "a link as a directory",
        |r| {
            x().unlisted("d", Symlink, &r.at("outside"), 0o777, "")
                .lists("d", "directory")
        },
        "is none",
    ),
    (
        "unknown type",
        |_| x().lists("bin/x", "device"),
        "of a type `device`",
    ),
    (
        "type of another type",
        |_| x().lists_entry(json!({ "_path": "bin/x", "path_type": 1 })),
        "is not understood: invalid type",
    ),
    (
        "path of another type",
        |_| x().lists_entry(json!({ "_path": ["bin/x"] })),
        "is not understood",
    ),
    (
        "no path",
        |_| x().lists_entry(json!({ "path_type": "hardlink" })),
        "missing field `_path`",
    ),
    (
        "placeholder without mode",
        |_| x().lists_entry(json!({ "_path": "bin/x", "prefix_placeholder": "/p" })),
        "file_mode",
    ),
    (
        "version 2",
        |_| x().paths_json(r#"{"paths":[],"paths_version":2}"#),
        "of version 2",
    ),
    (
        "nested",
        |_| x().paths_json("[".repeat(100_000)),
        "is not understood",
    ),
    (
        "not JSON",
        |_| x().paths_json("\0\0\0"),
        "`info/paths.json` is not understood",
    ),
    (
        "place of a record",
        |_| x().file("conda-meta/x-1.0-0.json", "{}"),
        "where a package's record belongs",
    ),
    (
        "place of the linker",
        |r| x().link("__clobbers__", &r.at("outside")),
        "a name that linking needs",
    ),
    (
        "in the place of conda-meta",
        |r| x().link("conda-meta", &r.at("outside")),
        "and a directory in the environment",
    ),
    (
        "noarch leads out",
        |r| noarch().lists(&format!("site-packages/{}", r.up("victim")), "hardlink"),
        "leads out",
    ),
    (
        "scripts lead out",
        |r| noarch().lists(&format!("python-scripts/{}", r.up("victim")), "hardlink"),
        "leads out",
    ),
    (
        "files lead out",
        |r| {
            x().paths_json("")
                .info("info/files", &format!("bin/x\n{}\n", r.up("victim")))
        },
        "of info/files leads out",
    ),
    (
        "files are absolute",
        |r| x().paths_json("").info("info/files", &r.at("victim")),
        "of info/files is an absolute",
    ),
    (
        "files below a link",
        |r| {
            x().paths_json("").info("info/files", "h/secret").unlisted(
                "h",
                Symlink,
                &r.at("outside"),
                0o777,
                "",
            )
        },
        "`h/secret` is listed",
    ),
    (
        "has_prefix leads out",
        |r| {
            x().paths_json("")
                .info("info/files", "bin/x")
                .info("info/has_prefix", &r.up("victim"))
        },
        "of info/has_prefix leads out",
    ),
    (
        "has_prefix is absolute",
        |r| {
            x().paths_json("")
                .info("info/files", "bin/x")
                .info("info/has_prefix", &format!("/p text {}", r.at("victim")))
        },
        "of info/has_prefix is an absolute",
    ),
    (
        "has_prefix is none",
        |_| {
            x().paths_json("")
                .info("info/files", "bin/x")
                .info("info/has_prefix", "a b c d \u{1b}")
        },
        "`info/has_prefix` is not understood: `a b c d",
    ),
    (
        "no_link leads out",
        |r| {
            x().paths_json("")
                .info("info/files", "bin/x")
                .info("info/no_link", &r.up("victim"))
        },
        "of info/no_link leads out",
    ),
    (
        "no list",
        |_| x().paths_json(""),
        "is not there, nor info/files",
    ),
    (
        "no index",
        |_| x().no_index(),
        "`info/index.json` is not there",
    ),
    (
        "index is no object",
        |_| x().index("[]"),
        "`info/index.json` is not understood",
    ),
    (
        "command leads out",
        |_| command("../../victim = a:b"),
        "path separators",
    ),
    (
        "command is absolute",
        |r| command(&format!("{} = a:b", r.at("victim"))),
        "path separators",
    ),
    (
        "command is hidden",
        |_| command(".. = a:b"),
        "is not understood: entry point command",
    ),
    (
        "command with escapes",
        |_| command("a\u{1b}b = a:b"),
        "control characters",
    ),
    (
        "module with code",
        |_| command("a = os; import x:b"),
        "dotted identifier",
    ),
    (
        "command of another type",
        |_| noarch().info("info/link.json", r#"{"noarch":{"entry_points":[1]}}"#),
        "is not understood",
    ),
];

const ARCHIVED: &[Refused] = &[
    (
        "entry leads out",
        |_| x().unlisted("../../outside/new", Regular, "", 0o644, "x"),
        "leads out",
    ),
    (
        "directory leads out",
        |_| x().unlisted("../../outside/new/", EntryType::Directory, "", 0o755, ""),
        "leads out",
    ),
    (
        "own parent",
        |_| x().unlisted("./..", EntryType::Directory, "", 0o755, ""),
        "leads out",
    ),
    (
        "entry is absolute",
        |r| x().unlisted(&r.at("outside/new"), Regular, "", 0o644, "x"),
        "is an absolute path",
    ),
    (
        "entry below a link",
        |r| {
            x().unlisted("h", Symlink, &r.at("outside"), 0o777, "")
                .unlisted("h/secret", Regular, "", 0o644, "x")
        },
        "`h/secret` lies below the link `h`",
    ),
    (
        "entry below a file",
        |_| x().file("a", "").file("a/b", ""),
        "`a/b` lies below the file `a`",
    ),
    (
        "directory below a link",
        |r| {
            x().unlisted("h", Symlink, &r.at("outside"), 0o777, "")
                .unlisted("h/new", EntryType::Directory, "", 0o755, "")
        },
        "lies below the link",
    ),
    (
        "link and directory",
        |r| {
            x().unlisted("h", Symlink, &r.at("outside"), 0o777, "")
                .unlisted("h/", EntryType::Directory, "", 0o755, "")
        },
        "is a directory and something else",
    ),
    (
        "hard link leads out",
        |r| x().unlisted("v", EntryType::Link, &r.up("victim"), 0o644, ""),
        "is a hard link to",
    ),
    (
        "hard link is absolute",
        |r| x().unlisted("v", EntryType::Link, &r.at("victim"), 0o644, ""),
        "is an absolute path",
    ),
    (
        "hard link through a link",
        |r| {
            x().unlisted("h", Symlink, &r.at("outside"), 0o777, "")
                .unlisted("v", EntryType::Link, "h/secret", 0o644, "")
        },
        "is no file before it",
    ),
    (
        "hard link to a directory",
        |_| x().unlisted("v", EntryType::Link, "bin", 0o644, ""),
        "is no file before it",
    ),
    (
        "link to nothing",
        |_| x().unlisted("v", Symlink, "", 0o777, ""),
        "is a link to nothing",
    ),
    (
        "FIFO",
        |_| x().unlisted("v", EntryType::Fifo, "", 0o644, ""),
        "`v` is a device or a FIFO",
    ),
    (
        "device",
        |_| x().unlisted("v", EntryType::Char, "", 0o644, ""),
        "is a device",
    ),
    (
        "disk",
        |_| x().unlisted("v", EntryType::Block, "", 0o644, ""),
        "is a device",
    ),
    ("sparse", |_| x().raw(sparse(), ""), "is a sparse file"),
    (
        "unknown kind",
        |_| x().unlisted("v", EntryType::new(b'V'), "", 0o644, ""),
        "of a kind that packages do not have",
    ),
    (
        "info is a link",
        |r| x().first("info", Symlink, &r.at("outside")),
        "lies below the link `info`",
    ),
    (
        "paths.json is a link",
        |r| {
            x().paths_json("").unlisted(
                "info/paths.json",
                Symlink,
                &r.at("outside/secret"),
                0o777,
                "",
            )
        },
        "`info/paths.json` is no regular file",
    ),
    (
        "paths.json is a directory",
        |_| {
            x().paths_json("")
                .unlisted("info/paths.json/", EntryType::Directory, "", 0o755, "")
        },
        "is no regular file",
    ),
    (
        "paths.json is a FIFO",
        |_| {
            x().paths_json("")
                .unlisted("info/paths.json", EntryType::Fifo, "", 0o644, "")
        },
        "FIFO",
    ),
    (
        "index.json is a link",
        |r| {
            x().no_index().unlisted(
                "info/index.json",
                Symlink,
                &r.at("outside/secret"),
                0o777,
                "",
            )
        },
        "`info/index.json` is no regular file",
    ),
    (
        "link.json is a link",
        |r| {
            noarch().unlisted(
                "info/link.json",
                Symlink,
                &r.at("outside/secret"),
                0o777,
                "",
            )
        },
        "no regular file",
    ),
    (
        "long names",
        |_| {
            let name = "n".repeat(2 << 20);
            x().raw(
                header(
                    b"././@LongLink",
                    EntryType::GNULongName,
                    "",
                    0o644,
                    name.len(),
                ),
                &name,
            )
        },
        "names of more than 1 MiB",
    ),
];

#[test]
fn hostile_packages_are_refused_by_name() {
    let mut wrong = Vec::new();
    for (case, package, words) in LISTED.iter().chain(ARCHIVED) {
        for conda in [false, true] {
            let range = Range::new();
            let package = package(&range);
            let (package, file) = if conda {
                (package.conda(), "`x-1.0-0.conda`")
            } else {
                (package, "`x-1.0-0.tar.bz2`")
            };
            match range.link(&[python(), package]) {
                Err(said)
                    if said.contains(file)
                        && said.contains(words)
                        && !said.contains(['\n', '\u{1b}', '\0']) => {}
                other => wrong.push((case, other)),
            }
            range.is_untouched(case);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
