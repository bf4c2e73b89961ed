//! Tests of `conda` in a SIF: its answers in the finished image, installations while the image is
//! built, and a base that has a conda of its own.

use std::path::Path;

use super::{ENVIRONMENT, apptainer, build};
use crate::harness::{TestDir, as_both, parts};

const CONDA: &str = "/opt/cotainr/conda/bin/conda";

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn b24_conda_s_variables_and_what_conda_answers() {
    as_both(|account| {
        let test = TestDir::new(account, "cotainr-conda");
        test.environment("python=3.11");
        let post =
            "conda install -y -n conda_container_env certifi edge-post-link && conda list certifi";
        let words = ["--conda-env", "env.yml", "--post", post, "-v", "out.sif"];
        build(&test, &parts().base(), &words).succeeded();
        let inside = |script: &str| apptainer(&test, &["exec", "out.sif", "sh", "-ec", script]);
        inside("echo $CONDA_EXE $CONDA_PYTHON_EXE; command -v conda; python -c 'import sys; print(sys.executable)'")
            .says(&format!(
                "{CONDA} {ENVIRONMENT}/bin/python\n/opt/cotainr/conda/condabin/conda\n{ENVIRONMENT}/bin/python"
            ));
        inside("echo ${PATH%%:/usr*}")
            .says(&format!("{ENVIRONMENT}/bin:/opt/cotainr/conda/condabin"));
        let list = inside("conda list; \"$CONDA_EXE\" env list; conda env export")
            .succeeded()
            .text();
        for text in [
            "certifi",
            "edge-post-link",
            "# packages in environment at /opt/cotainr/conda/envs/conda_container_env",
            "conda_container_env   *  /opt/cotainr/conda/envs/conda_container_env",
            "name: conda_container_env",
        ] {
            assert!(list.contains(text), "no `{text}`: {list}");
        }
        // These are the first lines of users' scripts for images that cotainr built.
        inside(". /opt/cotainr/conda/etc/profile.d/conda.sh; conda activate conda_container_env; python -c 'import certifi; print(5)'")
            .says("5");
        let refused = inside("conda install numpy");
        assert_eq!(refused.status, 1, "{refused:?}");
        assert!(
            refused.stderr.contains("conda: the image is read-only"),
            "{refused:?}"
        );
        test.left_nothing();
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_base_that_has_a_conda_is_extended() {
    as_both(|account| {
        let test = TestDir::new(account, "cotainr-foreign");
        test.make_dir("theirs");
        test.make_dir("theirs/bin");
        for program in ["conda", "python3"] {
            let path = test.write(
                &format!("theirs/bin/{program}"),
                &format!("#!/bin/sh\necho their {program}\n"),
            );
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs_err::set_permissions(path, mode).unwrap();
        }
        test.write(
            "91.sh",
            "export PATH=/opt/conda/bin:$PATH CONDA_PREFIX=/opt/conda CONDA_EXE=/opt/conda/bin/conda CONDA_SHLVL=1\n",
        );
        let copies = [
            "--copy",
            "theirs:/opt/conda",
            "--copy",
            "91.sh:/.singularity.d/env/91-conda.sh",
            "base.sif",
        ];
        build(&test, &parts().base(), &copies).succeeded();
        let show = "echo $CONDA_PREFIX $CONDA_EXE; python3 -c 'print(3)'; conda --version; /opt/conda/bin/conda; /opt/conda/bin/python3";
        apptainer(
            &test,
            &["exec", "base.sif", "sh", "-c", "conda; echo $CONDA_PREFIX"],
        )
        .says("their conda\n/opt/conda");

        test.environment("python=3.11");
        build(
            &test,
            Path::new("base.sif"),
            &["--conda-env", "env.yml", "out.sif"],
        )
        .succeeded();
        apptainer(&test, &["exec", "out.sif", "sh", "-c", show]).says(&format!(
            "{ENVIRONMENT} {CONDA}\n3\nconda 24.11.0 (condense)\ntheir conda\ntheir python3"
        ));
        test.left_nothing();
    });
}
