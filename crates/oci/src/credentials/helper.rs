//! Responsible for running docker's credential helpers.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Credentials;
use crate::Error;
use crate::cancel::Cancel;
use crate::name::Name;

/// Maximum number of bytes of a helper's answer. Every token is shorter, and a program that writes
/// without end is no helper.
const ANSWER_LEN_MAX: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Returns the credentials that `docker-credential-HELPER get` prints, or `None` if the helper has
/// none for the registry.
///
/// # Streams
/// The registry's name is written to the helper's stdin. The helper inherits this process's stderr,
/// because some helpers ask the user questions there.
pub(super) fn query(
    helper: &str,
    name: &Name,
    dirs: &[PathBuf],
    timeout: Duration,
    cancel: &Cancel,
) -> Result<Option<Credentials>, Error> {
    let program = format!("docker-credential-{helper}");
    let failed = |problem: String| Error::Helper {
        program: program.clone(),
        problem,
    };
    if helper.contains('/') {
        return Err(failed("its name has a slash".to_owned()));
    }
    let path = dirs
        .iter()
        .map(|dir| dir.join(&program))
        .find(|path| path.is_file())
        .ok_or_else(|| failed("it is not on PATH".to_owned()))?;
    let server = match name.host() {
        "docker.io" => "https://index.docker.io/v1/",
        host => host,
    };
    let (status, answer) = run(&path, server, timeout, cancel, &failed)?;
    if !status {
        // The protocol has one exit status for all failures. Its output has these words if the
        // helper does not know the registry.
        let text = String::from_utf8_lossy(&answer);
        if text.contains("credentials not found") || text.trim().is_empty() {
            return Ok(None);
        }
        return Err(failed("it failed".to_owned()));
    }
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|_| failed("its answer is not what the protocol says".to_owned()))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credentials::IdentityToken(answer.secret),
        _ => Credentials::Password {
            user: answer.username,
            password: answer.secret,
        },
    }))
}

fn run(
    path: &Path,
    server: &str,
    timeout: Duration,
    cancel: &Cancel,
    failed: &dyn Fn(String) -> Error,
) -> Result<(bool, Vec<u8>), Error> {
    let mut child = Command::new(path)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Error::io("start", path))?;
    let mut input = child.stdin.take().expect("the input is a pipe");
    let sent = input.write_all(server.as_bytes());
    drop(input);
    let output = child.stdout.take().expect("the output is a pipe");
    let reader = condense_threads::spawn(move || {
        let mut answer = Vec::new();
        output
            .take(ANSWER_LEN_MAX)
            .read_to_end(&mut answer)
            .map(|_| answer)
    });
    let reader = match reader {
        Ok(reader) => reader,
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error.into());
        }
    };
    let started = Instant::now();
    let status = loop {
        match child.try_wait().map_err(Error::io("wait for", path))? {
            Some(status) => break status,
            None if cancel.is_set() || started.elapsed() > timeout => {
                let _ = child.kill();
                let _ = child.wait();
                cancel.check()?;
                return Err(failed(format!(
                    "it gave no answer in {} s",
                    timeout.as_secs()
                )));
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    if let Err(error) = sent
        && error.kind() != ErrorKind::BrokenPipe
    {
        return Err(Error::io("write to", path)(error));
    }
    let answer = reader
        .join()
        .map_err(|_| failed("its answer was lost".to_owned()))?
        .map_err(Error::io("read from", path))?;
    Ok((status.success(), answer))
}
