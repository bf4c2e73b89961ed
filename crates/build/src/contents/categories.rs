//! Responsible for kinds of files that take space and that programs may not need.

use std::path::Path;

use super::Space;

/// Kind of files in an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Category {
    /// Compiled Python modules: `.pyc`.
    ByteCode,
    /// Directories `test` and `tests` of Python packages.
    Tests,
    /// Archives for linking: `.a`.
    StaticLibraries,
    /// Separate debug symbols: `.debug`, `.dwp` and `lib/debug`.
    DebugSymbols,
    /// Headers for compilers: `include`.
    Headers,
    /// Documentation: `share/doc`, `share/man`, `share/info`, `share/gtk-doc`.
    Documentation,
    /// Caches of installers: `pkgs` of conda, and directories of pip's and uv's caches.
    Caches,
}

/// Space of a category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CategoryUse {
    /// Kind of the files.
    pub category: Category,
    /// Space of the files.
    pub space: Space,
}

impl Category {
    /// All categories, in the order in which they are shown.
    pub const ALL: [Self; 7] = [
        Self::ByteCode,
        Self::Tests,
        Self::StaticLibraries,
        Self::DebugSymbols,
        Self::Headers,
        Self::Documentation,
        Self::Caches,
    ];

    /// Returns the name in JSON, such as `byte-code`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ByteCode => "byte-code",
            Self::Tests => "tests",
            Self::StaticLibraries => "static-libraries",
            Self::DebugSymbols => "debug-symbols",
            Self::Headers => "headers",
            Self::Documentation => "documentation",
            Self::Caches => "caches",
        }
    }

    /// Returns the category of a file with this path in its environment.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let names: Vec<&str> = path.iter().filter_map(|name| name.to_str()).collect();
        let (file, dirs) = names.split_last()?;
        let has = |wanted: &[&str]| dirs.windows(wanted.len()).any(|found| found == wanted);
        let extension = Path::new(file)
            .extension()
            .and_then(|extension| extension.to_str());
        if dirs.first() == Some(&"pkgs")
            || has(&[".cache", "pip"])
            || has(&[".cache", "uv"])
            || has(&[".cache", "conda"])
        {
            return Some(Self::Caches);
        }
        let python = dirs
            .iter()
            .position(|name| name.starts_with("python") || *name == "site-packages");
        if python.is_some_and(|from| {
            let below = dirs[from..].iter();
            below
                .clone()
                .any(|name| *name == "tests" || *name == "test")
        }) {
            return Some(Self::Tests);
        }
        match extension {
            Some("pyc" | "pyo") => return Some(Self::ByteCode),
            Some("a") => return Some(Self::StaticLibraries),
            Some("debug" | "dwp") => return Some(Self::DebugSymbols),
            _ => {}
        }
        if has(&["lib", "debug"]) {
            return Some(Self::DebugSymbols);
        }
        match dirs {
            ["include", ..] => Some(Self::Headers),
            ["share", "doc" | "man" | "info" | "gtk-doc", ..] => Some(Self::Documentation),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Category;

    #[test]
    fn files_are_sorted_by_their_paths() {
        for (path, expected) in [
            (
                "lib/python3.12/__pycache__/os.cpython-312.pyc",
                Some(Category::ByteCode),
            ),
            (
                "lib/python3.12/site-packages/numpy/tests/test_x.py",
                Some(Category::Tests),
            ),
            (
                "lib/python3.12/site-packages/numpy/tests/__pycache__/x.pyc",
                Some(Category::Tests),
            ),
            ("lib/libpython3.12.a", Some(Category::StaticLibraries)),
            ("lib/debug/usr/x", Some(Category::DebugSymbols)),
            ("bin/x.debug", Some(Category::DebugSymbols)),
            ("include/zlib.h", Some(Category::Headers)),
            ("share/man/man1/x.1", Some(Category::Documentation)),
            ("pkgs/zlib-1/info/index.json", Some(Category::Caches)),
            ("lib/libz.so", None),
            ("tests/x", None),
            ("bin/test", None),
        ] {
            assert_eq!(Category::of(path.as_ref()), expected, "{path}");
        }
    }
}
