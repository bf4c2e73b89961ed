use std::collections::BTreeSet;

use super::{
    super::log::{Event, split_words},
    LogChecker,
    written::redirected_block,
};

fn reasons(events: &[Event]) -> Vec<String> {
    let mentioned = BTreeSet::from(["NAME".to_owned()]);
    let mut checker = LogChecker::new(
        &|_| false,
        "/env",
        &mentioned,
        "case $x in a*) ;; *) ;; esac",
    );
    checker.read(events);
    checker.into_reasons()
}

#[test]
fn commands_as_written() {
    for (text, expected) in [
        ("export A=$HOSTNAME", "reads `HOSTNAME`"),
        ("A=${HOSTNAME%%.*}", "reads `HOSTNAME`"),
        ("A=$HOSTNAMES", ""),
        ("A=x.$$", "reads `$$`"),
        ("eval old=\"\\$${from}$thing\"", ""),
        ("read -r a b", "reads its standard input"),
        ("read -r a b <<< \"$x\"", ""),
        ("read -r a < \"$CONDA_PREFIX/etc/x\"", ""),
        ("read -r a < /etc/x", "reads /etc/x"),
        ("echo '<x>'", ""),
        ("(( NAME > 2 ))", "calculates with `NAME`"),
        ("(( i > 2 ))", ""),
        ("[ ${#NAME} = 1 ]", "measures the length of `NAME`"),
        ("[ ${#names[@]} = 1 ]", ""),
        ("case $(date) in ", "compares $(date) with patterns"),
    ] {
        assert_eq!(
            reasons(&[Event::Command(text.to_owned())]).join("; "),
            expected,
            "{text}"
        );
    }
}

#[test]
fn commands_as_executed() {
    for (text, expected) in [
        ("[ -n é ]", ""),
        ("[ xé = x ]", ""),
        ("[ é = no ]", "compares a variable with `no`"),
        ("[ no != é ]", "compares `no` with a variable"),
        ("[ é -gt 1 ]", "compares a variable with `1`"),
        ("[ 1 -gt 1 ]", ""),
        ("[ -f /env/x ]", ""),
        (
            "[ -f /env/../x ]",
            "looks at `/env/../x`, outside the environment",
        ),
        (
            "[ -f /env/x -a -d /etc ]",
            "looks at `/etc`, outside the environment",
        ),
        ("[ ! -d é ]", "looks at a file that a variable names"),
        ("test -w /env/x", "asks who may write `/env/x`"),
        ("[ -t 0 ]", "asks whether it has a terminal"),
        ("command -v gcc", "looks for `gcc` on PATH"),
        ("uname -m", ""),
        ("uname -n", "asks for the name or kernel of the machine"),
        (
            "sed -e s/a/b/ /etc/x",
            "looks at `/etc/x`, outside the environment",
        ),
        ("sed /etc/d", ""),
        ("cut -d : -f 1", ""),
        (
            "cat /etc/os-release",
            "looks at `/etc/os-release`, outside the environment",
        ),
        ("set +T", "changes how functions are traced"),
        ("printf '%(%s)T'", "asks for the time"),
    ] {
        let words = split_words(text);
        assert_eq!(
            reasons(&[Event::Executed(words)]).join("; "),
            expected,
            "{text}"
        );
    }
}

#[test]
fn conditions_and_cases() {
    for (words, expected) in [
        (&["-n", "é"][..], ""),
        (&["CFLAGS,é", "==", "*,*"], ""),
        (&["é", "==", "*,*"], "compares a variable with `*,*`"),
        (&["é", "=~", "a"], "compares a variable with `a`"),
        (
            &["-f", "/env/a", "&&", "-f", "/usr/b"],
            "looks at `/usr/b`, outside the environment",
        ),
    ] {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        assert_eq!(reasons(&[Event::Condition(words)]).join("; "), expected);
    }
    for (value, expected) in [
        ("é", "compares $x with patterns"),
        ("bé", ""),
        ("aé", ""),
        ("b", ""),
    ] {
        let events = [
            Event::Command("case $x in ".to_owned()),
            Event::CaseWord(value.to_owned()),
        ];
        assert_eq!(reasons(&events).join("; "), expected, "{value}");
    }
}

#[test]
fn redirected_blocks() {
    for (script, expected) in [
        ("while read x; do :; done < /etc/x", Some("done")),
        ("{ echo; } >> \"$HOME/x\"", Some("}")),
        ("{ echo; } > /dev/null 2>&1", None),
        ("if a; then b; fi 2>/dev/null", None),
        ("( env ) > /tmp/x", Some(")")),
        ("# done > x", None),
    ] {
        assert_eq!(redirected_block(script), expected, "{script}");
    }
}
