//! Tests of programs with windows: X displays through wrappers, modules and `condense run`, and
//! `condense desktop` with TigerVNC and websockify in an image, with a client that speaks VNC.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use des::cipher::{BlockEncrypt, KeyInit};
use serde_json::Value;

use crate::harness::{Account, Run, TestDir, as_both, need, parts};

const DEADLINE: Duration = Duration::from_secs(120);

/// Keeps the servers of two tests apart. A server behind another /tmp does not see which display
/// numbers are taken, and its abstract socket then answers in place of the other one.
fn no_other_server() -> MutexGuard<'static, ()> {
    static SERVERS: Mutex<()> = Mutex::new(());
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns an image with a VNC server, websockify, pages of noVNC, and `xdpyinfo`.
fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let parts_dir = parts().path("desktop");
        need(parts_dir.exists(), "the VNC server is missing");
        let dir = TestDir::new(Account::Root, "desktop-image");
        dir.write("vnc.html", "<html>noVNC</html>\n");
        let proxy = dir.write(
            "websockify",
            "#!/bin/sh\nPYTHONPATH=/opt exec python3 -m websockify \"$@\"\n",
        );
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(proxy, mode).unwrap();
        let image = parts().path("vnc.sif");
        let mut command = condense(&dir);
        command
            .arg("build")
            .arg(&image)
            .arg("--base-image")
            .arg(parts().base());
        for copy in [
            format!("{}:/usr", parts_dir.join("usr").display()),
            format!("{}:/opt/websockify", parts_dir.join("websockify").display()),
            "vnc.html:/usr/share/novnc/vnc.html".to_owned(),
            "websockify:/usr/bin/websockify".to_owned(),
        ] {
            command.args(["--copy", &copy]);
        }
        command.arg(dir.environment("python")).run().succeeded();
        image
    })
}

fn condense(test: &TestDir) -> Command {
    let mut command = test.command(parts().path("programs/condense"));
    command
        .env("TMPDIR", test.scratch())
        .env("CONDENSE_CACHE_DIR", test.path("cache"));
    command
}

/// X server of this machine without an abstract socket, so that only its socket in /tmp counts.
struct Display {
    server: Child,
    name: String,
    xauthority: PathBuf,
}

impl Display {
    fn start(test: &TestDir) -> Self {
        let mut entry = b"\xff\xff\0\0\0\0\0\x12MIT-MAGIC-COOKIE-1\0\x10".to_vec();
        entry.extend([7; 16]);
        // The file is below /tmp, outside of HOME.
        let xauthority = test.write("cookie", "");
        fs_err::write(&xauthority, entry).unwrap();
        let mut server = test
            .command("/usr/bin/Xvfb")
            .args(["-displayfd", "1", "-nolisten", "local", "-auth"])
            .arg(&xauthority)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut number = String::new();
        let mut said = BufReader::new(server.stdout.take().unwrap());
        said.read_line(&mut number).unwrap();
        Self {
            server,
            name: format!(":{}", number.trim()),
            xauthority,
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        // The server removes its socket when it is asked to end.
        let id = self.server.id().to_string();
        let _ = Command::new("kill").arg(&id).status();
        let _ = self.server.wait();
    }
}

/// G4, T24: a display is seen through a wrapper, a module and `condense run`, also behind a bind
/// mount of TMPDIR over /tmp, which hides it from the runtime alone.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_display_is_seen_behind_a_bind_mount_over_tmp() {
    let _servers = no_other_server();
    as_both(|account| {
        let test = TestDir::new(account, "display");
        let display = Display::start(&test);
        let other = test.make_dir("tmp");
        let bind = format!("{}:/tmp", other.display());
        condense(&test)
            .args([
                "wrap-container",
                "-w",
                "/usr/bin/xdpyinfo",
                "--prefix",
                "wrapped",
            ])
            .arg(image())
            .run()
            .succeeded();
        let commands = test.module(image());
        let image = image().display().to_string();
        let condense = parts().path("programs/condense").display().to_string();
        let runtime = parts().runtime().display().to_string();
        let wrapper = test.path("wrapped/bin/xdpyinfo").display().to_string();
        let shell = commands.join("bin/start-shell").display().to_string();
        let run = |words: &[&str], bind: Option<&str>| {
            let mut command = test.command(words[0]);
            command
                .args(&words[1..])
                .env("DISPLAY", &display.name)
                .env("XAUTHORITY", &display.xauthority);
            if let Some(bind) = bind {
                command.env("SINGULARITY_BIND", bind);
            }
            command.run()
        };
        for words in [
            &[&*wrapper][..],
            &[&condense, "run", &image, "--", "xdpyinfo"],
            &[&shell, "--", "xdpyinfo"],
        ] {
            for bind in [None, Some(&*bind)] {
                let said = run(words, bind).succeeded();
                assert!(said.stdout.contains("dimensions:"), "{said:?}");
            }
        }
        let said = run(&[&runtime, "exec", &image, "xdpyinfo"], Some(&bind));
        assert!(said.stderr.contains("unable to open display"), "{said:?}");
    });
}

/// A desktop in the background, with its answer in JSON.
struct Running {
    condense: Child,
    answer: Value,
}

impl Running {
    fn start(test: &TestDir) -> Self {
        let mut condense = condense(test)
            .arg("desktop")
            .arg(image())
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = condense.stdout.take().unwrap();
        let mut values = serde_json::Deserializer::from_reader(stdout).into_iter();
        let answer = values.next().expect("an answer").unwrap();
        Self { condense, answer }
    }

    fn text(&self, name: &str) -> &str {
        self.answer[name].as_str().unwrap()
    }

    fn port(&self, name: &str) -> u16 {
        self.answer[name].as_u64().unwrap().try_into().unwrap()
    }

    /// Returns the directory of the desktop, and the socket of its display.
    fn places(&self) -> [PathBuf; 2] {
        let xauthority = Path::new(self.text("xauthority"));
        let number = self.text("display").trim_start_matches(':');
        let socket = Path::new("/tmp/.X11-unix").join(format!("X{number}"));
        [xauthority.parent().unwrap().to_owned(), socket]
    }
}

/// Speaks VNC 3.8 up to the result of the password. Returns the size of the screen, or `None` if
/// the password is refused.
fn connect(port: u16, password: &str) -> Option<(u16, u16)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut read = |len: usize, send: &[u8]| {
        stream.write_all(send).unwrap();
        let mut bytes = vec![0; len];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    };
    assert_eq!(read(12, b""), b"RFB 003.008\n");
    let count = read(1, b"RFB 003.008\n")[0];
    let kinds = read(count.into(), b"");
    assert!(kinds.contains(&2) && !kinds.contains(&1), "{kinds:?}");
    let challenge = read(16, &[2]);
    let mut key = [0; 8];
    key[..password.len()].copy_from_slice(password.as_bytes());
    let cipher = des::Des::new(&key.map(u8::reverse_bits).into());
    let mut response = Vec::new();
    for half in challenge.chunks(8) {
        let mut block = *des::cipher::Block::<des::Des>::from_slice(half);
        cipher.encrypt_block(&mut block);
        response.extend(block);
    }
    if read(4, &response) != [0; 4] {
        return None;
    }
    let size = read(4, &[1]);
    Some((
        u16::from_be_bytes([size[0], size[1]]),
        u16::from_be_bytes([size[2], size[3]]),
    ))
}

/// Returns the processes whose file in /proc has the text.
fn processes_with(file: &str, text: &str) -> Vec<String> {
    let processes = fs_err::read_dir("/proc").unwrap();
    let paths = processes.map(|entry| entry.unwrap().path().join(file));
    let has_text = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    paths
        .filter(has_text)
        .map(|path| path.display().to_string())
        .collect()
}

#[track_caller]
fn assert_nothing_stays(places: &[PathBuf; 2]) {
    let mark = format!("CONDENSE_DESKTOP={}", places[0].display());
    let script = places[0].join("start.sh").display().to_string();
    let until = Instant::now() + DEADLINE;
    loop {
        let mut left = processes_with("environ", &mark);
        left.extend(processes_with("cmdline", &script));
        let files = places.iter().filter(|place| place.exists());
        left.extend(files.map(|place| place.display().to_string()));
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "{left:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// G1 to G3: the password works, a wrong one does not, and neither a process list nor a log has it;
/// noVNC is served; after Ctrl-C and after SIGKILL nothing stays.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_desktop_is_reached_with_its_password_and_leaves_nothing() {
    let _servers = no_other_server();
    let test = TestDir::new(Account::Ordinary, "desktop");
    for signal in ["-INT", "-KILL"] {
        let mut desktop = Running::start(&test);
        let places = desktop.places();
        assert!(places.iter().all(|place| place.exists()), "{places:?}");
        let port = desktop.port("vncPort");
        let password = fs_err::read_to_string(desktop.text("passwordFile")).unwrap();
        let password = password.trim();
        assert_eq!(connect(port, password), Some((1600, 900)));
        assert_eq!(connect(port, "wrong"), None);
        assert_eq!(processes_with("cmdline", password), [""; 0]);
        assert_eq!(processes_with("environ", password), [""; 0]);
        for entry in fs_err::read_dir(&places[0]).unwrap() {
            let path = entry.unwrap().path();
            let text = fs_err::read(&path).unwrap();
            let has = text
                .windows(password.len())
                .any(|part| part == password.as_bytes());
            assert_eq!(has, path.ends_with("password"), "{}", path.display());
        }
        let mut web = TcpStream::connect(("127.0.0.1", desktop.port("webPort"))).unwrap();
        web.write_all(b"GET /vnc.html HTTP/1.0\r\n\r\n").unwrap();
        let mut page = String::new();
        web.read_to_string(&mut page).unwrap();
        assert!(page.contains("<html>noVNC</html>"), "{page}");
        // Another user has no cookie.
        let said = Account::Root
            .command("/usr/bin/xdpyinfo")
            .env("DISPLAY", desktop.text("display"))
            .env("XAUTHORITY", "/dev/null")
            .run();
        assert!(said.stderr.contains("unable to open display"), "{said:?}");
        let id = desktop.condense.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
        let status = desktop.condense.wait().unwrap();
        assert_eq!(status.code(), (signal == "-INT").then_some(130));
        assert_nothing_stays(&places);
    }
}

/// G1: on a terminal the password is shown once, and is in no file; a command of an installation
/// runs on the desktop, and its end is that of the desktop.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_command_runs_on_the_desktop_of_an_installation() {
    let _servers = no_other_server();
    let test = TestDir::new(Account::Ordinary, "desktop-command");
    condense(&test)
        .args([
            "wrap-container",
            "-w",
            "/usr/bin/xdpyinfo",
            "--prefix",
            "wrapped",
        ])
        .arg(image())
        .run()
        .succeeded();
    let line = format!(
        "{} desktop wrapped --geometry 800x600 -- sh -c 'xdpyinfo; ls -1 ${{XAUTHORITY%/*}}; exit 9'",
        parts().path("programs/condense").display()
    );
    let said = test
        .command("/usr/bin/script")
        .args(["-qec", &line, "/dev/null"])
        .run();
    assert_eq!(said.status, 9, "{said:?}");
    assert!(
        said.stdout.contains("dimensions:    800x600 pixels"),
        "{said:?}"
    );
    assert_eq!(said.stdout.matches("password: ").count(), 1, "{said:?}");
    let shown = said.stdout.split("password: ").nth(1).unwrap();
    assert_eq!(shown.lines().next().unwrap().trim().len(), 8, "{said:?}");
    let files: Vec<&str> = said.stdout.lines().map(str::trim).collect();
    assert!(
        files.contains(&"passwd") && !files.contains(&"password"),
        "{said:?}"
    );
}
