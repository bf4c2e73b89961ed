//! Responsible for platforms: parsing them, and choosing the entry of an index for a machine.

use std::fmt;

use super::manifest::{DeclaredPlatform, Descriptor};

/// An architecture in the notation of registries, `amd64` or `arm64/v8`. The operating system is
/// always Linux.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// Returns the platform of this machine.
    pub fn host() -> Platform {
        Platform {
            architecture: go_name(std::env::consts::ARCH).to_owned(),
            variant: None,
        }
    }

    /// Parses a platform such as `x86_64`, `amd64` or `linux/arm64/v8`. Returns `None` for any
    /// other text.
    pub fn parse(text: &str) -> Option<Platform> {
        let text = text.strip_prefix("linux/").unwrap_or(text);
        let (architecture, variant) = match text.split_once('/') {
            Some((architecture, variant)) => (architecture, Some(variant)),
            None => (text, None),
        };
        let is_word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        (is_word(architecture) && variant.is_none_or(is_word)).then(|| Platform {
            architecture: go_name(architecture).to_owned(),
            variant: variant.map(str::to_owned),
        })
    }

    /// Returns the architecture without its variant, for example `amd64`.
    pub(crate) fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Returns the architecture in the wording of `uname -m`, for example `x86_64`.
    pub(crate) fn machine(&self) -> &str {
        match self.architecture.as_str() {
            "amd64" => "x86_64",
            "arm64" => "aarch64",
            other => other,
        }
    }

    /// Returns the entry for this platform: the one with the wanted variant, or else the one for
    /// every machine of this architecture, or else the first one. The first one is not preferred,
    /// because it may be for a later generation of processors, and its programs would not start on
    /// this machine.
    pub(crate) fn choose<'a>(&self, entries: &'a [Descriptor]) -> Option<&'a Descriptor> {
        let fitting: Vec<(&Descriptor, &DeclaredPlatform)> = entries
            .iter()
            .filter_map(|entry| Some((entry, entry.platform.as_ref()?)))
            .filter(|(_, platform)| {
                platform.os == "linux" && go_name(&platform.architecture) == self.architecture
            })
            .collect();
        let of = |wanted: Option<&str>| {
            fitting.iter().find(|(_, platform)| {
                platform.variant.as_deref().filter(|v| !v.is_empty()) == wanted
            })
        };
        if let Some(variant) = &self.variant {
            return of(Some(variant)).map(|(entry, _)| *entry);
        }
        let baseline = match self.architecture.as_str() {
            "amd64" => "v1",
            "arm64" => "v8",
            _ => "",
        };
        of(None)
            .or_else(|| of(Some(baseline)))
            .or(fitting.first())
            .map(|(entry, _)| *entry)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// Returns the platforms of an index as a text for an error.
pub(crate) fn render_available(entries: &[Descriptor]) -> String {
    let mut names: Vec<String> = entries
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        // An index also has entries for signatures and the like.
        .filter(|platform| platform.os != "unknown")
        .map(|platform| {
            let mut name = format!("{}/{}", platform.os, platform.architecture);
            if let Some(variant) = &platform.variant {
                name.push('/');
                name.push_str(variant);
            }
            name
        })
        .collect();
    names.dedup();
    if names.is_empty() {
        "nothing that names its platform".to_owned()
    } else {
        names.join(", ")
    }
}

/// Returns Go's name of an architecture, which registries use.
fn go_name(architecture: &str) -> &str {
    match architecture {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "x86" | "i686" | "i386" => "386",
        "powerpc64le" | "ppc64el" => "ppc64le",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(platforms: &[&str]) -> Vec<Descriptor> {
        platforms
            .iter()
            .map(|text| {
                let mut words = text.split('/').map(str::to_owned);
                Descriptor {
                    digest: (*text).to_owned(),
                    platform: Some(DeclaredPlatform {
                        os: words.next().unwrap_or_default(),
                        architecture: words.next().unwrap_or_default(),
                        variant: words.next(),
                    }),
                    ..Descriptor::default()
                }
            })
            .collect()
    }

    #[test]
    fn the_entry_for_every_machine_of_the_architecture_is_chosen() {
        let all = entries(&[
            "linux/arm64/v8",
            "unknown/unknown",
            "windows/amd64",
            "linux/amd64/v3",
            "linux/amd64",
            "linux/arm/v5",
            "linux/arm/v7",
        ]);
        for (wanted, expected) in [
            ("amd64", Some("linux/amd64")),
            ("x86_64", Some("linux/amd64")),
            ("linux/amd64/v3", Some("linux/amd64/v3")),
            ("amd64/v4", None),
            ("aarch64", Some("linux/arm64/v8")),
            ("arm64/v8", Some("linux/arm64/v8")),
            ("arm", Some("linux/arm/v5")),
            ("s390x", None),
        ] {
            let platform = Platform::parse(wanted).expect(wanted);
            let chosen = platform.choose(&all).map(|entry| entry.digest.as_str());
            assert_eq!(chosen, expected, "{wanted}");
        }
        assert!(!render_available(&all).contains("unknown"));
        for bad in ["", "AMD64", "linux/", "windows/amd64/x/y z"] {
            assert_eq!(Platform::parse(bad), None, "{bad}");
        }
    }
}
