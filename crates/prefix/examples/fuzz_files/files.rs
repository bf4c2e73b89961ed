//! Responsible for files that users write or bring: environments, locks, conda's configuration.

use condense_diagnostics::Hint as _;
use std::path::{Path, PathBuf};

use condense_fuzz::{Error, Target, text};
use condense_prefix::{
    Architecture, Condarc, EnvironmentSpec, Lock, SpecContext, Target as Machine, render_lock,
};

use super::seeds;

/// A directory that does not exist, so that it has no file to include.
const NOWHERE: &str = "/nonexistent";

pub(super) fn targets(dir: &Path) -> Result<Vec<Target>, Error> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/environments");
    let of_people = |ending: &str| -> Result<Vec<Vec<u8>>, Error> {
        let mut files = Vec::new();
        for dir in [fixtures.clone(), fixtures.join("refused")] {
            for entry in fs_err::read_dir(dir)? {
                let path = entry?.path();
                if path.extension().is_some_and(|found| found == ending) {
                    files.push(path);
                }
            }
        }
        files.sort();
        files
            .into_iter()
            .map(|path| Ok(fs_err::read(path)?))
            .collect()
    };
    let spec = |name: &'static str, file: &'static str, seeds: Vec<Vec<u8>>| Target {
        name,
        seeds,
        damage: text,
        read: Box::new(move |bytes| read_spec(bytes, Path::new(file)).is_none()),
    };
    let lock = |name: &'static str| -> Result<Target, Error> {
        Ok(Target {
            name,
            seeds: seeds(dir, name)?,
            damage: text,
            read: Box::new(|bytes| read_lock(&String::from_utf8_lossy(bytes)).is_none()),
        })
    };
    let mut requirements = of_people("txt")?;
    requirements.extend(seeds(dir, "requirements")?);
    Ok(vec![
        spec("environment", "environment.yml", of_people("yml")?),
        spec("requirements", "requirements.txt", requirements),
        spec("explicit", "explicit.txt", seeds(dir, "explicit")?),
        spec("match-specs", "list.txt", seeds(dir, "match-specs")?),
        lock("conda-lock")?,
        lock("pixi-lock")?,
        lock("condense-lock")?,
        Target {
            name: "condarc",
            seeds: seeds(dir, "condarc")?,
            damage: text,
            read: Box::new(|bytes| read_condarc(bytes).is_none()),
        },
    ])
}

/// Reads an environment file, and calls the methods that are used on one.
fn read_spec(bytes: &[u8], file: &Path) -> Option<()> {
    let context = SpecContext {
        architecture: Architecture::X86_64,
        variables: [("X".to_owned(), "value".to_owned())].into(),
    };
    let read = EnvironmentSpec::parse_bytes(bytes, file, Path::new(NOWHERE), &context);
    let spec = match read {
        Ok(spec) => spec,
        Err(error) => {
            let _ = (error.to_string(), error.hint());
            return None;
        }
    };
    let said: Vec<String> = spec.warnings().iter().map(ToString::to_string).collect();
    let _ = (said, spec.text(), spec.channels(), spec.conda_packages());
    let _ = (spec.conda_specs().count(), spec.pip_as_written().len());
    Some(())
}

fn read_lock(text: &str) -> Option<()> {
    let machine = Machine {
        architecture: Architecture::X86_64,
        glibc: Some("2.36".to_owned()),
        linux: Some("6.1".to_owned()),
        archspec: None,
        cuda: None,
    };
    let (file, folder) = (Path::new("some.lock"), Path::new(NOWHERE));
    let _ = Lock::parse(text, file, folder, Some("dev"), &machine);
    let mut lock = Lock::parse(text, file, folder, None, &machine).ok()?;
    let asked = "channels: [c]\ndependencies: [python, {pip: [rich]}]\n";
    if let Ok(spec) = EnvironmentSpec::parse(asked, Path::new("e.yml"), folder) {
        let _ = lock.check_fits(&spec);
    }
    let _ = condense_prefix::mount_point_suffix(&lock.spec(), lock.solution());
    // The lock that is written must be readable, unless it has no packages.
    let written = render_lock(lock.solution(), &lock.spec(), None, &[]).ok()?;
    let again = Lock::parse(&written, file, folder, None, &machine);
    if let Err(error) = again {
        assert!(
            lock.solution().is_empty(),
            "not read again: {error}\n{written}"
        );
    }
    Some(())
}

fn read_condarc(bytes: &[u8]) -> Option<()> {
    thread_local! {
        static PLACE: PathBuf = std::env::temp_dir().join(format!(
            "fuzz-condarc-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
    }
    let path = PLACE.with(Clone::clone);
    fs_err::write(&path, bytes).ok()?;
    let read = Condarc::load(std::slice::from_ref(&path), |name| {
        (name == "X").then(|| "value".to_owned())
    });
    let _ = fs_err::remove_file(&path);
    let condarc = read.ok()?;
    let asked = "channels: [conda-forge, defaults, local/x]\ndependencies: [python]\n";
    let mut spec = EnvironmentSpec::parse(asked, Path::new("e.yml"), Path::new(NOWHERE)).ok()?;
    condarc.apply(&mut spec).ok()?;
    let _ = (condarc.not_followed().count(), spec.channels());
    Some(())
}
