use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use condense_installation::HostView;

use crate::parts::ENV_PREFIX;
use crate::scene::{Account, Report, Scene, each, stdout};

const WHO: &str = "import sys; print(sys.executable); print(sys.prefix)";

fn check(command: &mut Command, executable: &Path) {
    let expected = format!("{}\n{ENV_PREFIX}", executable.display());
    assert_eq!(stdout(command.args(["-c", WHO])), expected, "{command:?}");
}

#[test]
#[ignore = "needs: apptainer"]
fn the_executable_is_the_wrapper_however_it_is_called() {
    each(|scene| {
        let wrapper = scene.bin("python3");
        check(&mut scene.command("python3"), &wrapper);
        check(
            scene
                .account
                .command("./python3")
                .current_dir(scene.dir.join("bin")),
            &wrapper,
        );
        check(
            scene.account.command("bin/python3").current_dir(&scene.dir),
            &wrapper,
        );
        check(
            scene
                .account
                .command("bin/../bin//python3")
                .current_dir(&scene.dir),
            &wrapper,
        );
        check(
            scene
                .account
                .command("python3")
                .env("PATH", scene.dir.join("bin")),
            &wrapper,
        );
        check(scene.account.command("sh").arg(&wrapper), &wrapper);
        check(scene.account.command("bash").arg(&wrapper), &wrapper);
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn links_to_a_wrapper_find_its_installation() {
    each(|scene| {
        let place = scene.place.path();
        symlink(scene.bin("python3"), place.join("absolute")).unwrap();
        symlink("inst/bin/python3", place.join("relative")).unwrap();
        symlink("absolute", place.join("chain")).unwrap();
        for name in ["absolute", "relative", "chain"] {
            check(
                &mut scene.account.command(place.join(name)),
                &scene.bin("python3"),
            );
        }
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn an_installation_may_be_linked_moved_and_called_anything() {
    each(|scene| {
        let place = scene.place.path();
        symlink(&scene.dir, place.join("link")).unwrap();
        check(
            &mut scene.account.command(place.join("link/bin/python3")),
            &place.join("link/bin/python3"),
        );
        let moved = place.join("it's a \"moved\" $HOME é");
        fs::rename(&scene.dir, &moved).unwrap();
        check(
            &mut scene.account.command(moved.join("bin/python3")),
            &moved.join("bin/python3"),
        );
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn an_installation_may_be_below_a_system_directory_of_the_base() {
    for account in [Account::Root, Account::Ordinary] {
        for parent in ["/opt", "/var/lib", "/usr/local", "/tmp", "/var/tmp"] {
            let scene = Scene::new(account, HostView::Base, parent);
            check(&mut scene.command("python3"), &scene.bin("python3"));
            let link = scene.place.path().join("link");
            symlink(&scene.dir, &link).unwrap();
            let report = Report::of(&mut account.command(link.join("bin/report")));
            assert_eq!(report.prefix, ENV_PREFIX);
            // A path through a link that does not exist in the container would be valid only on the
            // host.
            let seen = parent.ends_with("tmp");
            let expected = if seen {
                link.join("bin")
            } else {
                scene.dir.join("bin")
            };
            assert!(
                report
                    .variable("PATH")
                    .unwrap()
                    .starts_with(expected.to_str().unwrap()),
                "{report:?}"
            );
        }
    }
}

#[test]
#[ignore = "needs: apptainer"]
fn a_container_inside_the_container_is_never_started() {
    const NESTED: &str = "
import os, subprocess, sys
for program in sys.argv[1:]:
    print(subprocess.check_output([program, '-c', 'import sys, os; print(sys.prefix, os.readlink(\"/proc/self/ns/mnt\") == sys.argv[1])', os.readlink('/proc/self/ns/mnt')], text=True).strip())
";
    each(|scene| {
        let link = scene.place.path().join("link");
        symlink(&scene.dir, &link).unwrap();
        let one = scene.place.path().join("one");
        symlink(scene.bin("python3"), &one).unwrap();
        let text = stdout(scene.command("python3").args(["-c", NESTED]).args([
            scene.bin("python3"),
            link.join("bin/python3"),
            one,
            "python3".into(),
        ]));
        let expected = vec![format!("{ENV_PREFIX} True"); 4].join("\n");
        assert_eq!(text, expected);
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn a_read_only_installation_works() {
    use std::os::unix::fs::PermissionsExt;
    each(|scene| {
        for dir in [
            scene.dir.clone(),
            scene.dir.join(".condense"),
            scene.dir.join(".condense/1"),
        ] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o555)).unwrap();
        }
        check(&mut scene.command("python3"), &scene.bin("python3"));
    });
}
