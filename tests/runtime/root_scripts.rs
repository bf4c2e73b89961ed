//! Tests of scripts that run as root in a file system of their own, with packages of a made-up
//! distribution: its package manager is a shell script. Everything is done as root and as an
//! ordinary user.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Account, CommandOutput, Run, TestDir, as_both, parts};

/// Copies programs of this machine with their libraries into the directory `$1`.
const COPY_PROGRAMS: &str = "set -e
for program in sh cat chmod chown cp env id ln ls mkdir mknod mount rm sed setsid sleep; do
    path=$(readlink -f \"$(command -v \"$program\")\")
    mkdir -p \"$1/bin\"
    cp -L \"$path\" \"$1/bin/$program\"
    for library in $(ldd \"$path\" | grep -o '/[^ ]*'); do
        mkdir -p \"$1${library%/*}\"
        cp -L \"$library\" \"$1$library\"
    done
done";

/// Makes a base whose package manager installs the package `thing` by running `script`.
pub(crate) fn base(test: &TestDir, script: &str) -> PathBuf {
    let installer = format!(
        "#!/bin/sh\nset -e\n[ \"$1\" = add ] || exec cat /lib/apk/installed\nshift 2\n\
         for name; do [ \"$name\" = thing ] || {{ echo \"  $name (no such package):\"; exit 1; }}; done\n\
         {script}\necho thing-2.5-r1 >>/lib/apk/installed\n"
    );
    base_with(test, &[("sbin/apk", &installer)])
}

/// Makes a base with these programs, which are scripts.
fn base_with(test: &TestDir, programs: &[(&str, &str)]) -> PathBuf {
    let dir = test.make_dir("base");
    let copied = Command::new("/bin/sh")
        .args(["-c", COPY_PROGRAMS, "sh"])
        .arg(&dir)
        .status();
    assert!(copied.unwrap().success());
    for path in ["sbin", "etc", "lib/apk", "usr/bin", "var/log"] {
        fs_err::create_dir_all(dir.join(path)).unwrap();
    }
    let write = |path: &str, text: &str| fs_err::write(dir.join(path), text).unwrap();
    write("etc/os-release", "ID=made-up\nPRETTY_NAME=\"Made up 1\"\n");
    write("lib/apk/installed", "base-1.0-r0\n");
    for (path, text) in programs {
        write(path, text);
        let executable = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(dir.join(path), executable).unwrap();
    }
    let image = test.path("base.sqfs");
    let mut pack = Command::new("mksquashfs");
    pack.arg(&dir).arg(&image);
    pack.args(["-all-root", "-noappend", "-quiet", "-no-progress"])
        .stdout(Stdio::null());
    assert!(pack.status().unwrap().success());
    fs_err::remove_dir_all(&dir).unwrap();
    image
}

fn command(test: &TestDir, packages: &str) -> Command {
    let mut command = test.command(parts().path("programs/condense"));
    command
        .args(["cotainr", "build", "out.sif", "--base-image", "base.sqfs"])
        .args(["-vv", "--os-packages", packages])
        .env("TMPDIR", test.scratch())
        .env("CONDENSE_CACHE_DIR", test.path("cache"));
    command
}

fn build(account: Account, name: &str, script: &str, packages: &str) -> (TestDir, CommandOutput) {
    let test = TestDir::new(account, name);
    base(&test, script);
    let output = command(&test, packages).run();
    (test, output)
}

fn inside(test: &TestDir, script: &str) -> String {
    let mut exec = test.command("apptainer");
    let script = format!("PATH=/bin; {script}");
    exec.args(["-s", "exec", "out.sif", "/bin/sh", "-c", &script]);
    exec.run().succeeded().stdout
}

/// Checks that a build has failed with these words, and has left nothing.
#[track_caller]
fn failed(test: &TestDir, output: CommandOutput, words: &[&str]) {
    output.failed_on_either_stream(1, words);
    assert!(!test.path("out.sif").exists());
    test.left_nothing();
}

/// D15: nobody has to be root, and only what changed is packed.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn packages_of_the_distribution_are_added_where_nobody_is_root() {
    let script = "[ \"$(id -u)\" = 0 ]; [ \"$HOME:$LANG\" = /root:C ]; [ -z \"$USER\" ]
        echo 'echo works' >/bin/thing; chmod 4755 /bin/thing; chown 7:8 /bin/thing
        chmod 0 /lib/apk/installed; mknod /bin/device c 1 3; echo log >/var/log/apk.log
        echo x >/tmp/left; [ -s /etc/resolv.conf ] || [ ! -s /etc/resolv.conf ]
        mkdir /closed; echo hidden >/closed/file; chmod 0 /closed/file; chmod 500 /closed
        ls /proc/self/fd >/dev/null; ls /dev/null /dev/shm >/dev/null";
    as_both(|account| {
        let script = format!("mkdir -p /var/log\n{script}");
        let (test, output) = build(account, "root-script", &script, "thing");
        let said = output.succeeded().text();
        assert!(
            said.contains(
                "the script runs as root in namespaces of its own, one of them for users"
            ),
            "{said}"
        );
        assert!(said.contains("compressed: thing=2.5-r1"), "{said}");
        let shown =
            "/bin/sh /bin/thing; ls -ln /bin/thing; ls -ld /closed; ls /tmp/left; ls /bin/device";
        let shown = inside(&test, &format!("({shown}) 2>&1 || true"));
        // A container of an ordinary user knows no other user than that one.
        let owner = if account == Account::Root { 0 } else { 65534 };
        let thing = format!("works\n-rwsr-xr-x 1 {owner} {owner} ");
        assert!(shown.contains(&thing), "{shown}");
        assert!(shown.contains("dr-x------"), "{shown}");
        assert_eq!(shown.matches("No such file").count(), 2, "{shown}");
        let mut labels = test.command("apptainer");
        let labels = labels.args(["inspect", "out.sif"]).run().succeeded().text();
        assert!(
            labels.contains("condense.os-packages: thing=2.5-r1"),
            "{labels}"
        );
        test.left_nothing();
    });
}

/// A script sees nothing of the machine that it could change.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_hostile_script_changes_nothing_outside_of_its_root() {
    as_both(|account| {
        let test = TestDir::new(account, "root-hostile");
        let outside = test.path("outside");
        let shown = outside.display();
        let script = format!(
            "ln -s {shown} /etc-out; ! echo no >/etc-out 2>/dev/null
            ! ls {shown} 2>/dev/null; ! ls /work /home 2>/dev/null
            ! mount -t tmpfs none /bin 2>/dev/null
            ! echo 1 >/proc/sys/kernel/sysrq 2>/dev/null
            ! echo b >/proc/sysrq-trigger 2>/dev/null
            mknod /bin/disk b 254 0; ! cat /bin/disk 2>/dev/null
            rm -rf /etc; ln -s {shown} /etc; rm -rf /var; ln -s / /var
            rm -f /.post.script; ln -s {shown} /.post.script
            rm -rf /tmp/condense-os-packages/kept; ln -s {shown} /tmp/condense-os-packages/kept
            setsid sh -c 'trap \"\" TERM HUP; sleep 601' & sleep 602 &"
        );
        base(&test, &script);
        let output = command(&test, "thing").run();
        // What the script has made of the file system may or may not start.
        let said = output.text();
        assert!(!outside.exists(), "{said}");
        let found = Command::new("/bin/sh")
            .args(["-c", "ps -eo args | grep -E '^sleep 60[12]$'"])
            .run();
        assert_eq!(found.stdout, "", "{said}");
        assert!(
            std::fs::symlink_metadata("/bin").is_ok_and(|bin| bin.uid() == 0),
            "{said}"
        );
        test.left_nothing();
    });
}

/// A failure names its reason, and nothing is left.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn failures_of_packages_are_one_line() {
    let account = Account::Ordinary;
    let (test, output) = build(account, "root-unknown", "", "thing nothing");
    let words = ["Made up 1 has no package `nothing` in the places that its apk knows"];
    failed(&test, output, &words);
    let script = "echo 'fetching x: temporary error (try again later)'; exit 1";
    let (test, output) = build(account, "root-network", script, "thing");
    failed(&test, output, &["apk reaches no server of Made up 1"]);
    let script = "echo broken >&2; exit 7";
    let (test, output) = build(account, "root-broken", script, "thing");
    failed(
        &test,
        output,
        &["--os-packages failed: exit status 7", "broken"],
    );
    let script = "kill -9 $PPID";
    let (test, output) = build(account, "root-killed", script, "thing");
    failed(&test, output, &["it was ended by signal 9"]);
    let test = TestDir::new(account, "root-none");
    base(&test, "");
    let mut none = command(&test, "thing");
    none.args(["--base-image"]).arg(parts().base());
    failed(
        &test,
        none.run(),
        &["has no package manager", "apt, zypper"],
    );
    let mut offline = command(&test, "thing");
    offline.arg("--offline");
    failed(&test, offline.run(), &["`--offline` forbids that"]);
    let mut closed = command(&test, "thing");
    closed
        .env("PATH", "/nowhere")
        .args(["--base-image", "base.sqfs"]);
    // `unshare` is looked for beside PATH, so namespaces still work without a runtime.
    closed.run().succeeded();
}

/// Whatever ends the build ends the script.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_script_ends_with_its_build() {
    as_both(|account| {
        for signal in [Signal::TERM, Signal::KILL] {
            let test = TestDir::new(account, "root-ended");
            let script = "echo started >/tmp/started; setsid sleep 603 & sleep 604";
            base(&test, script);
            let mut build = command(&test, "thing");
            let mut build = build
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let running = || {
                let script = "ps -eo args | grep -cE '^sleep 60[34]$'";
                let found = Command::new("/bin/sh").args(["-c", script]).run();
                found.stdout.trim().parse::<u32>().unwrap()
            };
            let started = Instant::now();
            let wait = |wanted: u32| {
                while running() != wanted {
                    assert!(started.elapsed() < Duration::from_secs(60), "{signal:?}");
                    std::thread::sleep(Duration::from_millis(50));
                }
            };
            wait(2);
            kill_process(Pid::from_child(&build), signal).unwrap();
            build.wait().unwrap();
            wait(0);
            assert!(!test.path("out.sif").exists());
            if signal == Signal::TERM {
                test.left_nothing();
            }
            test.empty_scratch();
        }
    });
}

/// Package managers of rpm in their manuals' words. Each takes the command lines that are written
/// here and no others, and ends with a status that its manual has for success.
const OF_RPM: [(&str, &str); 4] = [
    (
        "zypper",
        "case \"$*\" in
        '--non-interactive --gpg-auto-import-keys refresh') ;;
        '--non-interactive install --no-recommends --auto-agree-with-licenses -- thing') add; exit 107 ;;
        '--non-interactive install --no-recommends --auto-agree-with-licenses -- nothing')
            echo \"No provider of 'nothing' found.\"; exit 104 ;;
        '--non-interactive clean --all') ;;
        *) exit 90 ;; esac",
    ),
    (
        "dnf",
        "case \"$*\" in
        '-y --setopt=install_weak_deps=False --setopt=tsflags=nodocs install thing') add ;;
        '-y --setopt=install_weak_deps=False --setopt=tsflags=nodocs install nothing')
            echo 'No match for argument: nothing'; exit 1 ;;
        'clean all') ;;
        *) exit 90 ;; esac",
    ),
    (
        "microdnf",
        "case \"$*\" in
        '-y --nodocs --setopt=install_weak_deps=0 install thing') add ;;
        '-y --nodocs --setopt=install_weak_deps=0 install nothing')
            echo \"error: No package matches 'nothing'\"; exit 1 ;;
        'clean all') ;;
        *) exit 90 ;; esac",
    ),
    (
        "yum",
        "case \"$*\" in
        '-y --setopt=tsflags=nodocs install thing') add ;;
        '-y --setopt=tsflags=nodocs install nothing') ;;
        'clean all') ;;
        *) exit 90 ;; esac",
    ),
];

/// The scripts for zypper, dnf, microdnf and yum run to their end, and tell what is new.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_scripts_of_all_package_managers_of_rpm_run() {
    let rpm = "#!/bin/sh\ncase \"$1\" in
        -qa) while read -r line; do echo \"$line\"; done </lib/installed ;;
        *) for last; do :; done; case $(cat /lib/installed) in *\"$last \"*) ;; *) exit 1 ;; esac ;; esac\n";
    for (name, script) in OF_RPM {
        let test = TestDir::new(Account::Ordinary, "root-rpm");
        let manager = format!(
            "#!/bin/sh\nadd() {{ echo thing 2.5-1 >>/lib/installed; mkdir -p /var/log; echo log >/var/log/{name}; }}\n{script}\n"
        );
        let path = format!("usr/bin/{name}");
        let programs = [
            (&*path, &*manager),
            ("bin/rpm", rpm),
            ("lib/installed", "base 1.0-1\n"),
        ];
        base_with(&test, &programs);
        let said = command(&test, "thing").run().succeeded().text();
        assert!(said.contains("compressed: thing=2.5-1"), "{name}: {said}");
        let shown = inside(&test, "cat /lib/installed; ls /var/log");
        assert_eq!(shown, "base 1.0-1\nthing 2.5-1\n", "{name}");
        let unknown = command(&test, "nothing").arg("--force").run();
        let words = format!("has no package `nothing` in the places that its {name} knows");
        unknown.failed_on_either_stream(1, &[&words]);
        test.left_nothing();
    }
}
