//! Tests of files of the host that variables name, such as certificates, and of the user's own
//! Python packages.

use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use crate::harness::{Account, Run, TestDir, as_both, parts, shared};

/// Directory that the base hides, removed when dropped.
struct Hidden(PathBuf);

impl Hidden {
    fn new(name: &str) -> Self {
        let dir = format!("/opt/condense-test-{name}-{}", std::process::id());
        fs_err::create_dir(&dir).unwrap();
        Self(dir.into())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs_err::write(&path, text).unwrap();
        // Only the bind mount keeps users from writing.
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        path.display().to_string()
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const READ: &str = "import os
path = os.environ['SSL_CERT_FILE']
print(open(path).read())
try: open(path, 'a')
except OSError as error: print(type(error).__name__)";

/// Usability row A7: a certificate that the base would hide is read at the same path, and cannot be
/// written.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_certificate_is_read_where_the_variable_says() {
    as_both(|account| {
        let hidden = Hidden::new(account.name());
        let plain = hidden.write("ca.pem", "certificate");
        let blank = hidden.write("our own ca.pem", "with blanks");
        for (path, text) in [(&plain, "certificate"), (&blank, "with blanks")] {
            let mut command = shared().python(account, READ);
            let said = command.env("SSL_CERT_FILE", path).run();
            said.says(&format!("{text}\nOSError"));
        }
        // A link that is visible leads to the file that is not.
        let test = TestDir::new(account, "certificate-link");
        let link = test.path("link.pem");
        std::os::unix::fs::symlink(&plain, &link).unwrap();
        let mut command = shared().python(account, READ);
        let said = command.env("SSL_CERT_FILE", &link).run();
        said.says("certificate\nOSError");
    });
}

/// Usability row A7: the links in a directory of certificates lead somewhere.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_directory_of_certificates_is_read_with_its_links() {
    let account = Account::Ordinary;
    let (hidden, store) = (Hidden::new("certs"), Hidden::new("store"));
    let target = store.write("a.crt", "linked");
    std::os::unix::fs::symlink(target, hidden.0.join("1a2b.0")).unwrap();
    let text = "import os; print(open(os.environ['SSL_CERT_DIR'] + '/1a2b.0').read())";
    let mut command = shared().python(account, text);
    command.env("SSL_CERT_DIR", &hidden.0).run().says("linked");
}

/// Usability row A7: a path that no bind mount can express gives a warning, and the program starts.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_path_that_cannot_be_bound_gives_a_warning() {
    as_both(|account| {
        let hidden = Hidden::new(&format!("odd-{}", account.name()));
        for name in ["a,b.pem", "a:b.pem", "a^b.pem", "a\"b.pem", "a\\b.pem"] {
            let path = hidden.write(name, "x");
            let mut command = shared().python(account, "print(1)");
            let said = command.env("PIP_CERT", &path).run();
            let warning = "warning: a container cannot show the files of PIP_CERT";
            assert_eq!((said.status, said.stdout.as_str()), (0, "1\n"), "{said:?}");
            assert!(said.stderr.contains(warning), "{said:?}");
            let mut command = shared().python(account, "print(1)");
            let again = command.env("PIP_CERT", &path);
            let again = again.env("CONDENSE_WARNED", " PIP_CERT").run();
            assert_eq!(again.stderr, "", "{again:?}");
        }
    });
}

/// Usability row A7: pip in the build container reads the certificates, too.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn steps_of_a_build_read_what_variables_name() {
    let account = Account::Ordinary;
    let hidden = Hidden::new("steps");
    let bundle = hidden.write("node.pem", "for node");
    let test = TestDir::new(account, "host-files");
    let script = test.write(
        "post.sh",
        "[ \"$(cat \"$NODE_EXTRA_CA_CERTS\")\" = 'for node' ] || exit 9\n",
    );
    let installation = test.installation();
    test.new_command(&installation.dir, &test.environment("edge-argv"))
        .arg("--post-install")
        .arg(script)
        .env("NODE_EXTRA_CA_CERTS", bundle)
        .run()
        .succeeded();
}

/// Usability row A6: packages of the user come first, unless the installation or the start hides
/// them.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_user_s_packages_can_be_hidden() {
    let account = Account::Ordinary;
    let test = TestDir::new(account, "no-user-site");
    let requirements = test.write("req.txt", "edge_pip_lib<1.1\n");
    let base = test.make_dir("base");
    let build = |name: &str, flags: &[&str]| {
        let dir = test.path(name);
        test.new_command(&dir, &test.environment("python=3.11, pip"))
            .arg("-r")
            .arg(&requirements)
            .args(flags)
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", parts().wheels())
            .run()
            .succeeded();
        dir
    };
    let open = build("open", &[]);
    let closed = build("closed", &["--no-user-site"]);
    test.command(open.join("bin/pip"))
        .args(["install", "--user", "--no-index", "--ignore-installed"])
        .args(["edge_pip_lib==1.1", "--find-links"])
        .arg(parts().wheels())
        .env("PYTHONUSERBASE", &base)
        .run()
        .succeeded();
    let text = "import importlib.metadata as m; print(m.version('edge_pip_lib'))";
    for (dir, variable, expected) in [
        (&open, None, "1.1"),
        (&open, Some("0"), "1.1"),
        (&open, Some("1"), "1.0"),
        (&closed, None, "1.0"),
        (&closed, Some("0"), "1.1"),
    ] {
        let mut command = test.command(dir.join("bin/python"));
        command.args(["-c", text]).env("PYTHONUSERBASE", &base);
        if let Some(value) = variable {
            command.env("CONDENSE_NO_USER_SITE", value);
        }
        command.run().says(expected);
    }
    let mut command = test.command(parts().path("programs/condense"));
    let said = command.arg("check").arg(&open).env("PYTHONUSERBASE", &base);
    let said = said.run();
    let words = "edge-pip-lib 1.1 (not 1.0)";
    assert!(said.stdout.contains(words), "{said:?}");
}
