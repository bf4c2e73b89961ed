//! Tests of `conda-python-distributed` on nodes with GPUs: which one a rank sees, and its caches.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    process::Stdio,
};

use crate::support::{Place, Said};

const SLURM: &str = "SLURM_PROCID=13 SLURM_LOCALID=5 SLURM_NODEID=1 SLURM_JOB_ID=77 SLURM_STEP_ID=0 \
    SLURM_STEP_NUM_TASKS=16 SLURM_STEP_TASKS_PER_NODE=8(x2) SLURM_STEP_NODELIST=n[1-2]";
const ALL: &str = "0,1,2,3,4,5,6,7";

/// Makes a node with eight GPUs of AMD. The stand-in's PATH gets `mkdir`.
fn amd_node() -> Place {
    let place = Place::new();
    place.write("dev/kfd", "");
    for number in 128..136 {
        place.write(&format!("dev/dri/renderD{number}"), "");
    }
    place.write_program("bin/mkdir", "#!/bin/sh\nexec /bin/mkdir \"$@\"\n");
    place
}

#[track_caller]
fn said(place: &Place, variables: &str) -> Said {
    place.distributed(&format!("{SLURM} {variables}"))
}

/// R12: `one` masks all GPUs but one, which is device 0, so that LOCAL_RANK is not set. The number
/// is one of Slurm's list.
#[test]
fn a_rank_sees_the_gpu_of_its_number() {
    let place = amd_node();
    for (variables, expected) in [
        ("", "ROCR_VISIBLE_DEVICES=5 LOCAL_RANK=-"),
        (
            "CONDENSE_GPUS=one LOCAL_RANK=5",
            "ROCR_VISIBLE_DEVICES=5 LOCAL_RANK=-",
        ),
        (
            "ROCR_VISIBLE_DEVICES=0,1,2,3,4,7,6,5",
            "ROCR_VISIBLE_DEVICES=7 LOCAL_RANK=-",
        ),
        (
            "ROCR_VISIBLE_DEVICES=3",
            "ROCR_VISIBLE_DEVICES=3 LOCAL_RANK=-",
        ),
        (
            "ROCR_VISIBLE_DEVICES=",
            "ROCR_VISIBLE_DEVICES= LOCAL_RANK=5",
        ),
        (
            "CONDENSE_GPU_ORDER=4,5,2,3,6,7,0,1",
            "ROCR_VISIBLE_DEVICES=7 LOCAL_RANK=-",
        ),
        ("CONDENSE_GPUS=all", "ROCR_VISIBLE_DEVICES=- LOCAL_RANK=5"),
        (
            "CONDENSE_GPUS=all CONDENSE_GPU_ORDER=7,6,5,4,3,2,1,0",
            "LOCAL_RANK=2",
        ),
    ] {
        said(&place, variables)
            .has(expected)
            .has("LOCAL_WORLD_SIZE=8 NODE_RANK=1");
    }
    // One process outside of jobs keeps all GPUs.
    place
        .distributed("")
        .has("ROCR_VISIBLE_DEVICES=- LOCAL_RANK=0");
    said(&place, "CONDENSE_GPUS=some").refused("CONDENSE_GPUS is \"some\": it must be one or all");
}

/// R13: only one variable has numbers of the machine, because HIP counts anew in what is left.
#[test]
fn no_second_variable_masks_gpus() {
    let place = amd_node();
    let others = "HIP_VISIBLE_DEVICES=- CUDA_VISIBLE_DEVICES=- GPU_DEVICE_ORDINAL=-";
    for (variables, expected) in [
        (
            format!(
                "ROCR_VISIBLE_DEVICES={ALL} CUDA_VISIBLE_DEVICES={ALL} GPU_DEVICE_ORDINAL={ALL}"
            ),
            "ROCR_VISIBLE_DEVICES=5".to_owned(),
        ),
        (
            "ROCR_VISIBLE_DEVICES=3 HIP_VISIBLE_DEVICES=3".to_owned(),
            "ROCR_VISIBLE_DEVICES=3".to_owned(),
        ),
        (
            "HIP_VISIBLE_DEVICES=7,6,5,4,3,2,1,0".to_owned(),
            "ROCR_VISIBLE_DEVICES=2".to_owned(),
        ),
        (
            format!("CONDENSE_GPUS=all ROCR_VISIBLE_DEVICES={ALL} HIP_VISIBLE_DEVICES={ALL}"),
            format!("ROCR_VISIBLE_DEVICES={ALL} LOCAL_RANK=5"),
        ),
    ] {
        said(&place, &variables).has(&expected).has(others);
    }
    said(
        &place,
        &format!("CONDENSE_GPUS=all HIP_VISIBLE_DEVICES={ALL}"),
    )
    .has(&format!("HIP_VISIBLE_DEVICES={ALL} ROCR_VISIBLE_DEVICES=-"));
}

/// J14: a number that is neither in Slurm's list nor a device of the node is refused.
#[test]
fn a_gpu_that_is_not_there_is_refused() {
    let place = amd_node();
    for (variables, words) in [
        (
            "ROCR_VISIBLE_DEVICES=0,1",
            "ROCR_VISIBLE_DEVICES is \"0,1\"",
        ),
        (
            "CONDENSE_GPUS=all ROCR_VISIBLE_DEVICES=0",
            "ROCR_VISIBLE_DEVICES is \"0\"",
        ),
        ("CONDENSE_GPU_ORDER=0,1,2", "CONDENSE_GPU_ORDER is 0,1,2"),
        (
            "CONDENSE_GPU_ORDER=a,b,c,d,e,f",
            "\"f\", which is not a number",
        ),
    ] {
        said(&place, variables).refused(words);
    }
    for number in 132..136 {
        fs_err::remove_file(place.path(&format!("dev/dri/renderD{number}"))).unwrap();
    }
    said(&place, "").refused("local rank 5 has no GPU of its own: the node has 4");
}

/// J12: on nodes with GPUs of NVIDIA, the variable is CUDA's.
#[test]
fn gpus_of_nvidia_are_masked_by_cudas_variable() {
    let place = Place::new();
    for name in ["nvidiactl", "nvidia0", "nvidia1", "nvidia2", "nvidia3"] {
        place.write(&format!("dev/{name}"), "");
    }
    said(&place, "SLURM_LOCALID=1 CONDENSE_GPU_ORDER=3,2,1,0")
        .has("CUDA_VISIBLE_DEVICES=2 ROCR_VISIBLE_DEVICES=- LOCAL_RANK=-");
    said(&place, "SLURM_LOCALID=1 CUDA_VISIBLE_DEVICES=GPU-a,GPU-b")
        .has("CUDA_VISIBLE_DEVICES=GPU-b");
    said(&place, "").refused("the node has 4");
    // The caches are MIOpen's, which is AMD's.
    said(&place, "SLURM_LOCALID=1").has("MIOPEN_USER_DB_PATH=-");
    let left = fs_err::read_dir(place.path("tmp")).unwrap().count();
    assert_eq!(left, 0);
}

fn mode(place: &Place, name: &str) -> u32 {
    let metadata = fs_err::metadata(place.path(name)).unwrap();
    metadata.permissions().mode() & 0o777
}

/// R15: every rank makes the directories, for its user only. None of them removes anything, and
/// ranks that start at the same time are not in each other's way.
#[test]
fn every_rank_makes_the_caches_and_none_removes_them() {
    let place = amd_node();
    let dir = place.path("tmp/me-miopen-77-1").display().to_string();
    let ranks: Vec<_> = (0..8)
        .map(|rank| {
            let variables = format!("{SLURM} SLURM_LOCALID={rank}");
            let mut command = place.command(&["sh"], "conda-python-distributed", &variables);
            command.stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for rank in ranks {
        let said: Said = rank.wait_with_output().unwrap().into();
        said.has(&format!(
            "MIOPEN_USER_DB_PATH={dir} MIOPEN_CUSTOM_CACHE_DIR={dir}"
        ));
    }
    assert_eq!(mode(&place, "tmp/me-miopen-77-1"), 0o700);
    place.write("tmp/me-miopen-77-1/kept", "");
    // The user's own directories are made as well.
    let own = place.path("tmp/a/b").display().to_string();
    said(&place, &format!("MIOPEN_USER_DB_PATH={own}"))
        .has(&format!("MIOPEN_CUSTOM_CACHE_DIR={own}"));
    assert_eq!(mode(&place, "tmp/a/b"), 0o700);
    said(&place, "").has("RANK=13");
    assert!(place.path("tmp/me-miopen-77-1/kept").exists());
}

/// R15: a link that another user has put at the name in `/tmp` is not followed.
#[test]
fn a_cache_of_somebody_else_is_refused() {
    let place = amd_node();
    fs_err::create_dir(place.path("tmp/other")).unwrap();
    symlink(place.path("tmp/other"), place.path("tmp/me-miopen-77-1")).unwrap();
    said(&place, "").refused("me-miopen-77-1 belongs to another user: set MIOPEN_USER_DB_PATH");
    place.write("tmp/file", "");
    let below_file = place.path("tmp/file/dir").display().to_string();
    let refused = said(&place, &format!("MIOPEN_USER_DB_PATH={below_file}"));
    assert_eq!(refused.status, 1, "{refused:?}");
    let words = format!("cannot make the directory {below_file}");
    assert!(refused.stderr.contains(&words), "{refused:?}");
}

/// R17: AITER compiles into a directory of each rank, if the environment has it.
#[test]
fn aiter_compiles_in_a_directory_of_each_rank() {
    let place = amd_node();
    said(&place, "").has("AITER_JIT_DIR=- CC=-");
    place.write("lib/python3.12/site-packages/aiter/__init__.py", "");
    let dir = place.path("tmp/me-aiter-77-5").display().to_string();
    said(&place, "").has(&format!("AITER_JIT_DIR={dir} CC=clang CXX=clang++"));
    assert_eq!(mode(&place, "tmp/me-aiter-77-5/build"), 0o700);
    said(&place, "CC=gcc").has("CC=gcc CXX=clang++");
}

/// R18, R20: the site's variables are data of the site, and the user's value wins. A log of RCCL is
/// a file of each rank.
#[test]
fn rccl_writes_a_log_for_each_rank() {
    let place = amd_node();
    let file = place.path("tmp/me-rccl-77-13.txt").display().to_string();
    said(&place, "NCCL_DEBUG=INFO").has(&format!("NCCL_DEBUG_FILE={file}"));
    for (variables, expected) in [
        ("NCCL_DEBUG=INFO NCCL_DEBUG_FILE=/x", "NCCL_DEBUG_FILE=/x"),
        (
            "NCCL_DEBUG=WARN",
            "NCCL_DEBUG_FILE=- NCCL_NET_GDR_LEVEL=- NCCL_SOCKET_IFNAME=-",
        ),
        ("NCCL_NET_GDR_LEVEL=PHB", "NCCL_NET_GDR_LEVEL=PHB"),
    ] {
        said(&place, variables).has(expected);
    }
}

/// R16: `rocm-smi` runs once on a node and only if it is asked for. It may fail or be missing.
#[test]
fn rocm_smi_runs_only_if_it_is_asked_for() {
    let place = amd_node();
    place.write_program("bin/rocm-smi", "#!/bin/sh\necho table\nexit 1\n");
    assert_eq!(said(&place, "SLURM_LOCALID=0").stderr, "");
    let verbose = said(&place, "SLURM_LOCALID=0 CONDENSE_VERBOSE=1");
    assert!(
        verbose.stderr.starts_with("table\nRank 13 --> pid "),
        "{verbose:?}"
    );
    assert!(verbose.stderr.contains("; GPU 0; "), "{verbose:?}");
    let verbose = said(&place, "CONDENSE_VERBOSE=1");
    assert!(
        verbose.stderr.starts_with("Rank 13 --> pid "),
        "{verbose:?}"
    );
    fs_err::remove_file(place.path("bin/rocm-smi")).unwrap();
    said(&place, "SLURM_LOCALID=0 CONDENSE_VERBOSE=1").has("ROCR_VISIBLE_DEVICES=0");
}
