//! Reads the parts of a page that the tests compare: links, blocks, code in the text, prose.

use std::collections::BTreeSet;

/// Content of one Markdown file.
#[derive(Debug)]
pub(crate) struct Page {
    /// Path relative to the root of the repository.
    pub(crate) path: String,
    /// Targets of links outside of code.
    pub(crate) links: Vec<String>,
    /// Fenced blocks in their order.
    pub(crate) blocks: Vec<Block>,
    /// Code in the text, with the number of its line.
    pub(crate) spans: Vec<(usize, String)>,
    /// Lines outside of fenced blocks, with their numbers.
    pub(crate) prose: Vec<(usize, String)>,
}

/// Content of one fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    /// Number of the line with the fence.
    pub(crate) line: usize,
    /// Text behind the fence.
    pub(crate) info: String,
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn read(path: &str, text: &str) -> Self {
        let mut page = Self {
            path: path.to_owned(),
            links: Vec::new(),
            blocks: Vec::new(),
            spans: Vec::new(),
            prose: Vec::new(),
        };
        let mut open: Option<Block> = None;
        for (number, line) in (1..).zip(text.lines()) {
            match (&mut open, line.strip_prefix("```")) {
                (Some(_), Some(_)) => page.blocks.extend(open.take()),
                (Some(block), None) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, Some(info)) => {
                    open = Some(Block {
                        line: number,
                        info: info.to_owned(),
                        text: String::new(),
                    });
                }
                (None, None) => page.prose.push((number, line.to_owned())),
            }
        }
        assert!(open.is_none(), "{path}: a block is not closed");
        page.read_prose();
        page
    }

    /// Collects links and code. Both may go over the end of a line.
    fn read_prose(&mut self) {
        let mut paragraph = String::new();
        let mut first = 0;
        let mut paragraphs = Vec::new();
        for (number, line) in &self.prose {
            let ends = line.is_empty() || line.starts_with('|') || line.starts_with('#');
            if ends && !paragraph.is_empty() {
                paragraphs.push((first, std::mem::take(&mut paragraph)));
            }
            if line.starts_with('|') || line.starts_with('#') {
                paragraphs.push((*number, line.clone()));
            } else if !line.is_empty() {
                if paragraph.is_empty() {
                    first = *number;
                } else {
                    paragraph.push(' ');
                }
                paragraph.push_str(line.trim());
            }
        }
        paragraphs.push((first, paragraph));
        for (number, text) in paragraphs {
            let mut outside = String::new();
            for (index, part) in text.split('`').enumerate() {
                if index % 2 == 0 {
                    outside.push_str(part);
                } else {
                    self.spans.push((number, part.to_owned()));
                }
            }
            let targets = outside.split("](").skip(1);
            let targets = targets.filter_map(|rest| rest.split(')').next());
            self.links.extend(targets.map(str::to_owned));
        }
    }
}

impl Block {
    pub(crate) fn is_console(&self) -> bool {
        self.info.starts_with("console")
    }

    pub(crate) fn needs_site(&self) -> bool {
        self.info == "console,site"
    }

    /// Returns the command lines, without `$ ` and with their continuations.
    pub(crate) fn commands(&self) -> Vec<String> {
        let mut commands: Vec<String> = Vec::new();
        let mut continues = false;
        for line in self.text.lines() {
            let part = line.strip_prefix("$ ");
            let text = part.unwrap_or(line);
            let kept = text.strip_suffix('\\');
            match (continues, part) {
                (true, _) => commands.last_mut().unwrap().push_str(kept.unwrap_or(text)),
                (false, Some(_)) => commands.push(kept.unwrap_or(text).to_owned()),
                (false, None) => continue,
            }
            continues = kept.is_some();
        }
        commands
    }
}

/// Returns the anchors of a page's headings, as GitHub and mdBook make them.
pub(crate) fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        let heading = line.trim_start_matches('#').strip_prefix(' ');
        if let (false, true, Some(heading)) = (fenced, line.starts_with('#'), heading) {
            let words = heading.trim().to_lowercase();
            let kept = words.chars().filter_map(|letter| match letter {
                ' ' => Some('-'),
                '-' | '_' => Some(letter),
                _ => letter.is_alphanumeric().then_some(letter),
            });
            found.insert(kept.collect());
        }
    }
    found
}

#[test]
fn anchors_are_github_s() {
    let text = "# What *is* `this`?\n```sh\n# no heading\n```\n## A-b, c_d\n";
    let expected = ["what-is-this", "a-b-c_d"].map(str::to_owned);
    assert_eq!(anchors(text), BTreeSet::from(expected));
}

#[test]
fn pages_are_read() {
    let text = "See [a](b.md#c) and `x [y](z)`\nor `two\nlines`.\n\n```console\n$ one \\\n  two\nsaid\n$ three\n```\n";
    let page = Page::read("a.md", text);
    assert_eq!(page.links, ["b.md#c"]);
    assert_eq!(
        page.spans,
        [(1, "x [y](z)".to_owned()), (1, "two lines".to_owned())]
    );
    assert_eq!(page.blocks[0].commands(), ["one   two", "three"]);
}
