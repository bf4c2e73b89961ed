//! Tests with lines as NCCL, RCCL, MPICH, Slurm, runtimes and run scripts write them.

use super::*;

/// Reads a log from memory.
fn read(text: &str) -> JobLog {
    let mut reader = LogReader::new();
    reader
        .read(text.as_bytes(), "job.txt")
        .expect("bytes in memory");
    reader.finish()
}

fn joined<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[track_caller]
fn codes(text: &str) -> Vec<&'static str> {
    let findings = read(text).findings;
    for finding in &findings {
        let (name, line) = finding.location.rsplit_once(':').expect("FILE:LINE");
        assert_eq!(name, "job.txt");
        assert!(line.parse::<u64>().is_ok(), "{line}");
        assert!(!finding.what.is_empty());
    }
    findings.iter().map(|finding| finding.code.name).collect()
}

/// Lines of RCCL of a job: 8 ranks on each host, each with its own GPU.
fn rccl(hosts: u32, network: &str, provider: &str) -> String {
    let mut text = String::new();
    for rank in 0..hosts * 8 {
        let (host, gpu) = (rank / 8 + 1001, rank % 8);
        let head = format!(
            "nid00{host}:{}:{} [{gpu}] NCCL INFO",
            100 + rank,
            900 + rank
        );
        for line in [
            format!("NET/OFI Selected {provider}"),
            format!("Using network {network}"),
            format!(
                "comm 0x5{rank:x} rank {rank} nranks {} cudaDev {gpu} busId c{gpu}000 \
                     commId 0x77 - Init START",
                hosts * 8
            ),
            format!(
                "comm 0x5{rank:x} rank {rank} nranks {} cudaDev {gpu} busId c{gpu}000 \
                     commId 0x77 - Init COMPLETE",
                hosts * 8
            ),
        ] {
            text.push_str(&format!("{head} {line}\n"));
        }
    }
    text
}

const CXI: &str = "provider is cxi, fabric is cxi (found 4 nics)";

#[test]
fn a_job_on_the_fast_network_has_no_findings() {
    let log = read(&rccl(4, "AWS Libfabric", CXI));
    assert_eq!(log.findings, []);
    let facts = log.facts;
    assert_eq!((facts.ranks, facts.hosts), (Some(32), 4));
    assert_eq!(facts.nics, Some((4, 4)));
    assert!(facts.providers.contains("cxi"), "{facts:?}");
    assert!(facts.networks.contains("AWS Libfabric"), "{facts:?}");
    assert_eq!(facts.has_own_gpus, Some(true));
    // The form of plugins up to 1.4.
    let log = read(&rccl(2, "AWS Libfabric", "Provider is cxi (found 4 nics)"));
    assert_eq!(log.facts.nics, Some((4, 4)));
}

#[test]
fn sockets_between_hosts_are_found() {
    let socket = rccl(2, "Socket", CXI).replace(CXI, "nothing");
    assert_eq!(codes(&socket), ["job-sockets"]);
    let plugin = "nid001001:1:1 [0] NCCL INFO NET/Plugin: Could not find: librccl-net.so\n";
    let log = read(&format!("{plugin}{socket}"));
    assert!(
        log.findings[0].what.contains("no plugin"),
        "{:?}",
        log.findings
    );
    // Ranks of one host use no network, whatever NCCL says.
    assert_eq!(codes(&rccl(1, "Socket", "nothing")), [""; 0]);
    let tcp = rccl(2, "AWS Libfabric", "Provider is tcp;ofi_rxm (found 1 nics)");
    assert_eq!(codes(&tcp), ["job-sockets"]);
    let mpi = "PE 0: MPICH CH4 OFI netmod using tcp provider (domain_name=hsn0)\n";
    assert_eq!(codes(mpi), ["job-sockets"]);
    let mpi = "PE 0: MPICH CH4 OFI netmod using cxi provider (domain_name=cxi0, numa=3)\n";
    assert_eq!(codes(mpi), [""; 0]);
    assert!(read(mpi).facts.mpi_providers.contains("cxi"));
    let ucx = "==== UCX netmod Capability ====\n";
    assert!(read(ucx).facts.mpi_providers.contains("ucx"));
}

#[test]
fn hosts_with_fewer_cards_are_named() {
    let text = rccl(2, "AWS Libfabric", CXI).replace(
        "nid001002:108:908 [0] NCCL INFO NET/OFI Selected provider is cxi, fabric is cxi (found 4",
        "nid001002:108:908 [0] NCCL INFO NET/OFI Selected provider is cxi, fabric is cxi (found 3",
    );
    assert_eq!(codes(&text), ["job-nics"]);
    assert!(
        read(&text).findings[0]
            .what
            .starts_with("nid001002 has found 3")
    );
}

#[test]
fn processes_that_are_jobs_of_their_own_are_found() {
    let line = |process: u32| {
        format!(
            "n1:{process}:7 [0] NCCL INFO comm 0x1 rank 0 nranks 1 cudaDev 0 busId 170 - \
             Init COMPLETE\n"
        )
    };
    assert_eq!(
        codes(&format!("{}{}", line(1), line(2))),
        ["job-ranks-alone"]
    );
    assert_eq!(codes(&line(1)), [""; 0]);
    let rank = |process: u32| {
        format!("Rank 0 --> pid {process}'s current affinity mask: ff; GPU 0; host n1\n")
    };
    assert!(codes(&format!("{}{}", rank(1), rank(2))).contains(&"job-ranks-alone"));
    assert_eq!(codes(&rank(1)), [""; 0]);
}

#[test]
fn ranks_that_have_not_joined_are_named() {
    let whole = rccl(2, "AWS Libfabric", CXI);
    let without = |part: &str| -> String {
        let lines = whole.lines().filter(|line| !line.contains(part));
        joined(lines)
    };
    let begun = without("rank 11 nranks 16 cudaDev 3 busId c3000 commId 0x77 - Init COMPLETE");
    assert_eq!(codes(&begun), ["job-ranks-missing"]);
    let what = read(&begun).findings[0].what.clone();
    assert!(
        what.contains("15 of 16") && what.ends_with("rank 11 has not"),
        "{what}"
    );
    // A log of some ranks, as with NCCL_DEBUG_FILE, says nothing of the others.
    assert_eq!(codes(&without("[3] NCCL")), [""; 0]);
    let lines = whole
        .lines()
        .filter(|line| line.starts_with("nid001001:100:"));
    let one: String = joined(lines);
    assert_eq!(codes(&one), [""; 0]);
}

#[test]
fn ranks_with_the_same_gpu_are_found() {
    let text =
        rccl(2, "AWS Libfabric", CXI).replace("cudaDev 3 busId c3000", "cudaDev 0 busId c0000");
    assert_eq!(codes(&text), ["job-gpu-shared"]);
    let what = read(&text).findings[0].what.clone();
    assert!(what.contains("ranks 0 and 3 on nid001001"), "{what}");
    let words = "n1:1:1 [0] init.cc:811 NCCL WARN Duplicate GPU detected : rank 1 and rank 0\n";
    assert_eq!(codes(words), ["job-gpu-shared"]);
}

#[test]
fn tasks_with_the_same_cores_are_found() {
    let task = |host: u32, task: u32, process: u32, mask: &str| {
        format!("cpu-bind=MASK - nid{host}, task  {task}  0 [{process}]: mask 0x{mask} set\n")
    };
    let own = [
        task(1, 0, 10, "fe"),
        task(1, 1, 11, "fe00"),
        task(2, 2, 10, "fe"),
    ]
    .concat();
    assert_eq!(codes(&own), [""; 0]);
    assert_eq!(read(&own).facts.has_own_cores, Some(true));
    assert_eq!(
        (read(&own).facts.ranks, read(&own).facts.hosts),
        (Some(3), 2)
    );
    let shared = [task(1, 0, 10, "fe"), task(1, 1, 11, "1fe")].concat();
    assert_eq!(codes(&shared), ["job-cores-shared"]);
    // The next step has other processes on the same cores.
    let steps = [own.clone(), task(1, 0, 20, "fe"), task(1, 1, 21, "fe00")].concat();
    assert_eq!(codes(&steps), [""; 0]);
    let rank = |rank: u32, mask: &str| {
        format!("Rank {rank} --> pid {rank}'s current affinity mask: {mask}; GPU {rank}; host n1\n")
    };
    assert_eq!(codes(&[rank(0, "fe"), rank(1, "fe00")].concat()), [""; 0]);
    assert_eq!(
        codes(&[rank(0, "fe"), rank(1, "fe")].concat()),
        ["job-cores-shared"]
    );
    // Older run scripts do not name the host.
    let old = |rank: u32| format!("Rank {rank} --> pid 7's current affinity mask: fe; GPU 1\n");
    assert_eq!(codes(&[old(0), old(8)].concat()), [""; 0]);
}

/// Each kind of message, with the code of its finding.
const MESSAGES: [(&str, &str); 22] = [
    (
        "slurmstepd: error: *** STEP 12.0 ON nid001 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***",
        "job-time-limit",
    ),
    (
        "slurmstepd: error: *** JOB 12 ON nid001 CANCELLED AT 2026-01-01T00:00:00 DUE TO NODE FAILURE ***",
        "job-node-failure",
    ),
    (
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=12.0. Some processes",
        "job-memory",
    ),
    ("srun: error: nid001: task 0: Out Of Memory", "job-memory"),
    (
        "FATAL:   container creation failed: failed to find loop device: no loop devices available",
        "job-loop-devices",
    ),
    (
        "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2 GiB",
        "job-gpu-memory",
    ),
    ("RuntimeError: No HIP GPUs are available", "job-gpu-missing"),
    (
        "RuntimeError: CUDA error: no kernel image is available for execution on the device",
        "job-gpu-kernel",
    ),
    (
        "OSError: [Errno 122] Disk quota exceeded: '/users/me/.cache'",
        "job-space",
    ),
    (
        "python: error while loading shared libraries: libmpi.so.12: cannot open shared object file",
        "job-library",
    ),
    (
        "/lib64/libc.so.6: version `GLIBC_2.38' not found (required by libx.so)",
        "job-library",
    ),
    (
        "srun: error: CPU binding outside of job step allocation, allocated CPUs are: 0xfe",
        "job-launch",
    ),
    (
        "FATAL:   could not open image /scratch/my.sif: no such file or directory",
        "job-container",
    ),
    (
        "RuntimeError: The server socket has failed to bind to [::]:29500 (errno: 98 - Address already in use).",
        "job-port",
    ),
    (
        "torch.distributed.DistNetworkError: The client socket has timed out after 60s",
        "job-rendezvous",
    ),
    (
        "MIOpen(HIP): Warning [PlainTextDb] Unable to create a directory",
        "job-cache",
    ),
    (
        "ModuleNotFoundError: No module named 'einops'",
        "job-package-missing",
    ),
    ("Illegal instruction (core dumped)", "job-instruction"),
    (
        "srun: error: nid001: task 3: Segmentation fault (core dumped)",
        "job-crashed",
    ),
    (
        "srun: error: nid001: task 3: Exited with exit code 1",
        "job-crashed",
    ),
    (
        "=>> PBS: job killed: walltime 3615 exceeded limit 3600",
        "job-time-limit",
    ),
    (
        "slurmstepd: error: execve(): ./train.sh: Permission denied",
        "job-launch",
    ),
];

#[test]
fn each_known_message_has_its_finding() {
    for (message, code) in MESSAGES {
        let text = format!("epoch 1\n3: {message}\nepoch 2\n");
        assert_eq!(codes(&text), [code], "{message}");
        let finding = &read(&text).findings[0];
        assert_eq!(finding.location, "job.txt:2");
        assert!(
            finding.what.contains(&message[..20].replace('`', "'")),
            "{}",
            finding.what
        );
    }
}

#[test]
fn what_a_program_does_without_is_no_finding() {
    for line in [
        "n1:1:1 [0] NCCL INFO NET/Plugin : dlerror=libnccl-net.so: cannot open shared object file: \
         No such file or directory No plugin found (libnccl-net.so)",
        "W tensorflow/x.cc:64] Could not load dynamic library 'libnvinfer.so.7'; dlerror: \
         libnvinfer.so.7: cannot open shared object file",
        "ERROR: ld.so: object '/x/libxalt.so' from LD_PRELOAD cannot be preloaded (cannot open \
         shared object file): ignored.",
        "mca_base_component_repository_open: unable to open mca_x: libx.so: cannot open shared \
         object file: No such file or directory (ignored)",
        "MIOpen(HIP): Warning [SQLiteBase] Missing system database file: gfx90a68.kdb",
        "sqlite3.OperationalError: database is locked",
    ] {
        assert_eq!(codes(line), [""; 0], "{line}");
    }
    // A warning does not explain a crash.
    let text = "MIOpen(HIP): Warning [PlainTextDb] Unable to create a directory\n\
                srun: error: n1: task 0: Exited with exit code 1\n";
    assert_eq!(codes(text), ["job-cache", "job-crashed"]);
}

#[test]
fn messages_are_counted_and_a_crash_is_left_out_where_its_reason_is_known() {
    let exited = "srun: error: nid001: task 3: Exited with exit code 1\n";
    let memory = "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=12.0.\n";
    let text = format!("{exited}{exited}{memory}{memory}{memory}");
    assert_eq!(codes(&text), ["job-memory"]);
    assert!(read(&text).findings[0].what.ends_with("(and 2 more lines)"));
    assert_eq!(read(&text).findings[0].location, "job.txt:3");
}

#[test]
fn labels_progress_bars_bytes_and_long_lines_are_read() {
    let labelled: String = rccl(2, "Socket", "nothing")
        .lines()
        .enumerate()
        .map(|(number, line)| match number % 2 {
            0 => format!(" 3: {line}\r\n"),
            _ => format!("[1,3]<stdout>:{line}\n"),
        })
        .collect();
    assert_eq!(codes(&labelled), ["job-sockets"]);
    assert_eq!(read(&labelled).facts.hosts, 2);
    let bar = "10%|#\r20%|##\rRuntimeError: No HIP GPUs are available\r30%\n";
    assert_eq!(codes(bar), ["job-gpu-missing"]);
    let mut reader = LogReader::new();
    let long = [
        &vec![b'x'; 300_000][..],
        b" no loop devices available\n\xff\xfe DUE TO TIME LIMIT",
    ]
    .concat();
    reader.read(&long[..], "job.txt").expect("bytes in memory");
    let result = reader.finish();
    assert_eq!(result.findings.len(), 1);
    assert_eq!(result.findings[0].location, "job.txt:2");
    assert_eq!(result.facts.lines, 2);
}

#[test]
fn logs_of_a_job_are_judged_together() {
    let dir = tempfile::tempdir().expect("scratch");
    let whole = rccl(2, "AWS Libfabric", CXI);
    let paths = ["1001", "1002"].map(|host| {
        let lines = whole
            .lines()
            .filter(|line| line.starts_with(&format!("nid00{host}")));
        let path = dir.path().join(host);
        let text: String = joined(lines);
        fs_err::write(&path, text).expect("scratch");
        path
    });
    let log = check_logs(&paths).expect("readable logs");
    assert_eq!((log.facts.hosts, log.facts.ranks), (2, Some(16)));
    assert_eq!(log.findings, []);
    let error = check_logs(&[dir.path()]).expect_err("a directory");
    assert!(error.to_string().contains("failed to read"), "{error}");
}

#[test]
fn an_empty_log_tells_nothing() {
    let log = read("");
    assert_eq!((log.facts, log.findings.len()), (JobFacts::default(), 0));
}
