//! Responsible for stages: dividing a file into them, and reading each one.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use condense_diagnostics::{Location, closest};

use crate::{
    Agent, App, Arguments, Error, Files, Header, Problem, Result, Script,
    arguments::pair,
    files, header,
    section::{self, APP_SECTIONS, Section},
    text::{Original, Text, lines, slots},
};

/// Number of hexadecimal digits of a key's fingerprint.
const FINGERPRINT_LEN: usize = 40;
/// Mark that some editors put before UTF-8 text.
const BYTE_ORDER_MARK: &str = "\u{feff}";
/// Sections of which only one text is kept.
const SCRIPTS: [&str; 6] = [
    "environment",
    "help",
    "post",
    "runscript",
    "startscript",
    "test",
];

/// Definition file with all its stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Stages in the order of the file. The last one becomes the image.
    pub stages: Vec<Stage>,
    /// Text of all stages, with the arguments substituted.
    pub text: String,
    /// Remarks that end no build.
    pub notes: Vec<Note>,
}

/// Remark about a place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Place that the remark is about.
    pub location: Location,
    /// Text of the remark.
    pub message: String,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.location, self.message)
    }
}

/// Stage of a definition file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Kind of the source.
    pub agent: Agent,
    /// All headers, the source's as well.
    pub headers: Vec<Header>,
    /// Files to copy: those from stages, and those from the host.
    pub files: Vec<Files>,
    /// Labels in the order of the file.
    pub labels: Vec<(String, String)>,
    /// Apps in the order of the file.
    pub apps: Vec<App>,
    scripts: BTreeMap<&'static str, Script>,
}

impl Definition {
    /// Reads the bytes of a definition file. Errors name it as `file`.
    ///
    /// # Errors
    /// Returns the first mistake of the file.
    pub fn parse(file: &Path, bytes: &[u8], arguments: &Arguments) -> Result<Self> {
        let text = text_of(file, bytes)?;
        let original = Original { file, text };
        let mut definition = Self {
            stages: Vec::new(),
            text: String::new(),
            notes: Vec::new(),
        };
        let mut names = Names::default();
        let mut begins = beginnings(text);
        begins.push(text.len());
        for (number, range) in begins.windows(2).enumerate() {
            let plain = Text::plain(original, range[0], range[1]);
            let defaults = defaults(&plain, &mut definition.notes);
            let of_stage = slots(&plain.text).into_iter().map(|slot| slot.name);
            names.known.extend(of_stage.map(str::to_owned));
            let text = plain.substituted(arguments, &defaults)?;
            names.used.extend(text.used.iter().cloned());
            let above = &definition.stages;
            let read = Stage::read(&text, above, &mut definition.notes)?;
            if let Some(stage) = read {
                definition.text.push_str(&text.text);
                definition.stages.push(stage);
            } else if number > 0 {
                return Err(original.error(range[0], Problem::Empty));
            }
        }
        if definition.stages.is_empty() {
            return Err(original.error(0, Problem::Empty));
        }
        definition.check_unused(original, arguments, &names)?;
        Ok(definition)
    }

    /// Refuses arguments that nothing uses, or notes them.
    fn check_unused(
        &mut self,
        original: Original,
        arguments: &Arguments,
        names: &Names,
    ) -> Result<()> {
        let unused = arguments.names().filter(|name| !names.used.contains(*name));
        let unused: Vec<String> = unused.map(str::to_owned).collect();
        let Some(first) = unused.first() else {
            return Ok(());
        };
        let location = Location::new(original.file, 0, 0);
        let similar = closest(first, names.known.iter().map(String::as_str)).map(str::to_owned);
        let problem = Problem::Unused {
            names: unused,
            similar,
        };
        if !arguments.warns_of_unused {
            return Err(Error { location, problem });
        }
        self.notes.push(Note {
            location,
            message: problem.to_string(),
        });
        Ok(())
    }
}

/// Names of arguments in a file.
#[derive(Default)]
struct Names {
    used: BTreeSet<String>,
    known: BTreeSet<String>,
}

fn text_of<'b>(file: &Path, bytes: &'b [u8]) -> Result<&'b str> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = &bytes[..error.valid_up_to()];
        let text = String::from_utf8_lossy(valid);
        Original { file, text: &text }.error(text.len(), Problem::NotText)
    })?;
    Ok(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text))
}

/// Returns the offsets at which stages begin: those of all lines with `Bootstrap:` in the first
/// column, and 0.
fn beginnings(text: &str) -> Vec<usize> {
    const WORD: &str = "bootstrap:";
    let is_first = |line: &str| {
        let begin = line.as_bytes().get(..WORD.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(WORD.as_bytes()))
    };
    let mut found: Vec<usize> = lines(text)
        .filter(|line| is_first(line.text))
        .map(|line| line.offset)
        .collect();
    if found.first() != Some(&0) {
        found.insert(0, 0);
    }
    found
}

/// Reads the values of `%arguments` in a stage whose arguments are not substituted yet.
fn defaults(text: &Text, notes: &mut Vec<Note>) -> BTreeMap<String, String> {
    let mut defaults = BTreeMap::new();
    let (_, sections) = section::divide(&text.text);
    let of_arguments = sections.iter().filter(|one| one.name == "arguments");
    for line in of_arguments.flat_map(|section| &section.lines) {
        let trimmed = line.text.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        match pair(trimmed) {
            Some((name, value)) => {
                defaults.insert(name.to_owned(), value.to_owned());
            }
            None => notes.push(Note {
                location: text.location(line.first()),
                message: format!("`{trimmed}` is skipped: it is not NAME=VALUE"),
            }),
        }
    }
    defaults
}

impl Stage {
    /// Reads a stage, or returns `None` if there is nothing but comments.
    fn read(text: &Text, above: &[Self], notes: &mut Vec<Note>) -> Result<Option<Self>> {
        let (header_lines, sections) = section::divide(&text.text);
        let headers = header::read(header_lines.into_iter(), text)?;
        let Some(bootstrap) = headers.iter().find(|header| header.name == "bootstrap") else {
            if let Some(first) = headers.first() {
                let problem = Problem::BeforeBootstrap(format!("{}:", first.name));
                return Err(Error {
                    location: first.location.clone(),
                    problem,
                });
            }
            if let Some(first) = sections.first() {
                let problem = Problem::BeforeBootstrap(format!("%{}", first.name));
                return Err(text.error(first.offset, problem));
            }
            return Ok(None);
        };
        let Some(agent) = Agent::parse(&bootstrap.value) else {
            return Err(Error {
                location: bootstrap.value_location.clone(),
                problem: Problem::Agent(bootstrap.value.to_ascii_lowercase()),
            });
        };
        let mut stage = Self {
            agent,
            headers,
            files: Vec::new(),
            labels: Vec::new(),
            apps: Vec::new(),
            scripts: BTreeMap::new(),
        };
        stage.check_headers()?;
        for section in &sections {
            section::check(section, text)?;
            stage.add(section, text, above, notes)?;
        }
        if let Some(post) = stage.script("post") {
            post.shell()?;
        }
        Ok(Some(stage))
    }

    fn check_headers(&self) -> Result<()> {
        let Some(bootstrap) = self.header("bootstrap") else {
            return Ok(());
        };
        if self.agent != Agent::Scratch && self.from().is_empty() {
            let location = self.header("from").unwrap_or(bootstrap).location.clone();
            return Err(Error {
                location,
                problem: Problem::NoFrom,
            });
        }
        let wrong = self.fingerprints().into_iter().find(|one| {
            one.len() != FINGERPRINT_LEN || !one.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        match (wrong, self.header("fingerprints")) {
            (Some(wrong), Some(header)) => Err(Error {
                location: header.value_location.clone(),
                problem: Problem::Fingerprint(wrong),
            }),
            _ => Ok(()),
        }
    }

    /// Adds a section to the stage.
    fn add(
        &mut self,
        section: &Section,
        text: &Text,
        above: &[Self],
        notes: &mut Vec<Note>,
    ) -> Result<()> {
        let name = section.name.as_str();
        if name == "files" {
            let from = stage_of_files(section, text, above)?;
            let transfers = files::transfers(section, text, notes)?;
            match self.files.iter_mut().find(|files| files.from == from) {
                Some(files) => files.transfers.extend(transfers),
                None => self.files.push(Files { from, transfers }),
            }
        } else if name == "labels" {
            for (name, value) in labels(&section.body()) {
                self.labels.retain(|(other, _)| *other != name);
                self.labels.push((name, value));
            }
        } else if APP_SECTIONS.contains(&name) {
            self.add_to_app(section, text, notes)?;
        } else if let Some(name) = SCRIPTS.iter().find(|known| **known == name) {
            let location = text.location(section.offset);
            let script = self.scripts.entry(name).or_insert_with(|| Script {
                text: String::new(),
                words: String::new(),
                location,
                parts: Vec::new(),
            });
            script.push(section, text);
            if !section.plain_words().is_empty() {
                section.plain_words().clone_into(&mut script.words);
            }
        }
        Ok(())
    }

    fn add_to_app(&mut self, section: &Section, text: &Text, notes: &mut Vec<Note>) -> Result<()> {
        let Some(name) = section.plain_words().split_whitespace().next() else {
            let problem = Problem::NoApp(section.name.clone());
            return Err(text.error(section.offset, problem));
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !name.chars().all(is_plain) || name.starts_with('.') {
            let problem = Problem::AppName(name.to_owned());
            return Err(text.error(section.words_offset, problem));
        }
        let at = self.apps.iter().position(|app| app.name == name);
        let at = at.unwrap_or_else(|| {
            self.apps.push(App {
                name: name.to_owned(),
                sections: BTreeMap::new(),
                files: Vec::new(),
            });
            self.apps.len() - 1
        });
        let app = &mut self.apps[at];
        if section.name == "appfiles" {
            app.files.extend(files::transfers(section, text, notes)?);
            return Ok(());
        }
        let script = app.sections.entry(section.name.clone());
        let script = script.or_insert_with(|| Script {
            text: String::new(),
            words: String::new(),
            location: text.location(section.offset),
            parts: Vec::new(),
        });
        script.push(section, text);
        Ok(())
    }

    /// Returns the header of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&Header> {
        self.headers.iter().find(|header| header.name == name)
    }

    /// Returns the value of a header, or an empty text.
    fn value(&self, name: &str) -> &str {
        self.header(name).map_or("", |header| &header.value)
    }

    /// Returns the value of `From:`.
    pub fn from(&self) -> &str {
        self.value("from")
    }

    /// Returns the place of the source.
    pub fn source_location(&self) -> Option<&Location> {
        let header = self.header("from").or_else(|| self.header("bootstrap"))?;
        Some(&header.value_location)
    }

    /// Returns the name of the stage.
    pub fn name(&self) -> Option<&str> {
        self.header("stage").map(|header| header.value.as_str())
    }

    /// Returns the fingerprints of the keys that must have signed the source, in upper case.
    pub fn fingerprints(&self) -> Vec<String> {
        let words = self.value("fingerprints").split(',').map(str::trim);
        words
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_uppercase)
            .collect()
    }

    /// Returns the name of the source with the registry and the namespace of other headers.
    pub fn source(&self) -> String {
        let mut source = self.from().to_owned();
        for name in ["namespace", "registry"] {
            let before = self.value(name);
            if self.agent == Agent::Docker && !before.is_empty() {
                source = format!("{before}/{source}");
            }
        }
        source
    }

    /// Returns the script of a section, such as `runscript`, if the stage has it.
    pub fn script(&self, name: &str) -> Option<&Script> {
        let script = self.scripts.get(name)?;
        (!script.text.is_empty()).then_some(script)
    }
}

/// Returns the stage that a section of files names.
fn stage_of_files(section: &Section, text: &Text, above: &[Stage]) -> Result<Option<String>> {
    let words = section.plain_words();
    let name = match words.split_whitespace().collect::<Vec<_>>().as_slice() {
        [] => return Ok(None),
        [from, name] if from.eq_ignore_ascii_case("from") => *name,
        _ => {
            let problem = Problem::FilesWords(words.to_owned());
            return Err(text.error(section.words_offset, problem));
        }
    };
    let mut known = above.iter().filter_map(Stage::name);
    if known.any(|known| known == name) {
        return Ok(Some(name.to_owned()));
    }
    let problem = Problem::UnknownStage {
        name: name.to_owned(),
        known: above
            .iter()
            .filter_map(Stage::name)
            .map(str::to_owned)
            .collect(),
    };
    let at = section.words_offset + words.rfind(name).unwrap_or(0);
    Err(text.error(at, problem))
}

/// Reads labels: a name and a value on each line.
fn labels(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            (name.to_owned(), value.trim().to_owned())
        })
        .collect()
}
