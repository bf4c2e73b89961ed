//! A channel's directory behind a real HTTP server on loopback, which misbehaves where it is told to.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::case_sensitive_file_extension_comparisons
)]

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// What the server does with requests for archives.
#[derive(Clone, Copy, PartialEq)]
pub enum Mood {
    Good,
    /// The first answers are 503.
    BusyAtFirst,
    /// The first answers end in the middle.
    BreaksAtFirst,
    /// Every answer ends in the middle.
    AlwaysBreaks,
    Missing,
}

pub struct Server {
    /// Of the channel, with what it asks for.
    pub url: String,
    pub archives_asked: Arc<AtomicUsize>,
}

/// `me:secret` in the form of the header.
const PASSWORD: &str = "Basic bWU6c2VjcmV0LXdvcmQ=";

pub fn serve(dir: &Path, mood: Mood) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let (dir, counter) = (dir.to_owned(), Arc::clone(&asked));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (dir, counter) = (dir.clone(), Arc::clone(&counter));
            std::thread::spawn(move || answer(&stream, &dir, mood, &counter));
        }
    });
    Server {
        url: format!("http://me:secret-word@{address}/channel"),
        archives_asked: asked,
    }
}

fn answer(mut stream: &TcpStream, dir: &Path, mood: Mood, asked: &AtomicUsize) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
            head.push(line.trim().to_owned());
            line.clear();
        }
        let Some(request) = head.first() else { return };
        let path = request
            .split(' ')
            .nth(1)
            .unwrap()
            .trim_start_matches("/channel/")
            .to_owned();
        let allowed = head
            .iter()
            .any(|line| line.eq_ignore_ascii_case(&format!("authorization: {PASSWORD}")));
        let archive = path.ends_with(".conda") || path.ends_with(".tar.bz2");
        let number = if archive {
            asked.fetch_add(1, Ordering::SeqCst)
        } else {
            0
        };
        let (status, body) = match std::fs::read(dir.join(&path)) {
            _ if !allowed => ("401 Unauthorized", Vec::new()),
            _ if archive && mood == Mood::Missing => ("404 Not Found", Vec::new()),
            _ if archive && mood == Mood::BusyAtFirst && number < 2 => {
                ("503 Service Unavailable", Vec::new())
            }
            Ok(bytes) => ("200 OK", bytes),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        let breaks =
            archive && (mood == Mood::AlwaysBreaks || mood == Mood::BreaksAtFirst && number < 1);
        let sent = if breaks { body.len() / 2 } else { body.len() };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&body[..sent]))
            .is_err()
            || breaks
        {
            return;
        }
    }
}
