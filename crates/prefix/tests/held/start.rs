//! Tests of starts in containers of their own.

use std::{ffi::OsString, path::Path};

use condense_prefix::{EnvironmentSpec, Place, Start, StepRunner};

use crate::Listener;

const STEP: &str = "::condense-step recording the files of a start";

/// Container that says these lines, or cannot be started.
struct Says(Option<&'static [&'static str]>, Place);

impl StepRunner for Says {
    fn run(
        &self,
        _: &[OsString],
        line: &mut dyn FnMut(&str),
    ) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
        let lines = self.0.ok_or("no runtime")?;
        fs_err::write(self.1.build_dir().join("start.found"), "file bin/python\n")?;
        for text in lines {
            line(text);
        }
        Ok(1)
    }
}

/// No failure of a start is one of the build; whether the container has run is told.
#[test]
fn a_start_of_its_own_fails_softly() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place {
        root: dir.path().to_owned(),
        mount_point: "/MOUNT_abc1234".into(),
        environment: "env".into(),
        packages: dir.path().join("packages"),
    };
    let spec = EnvironmentSpec::parse("dependencies: [x]\n", Path::new("e.yml"), dir.path());
    let start = Start::new(&spec.unwrap(), &[]);
    let record = |lines| {
        let container = Says(lines, place.clone());
        let recorded = start.record(&place, &container, &Listener::default());
        recorded.unwrap().map(|found| found.files)
    };
    assert_eq!(
        record(Some(&[STEP, "::condense-done"])).unwrap(),
        ["bin/python"]
    );
    assert_eq!(record(Some(&[STEP, "Killed"])).unwrap(), ["bin/python"]);
    assert_eq!(record(Some(&["FATAL: no"])).unwrap_err(), "FATAL: no");
    assert_eq!(record(Some(&[])).unwrap_err(), "exit status 1");
    assert_eq!(record(None).unwrap_err(), "no runtime");
}
