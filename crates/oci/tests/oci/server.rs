//! A small registry for tests, whose answers each test can change.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::image::{INDEX, Image, MANIFEST, digest};

/// A request that the registry has received.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl ReceivedRequest {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn is_blob(&self, digest: &str) -> bool {
        self.path.ends_with(&format!("/blobs/{digest}"))
    }

    pub(crate) fn is_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Number of bytes of the body after which the connection ends.
    pub(crate) cut_at: Option<usize>,
    /// Whether the body is sent byte by byte, so slowly that clients give up.
    pub(crate) drips: bool,
}

impl Answer {
    pub(crate) fn new(status: u16) -> Answer {
        Answer {
            status,
            ..Answer::default()
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Answer {
        self.body = body.into();
        self
    }
}

/// Returns an answer, or `None` for the registry's usual answer. The second argument is the number
/// of earlier requests of the same path.
type Rule = dyn Fn(&ReceivedRequest, usize) -> Option<Answer> + Send + Sync;

pub(crate) struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Vec<ReceivedRequest>>>,
}

struct Shared {
    tags: BTreeMap<String, Vec<u8>>,
    blobs: BTreeMap<String, Vec<u8>>,
    rule: Box<Rule>,
    log: Arc<Mutex<Vec<ReceivedRequest>>>,
}

impl Server {
    /// Starts a registry with these images by tag and their blobs by digest.
    pub(crate) fn start(images: &[(&str, &Image)]) -> Server {
        Server::with_rule(images, |_, _| None)
    }

    pub(crate) fn with_rule(
        images: &[(&str, &Image)],
        rule: impl Fn(&ReceivedRequest, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::<Mutex<Vec<ReceivedRequest>>>::default();
        let mut shared = Shared {
            tags: BTreeMap::new(),
            blobs: BTreeMap::new(),
            rule: Box::new(rule),
            log: log.clone(),
        };
        for (tag, image) in images {
            for name in [(*tag).to_owned(), digest(&image.manifest)] {
                shared.tags.insert(name, image.manifest.clone());
            }
            shared.blobs.extend(image.blobs.clone());
        }
        let shared = Arc::new(shared);
        // The thread ends with the process; no thread waits for it.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = shared.clone();
                std::thread::spawn(move || {
                    if let Ok(stream) = stream {
                        let _ = shared.serve(stream);
                    }
                });
            }
        });
        Server { address, log }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn reference(&self, tag: &str) -> String {
        let separator = if tag.starts_with("sha256:") { '@' } else { ':' };
        format!("docker://{}/test/image{separator}{tag}", self.address)
    }

    /// Returns the requests so far that `wanted` accepts.
    pub(crate) fn asked(&self, wanted: impl Fn(&ReceivedRequest) -> bool) -> Vec<ReceivedRequest> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|asked| wanted(asked)).cloned().collect()
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(_) => return writer.write_all(b"HTTP/1.1 400 no HTTP\r\n\r\n"),
            }
            let mut words = line.split_whitespace().map(str::to_owned);
            let mut asked = ReceivedRequest {
                method: words.next().unwrap_or_default(),
                path: words.next().unwrap_or_default(),
                headers: BTreeMap::new(),
                body: String::new(),
            };
            loop {
                line.clear();
                reader.read_line(&mut line)?;
                let Some((name, value)) = line.trim_end().split_once(':') else {
                    break;
                };
                asked
                    .headers
                    .insert(name.to_lowercase(), value.trim().to_owned());
            }
            let len = asked.header("content-length").parse().unwrap_or(0);
            (&mut reader).take(len).read_to_string(&mut asked.body)?;
            let answer = self.answer(&asked);
            let mut head = format!("HTTP/1.1 {} -\r\n", answer.status);
            if !answer
                .headers
                .iter()
                .any(|(name, _)| name == "content-length")
            {
                head.push_str(&format!("content-length: {}\r\n", answer.body.len()));
            }
            for (name, value) in &answer.headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            writer.write_all(head.as_bytes())?;
            if answer.drips {
                for byte in &answer.body {
                    writer.write_all(&[*byte])?;
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
            let end = answer.cut_at.unwrap_or(answer.body.len());
            writer.write_all(&answer.body[..end])?;
            writer.flush()?;
            if answer.cut_at.is_some() {
                return writer.shutdown(std::net::Shutdown::Both);
            }
        }
    }

    fn answer(&self, asked: &ReceivedRequest) -> Answer {
        let earlier = {
            let mut log = self.log.lock().unwrap();
            let earlier = log.iter().filter(|other| other.path == asked.path).count();
            log.push(asked.clone());
            earlier
        };
        (self.rule)(asked, earlier).unwrap_or_else(|| self.plain(asked))
    }

    /// Returns the answer of a registry that behaves.
    fn plain(&self, asked: &ReceivedRequest) -> Answer {
        let name = asked.path.rsplit('/').next().unwrap_or_default();
        if asked.is_manifest()
            && let Some(manifest) = self.tags.get(name)
        {
            let is_index = manifest.starts_with(b"{\"manifests\"");
            assert!(
                asked.header("accept").contains(INDEX),
                "indices are asked for"
            );
            let media_type = if is_index { INDEX } else { MANIFEST };
            return Answer::new(200)
                .with("content-type", media_type)
                .body(manifest.clone());
        }
        let Some(blob) = self
            .blobs
            .get(name)
            .filter(|_| asked.path.contains("/blobs/"))
        else {
            return Answer::new(404)
                .body(r#"{"errors":[{"code":"UNKNOWN","message":"nothing here"}]}"#);
        };
        let from = asked.header("range").strip_prefix("bytes=");
        match from.and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok()) {
            Some(from) => Answer::new(206).body(&blob[from..]),
            None => Answer::new(200).body(blob.clone()),
        }
    }
}
