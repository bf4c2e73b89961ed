//! Tests of H3: `condense stage` copies images to a node, whole or not at all, and wrappers,
//! commands of modules and `condense run` take the copy while it is whole.

mod in_jobs;

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;

use crate::harness::{CommandOutput, Run, TestEnv, names};
use crate::pull::layout;

/// Runtime that prints its arguments, each on a line.
const RUNTIME: &str = "#!/bin/sh\ncase $1 in --version) echo apptainer version 1.4.5; exit ;; esac\n\
     for word; do echo \"$word\"; done\n";
/// Directory of the copies, which has a blank and a line break in its name.
const NODE: &str = "node disk\nwith a line";

fn condense(test: &TestEnv, words: &[&str]) -> CommandOutput {
    test.condense(words).run()
}

fn json(test: &TestEnv, words: &[&str]) -> Value {
    let said = condense(test, &[&["stage", "--json"], words].concat()).succeeded();
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(value["schema"], "condense.stage/1");
    value
}

/// Returns a test with a SIF.
fn with_sif() -> TestEnv {
    let test = TestEnv::new();
    layout(&test);
    condense(&test, &["pull", "oci:layout", "base.sif"]).succeeded();
    test.fake_program("apptainer", RUNTIME);
    test
}

/// Returns a test with an installation, whose base is a SIF.
fn built() -> TestEnv {
    let test = with_sif();
    fs_err::remove_file(test.path("programs/apptainer")).unwrap();
    let env = test.environment("tool");
    let new = [
        "new",
        "./installation",
        env.to_str().unwrap(),
        "--base-image",
        "base.sif",
    ];
    condense(&test, &new).succeeded();
    test.fake_program("apptainer", RUNTIME);
    test
}

fn node(test: &TestEnv) -> PathBuf {
    test.path("work").join(NODE)
}

/// Returns the only directory of copies on a node.
fn own_dir(node: &Path) -> PathBuf {
    let found = names(node);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("condense-stage-"), "{found:?}");
    node.join(&found[0])
}

/// Returns the names of the copies, and of all other files beside them but the lock.
fn copies(node: &Path) -> Vec<String> {
    let mut found = names(&own_dir(node));
    found.retain(|name| name != "lock");
    found
}

/// Starts a wrapper and returns the arguments that the runtime got.
fn start(test: &TestEnv, stage: Option<&Path>) -> String {
    let mut command = test.command(test.installation().join("bin/tool"));
    command.envs(stage.map(|dir| ("CW_STAGE", dir)));
    command.run().succeeded().stdout
}

/// Returns whether the image and the base come from a directory.
fn is_from(said: &str, dir: &Path) -> (bool, bool) {
    let digest = |name: &str| {
        let (before, _) = said.split_once(name)?;
        let (path, digest) = before.rsplit_once('/')?;
        (path.ends_with(dir.to_str()?) && digest.len() == 64).then_some(())
    };
    let is = |name: &str| digest(name).is_some();
    (is("/img.sqfs:"), is("/container.sif\n"))
}

#[test]
fn wrappers_take_the_copy_while_it_is_whole() {
    let test = built();
    let node = node(&test);
    let said = condense(&test, &["stage", "--to", NODE, "installation"]).succeeded();
    assert_eq!(said.stdout, format!("{}\n", node.display()));
    assert!(said.stderr.contains("this node: copied"), "{said:?}");
    let own = own_dir(&node);
    assert_eq!(copies(&node).len(), 2);
    let again = condense(&test, &["stage", "--to", NODE, "installation"]).succeeded();
    assert!(
        again.stderr.contains("all copies were there already"),
        "{again:?}"
    );

    assert_eq!(is_from(&start(&test, None), &own), (false, false));
    let with_copies = start(&test, Some(&node));
    assert_eq!(is_from(&with_copies, &own), (true, true), "{with_copies}");
    let explained = test
        .command(test.installation().join("bin/_debug_exec"))
        .args(["--explain", "tool"])
        .env("CW_STAGE", &node)
        .run()
        .succeeded();
    assert!(explained.stdout.contains("/img.sqfs:"), "{explained:?}");
    assert!(
        explained.stdout.contains("condense-stage-"),
        "{explained:?}"
    );

    // Programs start although the originals have gone.
    let generation = fs_err::canonicalize(test.installation().join("img.sqfs")).unwrap();
    let generation = generation.parent().unwrap();
    for name in ["img.sqfs", "container.sif"] {
        fs_err::rename(generation.join(name), generation.join("away")).unwrap();
        assert_eq!(is_from(&start(&test, Some(&node)), &own), (true, true));
        fs_err::rename(generation.join("away"), generation.join(name)).unwrap();
    }
    // A relative path, and a directory of another name, are not looked at.
    let relative = start(&test, Some(Path::new(NODE)));
    assert_eq!(is_from(&relative, &own), (false, false));
    // Without the copies, the wrapper takes the originals.
    fs_err::rename(&own, node.join("condense-stage-x")).unwrap();
    std::os::unix::fs::symlink(node.join("condense-stage-x"), &own).unwrap();
    fs_err::rename(node.join("condense-stage-x"), test.path("other")).unwrap();
    std::os::unix::fs::symlink(test.path("other"), node.join("condense-stage-y")).unwrap();
    let linked = start(&test, Some(&node));
    assert!(!linked.contains("condense-stage-"), "{linked}");
}

#[test]
fn what_is_not_as_recorded_is_refused() {
    let test = built();
    let image = fs_err::canonicalize(test.installation().join("img.sqfs")).unwrap();
    let mut bytes = fs_err::read(&image).unwrap();
    bytes[200] ^= 1;
    fs_err::write(&image, &bytes).unwrap();
    let said = condense(&test, &["stage", "--to", NODE, "installation"]);
    assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:?}");
    assert!(said.stderr.contains("is not what was recorded"), "{said:?}");
    assert!(said.stderr.contains("condense verify"), "{said:?}");
    assert_eq!(copies(&node(&test)), [""; 0]);
    // Wrappers of an older condense know no copies.
    let common = fs_err::canonicalize(test.installation().join("common.sh")).unwrap();
    let text = fs_err::read_to_string(&common).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("image_digest="));
    fs_err::write(&common, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let said = condense(&test, &["stage", "--to", NODE, "installation"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.stderr.contains("older than copies"), "{said:?}");
}

#[test]
fn a_sif_is_copied_and_its_copy_is_started() {
    let test = with_sif();
    let node = node(&test);
    let staged = json(&test, &["--to", NODE, "./base.sif"]);
    let copy = staged["files"][0]["path"].as_str().unwrap();
    assert_eq!(
        (&staged["made"], &staged["method"]),
        (&1.into(), &"copy".into())
    );
    assert_eq!(
        fs_err::read(copy).unwrap(),
        fs_err::read(test.path("work/base.sif")).unwrap()
    );
    let said = condense(&test, &["stage", "--to", NODE, "base.sif"]).succeeded();
    assert_eq!(said.stdout, format!("{copy}\n"));
    let run = |stage: &Path| {
        let mut command = test.condense(&["run", "base.sif", "true"]);
        command.env("CW_STAGE", stage).run().succeeded().stdout
    };
    assert!(run(&node).contains(copy));
    assert!(!run(Path::new("/none")).contains(copy));
    // A SIF that has changed is another one.
    let mut bytes = fs_err::read(test.path("work/base.sif")).unwrap();
    bytes.extend([0; 4096]);
    fs_err::write(test.path("work/base.sif"), bytes).unwrap();
    assert!(!run(&node).contains(copy));
    let staged = json(&test, &["--to", NODE, "base.sif"]);
    assert_eq!(staged["removed"][0]["path"], *copy);
    assert_eq!(copies(&node).len(), 1);
    for name in ["layout", "none.sif", "base.sqfs"] {
        let said = condense(&test, &["stage", "--to", NODE, name]);
        assert_eq!(said.status, 1, "{said:?}");
    }
}

/// Two files with the same bytes, or one that was written again, share a copy, and both start from
/// it.
#[test]
fn a_sif_with_the_bytes_of_another_shares_its_copy() {
    let test = with_sif();
    let first = json(&test, &["--to", NODE, "base.sif"]);
    let copy = first["files"][0]["path"].as_str().unwrap();
    fs_err::copy(test.path("work/base.sif"), test.path("work/b.sif")).unwrap();
    let rewritten = fs_err::read(test.path("work/base.sif")).unwrap();
    fs_err::write(test.path("work/base.sif"), rewritten).unwrap();
    for name in ["b.sif", "base.sif", "b.sif"] {
        let said = condense(&test, &["stage", "--to", NODE, name]).succeeded();
        assert_eq!(said.stdout, format!("{copy}\n"), "{name}");
        let mut command = test.condense(&["run", name, "true"]);
        let said = command.env("CW_STAGE", node(&test)).run().succeeded();
        assert!(said.stdout.contains(copy), "{said:?}");
    }
    assert_eq!(copies(&node(&test)).len(), 1);
}

/// Other users who can write into the place could replace the copies.
#[test]
fn a_place_that_others_can_change_is_refused() {
    let test = with_sif();
    let open = test.path("work/project");
    fs_err::create_dir(&open).unwrap();
    fs_err::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let said = condense(&test, &["stage", "--to", "project", "base.sif"]);
    assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:?}");
    assert!(said.stderr.contains("other users can write"), "{said:?}");
    assert!(said.stderr.contains("chmod go-w "), "{said:?}");
    assert_eq!(names(&open), [""; 0]);
    // A directory of this kind is not chosen either.
    let mut command = test.condense(&["stage", "--json", "--dry-run", "base.sif"]);
    let said = command.env("SLURM_TMPDIR", &open).run().succeeded();
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(value["stage"], test.path("tmp").to_str().unwrap());
}

#[test]
fn commands_of_a_module_take_the_copy_also_without_the_image() {
    let (test, root) = crate::modules::written();
    let staged = json(&test, &["--to", NODE, "mine.sif"]);
    let copy = staged["files"][0]["path"].as_str().unwrap();
    let node = node(&test);
    let image = test.path("work/mine.sif").display().to_string();
    let started = |stage: &Path| {
        let mut command = test.command(root.join("bin/python"));
        let said = command.args(["-c", "x"]).env("CW_STAGE", stage).run();
        let is_from = |path: &str| said.stdout.lines().any(|line| line == path);
        // The copy has a line break in its path.
        let is_copy = said.stdout.contains(&format!("\n{copy}\npython\n"));
        (said.status, is_copy, is_from(&image))
    };
    assert_eq!(started(&node), (7, true, false));
    assert_eq!(started(Path::new("/none")), (7, false, true));
    fs_err::rename(&image, test.path("work/away.sif")).unwrap();
    assert_eq!(started(&node), (7, true, false));
    assert_eq!(started(Path::new("/none")).0, 125);
}

#[test]
fn what_does_not_fit_is_not_begun() {
    let test = with_sif();
    // The file has holes only, and is larger than any disk that runs this test.
    let path = test.path("work/base.sif");
    let file = fs_err::File::options().write(true).open(path).unwrap();
    file.set_len(8 << 40).unwrap();
    let said = condense(&test, &["stage", "--to", NODE, "base.sif"]);
    assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:?}");
    assert!(
        said.stderr.contains("8.00 TiB does not fit into"),
        "{said:?}"
    );
    assert_eq!(copies(&node(&test)), [""; 0]);
}

#[test]
fn many_at_once_make_one_copy_and_a_killed_one_none() {
    let test = with_sif();
    let path = test.path("work/base.sif");
    let whole = fs_err::read(&path).unwrap();
    let file = fs_err::File::options().write(true).open(&path).unwrap();
    file.set_len(256 << 20).unwrap();
    let words = ["stage", "--json", "--to", NODE, "base.sif"];
    let mut command = test.condense(&words);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let node = node(&test);
    let has_begun = || {
        let found = fs_err::read_dir(&node)
            .ok()
            .and_then(|mut dirs| dirs.next()?.ok());
        let inside = found.and_then(|own| fs_err::read_dir(own.path()).ok());
        inside.is_some_and(|mut inside| {
            inside.any(|entry| entry.is_ok_and(|entry| entry.path().join("copy").exists()))
        })
    };
    while !has_begun() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let left = copies(&node);
    assert!(
        left.iter().all(|name| name.starts_with(".condense-")),
        "{left:?}"
    );

    fs_err::write(&path, whole).unwrap();
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = test.condense(&words);
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let made: u64 = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
            let value: Value = serde_json::from_slice(&output.stdout).unwrap();
            value["made"].as_u64().unwrap()
        })
        .sum();
    assert_eq!(made, 1);
    let left = copies(&node);
    assert_eq!((left.len(), left[0].len()), (1, 64), "{left:?}");
}

#[test]
fn copies_of_older_generations_go_when_nobody_uses_them() {
    let test = built();
    let first = json(&test, &["--to", NODE, "installation"]);
    let old = first["files"][0]["path"].as_str().unwrap().to_owned();
    let update = ["update", "installation", "no-programs"];
    fs_err::remove_file(test.path("programs/apptainer")).unwrap();
    condense(&test, &update).succeeded();
    // A program of the first generation is still running.
    let open = fs_err::File::open(&old).unwrap();
    let second = json(&test, &["--to", NODE, "installation"]);
    let new = second["files"][0]["path"].as_str().unwrap();
    assert_eq!(second["removed"][0]["in_use"], true);
    // The base is the same file, and was not copied again.
    assert_eq!(second["made"], 1);
    assert!(Path::new(&old).exists() && Path::new(new).exists());
    drop(open);
    let third = json(&test, &["--to", NODE, "installation"]);
    assert_eq!(third["removed"][0]["path"], *old);
    assert!(!Path::new(&old).exists() && Path::new(new).exists());
    let said = condense(&test, &["stage", "--clean", "--to", NODE, "installation"]).succeeded();
    assert!(said.stderr.contains("removed `"), "{said:?}");
    assert_eq!(copies(&node(&test)), [""; 0]);
    let said = condense(&test, &["stage", "--clean", "--to", "none"]).succeeded();
    assert!(said.stderr.contains("there are no copies in"), "{said:?}");
}

#[test]
fn a_dry_run_makes_nothing_and_names_the_place() {
    let test = built();
    let before = names(&test.path("tmp"));
    let plan = json(&test, &["--dry-run", "installation"]);
    assert_eq!(plan["stage"], test.path("tmp").to_str().unwrap());
    assert_eq!(
        (&plan["dry_run"], &plan["nodes"]),
        (&true.into(), &1.into())
    );
    assert_eq!(plan["files"][0]["present"], false);
    let said = condense(&test, &["stage", "--dry-run", "installation"]).succeeded();
    assert_eq!(said.stdout, "");
    assert!(said.stderr.contains("would copy to 1 node"), "{said:?}");
    assert_eq!(names(&test.path("tmp")), before);
    // CW_STAGE names the place, unless --to does.
    let mut command = test.condense(&["stage", "--dry-run", "--json", "installation"]);
    let said = command.env("CW_STAGE", "/else").run().succeeded();
    assert!(said.stdout.contains("\"/else\""), "{said:?}");
    // Wrappers look at no relative path.
    let mut command = test.condense(&["stage", "installation"]);
    let said = command.env("CW_STAGE", "else").run();
    assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:?}");
    assert!(
        said.stderr.contains("CW_STAGE is not an absolute path"),
        "{said:?}"
    );
    let absolute = test.path("work/else");
    assert!(said.stderr.contains(absolute.to_str().unwrap()), "{said:?}");
    assert!(!absolute.exists());
}

#[test]
fn a_job_script_copies_before_it_starts() {
    let test = built();
    let job = |words: &[&str]| {
        let words = [&["job", "--stage", "--name", "job"], words].concat();
        condense(&test, &words)
    };
    let local = ["--site", "local", "--partition", "all"];
    let said = job(&[&local[..], &["base.sif", "--", "true"]].concat()).succeeded();
    let lines: Vec<&str> = said.stdout.lines().collect();
    let at = |end: &str| lines.iter().position(|line| line.ends_with(end)).unwrap();
    let copies = at(" stage -- \"$image\") || exit 1");
    assert!(lines[copies].starts_with("image=$(/"), "{said:?}");
    assert!(
        at("/base.sif") < copies && copies < at("\"${command[@]}\""),
        "{said:?}"
    );
    let said = job(&[&local[..], &["./installation", "--", "tool"]].concat()).succeeded();
    assert!(said.stdout.contains("\nCW_STAGE=$(/"), "{said:?}");
    assert!(
        said.stdout
            .contains("/installation) || exit 1\nexport CW_STAGE\n"),
        "{said:?}"
    );
    for words in [
        &[
            "--site",
            "polaris",
            "--nodes",
            "2",
            "--account",
            "me",
            "base.sif",
            "--",
            "true",
        ][..],
        &[
            "--site",
            "local",
            "--partition",
            "all",
            "--module",
            "other",
            "--",
            "true",
        ],
    ] {
        let said = job(words);
        assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:?}");
        assert!(
            said.stderr.contains("cannot be copied to the nodes"),
            "{said:?}"
        );
    }
}

/// H5: the doctor and `check` name what slows starts of many nodes.
#[test]
fn the_doctor_and_check_look_at_the_files_of_starts() {
    let test = with_sif();
    let file = fs_err::File::options()
        .write(true)
        .open(test.path("work/base.sif"))
        .unwrap();
    file.set_len(300 << 20).unwrap();
    fs_err::rename(test.path("work/base.sif"), test.path("home/base.sif")).unwrap();
    let stripes = |number: &str| {
        let script = format!("#!/bin/sh\n[ \"$1 $2\" = 'getstripe -c' ] && echo {number}\n");
        test.fake_program("lfs", &script);
    };
    let codes = |words: &[&str], on_lustre: &str| -> Vec<String> {
        let mut command = test.condense(words);
        command
            .arg("--json")
            .args(["--site", "local", "../home/base.sif"]);
        let variables = [("CONDENSE_STRIPES", on_lustre), ("APPTAINER_SHARENS", "1")];
        let said = command.envs(variables).run();
        let value: Value = serde_json::from_str(&said.stdout).unwrap();
        let findings = value["findings"].as_array().unwrap().iter();
        let codes = findings.map(|one| one["code"].as_str().unwrap().to_owned());
        let ours = ["one-stripe", "home-at-start", "loop-limit"];
        codes.filter(|code| ours.contains(&code.as_str())).collect()
    };
    let doctor = ["doctor", "--offline", "--ranks", "3"];
    stripes("1");
    let expected = ["home-at-start", "home-at-start", "one-stripe"];
    assert_eq!(codes(&doctor, "1"), expected);
    assert_eq!(codes(&["check"], "1"), expected[1..]);
    stripes("32");
    assert_eq!(codes(&doctor, "1"), expected[..2]);
    assert_eq!(codes(&["check"], "1"), expected[..1]);
    assert_eq!(codes(&doctor, "0"), [""; 0]);
    assert_eq!(codes(&["check"], "0"), [""; 0]);
}
