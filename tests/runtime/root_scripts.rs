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

use crate::harness::{Account, CommandOutput, Run, TestDir, Tmpfs, as_both, names, parts};

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
        echo x >/tmp/left; [ -f /etc/resolv.conf ] && [ -f /etc/hosts ]
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

/// Runs a program in a mount namespace in which the root is read-only, and the files that a script
/// of root could change are copies. Prints `LEAK` if they have changed.
const FENCE: &str = "set -e
work=$1; shift
mount --bind \"$work\" \"$work\"
mkdir \"$work/dev\"; mount -t tmpfs dev \"$work/dev\"
for device in null zero full random urandom tty ptmx fuse; do
    [ ! -e \"/dev/$device\" ] || cp -a \"/dev/$device\" \"$work/dev/\"
done
mkdir \"$work/dev/pts\" \"$work/dev/shm\"; ln -s /proc/self/fd \"$work/dev/fd\"
for link in 0:stdin 1:stdout 2:stderr; do
    ln -s \"fd/${link%:*}\" \"$work/dev/${link#*:}\"
done
mount --rbind /dev/pts \"$work/dev/pts\"
for name in hosts resolv.conf; do
    cp \"/etc/$name\" \"$work/$name\"; mount --bind \"$work/$name\" \"/etc/$name\"
done
mount -o remount,bind,ro /
mount --rbind \"$work/dev\" /dev
script -qec \"$*\" /dev/null </dev/null || true
for name in hosts resolv.conf; do
    if grep -q hostile \"/etc/$name\"; then echo \"LEAK $name\"; fi
done
[ \"$(stat -c %a /dev/null /dev/zero | tr '\\n' ' ')\" = '666 666 ' ] || echo LEAK modes
umount -l /dev; umount -l \"$work/dev\"; rmdir \"$work/dev\"";

/// Returns the command in a namespace of [`FENCE`] and with a terminal.
fn fenced(test: &TestDir, command: &Command) -> Command {
    let mut fenced = Command::new("/usr/bin/unshare");
    fenced
        .args(["--mount", "--propagation", "private", "/bin/sh", "-c"])
        .args([FENCE, "sh"])
        .arg(test.dir())
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .current_dir(test.dir());
    for (name, value) in command.get_envs() {
        fenced.env(name, value.unwrap_or_default());
    }
    fenced
}

/// A script sees nothing of the machine that it could change.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_hostile_script_changes_nothing_outside_of_its_root() {
    as_both(|account| {
        let test = TestDir::new(account, "root-hostile");
        let outside = test.make_dir("outside");
        test.write("outside/marker", "here");
        let spaced = test.make_dir("a b");
        let shown = outside.display();
        let script = format!(
            "set +e; echo the script has begun
            leak() {{ echo \"LEAK $*\"; }}
            for each in {shown}/marker /home/*; do if [ -e \"$each\" ]; then leak \"$each\"; fi; done
            if mount -t tmpfs none /bin 2>/dev/null; then leak mount; fi
            for each in /proc/sys/kernel/sysrq /proc/sys/kernel/core_pattern /sys/kernel/*; do
                if [ -f \"$each\" ] && (: >>\"$each\") 2>/dev/null; then leak \"$each\"; fi
            done
            if (echo h >/proc/sysrq-trigger) 2>/dev/null; then leak sysrq-trigger; fi
            if [ -n \"$(cat /proc/scsi/scsi /proc/keys /proc/timer_list 2>/dev/null)\" ]; then leak proc; fi
            echo hostile >>/etc/hosts; echo hostile >>/etc/resolv.conf
            if chmod 600 /dev/null /dev/zero 2>/dev/null; then leak devices; fi
            read -r stat </proc/self/stat; set -- ${{stat##*) }}
            if [ \"$5\" != 0 ] || (: </dev/tty) 2>/dev/null; then leak terminal; fi
            mknod /bin/disk b 254 0; if cat /bin/disk 2>/dev/null; then leak disk; fi
            echo no >/etc-out; ln -s {shown} /link-out; echo no >/link-out/new 2>/dev/null
            rm -rf /etc; ln -s {shown} /etc; rm -rf /var; ln -s / /var
            rm -f /.post.script; ln -s {shown} /.post.script
            rm -rf /tmp/condense-os-packages/kept; ln -s {shown} /tmp/condense-os-packages/kept
            setsid sh -c 'trap \"\" TERM HUP; sleep 601' & sleep 602 &
            echo the script has ended"
        );
        base(&test, &script);
        let mut command = command(&test, "thing");
        command.env("TMPDIR", &spaced);
        let output = fenced(&test, &command).run();
        // What the script has made of the file system may or may not start.
        let said = output.text();
        assert!(said.contains("the script has begun"), "{said}");
        assert!(said.contains("the script has ended"), "{said}");
        assert!(!said.contains("LEAK"), "{said}");
        assert_eq!(crate::harness::names(&outside), ["marker"], "{said}");
        let found = Command::new("/bin/sh")
            .args(["-c", "ps -eo args | grep -E '^sleep 60[12]$'"])
            .run();
        assert_eq!(found.stdout, "", "{said}");
        assert_eq!(fs_err::read_dir(&spaced).unwrap().count(), 0, "{said}");
        test.left_nothing();
    });
}

/// A runtime runs the script if there are no namespaces. It shows neither files nor processes
/// of this machine, and no owner of such a file changes.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_runtime_shows_a_script_nothing_of_this_machine() {
    let test = TestDir::new(Account::Ordinary, "root-runtime");
    let marker = test.write("marker", "here");
    std::os::unix::fs::chown(&marker, None, Some(0)).unwrap();
    let script = format!(
        "leak() {{ echo \"LEAK $*\"; }}
        for each in {} /home/*; do if [ -e \"$each\" ]; then leak \"$each\"; fi; done
        read -r stat </proc/self/stat; set -- ${{stat##*) }}
        if [ \"$5\" != 0 ] || (: </dev/tty) 2>/dev/null; then leak terminal; fi
        set -- /proc/[0-9]*; if [ $# -gt 20 ]; then leak processes; fi
        echo x >/tmp/left; echo new >/new; echo the script has ended",
        marker.display()
    );
    base(&test, &script);
    let bin = test.make_dir("bin");
    fs_err::write(bin.join("unshare"), "#!/bin/sh\nexit 1\n").unwrap();
    let executable = std::fs::Permissions::from_mode(0o755);
    fs_err::set_permissions(bin.join("unshare"), executable).unwrap();
    let mut command = command(&test, "thing");
    command.env(
        "PATH",
        format!("{}:{}", bin.display(), parts().search_path()),
    );
    let said = fenced(&test, &command).run().text();
    for words in [
        "the script runs with the container runtime",
        "the script has ended",
    ] {
        assert!(said.contains(words), "`{words}` is not in {said}");
    }
    assert!(!said.contains("LEAK"), "{said}");
    assert_eq!(fs_err::metadata(&marker).unwrap().gid(), 0, "{said}");
    assert!(inside(&test, "cat /new; ls /tmp/left 2>&1 || true").starts_with("new\n"));
    test.left_nothing();
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

/// A %post that cannot run, fails, is killed or fills the disk is told with its line, and nothing
/// is left.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn scripts_of_definitions_fail_with_their_line() {
    let test = TestDir::new(Account::Ordinary, "root-definition");
    base(&test, "");
    let bare = test.make_dir("bare");
    fs_err::write(bare.join("file"), "x\n").unwrap();
    let mut pack = Command::new("mksquashfs");
    pack.arg(&bare).arg(test.path("bare.sqfs"));
    pack.args(["-quiet", "-no-progress"]).stdout(Stdio::null());
    assert!(pack.status().unwrap().success());
    let full = Tmpfs::mount(&test.path("full"), "40m");
    for (base, script, words) in [
        (
            "base.sqfs",
            "true\nno-such-program\ntrue",
            "my.def:6: %post failed: exit status 127 of `no-such-program`",
        ),
        ("base.sqfs", "kill -9 $$", "it was ended by signal 9"),
        (
            "base.sqfs",
            "true\ncat /dev/zero >/big",
            "my.def:6: %post failed: exit status 1 of `cat /dev/zero`",
        ),
        (
            "base.sqfs",
            "cat /dev/zero >/big",
            "hint: free some space, or write to another file system",
        ),
        ("bare.sqfs", "true", "the image has no `/bin/sh`"),
    ] {
        let text = format!("Bootstrap: localimage\nFrom: {base}\n\n%post\n{script}\n");
        fs_err::write(test.path("my.def"), text).unwrap();
        let mut build = test.command(parts().path("programs/condense"));
        build
            .args(["build", "my.def", "out.sif"])
            .env("TMPDIR", test.path("full"))
            .env("CONDENSE_CACHE_DIR", test.path("cache"));
        failed(&test, build.run(), &[words]);
        assert_eq!(names(&test.path("full")), Vec::<String>::new());
    }
    drop(full);
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
