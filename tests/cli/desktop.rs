//! Tests of `condense desktop` with a fake runtime, which runs its program on this machine, and
//! with a fake VNC server, which writes down its arguments.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::harness::{Run, TestEnv};

/// Returns a test with a SIF `mine.sif` and a runtime that runs its program on this machine.
fn prepared() -> TestEnv {
    let test = TestEnv::new();
    test.environment("tool");
    let words = "cotainr build --base-image ../base --conda-env env.yml mine.sif";
    let words: Vec<&str> = words.split(' ').collect();
    test.condense(&words).run().succeeded();
    test.fake_program(
        "apptainer",
        "#!/bin/sh\ncase $1 in --version) echo apptainer version 1.4.5; exit ;; esac\n\
         echo \"$@\" >>calls\necho \"binds $SINGULARITY_BINDPATH\" >>calls\n\
         while [ \"${1##*.}\" != sif ]; do shift; done\nshift\nexec \"$@\"\n",
    );
    for program in ["mkdir", "rm", "grep"] {
        let link = test.path("programs").join(program);
        std::os::unix::fs::symlink(Path::new("/bin").join(program), link).unwrap();
    }
    test
}

/// Puts a VNC server into the image. Its display is 1000 and more, so that no real one is
/// concerned.
fn with_server(test: &TestEnv, display: u32) {
    test.fake_program(
        "Xvnc",
        &format!(
            "#!/bin/sh\necho \"$@\" >{0}/server\necho $$ >{0}/server-id\necho {display}\n\
             exec >&2\nwhile :; do sleep 0.1; done\n",
            test.path("work").display()
        ),
    );
}

/// Starts a desktop in the background, and waits until its text is there.
fn start(test: &TestEnv, arguments: &[&str]) -> (Child, String) {
    let mut command = test.condense(&[&["desktop", "mine.sif"], arguments].concat());
    let out = test.path("work/out");
    let file = fs_err::File::create(&out).unwrap().into_parts().0;
    let mut child = command
        .env("USER", "ada")
        .stdout(file)
        .stderr(
            fs_err::File::create(test.path("work/err"))
                .unwrap()
                .into_parts()
                .0,
        )
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let text = fs_err::read_to_string(&out).unwrap();
        if text.contains("--stop=") || text.ends_with("}\n") {
            return (child, text);
        }
        let has_ended = child.try_wait().unwrap().is_some();
        let said = fs_err::read_to_string(test.path("work/err")).unwrap();
        assert!(!has_ended && Instant::now() < until, "{text}{said}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn value(text: &str, begin: &str) -> String {
    let rest = text
        .split_once(begin)
        .unwrap_or_else(|| panic!("{begin} in {text}"))
        .1;
    rest.split_whitespace().next().unwrap().to_owned()
}

/// Returns the directory of the desktop.
fn session(text: &str) -> PathBuf {
    let file = PathBuf::from(value(text, "XAUTHORITY="));
    file.parent().unwrap().to_owned()
}

fn is_alive(process: &str) -> bool {
    Path::new("/proc").join(process.trim()).exists()
}

#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// G1, G2: the text has the lines of ssh and the addresses; the password is in no argument and not
/// in the text; nothing is left after the end.
#[test]
fn a_desktop_says_how_to_connect_and_leaves_nothing() {
    let test = prepared();
    with_server(&test, 1001);
    let (mut child, text) = start(&test, &["--geometry", "800x600"]);
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let server = fs_err::read_to_string(test.path("work/server")).unwrap();
    let port = value(&server, "-rfbport ");
    assert!(
        text.contains(&format!(
            "CONNECT WITH VNC CLIENT\n  ssh -N -L {port}:127.0.0.1:{port} ada@{host}\n  localhost:{port}\n"
        )),
        "{text}"
    );
    assert!(text.starts_with("desktop :1001 of "), "{text}");
    assert!(!text.contains("BROWSER"), "{text}");
    assert!(
        server.contains(" -localhost -geometry 800x600 "),
        "{server}"
    );
    let dir = session(&text);
    let calls = fs_err::read_to_string(test.path("work/calls")).unwrap();
    assert!(calls.contains(&format!("mine.sif /bin/sh {}/start.sh ", dir.display())));
    assert!(calls.contains(&format!("binds {}\n", dir.parent().unwrap().display())));
    let password = fs_err::read_to_string(value(&text, "password: cat ")).unwrap();
    let password = password.trim();
    assert_eq!(password.len(), 8);
    let said = fs_err::read_to_string(test.path("work/err")).unwrap();
    for place in [&text, &server, &calls, &said] {
        assert!(!place.contains(password), "{place}");
    }
    assert!(said.contains("the image has no noVNC"), "{said}");
    assert!(said.contains("the image has no websockify"), "{said}");
    let list = test.condense(&["desktop", "--list"]).run().succeeded();
    assert!(list.stdout.contains("desktop :1001 of "), "{list:?}");
    assert!(!list.stdout.contains(password), "{list:?}");
    let process = fs_err::read_to_string(test.path("work/server-id")).unwrap();
    assert!(is_alive(&process));
    let said = test
        .condense(&["desktop", "--stop=:1001"])
        .run()
        .succeeded();
    assert!(said.stderr.contains("the desktop :1001 of "), "{said:?}");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!is_alive(&process) && !dir.exists());
    let said = test.condense(&["desktop", "--stop=:1001"]).run();
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.stderr
            .contains("no desktop of yours runs on this machine as display :1001")
    );
}

/// The script in the container ends the server even if nothing else can.
#[test]
fn a_killed_condense_leaves_no_server_and_no_password() {
    let test = prepared();
    with_server(&test, 1002);
    let (mut child, text) = start(&test, &[]);
    let dir = session(&text);
    let process = fs_err::read_to_string(test.path("work/server-id")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the server still runs", || !is_alive(&process));
    wait_until("the directory is still there", || !dir.exists());
}

#[test]
fn a_command_gets_the_display_and_its_end_is_the_end() {
    let test = prepared();
    with_server(&test, 1003);
    let line =
        "echo $DISPLAY ${XAUTHORITY##*/} $LIBGL_ALWAYS_SOFTWARE ${WAYLAND_DISPLAY-none}; exit 7";
    let said = test
        .condense(&["desktop", "mine.sif", "--", "sh", "-c", line])
        .env("WAYLAND_DISPLAY", "wayland-0")
        .env("SLURM_JOB_ID", "7")
        .run();
    assert_eq!(said.status, 7, "{said:?}");
    assert!(
        said.stdout.ends_with("\n:1003 Xauthority 1 none\n"),
        "{said:?}"
    );
    assert!(
        said.stdout.contains("ssh -N -J USER@LOGIN-NODE -L "),
        "{said:?}"
    );
    assert!(
        said.stdout.contains("start it with --listen 0.0.0.0"),
        "{said:?}"
    );
    let process = fs_err::read_to_string(test.path("work/server-id")).unwrap();
    assert!(!is_alive(&process));
}

#[test]
fn the_login_host_of_the_catalogue_is_in_the_lines_of_ssh() {
    let test = prepared();
    with_server(&test, 1004);
    let (mut child, text) = start(&test, &["--site", "lumi-c", "--json", "--port", "5999"]);
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    assert_eq!(answer["schema"], "condense.desktop/1");
    assert_eq!(answer["display"], ":1004");
    assert_eq!(
        answer["vncSsh"],
        format!("ssh -N -J ada@lumi.csc.fi -L 5999:127.0.0.1:5999 ada@{host}")
    );
    let password = fs_err::read_to_string(answer["passwordFile"].as_str().unwrap()).unwrap();
    assert!(!text.contains(password.trim()));
    let process = answer["process"].as_u64().unwrap().to_string();
    let asked = Command::new("kill").args(["-TERM", &process]).status();
    assert!(asked.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn what_the_image_lacks_is_one_line() {
    let test = prepared();
    let said = test.condense(&["desktop", "mine.sif"]).run();
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.stderr
            .contains("the container has no VNC server: no Xvnc on its PATH"),
        "{said:?}"
    );
    // The fake container shows this machine's os-release.
    assert!(
        said.stderr.contains("hint: take a base image with it: "),
        "{said:?}"
    );
    assert_eq!(said.stdout, "");
    test.fake_program(
        "Xvnc",
        "#!/bin/sh\nprintf 'Fatal server error:\\n(EE) no screens found\\n' >&2\nexit 1\n",
    );
    let said = test.condense(&["desktop", "mine.sif"]).run();
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.stderr
            .contains("the VNC server ended: no screens found"),
        "{said:?}"
    );
}

#[test]
fn a_port_in_use_and_bad_values_are_refused() {
    let test = prepared();
    with_server(&test, 1005);
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    let said = test
        .condense(&["desktop", "mine.sif", "--port", &port])
        .run();
    assert_eq!(said.status, 1, "{said:?}");
    let expected = format!("port {port} of 127.0.0.1 is in use");
    assert!(said.stderr.contains(&expected), "{said:?}");
    for words in [
        &["mine.sif", "--geometry", "big"][..],
        &["mine.sif", "--port", "0"],
        &["mine.sif", "--listen", "here"],
        &["mine.sif", "--stop"],
        &[],
    ] {
        let said = test
            .condense(&[&["desktop"], words].concat())
            .stdin(Stdio::null())
            .run();
        assert_eq!(said.status, 2, "{words:?} {said:?}");
    }
}
