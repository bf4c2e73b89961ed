//! Responsible for the errors of this crate: mistakes in a definition file, each with its place.

use condense_diagnostics::{Hint, Location};

use crate::{agent::REFUSED, section::SECTIONS};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Mistake in a definition file or in its arguments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {problem}")]
pub struct Error {
    /// Place of the mistake.
    pub location: Location,
    /// Kind of the mistake.
    pub problem: Problem,
}

/// Kind of a mistake in a definition file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// File whose bytes are not text.
    #[error("this is not UTF-8 text")]
    NotText,
    /// File without a stage.
    #[error("there is no `Bootstrap:` in the file")]
    Empty,
    /// Text before the first `Bootstrap:`.
    #[error("`{0}` is before the first `Bootstrap:`")]
    BeforeBootstrap(String),
    /// Header line without a colon.
    #[error("the header `{0}` has no value")]
    NoValue(String),
    /// Header that no definition file has.
    #[error("`{name}:` is not a header")]
    UnknownHeader {
        /// Name of the header, in lower case.
        name: String,
        /// Header with a similar name.
        similar: Option<&'static str>,
    },
    /// Header whose last line asks for another one.
    #[error("nothing follows the `\\` at the end of the line")]
    OpenContinuation,
    /// Source that this program cannot use, or that nobody knows.
    #[error("`Bootstrap: {0}` is not supported")]
    Agent(String),
    /// Stage without a source.
    #[error("`From:` is missing in this stage")]
    NoFrom,
    /// Fingerprint of a key that is none.
    #[error("`{0}` is not the fingerprint of a key")]
    Fingerprint(String),
    /// Section that no definition file has.
    #[error("`%{name}` is not a section")]
    UnknownSection {
        /// Name of the section.
        name: String,
        /// Section with a similar name.
        similar: Option<&'static str>,
    },
    /// Line of a section that looks like the beginning of another one.
    #[error("a line that begins with `%` begins a section, and this one is indented")]
    IndentedSection,
    /// Section that is not run.
    #[error("`%{0}` is not supported: it would run on this machine, not in the image")]
    HostSection(String),
    /// Section of an app without its name.
    #[error("`%{0}` names no app")]
    NoApp(String),
    /// App whose name leads out of its directory.
    #[error("`{0}` cannot be the name of an app")]
    AppName(String),
    /// Words behind `%files` that have no meaning.
    #[error("`%files {0}` is not understood")]
    FilesWords(String),
    /// Stage that is not above the one that copies from it.
    #[error("there is no stage `{name}` above this one")]
    UnknownStage {
        /// Name that the section gives.
        name: String,
        /// Names of the stages above.
        known: Vec<String>,
    },
    /// Quotation mark without its partner.
    #[error("the quotation mark is not closed")]
    OpenQuote,
    /// Quotation mark that does not quote.
    #[error("a single quotation mark does not quote here")]
    SingleQuote,
    /// Variable in the name of a file.
    #[error("variables are not expanded in names of files")]
    Variable,
    /// Comment behind a name without a destination.
    #[error("`#` behind a name does not begin a comment: it would be the destination")]
    CommentAsDestination,
    /// Option `-c` without a shell.
    #[error("no shell follows `-c`")]
    NoShell,
    /// Argument that is used and has no value.
    #[error("the argument `{0}` has no value")]
    NoArgument(String),
    /// Arguments that are given and not used.
    #[error("nothing in the file uses {}", list(names))]
    Unused {
        /// Names of the arguments.
        names: Vec<String>,
        /// Argument of the file with a name like that of the first.
        similar: Option<String>,
    },
    /// Argument that is not a name and a value.
    #[error("`{0}` is not NAME=VALUE")]
    NotAPair(String),
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let word = if names.len() == 1 {
        "the argument"
    } else {
        "the arguments"
    };
    format!("{word} {}", quoted.join(", "))
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(self.problem.hint())
    }

    fn location(&self) -> Option<Location> {
        Some(self.location.clone())
    }
}

impl Problem {
    fn hint(&self) -> String {
        match self {
            Self::NotText => "save the file as UTF-8".to_owned(),
            Self::Empty | Self::BeforeBootstrap(_) => {
                "begin with two lines such as `Bootstrap: docker` and `From: debian:12`".to_owned()
            }
            Self::NoValue(name) => format!("write `{name}: VALUE`, or begin a comment with `#`"),
            Self::UnknownHeader {
                similar: Some(similar),
                ..
            } => format!("did you mean `{similar}:`?"),
            Self::UnknownHeader { .. } => {
                "the usual ones are Bootstrap, From, Stage, Registry, Namespace and Fingerprints"
                    .to_owned()
            }
            Self::OpenContinuation => "remove the `\\`, or write the rest of the value".to_owned(),
            Self::Agent(agent) => {
                let refused = REFUSED.iter().find(|(name, _)| name == agent);
                let advice = refused.map_or(
                    "use localimage, docker, docker-archive, oci, oci-archive, oras or scratch",
                    |(_, advice)| advice,
                );
                advice.to_owned()
            }
            Self::NoFrom => "name the source with `From: IMAGE`".to_owned(),
            Self::Fingerprint(_) => {
                "write 40 hexadecimal digits, as `condense sif verify` shows them".to_owned()
            }
            Self::UnknownSection {
                similar: Some(similar),
                ..
            } => format!("did you mean `%{similar}`?"),
            Self::UnknownSection { .. } => format!("the sections are %{}", SECTIONS.join(", %")),
            Self::IndentedSection => {
                "begin the section in the first column; in a script, put something before the `%`"
                    .to_owned()
            }
            Self::HostSection(_) => {
                "copy with %files, make what is needed in %post, and run the rest before the build"
                    .to_owned()
            }
            Self::NoApp(section) => format!("write `%{section} NAME`"),
            Self::AppName(_) => "name it with letters, digits, `-`, `_` and `.`".to_owned(),
            Self::FilesWords(_) => {
                "write `%files`, or `%files from STAGE` to copy from a stage above".to_owned()
            }
            Self::UnknownStage { name, known } => match known.as_slice() {
                [] => format!("write `Stage: {name}` into the headers of the stage"),
                known => format!("the stages above are {}", known.join(", ")),
            },
            Self::OpenQuote => "close it with `\"`".to_owned(),
            Self::SingleQuote => {
                "write `\"` around a name with spaces, `?` for a quotation mark in a name".to_owned()
            }
            Self::Variable => {
                "name the file itself, or use an argument: `{{ NAME }}` and `--build-arg NAME=VALUE`"
                    .to_owned()
            }
            Self::CommentAsDestination => "put the comment on a line of its own".to_owned(),
            Self::NoShell => "write `%post -c /bin/bash`".to_owned(),
            Self::NoArgument(name) => format!(
                "give it with `--build-arg {name}=VALUE`, or write `{name}=VALUE` below %arguments in the same stage"
            ),
            Self::Unused { names, similar } => match similar {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => format!(
                    "leave out `--build-arg {}`, or go on with a warning: `--warn-unused-build-args`",
                    names.first().map_or("", String::as_str)
                ),
            },
            Self::NotAPair(_) => {
                "write NAME=VALUE; a comma begins the next pair, values with commas go into a file for `--build-arg-file`"
                    .to_owned()
            }
        }
    }
}
