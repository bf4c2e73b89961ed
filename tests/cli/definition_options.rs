//! Options of `apptainer build` 1.4 and of `singularity build` of SingularityCE 4: each is
//! honoured, or refused by its name with what to do instead.

use crate::harness::{Run, TestEnv};

/// Options that have an effect, or whose effect is there anyway.
const HONOURED: [&[&str]; 24] = [
    &["--arch", std::env::consts::ARCH],
    &["--authfile", "auth.json"],
    &["-B", "/etc:/host-etc,/usr"],
    &["--bind", "/etc"],
    &["--build-arg", "A=1"],
    &["--build-arg-file", "values"],
    &["--disable-cache"],
    &["-f"],
    &["--fakeroot"],
    &["--fix-perms"],
    &["-F"],
    &["--force"],
    &["--json"],
    &["--no-cleanup"],
    &["--no-https"],
    &["--nohttps"],
    &["--no-oci"],
    &["--no-setgroups"],
    &["-T"],
    &["--notest"],
    &["--nv"],
    &["--rocm"],
    &["--section", "files"],
    &["--userns"],
];
/// Options that are refused. The first word of each is in the message, or the name behind it.
const REFUSED: [(&[&str], &str); 25] = [
    (&["--arch", "riscv64"], "--arch"),
    (&["--arch-variant", "v3"], "--arch-variant"),
    (&["--builder", "https://b"], "--builder"),
    (&["-d"], "--detached"),
    (&["--detached"], "--detached"),
    (&["--docker-host", "unix:///x"], "--docker-host"),
    (&["--docker-login"], "--docker-login"),
    (&["--docker-password", "p"], "--docker-password"),
    (&["--docker-username", "u"], "--docker-username"),
    (&["-e"], "--encrypt"),
    (&["--encrypt"], "--encrypt"),
    (&["--keep-layers"], "--keep-layers"),
    (&["--library", "https://l"], "--library"),
    (&["--mksquashfs-args", "-comp xz"], "--mksquashfs-args"),
    (&["--mount", "type=bind,source=/x"], "--mount"),
    (&["--nvccli"], "--nvccli"),
    (&["--oci"], "--oci"),
    (&["--passphrase"], "--passphrase"),
    (&["--pem-path", "key.pem"], "--pem-path"),
    (&["--remote"], "--remote"),
    (&["-s"], "--sandbox"),
    (&["--sandbox"], "--sandbox"),
    (&["-u"], "--update"),
    (&["--update"], "--update"),
    (&["--writable-tmpfs"], "--writable-tmpfs"),
];
/// Long names in the help of either program, besides `--help`. `--tmpdir` is SingularityCE's.
const OF_BOTH: &str = "arch arch-variant authfile bind build-arg build-arg-file builder detached \
    disable-cache docker-host docker-login docker-password docker-username encrypt fakeroot \
    fix-perms force json keep-layers library mksquashfs-args mount no-cleanup no-https no-oci \
    no-setgroups notest nv nvccli oci passphrase pem-path remote rocm sandbox section update \
    userns warn-unused-build-args writable-tmpfs";

fn prepared() -> TestEnv {
    let test = TestEnv::new();
    let text = "Bootstrap: localimage\nFrom: ../base\n%files\n  my.def /opt/\n%labels\n  a {{ A }}\n%arguments\n  A=0\n";
    test.write("my.def", text);
    test.write("values", "A=2\n");
    test
}

#[test]
fn options_of_the_runtimes_are_honoured_or_refused_by_name() {
    let test = prepared();
    for words in HONOURED {
        let line = [&["build", "out.sif", "my.def", "-F"], words].concat();
        let line: Vec<&str> = match words {
            ["-F" | "--force"] => ["build", "out.sif", "my.def", words[0]].into(),
            _ => line,
        };
        test.condense(&line).run().succeeded();
        assert!(test.path("work/out.sif").exists(), "{words:?}");
    }
    let unused = ["build", "out.sif", "my.def", "-F", "--build-arg", "B=1"];
    test.condense(&unused)
        .run()
        .failed_on_either_stream(1, &["`B`"]);
    let unused = [&unused[..], &["--warn-unused-build-args"]].concat();
    test.condense(&unused).run().succeeded();
    for (words, name) in REFUSED {
        let line = [&["build", "other.sif", "my.def"], words].concat();
        let said = test.condense(&line).run();
        let message = format!("error: `{name}`: ");
        let said = said.failed_on_either_stream(2, &[&message, "\n  hint: "]);
        assert_eq!(said.stderr.lines().count(), 2, "{said:?}");
        assert!(!test.path("work/other.sif").exists());
    }
    // `-r` names a requirements file, and means a remote build elsewhere.
    let said = test.condense(&["build", "-r", "other.sif", "my.def"]).run();
    said.failed_on_either_stream(2, &["no service that builds images"]);
}

#[test]
fn every_option_of_the_runtimes_is_in_the_table() {
    let mut known = vec!["warn-unused-build-args".to_owned()];
    let tables = HONOURED.iter().copied();
    for words in tables.chain(REFUSED.iter().map(|(words, _)| *words)) {
        known.extend(words[0].strip_prefix("--").map(str::to_owned));
    }
    for name in OF_BOTH.split_whitespace() {
        assert!(known.iter().any(|one| one == name), "--{name}");
    }
}

/// D14: an image has places for what its site shows in containers, if they are on this machine, so
/// that no bind ends a build on top of it.
#[test]
fn mount_points_of_the_site_are_in_the_image() {
    let test = prepared();
    let there = test.path("pfs/projects");
    fs_err::create_dir_all(&there).unwrap();
    fs_err::write(test.path("pfs/file"), "").unwrap();
    let shown = test.path("pfs").display().to_string();
    let site = format!(
        "schema = 1\n[site.here]\ninstallation_path = \"/HERE\"\nbinds = [\"{shown}/projects\", \"{shown}:/elsewhere/deep\", \"{shown}/file:/a-file\", \"/nowhere/at-all\"]\n"
    );
    test.write("catalogue.toml", &site);
    let listing = |words: &[&str]| {
        let line = [&["build", "out.sif", "my.def", "-F"], words].concat();
        test.condense(&line).run().succeeded();
        let said = test.condense(&["image", "ls", "out.sif"]).run();
        said.succeeded().stdout
    };
    let with = listing(&["--site", "here", "--catalogue", "catalogue.toml"]);
    let place = format!("{}/projects", shown.trim_start_matches('/'));
    for path in [&*place, "elsewhere/deep"] {
        assert!(with.contains(path), "`{path}` is not in {with}");
    }
    for path in ["nowhere", "a-file"] {
        assert!(!with.contains(path), "`{path}` is in {with}");
    }
    assert!(!listing(&[]).contains("elsewhere"));
}
