//! Tests of `_debug_exec` and `_debug_shell`, which run commands in the container.

use super::arguments::HOSTILE;
use crate::harness::{Run, as_both, shared};

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn any_command_runs_inside() {
    as_both(|account| {
        let mut arguments = vec!["edge-argv"];
        arguments.extend(HOSTILE);
        let pieces = shared()
            .command(account, "_debug_exec", arguments)
            .run()
            .pieces();
        assert_eq!(pieces.len() - 1, HOSTILE.len());
        for (found, expected) in pieces[1..].iter().zip(HOSTILE) {
            assert_eq!(found, expected.as_bytes());
        }
        let script = "echo $CONDA_PREFIX; test -d \"$CONDA_PREFIX/conda-meta\"; exit $?";
        shared()
            .command(account, "_debug_exec", ["sh", "-c", script])
            .run()
            .says(&shared().env_prefix());
        shared()
            .command(account, "_debug_exec", ["edge-exit", "9"])
            .run()
            .failed(9, &[]);
        shared()
            .command(account, "_debug_exec", [""; 0])
            .run()
            .failed_on_either_stream(125, &["no command given"]);
        shared()
            .command(account, "_debug_exec", ["no-such-command"])
            .run()
            .failed_on_either_stream(255, &["no-such-command"]);
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn a_shell_reads_its_commands() {
    as_both(|account| {
        let mut command = shared().command(account, "_debug_shell", [""; 0]);
        let output = command
            .run_with_input(
                b"echo \"prefix $CONDA_PREFIX\"\npython -c 'import numpy; print(6 * 7)'\n",
            )
            .succeeded();
        let text = output.text();
        assert!(
            text.contains(&format!("prefix {}", shared().env_prefix())) && text.contains("42"),
            "{output:?}"
        );
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_would_be_started_is_explained_and_not_started() {
    as_both(|account| {
        let mut arguments = vec!["--explain", "edge-argv"];
        arguments.extend(HOSTILE);
        let mut command = shared().command(account, "_debug_exec", &arguments);
        let explained = command
            .env("APPTAINER_BIND", "/srv:/condense-srv")
            .run()
            .succeeded()
            .text();
        let image = shared().image().canonicalize().unwrap();
        for word in [
            " exec ",
            image.to_str().unwrap(),
            &shared().mount_point(),
            "/srv:/condense-srv",
            "CONDA_PREFIX=",
        ] {
            assert!(explained.contains(word), "no `{word}` in {explained}");
        }
        assert!(explained.starts_with('/'), "no program first: {explained}");
        assert!(!explained.contains('\0'), "the program was started");
    });
}

/// Checks `--explain`: it prints the changes of the environment and the command, and running the
/// output as a script has the same effect.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_explanation_can_be_run() {
    as_both(|account| {
        let mut command = shared().command(
            account,
            "_debug_exec",
            [
                "--explain",
                "edge-env",
                "CONDA_PREFIX",
                "EDGE_LINES",
                "PATH",
            ],
        );
        let explained = command.run().succeeded().text();
        let (line, changes) = explained.split_once('\n').unwrap();
        let mut script = account.command("/bin/sh");
        let by_hand = script
            .args(["-c", &format!("{changes}\n{line}")])
            .run()
            .pieces();
        let mut command = shared().command(
            account,
            "_debug_exec",
            ["edge-env", "CONDA_PREFIX", "EDGE_LINES", "PATH"],
        );
        assert_eq!(by_hand, command.run().pieces());
    });
}
