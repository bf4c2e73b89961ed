//! Tests of the page's structure: all tags are those of the page itself and are closed, whatever
//! names packages, files and generations have.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use condense_installation::Generation;
use serde_json::json;

use super::*;
use crate::contents::{ImageFacts, Package, PackageKind, Space};

/// Text that would add an element, an attribute or a script if it was not escaped.
const HOSTILE: &str = "<img src=x onerror='alert(1)'>\"&\u{202e}";

/// Elements without an end.
const VOID: [&str; 2] = ["meta", "input"];

/// Returns the names of all elements, and checks that each is closed in its parent. Attributes of
/// the page have double quotes, so that a hostile text cannot begin one.
fn elements(page: &str) -> BTreeSet<&str> {
    let mut open = Vec::new();
    let mut names = BTreeSet::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        let (tag, after) = rest[start + 1..].split_once('>').expect("a tag ends");
        rest = after;
        if tag == "!DOCTYPE html" {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "before {rest:.80}");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        assert!(name == "meta" || !tag.contains('\''), "<{tag}>");
        for attribute in tag.split('"').step_by(2).skip(1) {
            assert!(!attribute.trim_start().starts_with("on"), "<{tag}>");
        }
        names.insert(name);
        match name {
            // Their content is not markup.
            "script" | "style" => {
                let end = format!("</{name}>");
                rest = rest.split_once(&end).expect("it ends").1;
            }
            name if VOID.contains(&name) || tag.ends_with('/') => {}
            name => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    names
}

fn package(name: &str, version: &str, kind: PackageKind, stored: u64) -> Package {
    Package {
        name: name.to_owned(),
        version: version.to_owned(),
        build: (kind == PackageKind::Conda).then(|| "h1_0".to_owned()),
        channel: (kind == PackageKind::Conda).then(|| "conda-forge".to_owned()),
        kind,
        environment: "env".into(),
        requested: Vec::new(),
        direct_url: None,
        depends: Vec::new(),
        space: Some(Space {
            files: 10,
            bytes: 3 * stored,
            stored,
        }),
        provides: Vec::new(),
    }
}

fn contents(packages: Vec<Package>) -> Contents {
    let spaces = packages.iter().filter_map(|package| package.space);
    let total = spaces.fold(Space::default(), |sum, space| Space {
        files: sum.files + space.files,
        bytes: sum.bytes + space.bytes,
        stored: sum.stored + space.stored,
    });
    let image = ImageFacts {
        path: "img.sqfs".into(),
        bytes: total.stored,
        codec: "zstd".to_owned(),
        block_bytes: 131_072,
        total,
    };
    Contents {
        packages,
        image: Some(image),
        ..Contents::default()
    }
}

fn receipt(number: u32, word: &str) -> Receipt {
    serde_json::from_value(json!({
        "tool_version": "0.1.0", "created": 1_790_000_000, "mode": "conda",
        "arguments": ["conda-containerize", "new", word],
        "inputs": [{"path": word, "sha256": "00"}], "lock": null,
        "base": {"reference": word, "path": "/base.sif", "sha256": null},
        "image": {"size_bytes": 1, "sha256": "11", "compression": "zstd:3", "entries": 2},
        "mount_point": "/MOUNT", "env_prefix": "/MOUNT/env", "env_name": "env1",
        "host_view": "base", "generation": number,
    }))
    .unwrap()
}

fn step(number: u32, is_current: bool, contents: Result<Contents, String>) -> Step {
    Step {
        generation: Generation {
            number,
            is_current,
            dir: "/x".into(),
            receipt: Some(Box::new(receipt(number, "env.yml"))),
            bytes: 1,
        },
        contents,
    }
}

fn page(name: &str, history: Vec<Step>, contents: Contents) -> Page {
    Page {
        path: format!("/appl/{name}"),
        origin: Origin::Installation(Box::new(receipt(2, name))),
        contents,
        findings: Vec::new(),
        lock: Some(format!(
            "packages:\n- conda: https://host/noarch/a-1.0-0.conda\n  sha256: aa\n\
             - pypi: https://host/b-2.0.whl\n  name: {}\n",
            json!(name)
        )),
        history,
    }
}

/// Names come from files of others: archives, wheels, locks, command lines.
#[test]
fn hostile_names_stay_text() {
    let hostile = || {
        let mut package = package(HOSTILE, HOSTILE, PackageKind::Pip, 5_000_000);
        package.direct_url = Some(format!("https://{HOSTILE}"));
        package.requested = vec![HOSTILE.to_owned()];
        contents(vec![package])
    };
    let history = vec![
        step(1, false, Err(HOSTILE.to_owned())),
        step(2, false, Ok(contents(Vec::new()))),
        step(3, true, Ok(hostile())),
    ];
    let shown = page(HOSTILE, history, hostile()).render();
    let plain = page(
        "plain",
        vec![
            step(1, false, Ok(contents(Vec::new()))),
            step(2, true, Ok(plain())),
        ],
        plain(),
    )
    .render();
    assert_eq!(elements(&shown), elements(&plain));
    assert!(!shown.contains('\u{202e}'));
    assert!(
        shown
            .matches("&lt;img src=x onerror=&#39;alert(1)&#39;&gt;&quot;&amp;")
            .count()
            > 10
    );
}

fn plain() -> Contents {
    contents(vec![
        package("numpy", "2.4.6", PackageKind::Conda, 4_000_000),
        package("scikit-learn", "1.9.1", PackageKind::Pip, 5_000_000),
    ])
}

/// The report tells pip's packages from conda's and names all versions (B18), in the drawing as
/// well as in the table, and keeps full names.
#[test]
fn packages_have_their_kind_version_and_full_name() {
    let long = "a-package-with-a-name-longer-than-its-tile";
    let mut packages = plain();
    packages
        .packages
        .push(package(long, "3", PackageKind::Pip, 9_000));
    packages.other.files = 1;
    let shown = page("mine", Vec::new(), packages).render();
    for words in [
        "<span class=\"name\">numpy</span>",
        "<td class=\"middle version\">2.4.6</td>\
         <td class=\"middle\"><span class=\"badge conda\">conda</span></td>\
         <td class=\"wide from\">conda-forge</td>",
        "<td class=\"middle version\">1.9.1</td>\
         <td class=\"middle\"><span class=\"badge pip\">pip</span></td>",
        "<title>scikit-learn 1.9.1: 4.77 MiB pip</title>",
        "<title>numpy 2.4.6: 3.81 MiB conda</title>",
        "<span class=\"name\">files of no package</span>",
        "<b>3</b> <span>1 of conda, 2 of pip</span>",
    ] {
        assert!(shown.contains(words), "`{words}` is not in {shown}");
    }
    let name = format!("<title>{long} 3: 8.79 KiB pip</title>");
    assert_eq!(shown.matches(&name).count(), 3, "one for each drawing");
    assert!(!shown.contains('…'), "{shown}");
    // One generation has nothing to be compared with.
    assert!(!shown.contains("id=\"changes\""), "{shown}");
}

#[test]
fn each_generation_is_compared_with_the_one_before() {
    let first = contents(vec![
        package("numpy", "2.4.5", PackageKind::Conda, 3_000_000),
        package("six", "1.17", PackageKind::Pip, 100_000),
    ]);
    let history = vec![
        step(1, false, Ok(first)),
        step(2, true, Ok(plain())),
        step(4, false, Ok(plain())),
        step(5, false, Err("img.sqfs is damaged".to_owned())),
        step(6, false, Ok(plain())),
    ];
    let shown = page("mine", history, plain()).render();
    elements(&shown);
    let section = |number: u32| {
        let begin = format!("<article class=\"generation\" id=\"generation-{number}\">");
        assert!(shown.contains(&format!("href=\"#generation-{number}\"")));
        let text = shown.split(&begin).nth(1).unwrap();
        text.split("</article>").next().unwrap()
    };
    let says = |number: u32, words: &[&str]| {
        let text = section(number);
        for words in words {
            assert!(text.contains(words), "`{words}` is not in {text}");
        }
    };
    says(
        1,
        &["The oldest generation that is kept: 2 packages, image of 2.96 MiB."],
    );
    says(
        2,
        &[
            "visible</span>",
            "2026-09-21T14:13:20Z: <code>conda-containerize new env.yml</code>",
            "Since generation 1: 1 added, 1 removed, 1 changed; image 2.96&nbsp;MiB → \
             8.58&nbsp;MiB (+5.63&nbsp;MiB)",
            "<td class=\"middle version\">2.4.5</td><td class=\"middle version\">2.4.6</td>\
             <td class=\"number\" data-sort=\"3000000\">+2.86 MiB</td>",
            "<b aria-hidden=\"true\">-</b> removed",
        ],
    );
    says(
        4,
        &["The same 2 packages as generation 2; image 8.58&nbsp;MiB"],
    );
    says(5, &["Generation 5 cannot be read: img.sqfs is damaged"]);
    says(6, &["Generation 5 cannot be read"]);
    assert!(shown.find("generation-6\">") < shown.find("generation-1\">"));
}

/// A browser runs the page's own script, which its digest names, and no other.
#[test]
fn the_policy_names_the_script_of_the_page() {
    let shown = page("mine", Vec::new(), plain()).render();
    let script = shown.split("<script>").nth(1).unwrap();
    let script = script.split("</script>").next().unwrap();
    let digest = BASE64_STANDARD.encode(Sha256::digest(script));
    assert!(shown.contains(&format!("script-src 'sha256-{digest}'")));
    assert!(!shown.contains("script-src 'unsafe-inline'"));
    for words in ["innerHTML", "eval", "fetch(", "import", "document.write"] {
        assert!(!script.contains(words), "{words}");
    }
}

/// Every link leads to a section of the page, and every section has a heading of its own.
#[test]
fn links_lead_to_sections_with_headings() {
    let history = vec![step(1, false, Ok(plain())), step(2, true, Ok(plain()))];
    let shown = page("mine", history, plain()).render();
    let mut links = 0;
    for link in shown.split("href=\"").skip(1) {
        let target = link.split('"').next().unwrap().strip_prefix('#').unwrap();
        let id = format!(" id=\"{target}\"");
        assert_eq!(shown.matches(&id).count(), 1, "{target}");
        links += 1;
    }
    assert!(links > 8, "{links}");
    let of = |tag: &str| shown.matches(&format!("<{tag}")).count();
    assert_eq!((of("h1"), of("h2")), (1, of("section")));
    assert_eq!((of("main"), of("header"), of("footer")), (1, 1, 1));
    // Each cell in a head of a table says what it is the head of.
    assert_eq!(of("th scope="), of("th>") + of("th "));
}
