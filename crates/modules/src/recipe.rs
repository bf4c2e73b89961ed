//! Responsible for recipes of EasyBuild, which install a module with its commands and its image,
//! and for the archive of files that a recipe installs beside the image.

use std::path::Path;

use condense_publish::Staging;
use sha2::{Digest as _, Sha256};

use crate::{
    error::{Error, Result},
    file::ModuleFile,
    lua,
    root::{RECIPE_SOFTWARE, Root, RootFiles},
    tcl,
    template::fill,
};

const IMAGE: &str = include_str!("text/image.eb");
const INSTALLATION: &str = include_str!("text/installation.eb");
/// Verb that writes a module anew, for the help.
const WRITER: &str = "eb --rebuild";
/// Directory in which EasyBuild installs, as a template of EasyBuild.
const INSTALL_DIR: &str = "%(installdir)s";

/// Recipe with which EasyBuild installs a module.
#[derive(Debug, Clone)]
pub struct Recipe<'a> {
    /// Module that is installed. The directory of a module with an image is
    /// [`Recipe::ROOT`].
    pub file: &'a ModuleFile,
    /// Web page of the software.
    pub homepage: &'a str,
    /// Files that are installed; a module of an installation has none.
    pub sources: Option<RecipeSources<'a>>,
}

/// Files that a recipe installs.
#[derive(Debug, Clone)]
pub struct RecipeSources<'a> {
    /// SHA-256 of the image, in hexadecimal.
    pub image_digest: &'a str,
    /// Name of the archive of [`pack_archive`].
    pub archive: &'a str,
    /// SHA-256 of the archive, in hexadecimal.
    pub archive_digest: &'a str,
}

impl Recipe<'_> {
    /// Stands for the directory in which EasyBuild installs. No path has these characters.
    pub const ROOT: &'static str = "\u{f8ff}installdir\u{f8ff}";

    /// Returns the text of the recipe.
    ///
    /// # Errors
    /// Returns an error for a path that a bind mount, a search path or EasyBuild cannot take.
    pub fn render(&self) -> Result<String> {
        self.file.check()?;
        let file = self.file;
        let mut whatis = vec![format!("Description: {}", file.description)];
        if !file.keywords.is_empty() {
            whatis.push(format!("Keywords: {}", file.keywords.join(", ")));
        }
        let whatis = whatis.iter().map(|line| format!("    {},", word(line)));
        let mut values = vec![
            ("NAME", word(file.module.name())),
            ("VERSION", word(file.module.version())),
            ("HOMEPAGE", word(self.homepage)),
            ("WHATIS", whatis.collect::<Vec<_>>().join("\n")),
            ("DESCRIPTION", block(&file.help(WRITER).join("\n"))),
            ("LUA", block(&lua::render_footer(file))),
            ("TCL", block(&tcl::render_footer(file))),
        ];
        let (Some(container), Some(sources)) = (&file.container, &self.sources) else {
            let command = file.commands.first().map(|name| {
                let path = format!("{}/bin/{name}", file.root);
                word(&path)
            });
            values.push(("FILES", command.unwrap_or_default()));
            return Ok(fill(INSTALLATION, &values));
        };
        let image = container.image.file.as_str();
        if image.contains('\'') || image.chars().any(|c| c.is_ascii_control()) {
            return Err(Error::Path {
                path: image.into(),
                problem: "EasyBuild cannot install a file with `'` or a line end in its name",
            });
        }
        let keep = format!(
            "sh '{INSTALL_DIR}/share/condense/keep-user-software' {}",
            file.module.to_string().replace('/', "-")
        );
        let copy = format!(
            "cp -L '%(builddir)s/{}' '{INSTALL_DIR}/'",
            without_templates(image)
        );
        let unpack = format!(
            "tar -xf '%(builddir)s/{}' -C '{INSTALL_DIR}'",
            sources.archive
        );
        let checks = ["start-shell -c true", "python --version"];
        let has_python = file.commands.iter().any(|name| name == "python");
        let checks = &checks[..=usize::from(has_python)];
        let checks = checks.iter().map(|line| format!("    {},", word(line)));
        values.extend([
            ("IMAGE", word(image)),
            ("IMAGE_DIGEST", word(sources.image_digest)),
            ("ARCHIVE", word(sources.archive)),
            ("ARCHIVE_DIGEST", word(sources.archive_digest)),
            ("COPY", quote(&copy)),
            ("UNPACK", quote(&unpack)),
            ("KEEP", quote(&keep)),
            ("CHECKS", checks.collect::<Vec<_>>().join("\n")),
        ]);
        Ok(fill(IMAGE, &values))
    }
}

/// Files that a recipe installs beside the image: commands, run scripts and settings.
#[derive(Debug, Clone)]
pub struct RecipeArchive {
    /// Bytes of the archive, in the format tar. They depend on the files only.
    pub bytes: Vec<u8>,
    /// SHA-256 of the bytes, in hexadecimal.
    pub digest: String,
}

/// Makes the archive of a module's files, in a directory below `scratch`.
///
/// # Errors
/// Returns an error if a file cannot be written.
pub fn pack_archive(files: &RootFiles, scratch: &Path) -> Result<RecipeArchive> {
    let staging = Staging::create(scratch)?;
    let root = staging.path().join("root");
    Root::new(&root).write(files)?;
    let kept = root.join(RECIPE_SOFTWARE);
    fs_err::rename(root.join("user-software"), &kept)?;
    Root::new(&root).write_keeper()?;
    let mut archive = tar::Builder::new(Vec::new());
    archive.mode(tar::HeaderMode::Deterministic);
    archive.follow_symlinks(false);
    append(&mut archive, &root, Path::new(""))?;
    let bytes = archive.into_inner()?;
    Ok(RecipeArchive {
        digest: hex::encode(Sha256::digest(&bytes)),
        bytes,
    })
}

/// Appends the entries of a directory in the order of their names.
fn append(archive: &mut tar::Builder<Vec<u8>>, root: &Path, below: &Path) -> Result<()> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(root.join(below))? {
        names.push(entry?.file_name());
    }
    names.sort();
    for name in names {
        let inside = below.join(name);
        let path = root.join(&inside);
        archive.append_path_with_name(&path, &inside)?;
        if path.symlink_metadata()?.is_dir() {
            append(archive, root, &inside)?;
        }
    }
    Ok(())
}

/// Returns a text as a string of Python, without templates of EasyBuild in it.
fn word(text: &str) -> String {
    quote(&without_templates(text))
}

/// Returns a string of Python.
fn quote(text: &str) -> String {
    let mark = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut quoted = String::from(mark);
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if c == mark => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push(mark);
    quoted
}

/// Returns a text of several lines as a string of Python, without templates of EasyBuild in it but
/// for the directory in which it installs.
fn block(text: &str) -> String {
    let mut body = String::new();
    for c in without_templates(text.trim_end()).chars() {
        match c {
            '\\' => body.push_str("\\\\"),
            c if c.is_control() && c != '\n' => body.push_str(&format!("\\x{:02x}", c as u32)),
            c => body.push(c),
        }
    }
    // Three quotation marks in a row would end the string.
    let body = body.replace("\"\"\"", "\\\"\\\"\\\"");
    format!(
        "\"\"\"\n{}\n\"\"\"",
        body.replace(Recipe::ROOT, INSTALL_DIR)
    )
}

/// Doubles the signs in front of what EasyBuild would take for a template, such as `%(name)s`. It
/// leaves other `%` as they are.
fn without_templates(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        plain.push_str(&rest[..start]);
        let signs = &rest[start..];
        let count = signs.len() - signs.trim_start_matches('%').len();
        let after = &signs[count..];
        plain.push_str(&"%".repeat(if begins_template(after) {
            2 * count
        } else {
            count
        }));
        rest = after;
    }
    plain.push_str(rest);
    plain
}

/// Returns whether a text begins with a name in parentheses and an `s`.
fn begins_template(text: &str) -> bool {
    let inner = text.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    inner.is_some_and(|(name, after)| {
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        is_name && after.starts_with('s')
    })
}

#[cfg(test)]
mod tests {
    use super::{block, word};

    #[test]
    fn texts_are_quoted_for_python_and_for_templates_of_easybuild() {
        assert_eq!(word("a 'b' \\ 5%"), r#""a 'b' \\ 5%""#);
        assert_eq!(word("a 'b' \"c\"\n"), r#"'a \'b\' "c"\n'"#);
        assert_eq!(
            word("%(name)s %%(x)s %s %(a b)s"),
            "'%%(name)s %%%%(x)s %s %(a b)s'"
        );
        let root = super::Recipe::ROOT;
        assert_eq!(
            block(&format!("{root}/a \"\"\" \\n\n%(x)s \"\n")),
            "\"\"\"\n%(installdir)s/a \\\"\\\"\\\" \\\\n\n%%(x)s \"\n\"\"\""
        );
    }
}
