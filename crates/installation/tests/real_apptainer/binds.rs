use std::fs;
use std::path::Path;

use condense_installation::{Bind, HostView};

use crate::parts::{self, ENV_PREFIX, MOUNT_POINT};
use crate::scene::{Account, Place, Report, Scene, each, refusal, stdout};

const BOTH: [Account; 2] = [Account::Root, Account::Ordinary];
const FAMILIES: [&str; 2] = ["APPTAINER_BIND", "SINGULARITY_BIND"];

/// A directory that holds a file with the given text.
fn place_with(text: &str) -> Place {
    let place = Place::new("/srv");
    fs::write(place.path().join("file"), text).unwrap();
    place
}

fn read(scene: &Scene, environment: &[(&str, &str)], path: &str) -> String {
    let code = format!("print(open({path:?}).read())");
    stdout(
        scene
            .command("python3")
            .envs(environment.iter().copied())
            .args(["-c", &code]),
    )
}

#[test]
#[ignore = "needs: apptainer"]
fn the_users_binds_are_kept_whichever_variable_has_them() {
    each(|scene| {
        let (one, two) = (place_with("one"), place_with("two"));
        let first = format!("{}:/users_one", one.path().display());
        let second = format!("{}:/users_two:ro", two.path().display());
        for family in FAMILIES {
            let both = format!("{first}, {second}");
            assert_eq!(read(scene, &[(family, &both)], "/users_one/file"), "one");
            assert_eq!(read(scene, &[(family, &both)], "/users_two/file"), "two");
        }
        let merged = [
            (FAMILIES[0], first.as_str()),
            (FAMILIES[1], second.as_str()),
        ];
        assert_eq!(read(scene, &merged, "/users_one/file"), "one");
        assert_eq!(read(scene, &merged, "/users_two/file"), "two");
        // Both variables have the same destination: apptainer prefers its own variable, and so does
        // the wrapper.
        let clash = format!("{}:/users_one", two.path().display());
        assert_eq!(
            read(
                scene,
                &[(FAMILIES[0], &first), (FAMILIES[1], &clash)],
                "/users_one/file"
            ),
            "one"
        );
        // A relative source is relative to the caller's directory, as without the wrapper.
        let mut relative = scene.command("python3");
        relative
            .current_dir(one.path())
            .env("APPTAINER_BIND", "file:/users_file");
        assert_eq!(
            stdout(relative.args(["-c", "print(open('/users_file').read())"])),
            "one"
        );
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn an_image_of_the_users_is_bound_once() {
    each(|scene| {
        let image = parts::image();
        let bind = format!("{}:/users_image:image-src=/,ro", image.display());
        let both = [(FAMILIES[0], bind.as_str()), (FAMILIES[1], bind.as_str())];
        let code = "import os; print(os.path.exists('/users_image/env1/bin/report'))";
        assert_eq!(
            stdout(scene.command("python3").envs(both).args(["-c", code])),
            "True"
        );
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn the_users_bind_wins_over_a_data_directory() {
    each(|scene| {
        let mine = place_with("mine");
        let bind = format!("{}:/home", mine.path().display());
        assert_eq!(
            read(scene, &[("SINGULARITY_BIND", &bind)], "/home/file"),
            "mine"
        );
        // The user's bind mount also covers the directory that holds the installation.
        let over = format!("{}:/srv/", mine.path().display());
        let report = Report::of(scene.command("report").env("APPTAINER_BIND", &over));
        assert_eq!(report.prefix, ENV_PREFIX);
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn the_users_bind_below_a_directory_is_seen() {
    each(|scene| {
        let mine = place_with("mine");
        let below = scene.place.path().join("below");
        fs::create_dir(&below).unwrap();
        let bind = format!("{}:{}", mine.path().display(), below.display());
        assert_eq!(
            read(
                scene,
                &[("APPTAINER_BIND", &bind)],
                below.join("file").to_str().unwrap()
            ),
            "mine"
        );
        let bind = format!("{}:{ENV_PREFIX}/include", mine.path().display());
        assert_eq!(
            read(
                scene,
                &[("APPTAINER_BIND", &bind)],
                &format!("{ENV_PREFIX}/include/file")
            ),
            "mine"
        );
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn binds_over_the_installations_own_places_are_refused_by_name() {
    each(|scene| {
        let bin = scene.dir.join("bin");
        for family in FAMILIES {
            for place in [Path::new(MOUNT_POINT), &bin] {
                let text = refusal(
                    scene
                        .command("python3")
                        .env(family, format!("/usr:{}", place.display())),
                );
                assert!(
                    text.starts_with("python3: ") && text.contains(family),
                    "{text}"
                );
                assert!(text.contains(place.to_str().unwrap()), "{text}");
            }
        }
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn the_working_directory_is_kept_and_hides_nothing() {
    each(|scene| {
        let check = |dir: &Path| {
            let report = Report::of(scene.command("report").current_dir(dir));
            let expected = dir.canonicalize().unwrap();
            assert_eq!(
                (Path::new(&report.cwd), report.prefix.as_str()),
                (expected.as_path(), ENV_PREFIX),
                "{dir:?}"
            );
        };
        let deep = scene.place.path().join("it's a dir");
        fs::create_dir(&deep).unwrap();
        let hidden = Place::new("/opt");
        std::os::unix::fs::symlink(hidden.path(), scene.place.path().join("to-opt")).unwrap();
        for dir in [
            &scene.dir,
            &scene.dir.join("bin"),
            &scene.dir.join("_bin"),
            &scene.dir.join(".condense/1"),
            scene.place.path(),
            &deep,
            hidden.path(),
            &scene.place.path().join("to-opt"),
            Path::new("/"),
            Path::new("/srv"),
            Path::new("/tmp"),
            Path::new("/usr"),
            Path::new("/usr/bin"),
            Path::new("/usr/lib"),
            Path::new("/etc"),
            Path::new("/etc/apt"),
            Path::new("/opt"),
            Path::new("/var"),
            Path::new("/var/lib/dpkg"),
            Path::new("/usr/share/perl5"),
        ] {
            check(dir);
        }
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn a_lost_working_directory_does_no_harm() {
    each(|scene| {
        let script = format!(
            "mkdir '{0}/gone' && cd '{0}/gone' && rmdir '{0}/gone' && exec '{1}' -c 'print(1)'",
            scene.place.path().display(),
            scene.bin("python3").display()
        );
        let output = scene
            .account
            .command("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        assert!(
            output.status.success() && output.stdout == b"1\n",
            "{output:?}"
        );
        // The next case is a working directory that may not be entered.
        let closed = scene.place.path().join("closed");
        fs::create_dir(&closed).unwrap();
        std::os::unix::fs::chown(&closed, Some(scene.account.ids().0), None).unwrap();
        let script = format!(
            "cd '{0}' && chmod 0 . && exec '{1}' -c 'print(1)'",
            closed.display(),
            scene.bin("python3").display()
        );
        let output = scene
            .account
            .command("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        assert!(
            output.status.success() && output.stdout == b"1\n",
            "{output:?}"
        );
    });
}

#[test]
#[ignore = "needs: apptainer"]
fn bind_mounts_of_a_site_are_added_if_their_source_exists() {
    for account in BOTH {
        let place = Place::new("/opt");
        fs::write(place.path().join("file"), "site").unwrap();
        let scene = Scene::with(account, HostView::Base, "/srv", |launch| {
            launch.binds = vec![
                Bind::path(place.path(), "/opt/site").unwrap(),
                Bind::path("/opt/nothing/here", "/opt/nothing/here").unwrap(),
                Bind::path(place.path().join("file"), "/etc/site.conf")
                    .unwrap()
                    .read_only(),
            ];
        });
        assert_eq!(read(&scene, &[], "/opt/site/file"), "site");
        assert_eq!(read(&scene, &[], "/etc/site.conf"), "site");
    }
}

#[test]
#[ignore = "needs: apptainer"]
fn views_show_the_hosts_or_the_bases_system() {
    for account in BOTH {
        let host = Place::new("/opt");
        fs::write(host.path().join("file"), "host").unwrap();
        let path = host.path().join("file");
        let code = format!("import os; print(os.path.exists({path:?}))");
        assert_eq!(
            Scene::new(account, HostView::Host, "/srv").python(&code),
            "True"
        );
        assert_eq!(
            Scene::new(account, HostView::Base, "/srv").python(&code),
            "False"
        );
    }
}

#[test]
#[ignore = "needs: apptainer"]
fn two_installations_are_composed() {
    for account in BOTH {
        let scene = Scene::new(account, HostView::Host, "/srv");
        let other = Place::new("/srv");
        fs::copy(parts::image(), other.path().join("other.sqfs")).unwrap();
        let own = format!("{}/img.sqfs:{MOUNT_POINT}:image-src=/", scene.dir.display());
        let more = format!(
            "{}/other.sqfs:/OTHER_TYKKY:image-src=/,ro",
            other.path().display()
        );
        let code =
            "import os, sys; print(sys.prefix, os.path.exists('/OTHER_TYKKY/env1/bin/report'))";
        for value in [format!("{own},{more}"), format!("{more},{own}")] {
            let text = stdout(
                scene
                    .command("python3")
                    .env("CW_EXTRA_BIND_MOUNTS", value)
                    .args(["-c", code]),
            );
            assert_eq!(text, format!("{ENV_PREFIX} True"));
        }
    }
}
