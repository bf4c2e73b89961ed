#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use condense_activation::ValuePart;

use super::*;

fn example() -> Launch {
    let variable = |name: &str, before: &str, after: &str| ValuePart::Variable {
        name: name.to_owned(),
        before: before.to_owned(),
        after: after.to_owned(),
    };
    let mut activation = conda_activation(Path::new("/M_ab12cd3/miniforge/envs/env1"), "env1");
    activation.extend([
        ActivationStep::Join {
            name: "PATH".to_owned(),
            parts: vec![
                ValuePart::Literal("/M_ab12cd3/x".to_owned()),
                variable("PATH", ":", ""),
            ],
        },
        ActivationStep::Join {
            name: "GDAL_DATA".to_owned(),
            parts: vec![
                ValuePart::VariableOr {
                    name: "ROOT".to_owned(),
                    otherwise: "/no}ne".to_owned(),
                },
                ValuePart::Literal("/it's".to_owned()),
                variable("BASED", "", ":"),
            ],
        },
        ActivationStep::Unset {
            name: "GONE".to_owned(),
        },
        ActivationStep::Unset {
            name: "BASED".to_owned(),
        },
        ActivationStep::Default {
            name: "SSL_CERT_FILE".to_owned(),
            value: "/c".to_owned(),
            or_empty: true,
        },
    ]);
    Launch {
        mount_point: "/M_ab12cd3".into(),
        has_image: true,
        container_marker: "/M_ab12cd3/miniforge/envs/env1".into(),
        env_prefix: "/M_ab12cd3/miniforge/envs/env1".into(),
        runtime: Some("/usr/bin/apptainer".into()),
        host_view: HostView::Base,
        binds: vec![
            Bind::path("/opt/cray", "/opt/cray").unwrap(),
            Bind::path("/etc/a b", "/etc/ab").unwrap().read_only(),
        ],
        flags: ["--rocm", "--cleanenv"].map(str::to_owned).into(),
        variables: vec![SiteVariable {
            name: "MIOPEN_USER_DB_PATH".to_owned(),
            value: "/tmp/${USER}-${SLURM_JOB_ID}".to_owned(),
            path: Some("/dev/kfd".into()),
        }],
        base_env_vars: BTreeMap::from([
            ("PATH".to_owned(), "/opt/rocm/bin:/bin".to_owned()),
            ("BASED".to_owned(), "b c".to_owned()),
        ]),
        interpreter: None,
        activation,
        launcher: None,
        extra_text: Some("export MINE=1\n".to_owned()),
        hand_written: Some("export BY_HAND=1\n".to_owned()),
        shell: Shell::Sh,
        no_user_site: false,
        host_mpi: None,
        hot_parts: Vec::new(),
    }
}

#[test]
fn common_sh_is_data() {
    let digests = Digests {
        image: Some("1a"),
        base: None,
    };
    let text = String::from_utf8(example().render_common(3, digests).unwrap()).unwrap();
    let expected = r#"# Written by condense: what the wrappers in bin/ know about this installation. They read it at every start, on the
# host, with the shell of their first line. Lines of your own may follow at the end; updates keep them.
generation=3
INSTALLATION_PATH=/M_ab12cd3 SQFS_IMAGE=img.sqfs CONTAINER_IMAGE=container.sif
image_digest=1a base_digest=
runtime=/usr/bin/apptainer flags=--cleanenv launcher=
view=base base_path=/opt/rocm/bin:/bin
install_root=/M_ab12cd3 env_root=/M_ab12cd3/miniforge/envs/env1 inside=/M_ab12cd3/miniforge/envs/env1
_CW_IS_ISOLATED=yes
export install_root env_root _CW_IS_ISOLATED OLD_PATH
no_user_site= host_files='HOST_FILES'
[ ! -e /dev/kfd ] || flags="$flags --rocm"
[ ! -e /dev/kfd ] || [ "${MIOPEN_USER_DB_PATH+x}" ] || export MIOPEN_USER_DB_PATH="/tmp/${USER-}-${SLURM_JOB_ID-}"
if [ -e "$inside" ]; then export _CW_IN_CONTAINER=Yes; else unset _CW_IN_CONTAINER; fi
site_binds() {
  :
  show /opt/cray /opt/cray
  show '/etc/a b' /etc/ab ro
}
replay() {
  :
  in_BASED='b c'
  export CONDA_PREFIX=/M_ab12cd3/miniforge/envs/env1
  export CONDA_DEFAULT_ENV=env1
  export CONDA_SHLVL=1
  export CONDA_PROMPT_MODIFIER='(env1) '
  in_PATH=/M_ab12cd3/x"${in_PATH:+:${in_PATH}}"
  export GDAL_DATA="${ROOT:-/no\}ne}"'/it'\''s'"${in_BASED:+${in_BASED}:}"
  unset GONE
  in_BASED=
  [ "${SSL_CERT_FILE:+x}" ] || export SSL_CERT_FILE=/c
  inside BASED "$in_BASED"
}
_C_DIR=$prefix _O_SOURCE=$me
# The user's own:
export MINE=1
export BY_HAND=1
"#;
    let expected = expected.replace("HOST_FILES", &crate::host_files::words());
    assert_eq!(text, expected);
}

#[test]
fn the_users_own_lines_find_tykky_s_names() {
    let mut launch = example();
    launch.extra_text = Some("export X=$DIR\n".to_owned());
    launch.hand_written = Some("export SINGULARITYENV_PATH=/x:$SINGULARITYENV_PATH\n".to_owned());
    let ends = |launch: &Launch| {
        let text = String::from_utf8(launch.render_common(1, Digests::default()).unwrap()).unwrap();
        text[text.find("_C_DIR=").unwrap()..].to_owned()
    };
    let expected = "_C_DIR=$prefix _O_SOURCE=$me\nDIR=$prefix/bin\nSINGULARITYENV_PATH=${SINGULARITYENV_PATH-$base_path}\n\
        # The user's own:\nexport X=$DIR\nexport SINGULARITYENV_PATH=/x:$SINGULARITYENV_PATH\n";
    assert_eq!(ends(&launch), expected);
    // Other variables whose names contain DIR do not request it.
    launch.host_view = HostView::Host;
    launch.extra_text = Some("export X=$_C_DIR\n".to_owned());
    assert!(ends(&launch).starts_with(
        "_C_DIR=$prefix _O_SOURCE=$me\nSINGULARITYENV_PATH=${SINGULARITYENV_PATH-$PATH}\n"
    ));
}

#[test]
fn what_cannot_be_written_down_is_refused() {
    let refused = |change: &dyn Fn(&mut Launch)| {
        let mut launch = example();
        change(&mut launch);
        launch
            .render_common(1, Digests::default())
            .unwrap_err()
            .to_string()
    };
    assert!(
        refused(&|launch| launch.flags = vec!["--bind /a b".to_owned()])
            .contains("a flag of the runtime")
    );
    assert!(
        refused(&|launch| launch.mount_point = "relative".into())
            .contains("cannot show `relative`")
    );
    assert!(
        refused(&|launch| launch.activation = vec![ActivationStep::Unset {
            name: "a-b; rm".to_owned()
        }])
        .contains("is not a name for a variable")
    );
}

#[test]
fn the_shell_can_be_chosen() {
    let mut launch = example();
    assert!(
        launch
            .render_wrapper()
            .starts_with("#!/bin/sh\n# Written by condense")
    );
    launch.shell = Shell::Bash;
    assert!(
        launch
            .render_wrapper()
            .starts_with("#!/bin/bash\n# Written by condense")
    );
}

#[test]
fn a_launcher_names_its_shell_and_scripts() {
    let launcher = Launcher {
        scripts: vec!["/M/a.sh".into(), "/M/it's.sh".into()],
        shell: "/M/bin/bash".into(),
    };
    let text = String::from_utf8(launcher.render()).unwrap();
    assert!(
        text.starts_with("#!/M/bin/bash\n# Written by condense"),
        "{text}"
    );
    assert!(
        text.contains("for condense_script in /M/a.sh '/M/it'\\''s.sh'; do\n"),
        "{text}"
    );
}

/// Tests every installed shell. One of dash and bash is always installed.
#[test]
fn every_shell_can_parse_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let launcher = Launcher {
        scripts: vec!["/M/a.sh".into()],
        shell: "/bin/sh".into(),
    };
    let texts = [
        example().render_wrapper().into_bytes(),
        example().render_common(1, Digests::default()).unwrap(),
        launcher.render(),
    ];
    for (number, text) in texts.iter().enumerate() {
        let path = dir.path().join(number.to_string());
        std::fs::write(&path, text).unwrap();
        for shell in [
            &["sh"][..],
            &["dash"],
            &["bash"],
            &["bash", "--posix"],
            &["busybox", "sh"],
        ] {
            let Ok(output) = Command::new(shell[0])
                .args(&shell[1..])
                .arg("-n")
                .arg(&path)
                .output()
            else {
                continue;
            };
            assert!(
                output.status.success(),
                "{shell:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}
