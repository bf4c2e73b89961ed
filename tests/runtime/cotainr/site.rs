//! Tests of the rules of a site for a SIF: variables that are set where the image starts, and
//! warnings about rules that an image cannot contain.

use std::path::Path;

use super::{apptainer, build, condense};
use crate::harness::{Account, Run, TestDir, as_both, parts};

/// Catalogue with a site whose binds and variables apply to some images only; `/dev/null` stands
/// for a GPU.
fn catalogue(test: &TestDir) {
    test.write(
        "site.toml",
        r#"schema = 1
[site.here]
installation_path = "/LOCAL_TYKKY"
flags = ["--rocm"]
binds = [
  "/srv",
  { bind = "/usr/share/doc:/old", images = { glibc = "..2.30" } },
  { bind = "/usr/share/doc:/new", images = { glibc = "2.31..", os = "debian 12.." } },
  { bind = "/usr/share/doc:/libc", images = { without = "libc.so.6" } },
]
environment = [
  { name = "CACHE", value = "/tmp/${USER}-${SLURM_JOB_ID}-${SLURM_NODEID}", path = "/dev/null" },
  { name = "NO_DEVICE", value = "1", path = "/dev/no-such-device" },
  { name = "LEVEL", value = "3", images = { glibc = "2.31.." } },
  { name = "OLD_LEVEL", value = "3", images = { glibc = "..2.30" } },
  { name = "EDGE_VALUE", value = "the site's" },
]
"#,
    );
}

const SHOW: &str =
    "echo ${CACHE-none} ${NO_DEVICE-none} ${LEVEL-none} ${OLD_LEVEL-none} ${EDGE_VALUE-none}";

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_sites_variables_are_set_where_the_image_starts() {
    as_both(|account| {
        let test = TestDir::new(account, "cotainr-site");
        catalogue(&test);
        test.environment("edge-activate");
        let site = ["--site", "here", "--catalogue", "site.toml"];
        let words = [&site[..], &["--conda-env", "env.yml", "out.sif"]].concat();
        build(&test, &parts().base(), &words).succeeded();
        let start = |variables: &[(&str, &str)], words: &[&str]| {
            let mut command = test.command("apptainer");
            command.envs(variables.iter().copied());
            command.args(words).args(["out.sif", "sh", "-c", SHOW]);
            command.run()
        };
        let job = [("SLURM_JOB_ID", "77"), ("SLURM_NODEID", "3"), ("A", "x\ny")];
        let user = account.name();
        let rest = "none 3 none set by edge-activate";
        for how in [&["exec"][..], &["run"], &["exec", "--userns"]] {
            start(&job, how).says(&format!("/tmp/{user}-77-3 {rest}"));
        }
        // Variables of the user take precedence, whether set directly or for the container, also if
        // empty. The variables of the environment come before those of the site.
        let mut mine = job.to_vec();
        mine.extend([("CACHE", "/mine"), ("LEVEL", "")]);
        start(&mine, &["exec"]).says("/mine none none set by edge-activate");
        start(&job, &["exec", "--env", "CACHE=/named"]).says(&format!("/named {rest}"));
        let id = account.id().to_string();
        start(&job, &["exec", "-e"]).says(&format!("/tmp/{id}-- {rest}"));
        let help = apptainer(&test, &["run-help", "out.sif"])
            .succeeded()
            .text();
        let line = "apptainer exec --rocm -B /srv:/srv,/usr/share/doc:/new IMAGE COMMAND";
        assert!(help.contains("On here,") && help.contains(line), "{help}");
        test.left_nothing();
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_image_without_an_environment_has_them_too() {
    let test = TestDir::new(Account::Ordinary, "cotainr-site-bare");
    catalogue(&test);
    let site = ["--site", "here", "--catalogue", "site.toml", "bare.sif"];
    build(&test, &parts().base(), &site).succeeded();
    let exec = ["exec", "bare.sif", "sh", "-c", SHOW];
    let user = Account::Ordinary.name();
    apptainer(&test, &exec).says(&format!("/tmp/{user}-- none 3 none the site's"));
    // An image that is built on this image follows the user's variables as well.
    build(
        &test,
        &test.path("bare.sif"),
        &[&site[..4], &["twice.sif"]].concat(),
    )
    .succeeded();
    let mut command = test.command("apptainer");
    command
        .env("LEVEL", "5")
        .args(["exec", "twice.sif", "sh", "-c", "echo $LEVEL"]);
    command.run().says("5");
}

/// Checks `--rocm` with a real runtime, for images that the site names only. An existing directory
/// stands for the device, since a test should not create a device of this machine.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_flag_reaches_the_runtime_for_the_images_that_it_is_for() {
    let test = TestDir::new(Account::Ordinary, "site-flags");
    for (range, expected) in [("2.31..", true), ("..2.30", false)] {
        let flag = format!("{{ flag = \"--rocm\", images = {{ glibc = \"{range}\" }} }}");
        let text = format!(
            "schema = 1\n[site.here]\ninstallation_path = \"/LOCAL_TYKKY\"\ngpu = \"amd\"\nflags = [{flag}]\n"
        );
        test.write("site.toml", &text);
        let dir = test.path("wrapped");
        let mut command = condense(&test);
        let site = ["--site", "here", "--catalogue", "site.toml", "--force"];
        command.arg("wrap-container").args(site);
        command.args(["-w", "/bin/ls", "--prefix"]).arg(&dir);
        command.arg(parts().base()).run().succeeded();
        let common = dir.join("common.sh");
        let text = fs_err::read_to_string(&common).unwrap();
        let with_device = text.replace("[ ! -e /dev/kfd ]", "[ ! -e / ]");
        assert_eq!(with_device != text, expected, "{text}");
        fs_err::write(fs_err::canonicalize(&common).unwrap(), with_device).unwrap();
        let mut list = test.command(dir.join("bin/ls"));
        let said = list.arg("/.singularity.d/libs").run().succeeded();
        // The runtime either binds the ROCm libraries of this machine or warns that there are none.
        let seen = !said.text().trim().is_empty() || said.stderr.contains("rocm");
        assert_eq!(seen, expected, "{range}: {said:?}");
    }
}

/// Checks that wrappers follow the same rules: flags and binds depend on the age of the image.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn binds_of_wrappers_fit_the_image() {
    let test = TestDir::new(Account::Ordinary, "site-binds");
    catalogue(&test);
    let dir = test.path("wrapped");
    let mut command = condense(&test);
    command
        .args([
            "wrap-container",
            "--site",
            "here",
            "--catalogue",
            "site.toml",
            "-w",
            "/bin/ls",
        ])
        .arg("--prefix")
        .arg(&dir)
        .arg(parts().base());
    command.run().succeeded();
    let shows = |path: &str| {
        let mut command = test.command(dir.join("bin/ls"));
        command.arg("-d").arg(Path::new(path)).run().status == 0
    };
    assert_eq!(
        [shows("/new"), shows("/old"), shows("/libc")],
        [true, false, false]
    );
}
