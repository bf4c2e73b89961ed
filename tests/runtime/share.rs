//! Tests of the one container that the tasks of a job step share on each node. Except for the test
//! with Slurm, a step is a set of programs with the variables that Slurm gives its tasks.
//!
//! `CONDENSE_TEST_ROUNDS=200` makes the tests of many starts as long as `scripts/test-sharing` runs
//! them.

mod places;
mod step;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::harness::{Account, Installation, Run, Slurm, names, parts, shared};
use step::{
    Step, bytes_read, ended, eventually, image_processes, keepers, kill, left_nothing, rounds,
    runtimes,
};

/// Program that writes down all that it sees of its process.
const SEES: &str = r#"
import json, os, resource, sys
umask = os.umask(0)
status = dict(line.split(":\t") for line in open("/proc/self/status").read().splitlines())
# The C library has signals 32 and 33 for itself: a runtime gives them their defaults, if the
# caller ignored them.
status["SigIgn"] = hex(int(status["SigIgn"], 16) & ~(3 << 31))
kept = ("Sig", "Shd", "NoNewPrivs", "CapEff", "CapPrm", "CapInh", "Seccomp", "Groups", "Uid", "Gid")
mounts = {tuple(line.split()[1:3]) for line in open("/proc/self/mounts")}
print(json.dumps({
    "argv": sys.argv, "executable": sys.executable, "cwd": os.getcwd(), "umask": umask,
    "environment": {k: v for k, v in os.environ.items() if k != "CW_SHARE"},
    "limits": {k: resource.getrlimit(getattr(resource, k)) for k in dir(resource) if k.startswith("RLIMIT")},
    "status": {k: v for k, v in status.items() if k.startswith(kept)},
    "cores": sorted(os.sched_getaffinity(0)), "nice": os.nice(0), "input": sys.stdin.read(),
    "mounts": sorted(mounts), "root": sorted(os.listdir("/")), "dev": sorted(os.listdir("/dev")),
    "namespaces": [os.readlink(f"/proc/self/ns/{k}") for k in ("pid", "net", "ipc", "uts")],
    "parent": os.getppid(), "cgroup": open("/proc/self/cgroup").read(),
}, indent=1))
sys.exit(7)
"#;

/// Program that prints its parent. The runtime has no process before one in a shared container.
const PRINTS_PARENT: &str = "import os; print(os.getppid())";

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn eight_tasks_hold_the_mounts_of_one_and_read_what_one_reads() {
    let step = Step::new("share-counts", 8);
    let alone = step.start_waiting(9, "0");
    step.wait_for(1);
    let of_one = image_processes();
    let read_by_one = bytes_read(&of_one);
    assert!(
        !of_one.is_empty() && read_by_one > 0,
        "{of_one:?} {read_by_one}"
    );
    step.go();
    ended(alone).succeeded();
    eventually("the program alone has ended", || {
        image_processes().is_empty()
    });
    for name in ["go", "here.9"] {
        fs_err::remove_file(step.test.path(name)).unwrap();
    }
    let tasks = step.start_all("1");
    let of_eight = image_processes();
    let read_by_eight = bytes_read(&of_eight);
    println!(
        "mounts {} and {}, bytes {read_by_one} and {read_by_eight}",
        of_one.len(),
        of_eight.len()
    );
    assert_eq!(of_eight.len(), of_one.len());
    assert!(
        read_by_eight * 10 <= read_by_one * 11,
        "{read_by_eight} of {read_by_one}"
    );
    assert_eq!(step.end(tasks).len(), 1, "namespaces");
    left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_program_sees_in_the_shared_container_what_it_sees_alone() {
    let step = Step::new("share-sees", 2);
    let see = |share: &str| {
        let text = "cd /usr/share; umask 027; ulimit -n 777; ulimit -s 6000; ulimit -c 0
            exec nice -n 3 taskset -c 0 \"$@\" 'an argument' '' 2";
        let mut command = Account::Ordinary.command("/bin/sh");
        command
            .args(["-c", text, "sh"])
            .arg(shared().bin("python3"))
            .args(["-c", SEES]);
        let mut command = step.task(0, command);
        command
            .current_dir("/usr/share")
            .env("CW_SHARE", share)
            .env("MANY", "a 'b' \"c\"\nexport NO=1\n")
            .env("APPTAINERENV_GIVEN", "it's $HOME")
            .env("SINGULARITYENV_PREPEND_PATH", "/first");
        command.run()
    };
    let [alone, together] = ["0", "1"].map(|share| {
        let output = see(share);
        assert_eq!(
            (output.status, output.stderr.as_str()),
            (7, ""),
            "{share} {output:?}"
        );
        serde_json::from_str::<serde_json::Value>(&output.stdout).unwrap()
    });
    // The runtime has no process in front of a program in the shared container.
    let this = serde_json::json!(std::process::id());
    assert!(alone["parent"] != this && together["parent"] == this);
    let names = alone
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| *name != "parent");
    for name in names {
        assert_eq!(alone[name], together[name], "{name}");
    }
    left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn signals_and_statuses_are_those_of_a_program_alone() {
    let step = Step::new("share-signals", 2);
    let handles = r#"
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("told to end"), sys.exit(9)))
open(sys.argv[1] + "/here." + sys.argv[2], "w").close()
time.sleep(60)
"#;
    for (number, whole_group) in [(0, false), (1, true)] {
        let mut command = Account::Ordinary.command("/usr/bin/setsid");
        command.arg(shared().bin("python3")).args(["-c", handles]);
        command.arg(step.test.dir()).arg(number.to_string());
        let mut command = step.task(number, command);
        let task = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        step.wait_for(number + 1);
        let process = if whole_group {
            format!("-{}", task.id())
        } else {
            task.id().to_string()
        };
        kill("-TERM", &process);
        let output = ended(task);
        assert_eq!(
            (output.status, output.text().as_str()),
            (9, "told to end"),
            "{output:?}"
        );
    }
    for (text, status) in [
        ("raise SystemExit(7)", 7),
        ("import os; os.kill(os.getpid(), 11)", 139),
    ] {
        let command = shared().python(Account::Ordinary, text);
        assert_eq!(step.task(0, command).run().status, status, "{text}");
    }
    left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_killed_process_harms_nobody_else_and_leaves_nothing() {
    let step = Step::new("share-killed", 2);
    // The keepers are in the order of their start: the first one, the one that has started the
    // runtime, and the one that waits for the tasks. No two of them are needed.
    for (keeper_numbers, with_runtime, with_first_task) in [
        (&[][..], false, true),
        (&[0, 1], false, false),
        (&[0, 2], false, true),
        (&[], true, false),
        (&[0, 2], true, false),
        (&[0, 1, 2], false, false),
        (&[0, 1, 2], true, true),
    ] {
        let mut tasks = step.start_all("1");
        eventually("the keepers wait", || keepers().len() == 3);
        let (keepers, runtimes) = (keepers(), runtimes());
        assert_eq!(runtimes.len(), 1, "{keepers:?}");
        let mut victims: Vec<u32> = keeper_numbers.iter().map(|n| keepers[*n]).collect();
        victims.extend(runtimes.iter().filter(|_| with_runtime));
        if with_first_task {
            victims.push(tasks[0].id());
        }
        println!("{keeper_numbers:?} of {keepers:?}, {runtimes:?}: {victims:?}");
        for process in &victims {
            kill("-KILL", &process.to_string());
        }
        if with_first_task {
            assert_eq!(ended(tasks.remove(0)).status, 137);
        }
        assert_eq!(step.end(tasks).len(), 1);
        step.clear();
        if keeper_numbers.len() == 3 {
            // The container ends by itself if its runtime lives. The rest is for the next start, of
            // the same step or of another.
            eventually("the container has ended", || {
                with_runtime || image_processes().is_empty()
            });
            let command = shared().python(Account::Ordinary, PRINTS_PARENT);
            let next = if with_runtime { "0" } else { "1" };
            let mut command = step.task(0, command);
            let output = command.env("SLURM_STEP_ID", next).run().succeeded();
            assert_eq!(output.text(), std::process::id().to_string());
        }
        left_nothing();
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_program_that_closes_all_its_files_keeps_the_container() {
    let step = Step::new("share-closes", 2);
    let text = "import os, time
os.closerange(3, 64)
time.sleep(2)
import decimal, sqlite3
print(os.getppid(), os.listdir('/usr/share') != [])";
    let command = shared().python(Account::Ordinary, text);
    let output = step.task(0, command).run().succeeded();
    assert_eq!(output.text(), format!("{} True", std::process::id()));
    left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn each_task_keeps_variables_of_its_own() {
    let step = Step::new("share-own", 2);
    let prints = r#"
import json, os
kept = {k: v for k, v in os.environ.items() if k != "CW_SHARE"}
print(json.dumps([os.readlink("/proc/self/ns/mnt"), kept]))
"#;
    let see = |share: &str, variables: &[(&str, &str)]| {
        let command = shared().python(Account::Ordinary, prints);
        let mut command = step.task(1, command);
        command.env("CW_SHARE", share);
        command.envs(variables.iter().copied());
        let text = command.run().succeeded().stdout;
        serde_json::from_str::<(String, serde_json::Value)>(&text).unwrap()
    };
    let own: &[(&str, &str)] = &[
        ("SLURM_LOCALID", "1"),
        ("PMI_FD", "7"),
        ("PMIX_RANK", "1"),
        ("ROCR_VISIBLE_DEVICES", "5"),
        ("CUDA_VISIBLE_DEVICES", ""),
        ("OMP_PLACES", "{4:4}"),
        ("MASTER_PORT", "2950\n1"),
    ];
    for (of_both, of_second, are_one) in [
        (&[][..], own, true),
        (&[("APPTAINER_CLEANENV", "1")], own, true),
        (&[("SINGULARITYENV_A", "x")], own, true),
        (&[("APPTAINERENV_LD_LIBRARY_PATH", "/a b:/'c")], own, true),
        (&[], &[("SINGULARITYENV_A", "2")], false),
        (&[], &[("APPTAINER_NV", "1")], false),
        (&[], &[("SCIF_APPS", "read by the image")], false),
    ] {
        let mut first = step.waiting(0, &[]);
        first
            .envs(of_both.iter().copied())
            .env("ROCR_VISIBLE_DEVICES", "4");
        let first = first.env("CW_SHARE", "1").stdout(Stdio::piped()).spawn();
        step.wait_for(1);
        let variables = [of_both, of_second].concat();
        let (_, alone) = see("0", &variables);
        let (namespace, together) = see("1", &variables);
        assert_eq!(alone, together, "{variables:?}");
        step.go();
        let of_first = ended(first.unwrap()).succeeded().text();
        assert_eq!(namespace == of_first, are_one, "{variables:?}");
        step.clear();
        left_nothing();
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn two_installations_and_two_sets_of_options_never_mix() {
    let step = Step::new("share-mix", 4);
    let other = step.test.build("edge-argv");
    for name in ["a", "b"] {
        let dir = step.test.make_dir(name);
        fs_err::write(dir.join("who"), name).unwrap();
    }
    let installations: [&Installation; 2] = [shared(), &other];
    let wanted: Vec<String> = installations
        .iter()
        .flat_map(|it| ["a", "b"].map(|name| format!("{name}{}", it.mount_point())))
        .collect();
    for round in 0..rounds(10) {
        let mut started = Vec::new();
        for installation in installations {
            for name in ["a", "b"] {
                let text = "cat /data/who; cd /; echo /LOCAL*";
                let command =
                    installation.command(Account::Ordinary, "_debug_exec", ["sh", "-c", text]);
                let bind = format!("{}:/data", step.test.path(name).display());
                let mut command = step.task(0, command);
                command.env("APPTAINER_BIND", bind).stdout(Stdio::piped());
                started.push(command.stderr(Stdio::piped()).spawn().unwrap());
            }
        }
        let said: Vec<String> = started
            .into_iter()
            .map(|it| ended(it).succeeded().text())
            .collect();
        assert_eq!(said, wanted, "round {round}");
    }
    left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn many_starts_at_once_all_succeed() {
    let step = Step::new("share-many", rounds(24));
    let tasks = step.start_all("1");
    let mounts = image_processes().len();
    assert_eq!((step.end(tasks).len(), mounts), (1, 2));
    left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_wrapper_in_the_shared_container_stays_in_it() {
    let step = Step::new("share-nested", 2);
    let text = "import os, subprocess, sys
print(os.readlink('/proc/self/ns/mnt'), flush=True)
if sys.argv[1:]: subprocess.run([sys.argv[1], '-c', sys.argv[2]], check=True)";
    let mut command = shared().python(Account::Ordinary, text);
    command.arg(shared().bin("python3")).arg(text);
    let output = step.task(0, command).env("CW_LOG_LEVEL", "3").run();
    assert_eq!(output.status, 0, "{output:?}");
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(lines.len() == 2 && lines[0] == lines[1], "{output:?}");
    // Who wants to see everything sees which way each start has gone.
    let said = "python: one container for the tasks of step 4242.0 of Slurm on this node\n";
    assert_eq!(output.stderr, said);
    left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn commands_of_a_module_share_one_container() {
    let step = Step::new("share-module", 2);
    let program = step.test.module(parts().base()).join("bin/start-shell");
    let text = "touch here.$0; until [ -e go ]; do sleep 0.05; done; readlink /proc/self/ns/mnt";
    let tasks = (0..2).map(|number| {
        let mut command = Account::Ordinary.command(&program);
        command.args(["--", "sh", "-c", text, &number.to_string()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        step.task(number, command).spawn().unwrap()
    });
    let tasks: Vec<Child> = tasks.collect();
    step.wait_for(2);
    assert_eq!(step.end(tasks).len(), 1);
    left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_module_starts_behind_a_link_where_it_starts_alone() {
    let step = Step::new("share-link", 2);
    let root = step.test.module(parts().base());
    step.test.make_dir("real");
    // The base hides the host's directory of this name with its own.
    for (link, target) in [("to-host", "real"), ("to-base", "/usr/share/doc")] {
        let target = step.test.path(target);
        std::os::unix::fs::symlink(target, step.test.path(link)).unwrap();
        let [alone, together] = ["0", "1"].map(|share| {
            let mut command = Account::Ordinary.command(root.join("bin/start-shell"));
            command.args(["--", "sh", "-c", "pwd; pwd -P; echo $PWD; ls"]);
            let mut command = step.task(0, command);
            command.current_dir(step.test.path(link));
            command
                .env("PWD", step.test.path(link))
                .env("CW_SHARE", share);
            command.run().succeeded().stdout
        });
        assert_eq!(alone, together, "{link}");
    }
    left_nothing();
}

/// Shell code that starts a command where the runtime has a setuid starter. The host keeps its own.
const SETUID: &str = r#"
set -eu
starter=$(find /usr/lib* /usr/local/lib* -path '*/apptainer/bin/starter' | head -n 1)
mkdir "$1"
cp "$starter" "$1"
install -m 4755 "$starter" "$1/starter-suid"
mount --bind "$1" "${starter%/*}"
shift
exec "$@"
"#;

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_setuid_runtime_is_recognised_before_anything_is_started() {
    let step = Step::new("share-setuid", 2);
    let start = |program: Command| {
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private", "sh", "-c", SETUID, "sh"]);
        command
            .arg(step.test.path("starters"))
            .arg(program.get_program());
        command.args(program.get_args());
        let variables = program
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)));
        command.env_clear().envs(variables);
        let output = step.task(0, command).run();
        fs_err::remove_dir_all(step.test.path("starters")).unwrap();
        output.stdout
    };
    let why = "only the runtime can enter its containers, because it is installed setuid";
    let command = shared().command(Account::Ordinary, "_debug_exec", ["--explain", "true"]);
    let said = start(command);
    let wanted = format!("\n# a container of its own: {why}\n");
    assert!(said.contains(&wanted), "{said}");
    let mut command = Account::Ordinary.command(parts().path("programs/condense"));
    command.arg("doctor").arg("--offline");
    let said = start(command);
    let wanted = "each task has a container of its own: only the runtime can enter it";
    assert!(said.contains(wanted), "{said}");
}

/// Program whose second task reads the memory of the first one, as MPI does between tasks.
const READS: &str = r#"
import ctypes, os, sys, time
work, number = sys.argv[1:3]
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(0x59616d61, ctypes.c_ulong(-1 & 0xffffffffffffffff))
class Piece(ctypes.Structure): _fields_ = [("at", ctypes.c_void_p), ("length", ctypes.c_size_t)]
text = ctypes.create_string_buffer(b"of the first", 12)
if number == "0":
    open(f"{work}/made", "w").write(f"{os.getpid()} {ctypes.addressof(text)}")
    os.rename(f"{work}/made", f"{work}/where")
    while not os.path.exists(f"{work}/go"): time.sleep(0.05)
else:
    while not os.path.exists(f"{work}/where"): time.sleep(0.05)
    process, at = map(int, open(f"{work}/where").read().split())
    got = ctypes.create_string_buffer(12)
    here, there = Piece(ctypes.addressof(got), 12), Piece(at, 12)
    count = libc.process_vm_readv(process, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    open(f"{work}/go", "w").close()
    print(got.raw.decode() if count == 12 else os.strerror(ctypes.get_errno()))
"#;

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn tasks_read_the_memory_of_each_other_only_in_the_shared_container() {
    let step = Step::new("share-memory", 2);
    for (share, wanted) in [("1", "of the first"), ("0", "Operation not permitted")] {
        let mut tasks = (0..2).map(|number| {
            let mut command = shared().python(Account::Ordinary, READS);
            command
                .arg(step.test.dir())
                .arg(number.to_string())
                .stdout(Stdio::piped());
            let mut command = step.task(number, command);
            command
                .env("CW_SHARE", share)
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        });
        let (first, second) = (tasks.next().unwrap(), tasks.next().unwrap());
        ended(second).says(wanted);
        ended(first).succeeded();
        step.clear();
    }
    left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn whatever_is_in_the_way_gives_a_container_of_its_own_and_is_explained() {
    let step = Step::new("share-explain", 2);
    let explain = |account: Account, name: &str, value: &str| {
        let command = shared().command(account, "_debug_exec", ["--explain", "true"]);
        let output = step.task(0, command).env(name, value).run().succeeded();
        let said = output
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("# "));
        said.unwrap_or_default().to_owned()
    };
    let plain = Account::Ordinary;
    let own = |why: &str| format!("a container of its own: {why}");
    let step_name = "step 4242.0 of Slurm";
    assert_eq!(
        explain(plain, "A", "1"),
        format!("one container for the tasks of {step_name} on this node")
    );
    assert_eq!(explain(plain, "CW_SHARE", "0"), "");
    assert_eq!(
        explain(plain, "SLURM_STEP_TASKS_PER_NODE", "4,1"),
        own("this is the only task of its job step on this node")
    );
    assert_eq!(
        explain(plain, "APPTAINER_WRITABLE_TMPFS", "1"),
        own("the variable APPTAINER_WRITABLE_TMPFS is for one container")
    );
    assert!(explain(Account::Root, "A", "1").starts_with(&own("root has other capabilities")));
    for (account, name, value) in [
        (Account::Root, "A", "1"),
        (plain, "APPTAINER_WRITABLE_TMPFS", "1"),
    ] {
        let command = shared().python(account, "print('alone')");
        step.task(0, command).env(name, value).run().says("alone");
    }
    let command = shared().python(plain, "pass");
    step.task(0, command)
        .env("CW_SHARE", "yes")
        .run()
        .failed_on_either_stream(125, &["CW_SHARE is neither 0 nor 1: yes"]);
    // The directory of another user is left alone.
    let place = PathBuf::from(format!("/dev/shm/condense-{}", plain.id()));
    fs_err::create_dir(&place).unwrap();
    let command = shared().python(plain, PRINTS_PARENT);
    let output = step.task(0, command).run().succeeded();
    assert!(names(&place).is_empty() && output.text() != std::process::id().to_string());
    fs_err::remove_dir(&place).unwrap();
    left_nothing();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests) and Slurm"]
fn tasks_of_slurm_share_one_container_on_each_node() {
    let step = Step::new("share-slurm", 4);
    let slurm = Slurm::start_as(&step.test, Account::Ordinary, None);
    let python = shared().bin("python3").display().to_string();
    let text = "import os; print(os.environ['SLURMD_NODENAME'], os.readlink('/proc/self/ns/mnt'))";
    step.test.write("see.py", text);
    let said = slurm.batch(
        &step.test,
        &["--nodes=2", "--ntasks-per-node=4"],
        &format!("srun {python} see.py\nsrun {python} -c 'raise SystemExit(3)'\necho $?\n"),
    );
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("mnt:")).collect();
    let different: BTreeSet<&str> = lines.iter().copied().collect();
    assert_eq!((lines.len(), different.len()), (8, 2), "{said}");
    assert!(said.ends_with("\n3\n"), "{said}");
    left_nothing();
    // The end of a job in the middle of a step leaves nothing, either.
    let wait = format!(
        "srun {python} -c \"{}\" . $SLURM_PROCID\n",
        "import time; open('here.0', 'w').close(); time.sleep(90)"
    );
    step.test.write("long.sh", &format!("#!/bin/sh\n{wait}"));
    let mut command = slurm.command(&step.test, "sbatch");
    let options = [
        "--parsable",
        "--nodes=1",
        "--ntasks-per-node=4",
        "--output=long.txt",
        "long.sh",
    ];
    let job = command.args(options).run().succeeded().text();
    step.wait_for(1);
    slurm
        .command(&step.test, "scancel")
        .arg(&job)
        .run()
        .succeeded();
    left_nothing();
}
