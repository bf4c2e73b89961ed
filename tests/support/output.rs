//! Responsible for running a command to its end, and for assertions about its output.

use std::{
    fmt,
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Time limit of a command. No command of the tests takes a tenth of it on an idle machine, so a
/// command that reaches it hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// Exit status and streams of a command that has ended.
pub struct CommandOutput {
    /// Command line: name of the program and its arguments; empty if it is not known.
    pub command: String,
    /// Exit status; 128 + n for signal n.
    pub status: i32,
    /// Standard output as text; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error as text; bytes that are not UTF-8 are replaced.
    pub stderr: String,
    /// Bytes of the standard output.
    pub stdout_bytes: Vec<u8>,
}

/// The same text as a snapshot shows, so that a failing assertion is as readable.
impl fmt::Debug for CommandOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "success: {}\nexit_code: {}\n----- stdout -----\n{}\n----- stderr -----\n{}",
            self.status == 0,
            self.status,
            self.stdout,
            self.stderr
        )
    }
}

impl From<Output> for CommandOutput {
    fn from(output: Output) -> Self {
        Self::new(output.status, output.stdout, &output.stderr)
    }
}

impl CommandOutput {
    pub fn new(status: ExitStatus, stdout: Vec<u8>, stderr: &[u8]) -> Self {
        Self {
            command: String::new(),
            status: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(stderr).into_owned(),
            stdout_bytes: stdout,
        }
    }

    /// Checks that the exit status is 0.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.status, 0, "{self:?}");
        self
    }

    /// Checks the exit status, and that all of these words are on standard output, where users of
    /// Tykky expect errors.
    #[track_caller]
    pub fn failed(self, status: i32, words: &[&str]) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        for word in words {
            assert!(self.stdout.contains(word), "`{word}` is not in {self:?}");
        }
        self
    }

    /// Checks the exit status, and that each of these words is on one of the two streams: programs
    /// in a container and the wrappers write their errors to standard error.
    #[track_caller]
    pub fn failed_on_either_stream(self, status: i32, words: &[&str]) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        for word in words {
            let found = self.stdout.contains(word) || self.stderr.contains(word);
            assert!(found, "`{word}` is not in {self:?}");
        }
        self
    }

    /// Returns standard output without the end of its last line.
    pub fn text(&self) -> String {
        let text = &self.stdout;
        text.strip_suffix('\n').unwrap_or(text).to_owned()
    }

    /// Checks that the exit status is 0 and that standard output is exactly this line.
    #[track_caller]
    pub fn says(self, text: &str) {
        assert_eq!((self.status, self.text().as_str()), (0, text), "{self:?}");
    }

    /// Checks that the exit status is 0, and returns the pieces of standard output, each of which
    /// ends with a NUL.
    #[track_caller]
    pub fn pieces(self) -> Vec<Vec<u8>> {
        let output = self.succeeded();
        let mut pieces: Vec<Vec<u8>> = output
            .stdout_bytes
            .split(|byte| *byte == 0)
            .map(<[u8]>::to_vec)
            .collect();
        assert_eq!(
            pieces.pop(),
            Some(Vec::new()),
            "no NUL at the end of {output:?}"
        );
        pieces
    }
}

/// Runs a command to its end, with a limit in time.
pub trait Run {
    /// Runs the command with an empty standard input.
    fn run(&mut self) -> CommandOutput;

    /// Runs the command with these bytes on standard input.
    fn run_with_input(&mut self, input: &[u8]) -> CommandOutput;
}

impl Run for Command {
    #[track_caller]
    fn run(&mut self) -> CommandOutput {
        self.stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = self
            .spawn()
            .unwrap_or_else(|error| panic!("{self:?}: {error}"));
        CommandOutput {
            command: command_line(self),
            ..finish(child)
        }
    }

    #[track_caller]
    fn run_with_input(&mut self, input: &[u8]) -> CommandOutput {
        self.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self
            .spawn()
            .unwrap_or_else(|error| panic!("{self:?}: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        // A program may end without having read everything.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = finish(child);
        writer.join().unwrap();
        CommandOutput {
            command: command_line(self),
            ..output
        }
    }
}

/// Returns the name of the program and its arguments, those with spaces in quotes.
fn command_line(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name();
    let words = name.into_iter().chain(command.get_args());
    let words: Vec<String> = words
        .map(|word| {
            let word = word.to_string_lossy();
            if word.is_empty() || word.contains(char::is_whitespace) {
                format!("'{word}'")
            } else {
                word.into_owned()
            }
        })
        .collect();
    words.join(" ")
}

/// Waits for the end of a command and reads the streams that are still open.
#[track_caller]
pub fn finish(mut child: Child) -> CommandOutput {
    let (stdout, stderr) = (child.stdout.take().map(read), child.stderr.take().map(read));
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("a command did not end in {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let join = |stream: Option<JoinHandle<Vec<u8>>>| {
        stream.map_or_else(Vec::new, |stream| stream.join().unwrap())
    };
    CommandOutput::new(status, join(stdout), &join(stderr))
}

fn read(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Starts a program and waits for its line `ready`, after which a test may disturb it; its streams
/// are pipes.
pub fn start_until_ready(command: &mut Command) -> Child {
    let mut job = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(job.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    job.stdout = Some(stdout.into_inner());
    job
}
