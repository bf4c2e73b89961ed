//! Responsible for HTTP servers and proxies on the loopback interface. A server serves the
//! directory of a channel, misbehaves as a test asks, and records all requests.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::case_sensitive_file_extension_comparisons
)]

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Request of a client.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Target in the request line, tokens included.
    pub target: String,
    /// Path below the channel, such as `linux-64/repodata.json`.
    pub path: String,
    /// Header fields with names in lower case.
    headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn is_archive(&self) -> bool {
        self.path.ends_with(".conda") || self.path.ends_with(".tar.bz2")
    }

    /// Returns the first byte that a request for the rest of a file asks for.
    pub fn start(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.trim_end_matches('-').parse().ok()
    }
}

/// Answer to a request.
pub enum Act {
    /// Sends the file, from the byte at which the client wants to continue.
    Serve,
    /// Does the same as `Serve`, with additional header lines.
    ServeWith(String),
    /// Sends the file from its beginning, whatever the client asks for.
    ServeWhole,
    /// Sends this status, these header lines and no body.
    Say(u16, String),
    /// Announces the whole length and sends half of it.
    Half,
    /// Announces the whole length, sends half of it and keeps the connection open.
    HalfThenSilence,
    /// Sends no answer and keeps the connection open.
    Silence,
    /// Sends these bytes, with their length, instead of the file.
    Send(Vec<u8>),
    /// Sends a body without an end.
    Endless,
    /// Sends the bytes of a file from this offset on, and announces the file's total length. The
    /// connection closes after the bytes.
    SendPart(usize, Vec<u8>, usize),
    /// Sends a body without an end, byte by byte.
    Drip,
}

/// Credential that the server demands.
#[derive(Clone, Copy, PartialEq)]
pub enum Door {
    Open,
    /// Basic authentication with `me:secret-word`.
    Password,
    /// Token `/t/secret-word` in the URL, before the channel.
    Token,
    /// Header field `Authorization: Bearer secret-word`.
    Bearer,
}

/// Value of the header field for basic authentication with `me:secret-word`.
pub const PASSWORD: &str = "Basic bWU6c2VjcmV0LXdvcmQ=";

/// Connection to a client, with or without TLS.
pub trait Connection: Read + Write {}

impl<T: Read + Write> Connection for T {}

type Secure = dyn Fn(TcpStream) -> Box<dyn Connection> + Send + Sync;
type Script = dyn Fn(&Request, usize) -> Act + Send + Sync;

struct House {
    dir: PathBuf,
    door: Door,
    script: Box<Script>,
    secure: Option<Box<Secure>>,
    log: Mutex<Vec<Request>>,
    busy: AtomicUsize,
    busiest: AtomicUsize,
}

pub struct Server {
    pub address: SocketAddr,
    house: Arc<House>,
}

impl Server {
    /// Returns the URL of the channel, with the credential if the URL can have it.
    pub fn url(&self) -> String {
        let address = self.address;
        match self.house.door {
            Door::Open | Door::Bearer => self.open_url(),
            Door::Password => format!("http://me:secret-word@{address}/channel"),
            Door::Token => format!("http://{address}/t/secret-word/channel"),
        }
    }

    /// Returns the URL of the channel without a credential.
    pub fn open_url(&self) -> String {
        let scheme = if self.house.secure.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}/channel", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.house.log.lock().unwrap().clone()
    }

    pub fn archive_requests(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(Request::is_archive);
        requests
    }

    /// Returns the largest number of requests for archives that were open at the same time.
    pub fn busiest(&self) -> usize {
        self.house.busiest.load(Ordering::SeqCst)
    }
}

/// Serves `dir`. `script` chooses the answer to each request; its number is that of earlier
/// requests with the same path and method.
pub fn serve(
    dir: &Path,
    door: Door,
    script: impl Fn(&Request, usize) -> Act + Send + Sync + 'static,
) -> Server {
    start(dir, door, None, Box::new(script))
}

/// Serves `dir` as [`serve`] does, with each connection wrapped by `secure`.
pub fn serve_secure(
    dir: &Path,
    secure: impl Fn(TcpStream) -> Box<dyn Connection> + Send + Sync + 'static,
) -> Server {
    start(
        dir,
        Door::Open,
        Some(Box::new(secure)),
        Box::new(|_, _| Act::Serve),
    )
}

fn start(dir: &Path, door: Door, secure: Option<Box<Secure>>, script: Box<Script>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let house = Arc::new(House {
        dir: dir.to_owned(),
        door,
        script,
        secure,
        log: Mutex::default(),
        busy: AtomicUsize::new(0),
        busiest: AtomicUsize::new(0),
    });
    let host = Arc::clone(&house);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let house = Arc::clone(&host);
            std::thread::spawn(move || match &house.secure {
                None => attend(stream, &house),
                Some(secure) => attend(secure(stream), &house),
            });
        }
    });
    Server { address, house }
}

fn attend(stream: impl Read + Write, house: &House) {
    let mut stream = BufReader::new(stream);
    while let Some((first, headers)) = read_head(&mut stream) {
        let mut words = first.split(' ').map(str::to_owned);
        let method = words.next().unwrap();
        let target = words.next().unwrap();
        let inside = match house.door {
            Door::Token => target.strip_prefix("/t/secret-word"),
            _ => Some(target.as_str()),
        };
        let path = inside.and_then(|path| path.strip_prefix("/channel/"));
        let request = Request {
            method,
            path: path.unwrap_or_default().to_owned(),
            target: target.clone(),
            headers,
        };
        let earlier = {
            let mut log = house.log.lock().unwrap();
            let same =
                |known: &&Request| known.path == request.path && known.method == request.method;
            let earlier = log.iter().filter(same).count();
            log.push(request.clone());
            earlier
        };
        let allowed = match house.door {
            Door::Open => true,
            Door::Token => path.is_some(),
            Door::Password => request.header("authorization") == Some(PASSWORD),
            Door::Bearer => request.header("authorization") == Some("Bearer secret-word"),
        };
        let act = if allowed {
            (house.script)(&request, earlier)
        } else {
            Act::Say(401, String::new())
        };
        if request.is_archive() {
            let now = house.busy.fetch_add(1, Ordering::SeqCst) + 1;
            house.busiest.fetch_max(now, Ordering::SeqCst);
        }
        let goes_on = answer(stream.get_mut(), &request, &act, &house.dir);
        if request.is_archive() {
            house.busy.fetch_sub(1, Ordering::SeqCst);
        }
        match goes_on {
            Ok(Then::Next) => {}
            Ok(Then::Wait) => {
                // The loop ends when the client closes the connection.
                let _ = stream.read(&mut [0]);
                return;
            }
            Ok(Then::Close) | Err(_) => return,
        }
    }
}

type Head = (String, Vec<(String, String)>);

fn read_head(stream: &mut impl BufRead) -> Option<Head> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let mut lines = lines.into_iter();
    let first = lines.next()?;
    let headers = lines
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_lowercase(), value.trim().to_owned()))
        })
        .collect();
    Some((first, headers))
}

enum Then {
    Next,
    Wait,
    Close,
}

fn answer(
    stream: &mut impl Write,
    request: &Request,
    act: &Act,
    dir: &Path,
) -> std::io::Result<Then> {
    let mut say = |status: &str, more: &str, length: usize, body: &[u8]| {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n");
        stream.write_all(head.as_bytes())?;
        if request.method != "HEAD" {
            stream.write_all(body)?;
        }
        stream.flush()
    };
    let is_index = request.path.ends_with('/');
    let page = if is_index { "index.html" } else { "" };
    let file = std::fs::read(
        dir.join(&request.path)
            .join(page)
            .components()
            .collect::<PathBuf>(),
    );
    // The body begins as a zstd frame that readers skip, whatever its length is.
    let start: &[u8] = if request.path.ends_with(".zst") {
        b"\x50\x2a\x4d\x18\xff\xff\xff\xff"
    } else {
        b""
    };
    let (bytes, start) = match (act, file) {
        (Act::Say(status, more), _) => {
            say(&format!("{status} Said"), more, 0, &[])?;
            return Ok(Then::Next);
        }
        (Act::Silence, _) => return Ok(Then::Wait),
        (Act::Send(bytes), _) => {
            say("200 OK", "", bytes.len(), bytes)?;
            return Ok(Then::Next);
        }
        (Act::Endless, _) => {
            say("200 OK", "", usize::MAX >> 1, start)?;
            loop {
                stream.write_all(&[7; 4096])?;
            }
        }
        (Act::SendPart(start, bytes, length), _) => {
            let more = format!("Content-Range: bytes {start}-{}/{length}\r\n", length - 1);
            say("206 Partial Content", &more, length - start, bytes)?;
            return Ok(Then::Close);
        }
        (Act::Drip, _) => {
            say("200 OK", "", usize::MAX >> 1, start)?;
            loop {
                stream.write_all(&[7])?;
                stream.flush()?;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        (_, Err(_)) => {
            say("404 Not Found", "", 0, &[])?;
            return Ok(Then::Next);
        }
        (Act::ServeWhole, Ok(bytes)) => (bytes, None),
        (_, Ok(bytes)) => (bytes, request.start()),
    };
    let length = bytes.len();
    if start.is_some_and(|start| start >= length) {
        let more = format!("Content-Range: bytes */{length}\r\n");
        say("416 Range Not Satisfiable", &more, 0, &[])?;
        return Ok(Then::Next);
    }
    let (status, more) = match start {
        None if is_index => ("200 OK", "Content-Type: text/html\r\n".to_owned()),
        None => match act {
            Act::ServeWith(more) => ("200 OK", more.clone()),
            _ => ("200 OK", String::new()),
        },
        Some(start) => (
            "206 Partial Content",
            format!("Content-Range: bytes {start}-{}/{length}\r\n", length - 1),
        ),
    };
    let body = &bytes[start.unwrap_or(0)..];
    let (sent, then) = match act {
        Act::Half => (body.len() / 2, Then::Close),
        Act::HalfThenSilence => (body.len() / 2, Then::Wait),
        _ => (body.len(), Then::Next),
    };
    say(status, &more, body.len(), &body[..sent])?;
    Ok(then)
}

/// Request lines, each with the value of the header field by which the client names itself.
pub type ReceivedRequest = Mutex<Vec<(String, Option<String>)>>;

/// HTTP proxy that records the targets of its requests.
pub struct Proxy {
    pub address: SocketAddr,
    pub asked: Arc<ReceivedRequest>,
}

pub fn proxy() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked: Arc<ReceivedRequest> = Arc::default();
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let log = Arc::clone(&log);
            std::thread::spawn(move || relay(stream, &log));
        }
    });
    Proxy { address, asked }
}

/// SOCKS5 proxy like that of `ssh -D`, which records the requested hosts.
pub fn socks_proxy() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked: Arc<ReceivedRequest> = Arc::default();
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let log = Arc::clone(&log);
            std::thread::spawn(move || relay_socks(stream, &log).ok());
        }
    });
    Proxy { address, asked }
}

fn relay_socks(mut caller: TcpStream, log: &ReceivedRequest) -> std::io::Result<()> {
    let mut read = |length: usize| {
        let mut bytes = vec![0; length];
        caller.read_exact(&mut bytes).map(|()| bytes)
    };
    let methods = read(2)?[1];
    read(methods.into())?;
    caller.write_all(&[5, 0])?;
    let mut read = |length: usize| {
        let mut bytes = vec![0; length];
        caller.read_exact(&mut bytes).map(|()| bytes)
    };
    let by_address = read(4)?[3] == 1;
    let host = if by_address {
        let bytes = read(4)?;
        bytes
            .iter()
            .map(u8::to_string)
            .collect::<Vec<_>>()
            .join(".")
    } else {
        let length = read(1)?[0];
        String::from_utf8_lossy(&read(length.into())?).into_owned()
    };
    let port = read(2)?;
    let port = u16::from_be_bytes([port[0], port[1]]);
    log.lock().unwrap().push((host.clone(), None));
    let mut server = TcpStream::connect((host.as_str(), port))?;
    caller.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut there, mut back) = (caller.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut there, &mut back));
    std::io::copy(&mut server, &mut caller)?;
    Ok(())
}

fn relay(stream: TcpStream, log: &ReceivedRequest) -> Option<()> {
    let mut caller = BufReader::new(stream);
    let (first, headers) = read_head(&mut caller)?;
    let headers: HashMap<String, String> = headers.into_iter().collect();
    let who = headers.get("proxy-authorization").cloned();
    log.lock().unwrap().push((first.clone(), who));
    let target = first.split(' ').nth(1)?;
    if first.starts_with("CONNECT ") {
        let mut server = TcpStream::connect(target).ok()?;
        let mut caller = caller.into_inner();
        caller.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
        let (mut there, mut back) = (caller.try_clone().ok()?, server.try_clone().ok()?);
        std::thread::spawn(move || std::io::copy(&mut there, &mut back));
        std::io::copy(&mut server, &mut caller).ok()?;
        return Some(());
    }
    let (host, path) = target.strip_prefix("http://")?.split_once('/')?;
    let mut server = TcpStream::connect(host).ok()?;
    let mut head = format!("{} /{path} HTTP/1.1\r\n", first.split(' ').next()?);
    for (name, value) in headers {
        if !name.starts_with("proxy-") && name != "connection" {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str("connection: close\r\n\r\n");
    server.write_all(head.as_bytes()).ok()?;
    // Each connection gets one answer, whose header has its length.
    let mut server = BufReader::new(server);
    let mut caller = caller.into_inner();
    let (status, headers) = read_head(&mut server)?;
    let mut length = 0;
    let mut head = format!("{status}\r\n");
    for (name, value) in headers {
        if name == "content-length" {
            length = value.parse().unwrap();
        }
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("connection: close\r\n\r\n");
    caller.write_all(head.as_bytes()).ok()?;
    if !first.starts_with("HEAD ") {
        std::io::copy(&mut server.take(length), &mut caller).ok()?;
    }
    Some(())
}
