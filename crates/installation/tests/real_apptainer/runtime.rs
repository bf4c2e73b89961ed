use condense_diagnostics::Hint as _;
use std::fs;

use condense_installation::{Bind, Error, Exec, Isolation, Mounting, RuntimeKind};

use crate::parts::{self, MOUNT_POINT};
use crate::scene::{Place, runtime};

#[test]
#[ignore = "needs: apptainer"]
fn the_runtime_is_found_and_named() {
    let runtime = runtime();
    assert!(runtime.program().is_absolute());
    let is_named = std::env::var_os("CONDENSE_TEST_RUNTIME").is_some();
    assert!(is_named || runtime.kind() == RuntimeKind::Apptainer);
    assert!(
        runtime
            .version()
            .starts_with(|first: char| first.is_ascii_digit()),
        "{}",
        runtime.version()
    );
}

#[test]
#[ignore = "needs: apptainer"]
fn a_build_container_sees_scratch_at_the_mount_point() {
    let place = Place::new("/srv");
    let output = runtime()
        .run(&Exec {
            base: parts::base(),
            binds: vec![Bind::path(place.path(), MOUNT_POINT).unwrap()],
            env_vars: vec![
                ("ODD".to_owned(), "a $HOME `id` \\ 'b'\nc".into()),
                ("PATH".to_owned(), "/x:/usr/bin:/bin".into()),
            ],
            working_dir: Some(MOUNT_POINT.into()),
            isolation: Isolation {
                contain: true,
                no_home: true,
                clean_env: true,
                writable_tmpfs: true,
            },
            argv: [
                "/bin/sh",
                "-c",
                "pwd; printf '%s\\n' \"$ODD\" \"$PATH\"; echo made >made; touch /opt/x",
            ]
            .map(Into::into)
            .to_vec(),
        })
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{MOUNT_POINT}\na $HOME `id` \\ 'b'\nc\n/x:/usr/bin:/bin\n")
    );
    assert_eq!(
        fs::read_to_string(place.path().join("made")).unwrap(),
        "made\n"
    );
}

#[test]
#[ignore = "needs: apptainer"]
fn the_error_of_a_failing_command_has_its_status_and_last_output() {
    let exec = Exec {
        base: parts::base(),
        argv: ["/bin/sh", "-c", "echo last words >&2; exit 9"]
            .map(Into::into)
            .to_vec(),
        ..Exec::default()
    };
    let text = runtime().run(&exec).unwrap_err().to_string();
    assert!(
        text.contains("exit status: 9") && text.contains("last words"),
        "{text}"
    );
}

#[test]
#[ignore = "needs: apptainer"]
fn a_probe_passes_or_reports_the_runtimes_reason() {
    let place = Place::new("/srv");
    let bind = |destination: &str| vec![Bind::path(place.path(), destination).unwrap()];
    let runtime = runtime();
    runtime.probe(&parts::base(), &bind(MOUNT_POINT)).unwrap();
    runtime.probe(&parts::base(), &bind("/a/b c/d")).unwrap();
    let truncated = place.path().join("truncated.sif");
    fs::write(&truncated, &fs::read(parts::base()).unwrap()[..100_000]).unwrap();
    for base in [truncated, place.path().join("missing.sif")] {
        let error = runtime.probe(&base, &[]).unwrap_err();
        assert!(
            matches!(&error, Error::RuntimeFailed { cause, .. } if !cause.contains("FATAL")),
            "{error}"
        );
        assert!(error.hint().is_some(), "{error}");
    }
}

#[test]
#[ignore = "needs: apptainer"]
fn mounting_an_image_is_tried_for_real() {
    let runtime = runtime();
    let place = Place::new("/srv");
    assert_eq!(
        runtime
            .can_mount(&parts::base(), &parts::image(), MOUNT_POINT.as_ref())
            .unwrap(),
        Mounting::Works
    );
    // Byte 20 of the superblock names the codec. No runtime knows codec 99.
    let mut bytes = fs::read(parts::image()).unwrap();
    bytes[20] = 99;
    let unknown = place.path().join("unknown.sqfs");
    fs::write(&unknown, bytes).unwrap();
    let mounting = runtime
        .can_mount(&parts::base(), &unknown, MOUNT_POINT.as_ref())
        .unwrap();
    assert!(
        matches!(&mounting, Mounting::Refused(cause) if !cause.is_empty()),
        "{mounting:?}"
    );
    assert!(
        runtime
            .can_mount(
                &place.path().join("missing.sif"),
                &parts::image(),
                MOUNT_POINT.as_ref()
            )
            .is_err()
    );
}
