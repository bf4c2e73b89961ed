//! Tests that replaying the steps of an activation equals sourcing the scripts.

use std::{collections::BTreeMap, path::Path, process::Command};

use super::{
    Place, render,
    shapes::{CERTIFICATES, COMPILERS, GDAL, JAVA, LIST, OPENMPI, PROJ},
};

/// Checks that replaying in a POSIX shell has the same result as sourcing in bash, in random trials
/// that the capture did not use.
#[test]
fn replaying_equals_sourcing_in_random_trials() {
    const NAMES: [&str; 18] = [
        "GDAL_DATA",
        "PROJ_DATA",
        "PROJ_NETWORK",
        "JAVA_HOME",
        "JAVA_LD_LIBRARY_PATH",
        "SSL_CERT_FILE",
        "OPAL_PREFIX",
        "MANPATH",
        "OMPI_MCA_opal_cuda_support",
        "XML_CATALOG_FILES",
        "PKG_CONFIG_PATH",
        "CFLAGS",
        "SYSCONF_USER",
        "CC",
        "SYSCONF",
        "CPL_ZIP_ENCODING",
        "catalogs",
        "thing",
    ];
    // The compilers' script passes values through `sed`, which keeps only values of one line
    // unchanged.
    const VALUES: [&str; 6] = [
        "",
        "v w",
        "q\"u$o`te\\",
        ":a:b:",
        "/some/dir ",
        "line\nline ",
    ];
    let place = Place::new(&[
        ("1", GDAL),
        ("2", PROJ),
        ("3", JAVA),
        ("4", CERTIFICATES),
        ("5", OPENMPI),
        ("6", LIST),
        ("7", COMPILERS),
    ]);
    place.write("bin/x86_64-linux-cc", "");
    assert!(
        Command::new("chmod")
            .arg("+x")
            .arg(place.env().join("bin/x86_64-linux-cc"))
            .status()
            .unwrap()
            .success()
    );
    let activation = place.capture().unwrap();
    assert_eq!(activation.dynamic, Vec::<String>::new());

    let replayed = activation
        .steps
        .iter()
        .map(render)
        .collect::<Vec<_>>()
        .join("\n");
    let sourced = "for script in \"$CONDA_PREFIX\"/etc/conda/activate.d/*.sh; do . \"$script\" >/dev/null 2>&1; done; unset script";
    let mut state = 0x1234_5678_9ABC_DEF1_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % below
    };
    for number in 0..40 {
        let mut trial: BTreeMap<&str, String> = BTreeMap::new();
        for name in NAMES {
            if random(2) == 0 {
                let lines = usize::from(!matches!(name, "CFLAGS" | "SYSCONF_USER"));
                trial.insert(name, VALUES[random(VALUES.len() - 1 + lines)].to_owned());
            }
        }
        let tail = [":/usr/bin", ":/a b:/usr/bin:", "::/usr/bin/:/x"][random(3)];
        trial.insert("PATH", format!("{}/bin{tail}", place.env().display()));
        trial.insert("CONDA_PREFIX", place.env().display().to_string());
        let by_bash = environment_after(&["/bin/bash", "--norc", "--noprofile"], sourced, &trial);
        let by_sh = environment_after(&["/bin/sh"], &replayed, &trial);
        assert_eq!(by_sh, by_bash, "trial {number}: {trial:?}");
    }
}

/// Returns the variables that a program started after `code` would inherit, except those that only
/// shells and deactivation use.
fn environment_after(
    shell: &[&str],
    code: &str,
    trial: &BTreeMap<&str, String>,
) -> BTreeMap<String, String> {
    let output = Command::new(shell[0])
        .args(&shell[1..])
        .arg("-c")
        .arg(format!("{code}\n/usr/bin/env -0"))
        .env_clear()
        .envs(trial)
        .current_dir(Path::new("/"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .split_terminator('\0')
        .filter_map(|entry| entry.split_once('='))
        .filter(|(name, _)| !matches!(*name, "_" | "SHLVL" | "PWD" | "OLDPWD"))
        .filter(|(name, _)| {
            !name.starts_with("CONDA_BACKUP_")
                && !name.starts_with("_CONDA_SET_")
                && !name.ends_with("_PREV")
        })
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
