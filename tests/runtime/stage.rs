//! Tests of `condense stage` with Slurm: each node of a cluster has a disk of its own, to which
//! Slurm's `sbcast` sends the images.

use serde_json::Value;

use crate::harness::{Account, Run, Slurm, TestDir, shared};

/// Prints where the runtime takes the images from, then the number of the images that stay where
/// they were.
const FROM: &str = r#"said=$("$0/bin/_debug_exec" --explain true) && case $said in
*condense-stage-*/img.sqfs:*condense-stage-*/container.sif*) echo "$SLURMD_NODENAME reads its copies" ;;
*) echo "$said" ;;
esac"#;

/// H3: one command in a batch script copies to all nodes, and programs start from the copies: also
/// when the originals are gone, and again from the originals when the copies are gone.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn nodes_of_a_job_start_from_their_own_copies() {
    let test = TestDir::new(Account::Root, "stage");
    let local = test.path("node disk");
    let slurm = Slurm::start_with(&test, &local);
    // The installation of all tests stays as it is.
    let dir = test.path("installation");
    let mut copy = test.command("cp");
    copy.arg("-a")
        .arg(&shared().dir)
        .arg(&dir)
        .run()
        .succeeded();
    let condense = env!("CARGO_BIN_EXE_condense");
    let script = format!(
        r#"set -e
dir='{dir}' local='{local}'
'{condense}' stage --json --to "$local" "$dir" >first.json
'{condense}' stage --json --to "$local" "$dir" >second.json
CW_STAGE=$('{condense}' stage --to "$local" "$dir")
export CW_STAGE
[ "$CW_STAGE" = "$local" ]
each() {{ srun --ntasks-per-node=1 "$@"; }}
each sh -c '{FROM}' "$dir"
generation=$(readlink -f "$dir/img.sqfs") generation=${{generation%/*}}
mkdir away
mv "$generation/img.sqfs" "$generation/container.sif" away
each "$dir/bin/python" -c 'import numpy; print("numpy without the originals")'
mv away/* "$generation"
each '{condense}' stage --clean --to "$local"
each "$dir/bin/python" -c 'import numpy; print("numpy without the copies")'
"#,
        dir = dir.display(),
        local = local.display(),
    );
    let said = slurm.batch(&test, &["--nodes=4"], &script);
    for node in 1..=4 {
        let line = format!("nid00100{node} reads its copies");
        assert!(said.contains(&line), "{said}");
    }
    for line in ["numpy without the originals", "numpy without the copies"] {
        assert_eq!(said.matches(line).count(), 4, "{line}: {said}");
    }
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs_err::read(test.path(name)).unwrap()).unwrap()
    };
    let first = read("first.json");
    let images = first["files"].as_array().unwrap().len() as u64;
    assert_eq!((&first["method"], images), (&"sbcast".into(), 2), "{first}");
    assert_eq!(first["made"], 4 * images);
    for node in first["nodes"].as_array().unwrap() {
        assert_eq!(
            (&node["received"], &node["copied"]),
            (&images.into(), &0.into()),
            "{first}"
        );
    }
    assert_eq!(read("second.json")["made"], 0);
    // Nothing is left on the nodes, nor of the transfer.
    for node in 1..=4 {
        let own = test.path(format!("slurm/tmp/nid00100{node}/condense-stage-0"));
        let left = crate::support::files::names(&own);
        assert_eq!(left, ["lock"], "node {node}");
    }
}

/// H3: where each rank asks for a copy, the ranks of a node elect one, and none waits for ever.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn ranks_of_a_node_make_one_copy() {
    let test = TestDir::new(Account::Root, "stage-ranks");
    let local = test.path("disk");
    let slurm = Slurm::start_with(&test, &local);
    let base = crate::harness::parts().base();
    let script = format!(
        "srun --ntasks-per-node=8 '{}' stage --to '{}' '{}'\n",
        env!("CARGO_BIN_EXE_condense"),
        local.display(),
        base.display()
    );
    let said = slurm.batch(&test, &["--nodes=2", "--ntasks-per-node=8"], &script);
    assert_eq!(said.matches("this node: copied").count(), 2, "{said}");
    assert_eq!(said.matches("were there already").count(), 14, "{said}");
    assert_eq!(said.matches("/container.sif\n").count(), 16, "{said}");
}
