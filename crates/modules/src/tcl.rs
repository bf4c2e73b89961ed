//! Responsible for the text of a module file in Tcl.

use crate::{
    file::{ContainerModule, ModuleFile, WRITER},
    language::Language,
    record::ImageDir,
    template::fill,
};

const MODULE: &str = include_str!("text/module.tcl");
const CONTAINER: &str = include_str!("text/container.tcl");

/// Returns the text of the module file.
pub(crate) fn render(file: &ModuleFile) -> String {
    let suffix = file.module.suffix();
    let mut conflicts = vec![quote(file.module.name())];
    conflicts.extend(file.conflicts.iter().map(|name| quote(name)));
    let help = file.help(WRITER);
    let help = help.join("\n");
    let help = help.trim_end().lines();
    let help = help.map(|line| format!("  puts stderr {}", quote(line)));
    let keywords = quote(&format!("Keywords: {}", file.keywords.join(", ")));
    let values = [
        ("RECORD", file.record().render(Language::Tcl)),
        ("HELP", help.collect::<Vec<_>>().join("\n")),
        (
            "DESCRIPTION",
            quote(&format!("Description: {}", file.description)),
        ),
        ("KEYWORDS", format!("module-whatis {keywords}")),
        ("EXTENSIONS", quote(&file.extensions())),
        ("ROOT", quote(&file.root)),
        ("CONFLICTS", conflicts.join(" ")),
        ("SUFFIX", suffix.clone()),
        ("VERSION", quote(file.module.version())),
    ];
    let mut text = without_empty_parts(&fill(MODULE, &values), file);
    if let Some(container) = &file.container {
        text.push_str(&render_container(container, suffix));
    }
    text
}

/// Returns the part of the module that EasyBuild does not write by itself.
pub(crate) fn render_footer(file: &ModuleFile) -> String {
    let mut lines = vec![file.record().render(Language::Tcl)];
    if !file.packages.is_empty() {
        let extensions = quote(&file.extensions());
        lines.push(format!(
            "if {{[info commands extensions] ne \"\"}} {{\n  extensions {extensions}\n}}"
        ));
    }
    if !file.conflicts.is_empty() {
        let conflicts: Vec<String> = file.conflicts.iter().map(|name| quote(name)).collect();
        lines.push(format!("conflict {}", conflicts.join(" ")));
    }
    if let Some(container) = &file.container {
        lines.push("setenv CONTAINERROOT $root".to_owned());
        lines.push(render_container(container, file.module.suffix()));
    } else {
        let bin = format!("{}/bin", file.root);
        lines.push(format!("setenv CONTAINERROOT {}", quote(&file.root)));
        lines.push(format!("prepend-path PATH {}\n", quote(&bin)));
    }
    lines.join("\n")
}

/// Leaves out the line for keywords and the block for extensions if there are none.
fn without_empty_parts(text: &str, file: &ModuleFile) -> String {
    let mut text = text.to_owned();
    if file.keywords.is_empty() {
        text = text.replacen("module-whatis \"Keywords: \"\n", "", 1);
    }
    if file.packages.is_empty() {
        let block = "if {[info commands extensions] ne \"\"} {\n  extensions \"\"\n}\n";
        text = text.replacen(block, "", 1);
    }
    text
}

fn render_container(container: &ContainerModule, suffix: String) -> String {
    let image = &container.image;
    let mut candidates = vec![quote(&image.path)];
    candidates.extend(image.dirs.iter().map(|dir| {
        let rest = format!("{}/{}", dir.rest, image.file);
        candidate(dir, &rest)
    }));
    let binds = container.binds.iter();
    let binds = binds.flat_map(|bind| [quote(&bind.source), quote(&bind.entry())]);
    let variables = container.variables.iter();
    let variables = variables.flat_map(|each| [quote(&each.name), quote(&each.value)]);
    let path = container.path.iter().map(|dir| quote(dir));
    let file = quote(&image.file);
    fill(
        CONTAINER,
        &[
            ("CANDIDATES", lines(candidates)),
            ("FILE", file[1..file.len() - 1].to_owned()),
            ("SUFFIX", suffix),
            ("VALUES", pairs(variables)),
            ("PATH", path.collect::<Vec<_>>().join(" ")),
            ("BINDS", pairs(binds)),
            (
                "KEEPS_MISSING",
                u8::from(container.keeps_missing_binds).to_string(),
            ),
        ],
    )
}

/// Puts each word on a line of its own, which the next line continues.
fn lines(words: impl IntoIterator<Item = String>) -> String {
    let lines = words.into_iter().map(|word| format!("  {word} \\"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Puts two words on each line.
fn pairs(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    lines(words.chunks(2).map(|pair| pair.join(" ")))
}

fn candidate(dir: &ImageDir, rest: &str) -> String {
    match &dir.variable {
        Some(name) => {
            let rest = quote(rest);
            format!(
                "\"[from_environment {} {}]{}",
                quote(name),
                quote(&dir.start),
                &rest[1..]
            )
        }
        None => quote(&format!("{}{rest}", dir.start)),
    }
}

/// Quotes a text so that Tcl reads back the same characters. Braces are escaped as well, since they
/// count where the text stands between braces.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '$' | '[' | ']' | '{' | '}' => {
                quoted.push('\\');
                quoted.push(c);
            }
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn texts_are_quoted_for_tcl() {
        assert_eq!(
            quote("a 'b' \"c\" \\ $x [y] {z\n"),
            r#""a 'b' \"c\" \\ \$x \[y\] \{z\n""#
        );
    }
}
