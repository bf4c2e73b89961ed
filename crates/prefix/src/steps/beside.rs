//! Responsible for pip in an environment whose packages are held back: their image is mounted and
//! cannot be written, so pip installs wheels, also those that it builds, into an empty directory
//! beside it.

use std::{path::PathBuf, time::Instant};

use condense_within::Within;

use super::{
    BuildSteps, has_activation_scripts,
    pip::{Purpose, STEP},
    run_sh,
    runner::{HeldImage, Refusal, Runner},
    script::try_pip,
    wheels::{Parts, Wheels},
};
use crate::{
    error::Error,
    progress::{Phase, Progress},
    target::{BUILD_DIR_BESIDE, Place},
};

/// Name of the directory in that of the build steps into which pip installs.
const NEW: &str = "new";
/// Names of files in the directory of build steps, which pip.sh and pip_beside.py describe.
pub(crate) const ROOT: &str = "root";
pub(crate) const WHOLE: &str = "whole";
pub(crate) const REMOVED: &str = "removed.txt";
const REPORT: &str = "pip-report.json";

impl BuildSteps {
    /// Runs pip on an image of what is held back if it has anything to do. If that is impossible,
    /// what is held back becomes files, and pip has not run yet. The phase of the steps has begun
    /// if wheels are returned.
    pub(super) fn pip_on_image(
        &mut self,
        runner: Runner<'_>,
        env_dir: &Within,
        progress: &dyn Progress,
    ) -> Result<Option<Wheels>, Error> {
        if self.pip.is_idle() || self.held.is_none() {
            return Ok(None);
        }
        if let (Runner::Held { image, .. }, None) = (runner, &self.pip.uv) {
            let started = Instant::now();
            match self.try_pip_on_image(image, env_dir, progress)? {
                Ok(wheels) => {
                    self.pip.clear();
                    return Ok(Some(wheels));
                }
                Err(refusal) => {
                    progress.end(Phase::Run, started.elapsed());
                    image.refuse(&refusal);
                }
            }
        }
        if let Some(mut held) = self.held.take() {
            held.copy_out(env_dir, &|_| true)?;
        }
        Ok(None)
    }

    fn try_pip_on_image(
        &mut self,
        image: &dyn HeldImage,
        env_dir: &Within,
        progress: &dyn Progress,
    ) -> Result<Result<Wheels, Refusal>, Error> {
        let (steps, prefix) = (image.place_of_steps(), &self.prefix);
        let captures = u64::from(has_activation_scripts(env_dir));
        progress.begin(Phase::Run, Some(2 + captures));
        let (Some(held), Some(python)) = (&mut self.held, &prefix.python) else {
            return Ok(Err(Refusal::Pip("there is no Python".to_owned())));
        };
        held.gather(progress)?;
        image.make(held).map_err(Error::Container)?;
        let build_dir = steps.open_build_dir()?;
        self.pip
            .write_inputs(&prefix.place, &build_dir, Purpose::InstallBeside)?;
        if self.pip.no_cache {
            build_dir.write("no-cache", "")?;
        }
        let argv = write_root(steps, &build_dir)?;
        let container = image.for_pip();
        let ran = try_pip(&argv, &*container, steps, Some(python), progress)?;
        let result = if let Err(refusal) = ran {
            Err(refusal)
        } else {
            let removed = build_dir.read_text(REMOVED)?.unwrap_or_default();
            let (root, environment) = (build_dir.dir(NEW)?, prefix.place.mounted_env());
            let mut parts = Parts {
                held,
                env_dir,
                python,
            };
            let taken = parts.take(&root, &environment, &removed)?;
            taken.map_err(Refusal::Pip)
        };
        if let (Ok(_), Some(report)) = (&result, build_dir.read(REPORT)?) {
            prefix.place.open_build_dir()?.write(REPORT, report)?;
        }
        clear(&build_dir)?;
        Ok(result)
    }
}

/// Makes the directory into which pip installs, and returns the command.
fn write_root(steps: &Place, build_dir: &Within) -> Result<Vec<std::ffi::OsString>, Error> {
    build_dir.make_own_dir(NEW)?;
    let inside = PathBuf::from(BUILD_DIR_BESIDE);
    build_dir.write(ROOT, inside.join(NEW).as_os_str().as_encoded_bytes())?;
    run_sh(steps, build_dir, inside)
}

/// Removes what later steps in the same directory must not find, and archives.
fn clear(build_dir: &Within) -> Result<(), Error> {
    for file in [STEP, "surroundings.sh", ROOT, WHOLE, REMOVED, REPORT] {
        build_dir.remove(file)?;
    }
    for dir in [NEW, "tmp", "wheels"] {
        let path = build_dir.path(dir);
        match fs_err::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{path::Path, process::Command};

    /// A pip that "resolves" what its arguments say, with the functions that are replaced. `!` is
    /// before the names of sources, and `@` before those that are editable.
    const PIP: &str = "
import logging, os, sys
from pip._internal.commands import install
from pip._internal.distributions.sdist import SourceDistribution
from pip._internal.exceptions import InstallationError
from pip._internal.operations.prepare import RequirementPreparer

class Requirement:
    link = None

    def __init__(self, word):
        self.name, self.is_wheel, self.satisfied_by = word.strip('!@'), word[0] not in '!@', None
        self.should_reinstall, self.editable = not self.name.startswith('new'), word[0] == '@'

if sys.argv[1] == 'check':
    print(*[path for path in sys.path if path.endswith('site-packages')])
    sys.exit(0)
words = sys.argv[2:] if sys.argv[1] == 'wheel' else sys.argv[4:]
chosen = [Requirement(word) for word in words]
try:
    for one in chosen:
        if not one.is_wheel:
            isolated = not os.environ.get('NO_ISOLATION')
            SourceDistribution(one).prepare_distribution_metadata('installer', isolated, True)
    if not os.environ.get('OLD_RESOLVER'):
        RequirementPreparer().prepare_linked_requirements_more(chosen)
    built = install.build([one for one in chosen if not one.is_wheel], verify=True)
except InstallationError as error:
    logging.getLogger().critical(str(error))
    sys.exit(1)
if sys.argv[1] == 'wheel':
    print(built)
    sys.exit(0)
done = install.install_given_reqs(chosen, root=sys.argv[3])
print(built, [(one.name, one.should_reinstall) for one in done], sys.argv[1:4])
";
    const PREPARE: &str = "
class RequirementPreparer:
    def prepare_linked_requirements_more(self, requirements):
        print('downloads')
";
    const SDIST: &str = "
from types import SimpleNamespace
from pip._internal.operations.prepare import RequirementPreparer

class SourceDistribution:
    def __init__(self, req):
        self.req = req

    def prepare_distribution_metadata(self, installer, build_isolation, check):
        if self.req.name == 'new-needy':
            needed = SimpleNamespace(name='of-conda', satisfied_by=None, should_reinstall=True)
            RequirementPreparer().prepare_linked_requirements_more([needed])
        if self.req.name == 'new-broken':
            raise OSError('its setup.py fails')
";
    const BUILDER: &str = "
def _build_one(requirement, verify):
    if requirement.name == 'new-raises':
        raise ValueError('pip fails')
    requirement.is_wheel = requirement.name != 'new-legacy'
    return None if requirement.name == 'new-fails' else 'the wheel'
";
    const INSTALL: &str = "
from pip._internal import wheel_builder

def build(requirements, verify):
    return [(one.name, wheel_builder._build_one(one, verify)) for one in requirements], []

def install_given_reqs(requirements, root):
    return list(requirements)
";

    struct Pip(tempfile::TempDir);

    impl Pip {
        fn new(install: &str) -> Self {
            let pip = Self(tempfile::tempdir().unwrap());
            let site = "env/lib/python3.9/site-packages";
            for (name, text) in [
                ("build/pip_beside.py", super::super::pip::PIP_BESIDE_PY),
                ("pips/pip/__init__.py", ""),
                ("pips/pip/__main__.py", PIP),
                ("pips/pip/_internal/__init__.py", ""),
                ("pips/pip/_internal/commands/__init__.py", ""),
                ("pips/pip/_internal/commands/install.py", install),
                ("pips/pip/_internal/distributions/__init__.py", ""),
                ("pips/pip/_internal/distributions/sdist.py", SDIST),
                ("pips/pip/_internal/wheel_builder.py", BUILDER),
                ("pips/pip/_internal/operations/__init__.py", ""),
                ("pips/pip/_internal/operations/prepare.py", PREPARE),
                (
                    "pips/pip/_internal/exceptions.py",
                    "class InstallationError(Exception): pass",
                ),
                (&format!("{site}/of_pip.py"), ""),
                (&format!("{site}/__pycache__/of_pip.cpython-39.pyc"), ""),
                (
                    &format!("{site}/Of.Pip-1.dist-info/RECORD"),
                    "of_pip.py,,\n\"a, b\",,\n../../../bin/of-pip,,\n/etc/passwd,,\n",
                ),
                (&format!("{site}/of_conda-1.dist-info/RECORD"), ""),
                (&format!("{site}/old-1-py3.9.egg-info"), ""),
                (
                    "env/conda-meta/of-conda-1-0.json",
                    &format!("{{\"files\": [\"{site}/of_conda-1.dist-info/RECORD\"]}}"),
                ),
            ] {
                let path = pip.0.path().join(name);
                fs_err::create_dir_all(path.parent().unwrap()).unwrap();
                fs_err::write(path, text).unwrap();
            }
            // pip's root is that of a file system.
            let new = format!("new{}/{site}", pip.0.path().display());
            fs_err::create_dir_all(pip.0.path().join(new)).unwrap();
            pip
        }

        /// Returns what pip says, why it is refused, and what it would have removed.
        fn run(&self, arguments: &[&str], is_old: bool) -> [String; 3] {
            self.run_with(arguments, is_old, "")
        }

        fn run_with(&self, arguments: &[&str], is_old: bool, isolation: &str) -> [String; 3] {
            let path = |name: &str| self.0.path().join(name);
            let site = path("env/lib/python3.9/site-packages");
            let output = Command::new("/usr/bin/python3")
                .args(["-S", "-s"])
                .arg(path("build/pip_beside.py"))
                .args([path("env"), path("new")])
                .args(arguments)
                .current_dir(path("build"))
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .env("OLD_RESOLVER", if is_old { "1" } else { "" })
                .env("NO_ISOLATION", isolation)
                .env(
                    "PYTHONPATH",
                    std::env::join_paths([site, path("pips")]).unwrap(),
                )
                .output()
                .unwrap();
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{output:?}"
            );
            let take = |name: &str| {
                let text = fs_err::read_to_string(path("build").join(name));
                let _ = fs_err::remove_file(path("build").join(name));
                text.unwrap_or_default().trim().to_owned()
            };
            let said = String::from_utf8(output.stdout).unwrap();
            let said = said.replace(self.0.path().to_str().unwrap(), "DIR");
            [said.trim().to_owned(), take("whole"), take("removed.txt")]
        }
    }

    #[test]
    #[ignore = "needs: python3"]
    fn pip_installs_beside_or_says_what_it_needs() {
        let pip = Pip::new(INSTALL);
        let root = "['install', '--root', 'DIR/new']";
        let installed = |names: &str| format!("downloads\n([], []) [{names}] {root}");
        let said = pip.run(&["install", "new", "new-er"], false);
        let names = "('new', False), ('new-er', False)";
        assert_eq!(said, [installed(names), String::new(), String::new()]);

        let [said, whole, removed] = pip.run(&["install", "of-pip", "new"], false);
        assert_eq!(said, installed("('of-pip', False), ('new', False)"));
        assert_eq!(whole, "");
        let site = "lib/python3.9/site-packages";
        let expected = format!(
            "bin/of-pip\n{site}/__pycache__/of_pip.cpython-39.pyc\n{site}/a, b\n{site}/of_pip.py"
        );
        assert_eq!(removed, expected);

        for (name, reason) in [
            ("!old", "`old` has no record of its files"),
            (
                "Of_Conda",
                "pip replaces `of-conda`, which came with a conda package",
            ),
            ("old", "`old` has no record of its files"),
            ("unknown", "it is not known what `unknown` replaces"),
        ] {
            let wanted = ["install", "of-pip", name];
            let expected = [String::new(), reason.to_owned(), String::new()];
            assert_eq!(pip.run(&wanted, false), expected, "before it downloads");
            let said = pip.run(&wanted, true);
            assert_eq!(said[0], format!("([], []) [] {root}"));
            assert_eq!(said[1..], expected[1..], "before it installs");
        }
        let [said, ..] = pip.run(&["check"], false);
        let site = "DIR/env/lib/python3.9/site-packages";
        assert_eq!(said, format!("DIR/new{site} {site}"), "the new comes first");
    }

    #[test]
    #[ignore = "needs: python3"]
    fn what_is_built_comes_beside_unless_its_build_fails() {
        let pip = Pip::new(INSTALL);
        let root = "['install', '--root', 'DIR/new']";
        let built = "([('new', 'the wheel')], [])";
        let done = "[('new', False), ('new-er', False)]";
        let said = pip.run(&["install", "!new", "new-er"], false);
        let expected = format!("downloads\n{built} {done} {root}");
        assert_eq!(said, [expected, String::new(), String::new()]);
        // What a build needs gets a directory of its own, whatever conda has.
        let [said, whole, _] = pip.run(&["install", "!new-needy"], false);
        assert!(
            said.starts_with("downloads\ndownloads\n([('new-needy',"),
            "{said}"
        );
        assert_eq!(whole, "");
        let said = pip.run(&["wheel", "!new"], false);
        let expected = format!("downloads\n{built}");
        assert_eq!(said, [expected, String::new(), String::new()]);

        // Without isolation, a build could import what pip has installed before.
        let unisolated = |pip: &Pip| pip.run_with(&["install", "!new"], false, "1")[1].clone();
        assert_eq!(unisolated(&pip), "");
        let new = pip.0.path().join("new");
        let site = new.join(pip.0.path().strip_prefix("/").unwrap());
        let earlier = site.join("env/lib/python3.9/site-packages/earlier");
        fs_err::write(&earlier, "").unwrap();
        assert_eq!(unisolated(&pip), "`new` is built without isolation");
        assert_eq!(pip.run(&["install", "!new"], false)[1], "");
        fs_err::remove_file(earlier).unwrap();

        let fails =
            |name: &str| format!("building `{name}` fails where the environment cannot be written");
        for (command, name, reason) in [
            ("install", "!new-broken", fails("new-broken")),
            ("install", "!new-fails", fails("new-fails")),
            ("install", "!new-raises", fails("new-raises")),
            ("wheel", "!new-broken", fails("new-broken")),
            ("wheel", "!new-fails", fails("new-fails")),
            (
                "install",
                "!new-legacy",
                "`new-legacy` is not installed from a wheel".to_owned(),
            ),
            (
                "install",
                "@new",
                "`new` stays a link to its directory".to_owned(),
            ),
        ] {
            for is_old in [false, true] {
                let [said, whole, removed] = pip.run(&[command, name, "new-er"], is_old);
                assert_eq!((whole, &*removed), (reason.clone(), ""), "{said}");
                assert!(!said.contains("new-er"), "{said}");
            }
        }
    }

    #[test]
    #[ignore = "needs: python3"]
    fn a_pip_without_these_functions_does_nothing() {
        let pip = Pip::new("def another(requirements): pass\n");
        let [said, whole, _] = pip.run(&["install", "new"], false);
        assert_eq!((&*said, &*whole), ("", "its pip is too new to be known"));
        let dir = pip.0.path().join("build");
        assert!(!Path::new(&dir).join("removed.txt").exists());
    }
}
