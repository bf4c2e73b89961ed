//! Responsible for running a command to its end, and for what came of it.

use std::{
    fmt,
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Nothing here takes a tenth of it on an idle machine; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// What ended.
pub(crate) struct Ended {
    /// Exit status; 128 + n for signal n.
    pub(crate) status: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exit status {}\n--- stdout\n{}\n--- stderr\n{}",
            self.status,
            String::from_utf8_lossy(&self.stdout),
            self.stderr
        )
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.status, 0, "{self:?}");
        self
    }

    /// Failed with this status and with all of these words on one of its streams.
    #[track_caller]
    pub(crate) fn failed(self, status: i32, words: &[&str]) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        for word in words {
            let there = self.text().contains(word) || self.stderr.contains(word);
            assert!(there, "`{word}` is not in {self:?}");
        }
        self
    }

    /// Standard output as text, without the last line's end.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.stdout).into_owned();
        text.strip_suffix('\n').map_or(text.clone(), str::to_owned)
    }

    /// Succeeded with exactly this text.
    #[track_caller]
    pub(crate) fn says(self, text: &str) {
        assert_eq!((self.status, self.text().as_str()), (0, text), "{self:?}");
    }

    /// Succeeded; what was printed with a NUL behind each piece.
    #[track_caller]
    pub(crate) fn pieces(self) -> Vec<Vec<u8>> {
        let ended = self.succeeded();
        let mut pieces: Vec<Vec<u8>> = ended
            .stdout
            .split(|byte| *byte == 0)
            .map(<[u8]>::to_vec)
            .collect();
        assert_eq!(
            pieces.pop(),
            Some(Vec::new()),
            "no NUL at the end of {ended:?}"
        );
        pieces
    }
}

/// Running to the end, with a limit in time.
pub(crate) trait Run {
    /// With nothing on standard input.
    fn run(&mut self) -> Ended;

    /// With these bytes on standard input.
    fn run_with_input(&mut self, input: &[u8]) -> Ended;
}

impl Run for Command {
    #[track_caller]
    fn run(&mut self) -> Ended {
        self.stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        finish(
            self.spawn()
                .unwrap_or_else(|error| panic!("{self:?}: {error}")),
        )
    }

    #[track_caller]
    fn run_with_input(&mut self, input: &[u8]) -> Ended {
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
        let ended = finish(child);
        writer.join().unwrap();
        ended
    }
}

/// Waits for the end of a command, reading whatever streams are still open.
#[track_caller]
pub(crate) fn finish(mut child: Child) -> Ended {
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
    Ended {
        status: status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap()),
        stdout: join(stdout),
        stderr: String::from_utf8_lossy(&join(stderr)).into_owned(),
    }
}

fn read(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Starts a program that says `ready` when it may be disturbed, and waits for that; its streams are
/// pipes.
pub(crate) fn start_until_ready(command: &mut Command) -> Child {
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
