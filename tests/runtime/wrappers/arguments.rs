//! Tests of the arguments, streams and exit status of programs behind wrappers.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use crate::harness::{Run, as_both, shared};

/// Arguments that a shell, the runtime or a careless join could change. All are UTF-8: apptainer
/// passes its arguments on as JSON and changes anything else, with or without a wrapper.
pub(super) const HOSTILE: [&str; 36] = [
    "",
    " ",
    "a b",
    "  two  blanks  ",
    "'",
    "\"",
    "it's \"both\"",
    "$HOME",
    "${HOME}",
    "$(id)",
    "`id`",
    "$",
    "*",
    "?",
    "[a-z]",
    "\\",
    "\\n",
    "\\\\$x",
    "a\nb",
    "\n",
    "ends\n",
    "\t",
    "ünï ☃",
    "-n",
    "--",
    "--help",
    "!",
    "~",
    "{a,b}",
    "a;b",
    "a&b|c<d>e",
    "#x",
    "%s",
    "a=b",
    ":",
    ",",
];

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn arguments_arrive_as_they_are() {
    as_both(|account| {
        let pieces = shared()
            .command(account, "edge-argv", HOSTILE)
            .run()
            .pieces();
        assert_eq!(
            OsStr::from_bytes(&pieces[0]),
            shared().bin("edge-argv"),
            "argv[0]"
        );
        assert_eq!(pieces.len() - 1, HOSTILE.len());
        for (found, expected) in pieces[1..].iter().zip(HOSTILE) {
            assert_eq!(OsStr::from_bytes(found), expected);
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn no_arguments_stay_none() {
    as_both(|account| {
        assert_eq!(
            shared()
                .command(account, "edge-argv", [""; 0])
                .run()
                .pieces()
                .len(),
            1
        );
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn three_thousand_long_arguments_arrive() {
    let arguments: Vec<String> = (0..3000).map(|number| format!("{number:0>100}")).collect();
    as_both(|account| {
        let pieces = shared()
            .command(account, "edge-argv", &arguments)
            .run()
            .pieces();
        assert!(
            pieces[1..]
                .iter()
                .eq(arguments.iter().map(std::string::String::as_bytes))
        );
        shared()
            .command(
                account,
                "python",
                ["-c", "import sys; print(len(sys.argv))"],
            )
            .args(&arguments)
            .run()
            .says("3001");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_exit_status_is_the_program_s() {
    as_both(|account| {
        for status in [0, 1, 2, 7, 64, 100, 125, 126, 127, 128, 129, 254, 255] {
            let output = shared()
                .command(account, "edge-exit", [status.to_string()])
                .run();
            assert_eq!(output.status, status, "{output:?}");
            assert_eq!(output.stderr, "", "somebody spoke at exit status {status}");
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn death_by_a_signal_is_told_as_a_shell_tells_it() {
    as_both(|account| {
        for signal in [1, 2, 6, 9, 11, 15] {
            let output = shared()
                .command(account, "edge-exit", [format!("-{signal}")])
                .run();
            assert_eq!(output.status, 128 + signal, "{output:?}");
        }
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn binary_streams_pass_both_ways() {
    let input: Vec<u8> = (0..3_000_000_u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let text = "import sys; data = sys.stdin.buffer.read(); sys.stderr.write(str(len(data))); sys.stdout.buffer.write(data[::-1])";
    as_both(|account| {
        let output = shared()
            .python(account, text)
            .run_with_input(&input)
            .succeeded();
        assert_eq!(output.stderr, "3000000");
        assert!(
            output.stdout_bytes.iter().rev().eq(&input),
            "the bytes have changed"
        );
        let output = shared()
            .command(account, "_debug_exec", ["cat"])
            .run_with_input(&input)
            .succeeded();
        assert!(output.stdout_bytes == input, "the bytes have changed");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn nothing_on_standard_input_is_nothing() {
    as_both(|account| {
        shared()
            .python(account, "import sys; print(repr(sys.stdin.read()))")
            .run()
            .says("''");
    });
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn many_starts_at_once() {
    as_both(|account| {
        let mut command = account.command("/bin/sh");
        command
            .args([
                "-c",
                "seq 24 | xargs -P 8 -I % \"$1\" -c 'import numpy; print(%)' | sort -n",
                "sh",
            ])
            .arg(shared().bin("python"));
        let expected: Vec<String> = (1..=24).map(|number| number.to_string()).collect();
        command.run().says(&expected.join("\n"));
    });
}
