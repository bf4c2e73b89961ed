#![allow(clippy::unwrap_used)]
use super::*;

fn built_in() -> Site {
    let entry = SiteEntry {
        installation_path: Some("/LOCAL_TYKKY".to_owned()),
        ..SiteEntry::default()
    };
    entry.into_site("local").unwrap()
}

#[test]
fn force_wins_over_defaults_and_unknown_keys_are_told() {
    let mut site = built_in();
    let text = "defaults:\n  container_src: /a.sif\n  num_cpus: 8\n  isolate: yes\n  mount_points: [/b]\n  odd: 1\n\
        prepends:\n  mount_points: [/a]\nappends:\n  mount_points: [/c]\nforce:\n  container_src: /b.sif\nother: {}\n";
    site.apply(text, false).unwrap();
    assert_eq!(site.container_src.as_deref(), Some("/a.sif"));
    site.apply(text, true).unwrap();
    assert_eq!(site.container_src.as_deref(), Some("/b.sif"));
    assert_eq!(site.not_followed, ["odd", "other"]);
    let binds: Vec<&str> = site.binds.iter().map(|rule| &*rule.text).collect();
    assert_eq!(binds, ["/a", "/b", "/c"]);
    assert!(site.isolate);
}

#[test]
fn a_file_that_is_no_configuration_is_refused() {
    let mut site = built_in();
    for (text, why) in [
        ("just text", "expected a mapping"),
        ("defaults: [a]", "is not a mapping"),
        ("defaults: {container_src: [1]}", "is not a text"),
        ("defaults: {mount_points: /a}", "is not a list"),
        ("appends: {mount_points: [1]}", "has an entry"),
        ("defaults: {isolate: perhaps}", "neither"),
        (
            "force: {installation_path: relative}",
            "is not an absolute path",
        ),
    ] {
        let forced = text.starts_with("force");
        let error = site.apply(text, forced).expect_err(text).to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn gpus_bring_their_flag() {
    let mut site = built_in();
    let flag = |text: &str| FlagRule::from(text.to_owned());
    assert!(site.runtime_flags().is_empty());
    site.gpu = Some("amd".to_owned());
    assert_eq!(site.runtime_flags(), [flag("--rocm")]);
    // A flag of the site for some images only replaces the flag for all images.
    let mut limited = flag("--rocm");
    limited.images.glibc = Some("2.31..".to_owned());
    site.flags = vec![limited.clone()];
    assert_eq!(site.runtime_flags(), [limited.clone()]);
    site.gpu = Some("nvidia".to_owned());
    assert_eq!(site.runtime_flags(), [limited, flag("--nv")]);
}

#[test]
fn variables_are_for_a_range_of_drivers() {
    let rule = |name: &str, range: Option<&str>| VariableRule {
        name: name.to_owned(),
        driver: range.map(str::to_owned),
        ..VariableRule::default()
    };
    let mut site = built_in();
    site.environment = vec![
        rule("ALWAYS", None),
        rule("OLD", Some("..6.2")),
        rule("NEW", Some("6.3..")),
    ];
    let mut names = |gpu: Option<&str>, rocm: Option<&str>, cuda: Option<&str>| {
        (site.gpu, site.rocm_driver, site.cuda_driver) = (
            gpu.map(str::to_owned),
            rocm.map(str::to_owned),
            cuda.map(str::to_owned),
        );
        let rules = site.rules(|_| None).variables.into_iter();
        rules.map(|rule| rule.name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(Some("amd"), Some("6.3.4"), None), "ALWAYS NEW");
    assert_eq!(names(Some("amd"), Some("6.2.4"), None), "ALWAYS OLD");
    assert_eq!(names(Some("nvidia"), None, Some("13.0")), "ALWAYS NEW");
    // A rule with a range does not apply if the version of the driver is unknown.
    assert_eq!(names(Some("amd"), None, Some("13.0")), "ALWAYS");
    assert_eq!(names(None, Some("6.3.4"), None), "ALWAYS");
}

#[test]
fn variables_are_expanded_as_data() {
    let look = |name: &str| (name == "USER").then(|| "$(me)".to_owned());
    assert_eq!(
        expand("/tmp/$USER/${USER}x/$NONE.", look),
        "/tmp/$(me)/$(me)x/."
    );
    assert_eq!(expand("plain", look), "plain");
}
