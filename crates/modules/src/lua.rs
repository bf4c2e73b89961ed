//! Responsible for the text of a module file in Lua.

use crate::{
    file::{ContainerModule, ModuleFile, WRITER},
    language::Language,
    record::ImageDir,
    template::fill,
};

const MODULE: &str = include_str!("text/module.lua");
const CONTAINER: &str = include_str!("text/container.lua");

/// Returns the text of the module file.
pub(crate) fn render(file: &ModuleFile) -> String {
    let suffix = file.module.suffix();
    let mut conflicts = vec![quote(file.module.name())];
    conflicts.extend(file.conflicts.iter().map(|name| quote(name)));
    let keywords = if file.keywords.is_empty() {
        String::new()
    } else {
        let words = format!("Keywords: {}", file.keywords.join(", "));
        format!("whatis({})", quote(&words))
    };
    let values = [
        ("RECORD", file.record().render(Language::Lua)),
        ("HELP", block(&file.help(WRITER).join("\n"))),
        (
            "DESCRIPTION",
            quote(&format!("Description: {}", file.description)),
        ),
        ("KEYWORDS", keywords),
        ("EXTENSIONS", quote(&file.extensions())),
        ("ROOT", quote(&file.root)),
        ("CONFLICTS", conflicts.join(", ")),
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
    let mut lines = vec![file.record().render(Language::Lua)];
    if !file.packages.is_empty() {
        let extensions = quote(&file.extensions());
        lines.push(format!(
            "if extensions then\n  extensions({extensions})\nend"
        ));
    }
    if !file.conflicts.is_empty() {
        let conflicts: Vec<String> = file.conflicts.iter().map(|name| quote(name)).collect();
        lines.push(format!("conflict({})", conflicts.join(", ")));
    }
    if let Some(container) = &file.container {
        lines.push("setenv(\"CONTAINERROOT\", root)".to_owned());
        lines.push(render_container(container, file.module.suffix()));
    } else {
        let bin = format!("{}/bin", file.root);
        lines.push(format!("setenv(\"CONTAINERROOT\", {})", quote(&file.root)));
        lines.push(format!("prepend_path(\"PATH\", {})\n", quote(&bin)));
    }
    lines.join("\n")
}

/// Leaves out the line for keywords and the block for extensions if there are none.
fn without_empty_parts(text: &str, file: &ModuleFile) -> String {
    let mut text = text.to_owned();
    if file.keywords.is_empty() {
        text = text.replacen("\n\nif extensions", "\nif extensions", 1);
    }
    if file.packages.is_empty() {
        text = text.replacen("if extensions then\n  extensions(\"\")\nend\n", "", 1);
    }
    text
}

fn render_container(container: &ContainerModule, suffix: String) -> String {
    let image = &container.image;
    let mut candidates = vec![format!("  {},", quote(&image.path))];
    candidates.extend(image.dirs.iter().map(|dir| {
        let rest = format!("{}/{}", dir.rest, image.file);
        format!("  {},", candidate(dir, &rest))
    }));
    let binds = container.binds.iter().map(|bind| {
        let entry = bind.entry();
        format!("  {{ {}, {} }},", quote(&bind.source), quote(&entry))
    });
    let variables = container.variables.iter().map(|variable| {
        format!(
            "  {{ {}, {} }},",
            quote(&variable.name),
            quote(&variable.value)
        )
    });
    let path = container.path.iter().map(|dir| quote(dir));
    fill(
        CONTAINER,
        &[
            ("CANDIDATES", candidates.join("\n")),
            ("FILE", quote(&image.file)),
            ("SUFFIX", suffix),
            ("VALUES", variables.collect::<Vec<_>>().join("\n")),
            ("PATH", path.collect::<Vec<_>>().join(", ")),
            ("BINDS", binds.collect::<Vec<_>>().join("\n")),
            ("KEEPS_MISSING", container.keeps_missing_binds.to_string()),
        ],
    )
}

fn candidate(dir: &ImageDir, rest: &str) -> String {
    match &dir.variable {
        Some(name) => format!(
            "from_environment({}, {}) .. {}",
            quote(name),
            quote(&dir.start),
            quote(rest)
        ),
        None => quote(&format!("{}{rest}", dir.start)),
    }
}

/// Quotes a text so that Lua reads back the same characters.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            '\n' => quoted.push_str("\\n"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\{:03}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Quotes a text of several lines in brackets of a level that the text does not have.
fn block(text: &str) -> String {
    let mut level = "=".to_owned();
    while text.contains(&format!("]{level}]")) {
        level.push('=');
    }
    format!("[{level}[\n{}\n]{level}]", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::{block, quote};

    #[test]
    fn texts_are_quoted_for_lua() {
        assert_eq!(
            quote("a 'b' \"c\" \\ $[x]\n\t"),
            r#""a 'b' \"c\" \\ $[x]\n\009""#
        );
        assert_eq!(block("a ]=] b\n\n"), "[==[\na ]=] b\n]==]");
    }
}
