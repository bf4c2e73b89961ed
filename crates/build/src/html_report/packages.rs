//! Responsible for what takes the space: the treemap, kinds of files, and the table of packages.

use indicatif::{HumanBytes, HumanCount};

use super::{
    html::{each, escape, framed},
    tiles,
};
use crate::contents::{Contents, Package, PackageKind, Space};

/// Package, or files that belong to none.
pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) kind: Option<PackageKind>,
    pub(super) space: Space,
    package: Option<&'a Package>,
}

impl<'a> Part<'a> {
    fn of(package: &'a Package) -> Self {
        Self {
            name: &package.name,
            version: &package.version,
            kind: Some(package.kind),
            space: package.space.unwrap_or_default(),
            package: Some(package),
        }
    }

    /// Makes a part of files that belong to no package.
    pub(super) fn rest(name: &'a str, space: Space) -> Self {
        Self {
            name,
            version: "",
            kind: None,
            space,
            package: None,
        }
    }

    /// Returns the class in the style sheet.
    pub(super) fn class(&self) -> &'static str {
        self.kind.map_or("none", PackageKind::as_str)
    }
}

/// Returns the packages and the files of no package, the largest in the image first. Byte code
/// counts to the package of its source.
pub(super) fn parts(contents: &Contents) -> Vec<Part<'_>> {
    let mut parts: Vec<Part> = contents.packages.iter().map(Part::of).collect();
    for (name, space) in [
        ("files of no package", contents.other),
        ("files outside of environments", contents.outside),
    ] {
        if space.files > 0 {
            parts.push(Part::rest(name, space));
        }
    }
    parts.sort_by(|one, other| {
        let size = |part: &Part| (part.space.stored, part.space.bytes);
        size(other)
            .cmp(&size(one))
            .then_with(|| one.name.cmp(other.name))
    });
    parts
}

/// Renders the treemap, and the kinds of files that programs may not need.
pub(super) fn render_space(contents: &Contents, parts: &[Part]) -> String {
    let Some(image) = &contents.image else {
        return String::new();
    };
    let classes = [("conda", "conda"), ("pip", "pip"), ("none", "no package")];
    let used = classes
        .iter()
        .filter(|(class, _)| parts.iter().any(|part| part.class() == *class));
    let legend = each(used, |(class, words)| {
        format!("<li><span class=\"tile {class}\"></span>{words}</li>")
    });
    let mut text = format!(
        "<p>Each area is the space of a package in the image, after compression. \
         <a href=\"#packages\">The table</a> has all of them.</p>\n\
         <figure>\n{}<figcaption><ul class=\"legend\">{legend}</ul></figcaption>\n</figure>\n",
        tiles::render(parts)
    );
    let used = contents.categories.iter().filter(|one| one.space.files > 0);
    let kinds = each(used, |one| {
        let name = one.category.as_str().replace('-', " ");
        let part = percentage(one.space.stored, image.bytes);
        format!(
            "<tr><th scope=\"row\">{name}</th>{}<td class=\"number wide\">{part}</td></tr>\n",
            sizes(one.space)
        )
    });
    if !kinds.is_empty() {
        text.push_str("<h3>Files that programs may not need</h3>\n");
        let table = format!(
            "<table>\n<thead><tr><th scope=\"col\">Kind of files</th>{SIZES}\
             <th scope=\"col\" class=\"number wide\">Of the image</th></tr></thead>\n\
             <tbody>\n{kinds}</tbody>\n</table>\n"
        );
        text.push_str(&framed("Files that programs may not need", &table));
        text.push_str("<p><code>condense size</code> says how they can be left out.</p>\n");
    }
    text
}

/// Headings of the columns that [`sizes`] renders.
const SIZES: &str = "<th scope=\"col\" class=\"number wide\">Files</th>\
    <th scope=\"col\" class=\"number middle\">Size</th><th scope=\"col\" class=\"number\">In image</th>";

fn sizes(space: Space) -> String {
    let cell = |class: &str, count: u64, text: String| {
        format!("<td class=\"number {class}\" data-sort=\"{count}\">{text}</td>")
    };
    [
        cell("wide", space.files, HumanCount(space.files).to_string()),
        cell("middle", space.bytes, HumanBytes(space.bytes).to_string()),
        cell("", space.stored, HumanBytes(space.stored).to_string()),
    ]
    .concat()
}

fn percentage(part: u64, whole: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64)
}

/// Renders the table of all parts.
pub(super) fn render_table(parts: &[Part]) -> String {
    let rows: String = parts.iter().map(row).collect();
    let head = SIZES.replace(
        "class=\"number\">In image",
        "class=\"number\" aria-sort=\"descending\">In image",
    );
    let table = format!(
        "<table class=\"sortable\" data-noun=\"packages\">\n<thead><tr>\
         <th scope=\"col\">Package</th><th scope=\"col\" class=\"middle\">Version</th>\
         <th scope=\"col\" class=\"middle\">Kind</th><th scope=\"col\" class=\"wide\">From</th>\
         <th scope=\"col\" class=\"wide\">Asked for</th>{head}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n"
    );
    let note = "<p>Sizes are before compression and in the image. Byte code counts to the package \
                of its source; equal files are stored once and count for the first of them.</p>\n";
    format!("{note}{}", framed("Packages", &table))
}

fn row(part: &Part) -> String {
    let kind = part.kind.map_or("", PackageKind::as_str);
    let (from, asked) = match part.package {
        Some(package) => (
            package
                .channel
                .clone()
                .or_else(|| package.direct_url.clone())
                .unwrap_or_default(),
            package.requested.join(", "),
        ),
        None => (String::new(), String::new()),
    };
    let badge = match kind {
        "" => String::new(),
        kind => format!("<span class=\"badge {kind}\">{kind}</span>"),
    };
    // In narrow windows, version and kind are below the name instead of in columns of their own.
    let below = match kind {
        "" => String::new(),
        _ => format!(
            "<span class=\"below\">{} {badge}</span>",
            escape(part.version)
        ),
    };
    format!(
        "<tr><th scope=\"row\"><span class=\"name\">{}</span>{below}</th>\
         <td class=\"middle version\">{}</td><td class=\"middle\">{badge}</td>\
         <td class=\"wide from\">{}</td><td class=\"wide from\">{}</td>{}</tr>\n",
        escape(part.name),
        escape(part.version),
        escape(&from),
        escape(&asked),
        sizes(part.space)
    )
}
