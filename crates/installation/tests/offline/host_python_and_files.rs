//! Tests of files of the host that variables name, and of the user's own Python packages.

use std::path::Path;

use condense_installation::HostView;

use super::{Call, Scene, each_shell};

fn based() -> Scene {
    Scene::new(|launch| launch.host_view = HostView::Base)
}

/// Usability row A7: files that variables name are bound read-only where the base hides them.
#[test]
fn files_that_variables_name_are_shown() {
    let scene = based();
    let link = scene.scratch.path().join("link.pem");
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    let seen = scene.scratch.path().join("seen.pem");
    std::fs::write(&seen, "").unwrap();
    each_shell(|shell| {
        let named = |pairs: &[(&str, &Path)]| {
            let mut command = scene.wrapper(shell, "python3");
            command.envs(pairs.iter().copied());
            let call = Call::of(&mut command);
            let read_only = call
                .binds()
                .into_iter()
                .filter(|bind| bind.ends_with(":ro") && bind.starts_with("/etc/"));
            read_only.map(str::to_owned).collect::<Vec<_>>()
        };
        let passwd = "/etc/passwd:/etc/passwd:ro";
        let hosts = "/etc/hosts:/etc/hosts:ro";
        assert_eq!(named(&[]), Vec::<String>::new());
        for name in [
            "SSL_CERT_FILE",
            "PIP_CERT",
            "NODE_EXTRA_CA_CERTS",
            "CONDARC",
        ] {
            assert_eq!(named(&[(name, "/etc/passwd".as_ref())]), [passwd], "{name}");
        }
        assert_eq!(
            named(&[
                ("SSL_CERT_FILE", "/etc/passwd".as_ref()),
                ("PIP_CERT", "/etc/passwd".as_ref()),
                ("KRB5_CONFIG", "/etc/hosts:/etc/none:/etc/passwd".as_ref()),
            ]),
            [passwd, hosts]
        );
        // A link that is seen leads to a file that is not.
        assert_eq!(named(&[("SSL_CERT_FILE", &link)]), [passwd]);
        for path in [
            seen.as_path(),
            "/etc/none".as_ref(),
            "etc/passwd".as_ref(),
            "/dev/null".as_ref(),
        ] {
            assert_eq!(
                named(&[("SSL_CERT_FILE", path)]),
                Vec::<String>::new(),
                "{path:?}"
            );
        }
        let mut command = scene.wrapper(shell, "python3");
        command
            .env("SSL_CERT_FILE", "/etc/passwd")
            .current_dir("/etc");
        let call = Call::of(&mut command);
        assert_eq!(call.variable("OLDPWD"), None);
    });
}

/// Usability row A7: the host's own system directories need no binds.
#[test]
fn files_that_are_visible_anyway_are_not_bound() {
    let scene = Scene::new(|_| {});
    each_shell(|shell| {
        let mut command = scene.wrapper(shell, "python3");
        command.env("SSL_CERT_FILE", "/etc/passwd");
        let call = Call::of(&mut command);
        assert!(!call.binds().contains(&"/etc/passwd:/etc/passwd:ro"));
    });
}

/// Usability row A6: the user's own packages are hidden if the installation or the start says so.
#[test]
fn the_user_s_python_packages_can_be_hidden() {
    for (recorded, variable, expected) in [
        (false, None, None),
        (false, Some(""), None),
        (false, Some("0"), None),
        (false, Some("1"), Some("1")),
        (true, None, Some("1")),
        (true, Some(""), Some("1")),
        (true, Some("1"), Some("1")),
        (true, Some("0"), None),
    ] {
        let scene = Scene::new(|launch| launch.no_user_site = recorded);
        each_shell(|shell| {
            let mut command = scene.wrapper(shell, "python3");
            if let Some(value) = variable {
                command.env("CONDENSE_NO_USER_SITE", value);
            }
            let call = Call::of(&mut command);
            let found = call.variable("PYTHONNOUSERSITE");
            assert_eq!(found, expected, "{recorded} {variable:?} {shell:?}");
        });
    }
}
