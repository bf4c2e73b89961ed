//! Responsible for finding activation scripts that cannot write files, whatever they do: their
//! commands are known by name, and none of them changes a file system.
//!
//! This is a question about the text alone, which is asked before anything runs. Every doubt counts
//! as writing: a script that is not understood only gets real files to write to.

/// Commands that change no file: builtins and keywords of shells, and programs that only read.
const HARMLESS: [&str; 45] = [
    "!", ":", "[", "[[", "basename", "break", "cat", "continue", "cut", "declare", "dirname", "do",
    "done", "echo", "elif", "else", "exit", "export", "expr", "false", "fi", "for", "grep", "head",
    "id", "if", "local", "ls", "printf", "pwd", "readlink", "readonly", "realpath", "return",
    "shift", "tail", "test", "then", "tr", "true", "typeset", "uname", "unset", "until", "while",
];
/// Words after which the next word is a command again.
const BEFORE_COMMANDS: [&str; 10] = [
    "!", "do", "done", "elif", "else", "fi", "if", "then", "until", "while",
];

/// Returns whether an activation script may write files. Scripts for which this is false consist of
/// assignments, tests, and commands that only read.
pub fn may_write(script: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(script) else {
        return true;
    };
    // Commands inside a text may run wherever a shell evaluates the text, such as in an index.
    let hides = ["$(", "`", "$[", "$'", "\r", "\0"];
    hides.iter().any(|part| text.contains(part)) || Lexer::new(text).may_write()
}

/// Reader of the words of a script for a POSIX shell or bash.
struct Lexer<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    word: String,
    /// Whether a part of the word is in quotes, so that it is no keyword.
    is_quoted: bool,
    /// Whether the next word is a command.
    is_command: bool,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text.chars().peekable(),
            word: String::new(),
            is_quoted: false,
            is_command: true,
        }
    }

    fn may_write(mut self) -> bool {
        while let Some(character) = self.rest.next() {
            let is_understood = match character {
                '\'' => self.single_quoted(),
                '"' => self.double_quoted(),
                // A function may have the name of a harmless command.
                '\\' | '(' | ')' | '<' => false,
                '$' => self.expanded(false) && self.push('$'),
                '>' => self.redirected(),
                '#' if self.word.is_empty() && !self.is_quoted => self.comment(),
                '\n' | ';' | '&' | '|' => self.end_word() && self.begin_command(),
                ' ' | '\t' => self.end_word(),
                other => self.push(other),
            };
            if !is_understood {
                return true;
            }
        }
        !self.end_word()
    }

    fn push(&mut self, character: char) -> bool {
        self.word.push(character);
        true
    }

    fn single_quoted(&mut self) -> bool {
        self.is_quoted = true;
        self.rest.any(|character| character == '\'')
    }

    fn double_quoted(&mut self) -> bool {
        self.is_quoted = true;
        while let Some(character) = self.rest.next() {
            match character {
                '"' => return true,
                '\\' if self.rest.next() == Some('\n') => return false,
                '$' if !self.expanded(true) => return false,
                _ => {}
            }
        }
        false
    }

    /// Takes the variable behind a dollar sign, if it is a name, or a name in braces with words
    /// that need no quotes.
    fn expanded(&mut self, in_quotes: bool) -> bool {
        let is_name = |character: &char| character.is_ascii_alphanumeric() || *character == '_';
        if self.rest.next_if_eq(&'{').is_none() {
            return self.rest.peek().is_some_and(is_name);
        }
        while let Some(character) = self.rest.next() {
            match character {
                '}' => return true,
                '$' if self.rest.peek().is_some_and(is_name) => {}
                ':' | '+' | '-' | '=' | '/' | '.' | '%' | '*' => {}
                ' ' if in_quotes => {}
                other if is_name(&other) => {}
                _ => return false,
            }
        }
        false
    }

    fn comment(&mut self) -> bool {
        while self.rest.next_if(|character| *character != '\n').is_some() {}
        true
    }

    /// Takes the target of an output redirection: the null device, or another stream.
    fn redirected(&mut self) -> bool {
        let is_blank = |character: &char| matches!(character, ' ' | '\t');
        while self.rest.next_if(is_blank).is_some() {}
        let mut target = String::new();
        let ends = |character: &char| " \t\n;|)".contains(*character);
        while let Some(character) = self.rest.next_if(|character| !ends(character)) {
            target.push(character);
        }
        let is_stream = target == "&1" || target == "&2";
        is_stream || target == "/dev/null"
    }

    /// Ends a word. Returns whether it is understood.
    fn end_word(&mut self) -> bool {
        let word = std::mem::take(&mut self.word);
        let is_quoted = std::mem::take(&mut self.is_quoted);
        if !self.is_command && !is_quoted && matches!(&*word, "do" | "then" | "]]") {
            self.is_command = true;
            return true;
        }
        if word.is_empty() && !is_quoted || !self.is_command || is_assignment(&word) {
            return true;
        }
        if is_quoted || !HARMLESS.contains(&&*word) {
            return false;
        }
        self.is_command = BEFORE_COMMANDS.contains(&&*word);
        true
    }

    fn begin_command(&mut self) -> bool {
        self.is_command = true;
        true
    }
}

/// Returns whether a word in the place of a command is an assignment to a variable.
fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else {
        return false;
    };
    let name = name.strip_suffix('+').unwrap_or(name);
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    !name.is_empty() && name.chars().all(is_part) && !name.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::may_write;

    #[test]
    fn scripts_that_only_set_variables_write_nothing() {
        for script in [
            "",
            "#!/bin/sh\n# mkdir -p x > y\nexport A=1",
            "export EDGE_LINES=\"one\nmkdir two\"\n",
            "if [ -n \"${A+x}\" ]; then\n    export B=\"$A\"\nelse unset B; fi\n",
            "export A=\"it's \\\"quoted\\\" \\$HOME \\\\ *\"\n",
            "export A='$x; touch x'; B=2 C+=3\n",
            "export A=\"$B/edge${C:+:$C}\"; export D=${E%/bin}\n",
            "export A=\"${B:-the default}\"\n",
            "[[ \"$A\" == b ]] && export B=1 || true\n",
            "for name in a b; do echo $name >/dev/null 2>&1; done\n",
            "while ! test -e \"$A\"; do break; done; return 0\n",
            ": ${A:=1}; ls > /dev/null\n",
        ] {
            assert!(!may_write(script.as_bytes()), "{script}");
        }
    }

    #[test]
    fn scripts_that_may_write_or_are_not_understood_count_as_writing() {
        for script in [
            "mkdir -p \"$CONDA_PREFIX/var\"",
            "export A=1; touch x",
            "[ -e x ] || : >x",
            "true && ln -s a b",
            "if mkdir x; then true; fi",
            "A=1 rm x",
            "! rm x",
            "command rm x",
            "{ mkdir x; }",
            "case $A in a) mkdir x;; esac",
            "echo 1 > \"$CONDA_PREFIX/x\"",
            "echo 1 >>x",
            "echo 1 >/dev/null/../x",
            "echo 1 &>x",
            "export A=$(mkdir x)",
            "export A=\"$(mkdir x)\"",
            "export A=`mkdir x`",
            "export A=\"`mkdir x`\"",
            "true <(mkdir x)",
            "echo() { mkdir x; }",
            "function echo { mkdir x; }",
            "\"mkdir\" x",
            "\\mkdir x",
            "m\"k\"dir x",
            "$A x",
            "eval \"$A\"",
            ". ./other.sh",
            "source other.sh",
            "R CMD javareconf >/dev/null 2>&1 || true",
            "python -c 1",
            "cat <<END\n$(mkdir x)\nEND",
            "export A=\"open",
            "echo 'open",
            "true | tee x",
            "true & mkdir x",
            "true\r\nmkdir x",
            "export A=1 \\\n# don't\nmkdir x # it's",
            "export A=\"$\\\n(mkdir x)\"",
            "export A=\"${B%'\"'}\"; mkdir x #'",
            "A=${B:-x true y} mkdir x",
            "export A=${B:- # }; mkdir x",
            "export A=$'\\''; mkdir x #'",
            "set a\nfor x do mkdir x; done",
            "for x do mkdir x; done",
            "if if true; then true; fi then mkdir x; fi",
            "while while false; do true; done do mkdir x; break; done",
            "if [[ -n x ]] then mkdir x; fi",
            "echo hello >&2\r\n",
            "echo hello >&1\u{a0}\n",
            "A=1\rtrue mkdir x",
            "A='a[$(mkdir x)]'; [[ $A -eq 0 ]]",
            "echo ${!A}",
            "echo \"${A@P}\"",
            "HISTFILE=x; set -o history; true",
            "A=1 \0 mkdir x",
        ] {
            assert!(may_write(script.as_bytes()), "{script}");
        }
        assert!(may_write(b"export A=\xff"));
    }
}
