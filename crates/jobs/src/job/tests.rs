use super::in_quotes;

#[test]
fn texts_are_escaped_for_double_quotes() {
    for (text, expected) in [
        (
            "/tmp/${USER}-${SLURM_JOB_ID}",
            "/tmp/${USER}-${SLURM_JOB_ID}",
        ),
        ("AWS Libfabric", "AWS Libfabric"),
        ("a\"b`c$d\\}", "a\\\"b\\`c\\$d\\\\\\}"),
        ("${X", "\\${X"),
    ] {
        assert_eq!(in_quotes(text), expected, "{text}");
    }
}
