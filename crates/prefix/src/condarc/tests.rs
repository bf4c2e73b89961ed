#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use super::{Condarc, condarc_files};
use crate::{EnvironmentSpec, Error, NetworkSettings};

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(&path, text).unwrap();
    path
}

fn load(texts: &[&str]) -> Result<Condarc, Error> {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| write(dir.path(), &format!("{number}.yml"), text))
        .collect();
    Condarc::load(&files, |name| (name == "TOKEN").then(|| "tk-1".to_owned()))
}

#[test]
fn merge_keys_and_utf_16_are_read_and_bombs_refused() {
    let merged = "x: &x {channel_alias: 'https://alias.org'}\n<<: *x\n";
    check(
        &[merged],
        "channels: [conda-forge]",
        &["https://alias.org/conda-forge/"],
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("condarc");
    let wide = "\u{feff}channel_alias: https://alias.org\r\n".encode_utf16();
    fs_err::write(&file, wide.flat_map(u16::to_le_bytes).collect::<Vec<_>>()).unwrap();
    Condarc::load(&[file], |_| None).unwrap();
    let bomb = format!(
        "a: &a [{}]\nb: [{}]\n",
        "x,".repeat(5000),
        "*a,".repeat(5000)
    );
    let error = load(&[&bomb]).unwrap_err().to_string();
    assert!(error.contains("mean more than can be read"), "{error}");
}

fn spec(text: &str) -> EnvironmentSpec {
    EnvironmentSpec::parse(text, Path::new("env.yml"), Path::new("/here")).unwrap()
}

fn check(condarc: &[&str], channels: &str, expected: &[&str]) {
    let mut spec = spec(&format!("{channels}\ndependencies: [a]\n"));
    load(condarc).unwrap().apply(&mut spec).unwrap();
    assert_eq!(spec.channels(), expected, "{condarc:?} {channels}");
}

#[test]
fn names_mean_what_the_files_say() {
    let forge = "channels: [conda-forge]";
    let alias = "channel_alias: https://alias.org/conda/";
    for (condarc, channels, expected) in [
        ("", forge, &["https://conda.anaconda.org/conda-forge/"][..]),
        (alias, forge, &["https://alias.org/conda/conda-forge/"]),
        (
            alias,
            "channels: ['https://other.org/x', '/srv/c']",
            &["https://other.org/x/", "file:///srv/c/"],
        ),
        (
            "custom_channels: {conda-forge: 'https://own.org/mirrors'}",
            "channels: [conda-forge/label/rc, bioconda]",
            &[
                "https://own.org/mirrors/conda-forge/label/rc/",
                "https://conda.anaconda.org/bioconda/",
            ],
        ),
        (
            "default_channels: [https://own.org/main, own]\nchannel_alias: https://alias.org",
            "channels: [defaults]",
            &["https://own.org/main/", "https://alias.org/own/"],
        ),
        (
            "custom_multichannels: {lab: [conda-forge, 'https://lab.org/c']}",
            "channels: [lab]",
            &[
                "https://conda.anaconda.org/conda-forge/",
                "https://lab.org/c/",
            ],
        ),
        (
            "channels: ['https://x.org/t/${TOKEN}/c', 'https://x.org/$UNSET']",
            "channels: [nodefaults, b]",
            &["https://conda.anaconda.org/b/"],
        ),
        (
            "channels: ['https://x.org/t/${TOKEN}/c', 'https://x.org/$UNSET']",
            "channels: [b]",
            &[
                "https://conda.anaconda.org/b/",
                // The list of channels has no tokens.
                "https://x.org/c/",
                "https://x.org/$UNSET/",
            ],
        ),
        // If the environment file names no channel, only the condarc's channels are used, or else
        // the default channel.
        ("channels: [own]", "", &["https://conda.anaconda.org/own/"]),
        (alias, "", &["https://alias.org/conda/conda-forge/"]),
    ] {
        check(&[condarc], channels, expected);
    }
}

#[test]
fn the_last_file_has_priority() {
    check(
        &[
            "channels: [a, b]\nchannel_alias: https://weak.org\ncustom_channels: {x: 'https://one.org', y: 'https://two.org'}",
            "channels: [b, c]\nchannel_alias: https://strong.org\ncustom_channels: {y: 'https://three.org'}",
        ],
        "channels: [x, y]",
        &[
            "https://one.org/x/",
            "https://three.org/y/",
            "https://strong.org/b/",
            "https://strong.org/c/",
            "https://strong.org/a/",
        ],
    );
}

#[test]
fn a_package_s_own_channel_is_renamed_as_well() {
    let mut spec = spec("channels: [b]\ndependencies: ['own::a', 'https://u.org/c::d']\n");
    let condarc = load(&["channel_alias: https://alias.org"]).unwrap();
    condarc.apply(&mut spec).unwrap();
    let own = |number: usize| {
        let channel = spec.specs[number].spec.channel.as_deref();
        channel.map(|channel| channel.base_url.to_string())
    };
    assert_eq!(own(0).as_deref(), Some("https://alias.org/own/"));
    assert_eq!(own(1).as_deref(), Some("https://u.org/c/"));
}

#[test]
fn settings_of_the_network_replace_the_defaults() {
    let condarc = load(&[
        "ssl_verify: ca.pem\nproxy_servers:\n  http: http://u:${TOKEN}@p.org\n  https: null\n  'http://one.org': x\n\
         remote_connect_timeout_secs: 9.15\nremote_read_timeout_secs: 30\nremote_max_retries: 7\nfetch_threads: 3\n\
         offline: true\nchannel_priority: flexible\nauto_activate_base: false\npinned_packages: [numpy 1]\n",
    ])
    .unwrap();
    let mut settings = NetworkSettings::new("/cache");
    condarc.apply_network(&mut settings);
    assert!(settings.trust.verify && settings.trust.extra[0].ends_with("ca.pem"));
    assert!(settings.trust.extra[0].is_absolute());
    assert_eq!(
        settings.proxies.http.as_deref(),
        Some("http://u:tk-1@p.org")
    );
    assert_eq!(settings.proxies.https, None);
    assert_eq!(settings.connect_timeout.as_millis(), 9150);
    assert_eq!(settings.read_timeout.as_secs(), 30);
    assert_eq!(settings.retries, 7);
    assert_eq!(settings.concurrent_downloads, 3);
    assert!(settings.offline);
    assert_eq!(
        condarc.not_followed().collect::<Vec<_>>(),
        ["pinned_packages", "proxy_servers: http://one.org"]
    );
    assert!(!format!("{condarc:?}").contains("tk-1"));

    let mut settings = NetworkSettings::new("/cache");
    load(&["ssl_verify: false\nchannel_priority: strict\n"])
        .unwrap()
        .apply_network(&mut settings);
    assert!(!settings.trust.verify);
}

#[test]
fn mistakes_are_reported_with_the_file() {
    for (text, expected) in [
        ("channels: {a: b}", "`channels:` must be a list"),
        ("channel_alias: [a]", "`channel_alias:` must be a text"),
        ("custom_channels: [a]", "`custom_channels:` must be names"),
        ("ssl_verify: [a]", "`ssl_verify:` must be"),
        ("proxy_servers: x", "`proxy_servers:` must be"),
        (
            "remote_read_timeout_secs: 0",
            "`remote_read_timeout_secs:` must be",
        ),
        ("remote_max_retries: -1", "`remote_max_retries:` must be"),
        ("offline: maybe", "`offline:` must be"),
        ("channel_priority: much", "`channel_priority:` must be"),
        ("- a", "expected keys and values"),
        ("channels: [a", "is not YAML"),
    ] {
        let said = load(&[text]).unwrap_err().to_string();
        assert!(said.contains("0.yml") && said.contains(expected), "{said}");
    }
    let mut spec = spec("channels: [b]\ndependencies: [a]\n");
    let bad = load(&["channels: ['s3://u:secret@x/y']"]).unwrap();
    let said = bad.apply(&mut spec).unwrap_err().to_string();
    assert!(
        said.contains("condarc") && !said.contains("secret"),
        "{said}"
    );
}

#[test]
fn files_are_found_where_conda_finds_them() {
    let dir = tempfile::tempdir().unwrap();
    let (root, home) = (dir.path().join("root"), dir.path().join("home"));
    let expected = [
        write(&root, "etc/conda/.condarc", ""),
        write(&root, "etc/conda/condarc.d/a.yml", ""),
        write(&root, "etc/conda/condarc.d/b.yaml", ""),
        write(&root, "var/lib/conda/condarc", ""),
        write(&home, ".config/conda/condarc", ""),
        write(&home, ".conda/.condarc", ""),
        write(&home, ".condarc", ""),
        dir.path().join("named"),
    ];
    write(&root, "etc/conda/condarc.d/c.txt", "");
    // A directory with two names is read once.
    let xdg = home.join(".config");
    let found = condarc_files(&root, Some(&home), Some(&xdg), Some(&expected[7]));
    assert_eq!(found, expected);
    assert!(condarc_files(&dir.path().join("none"), None, None, None).is_empty());
}

#[test]
fn a_misspelt_key_is_told_and_conda_s_other_keys_are_not() {
    let condarc = load(&["chanels: [a]\nshow_channel_urls: true\nauto_activate_base: no\n"]);
    assert_eq!(
        condarc.unwrap().not_followed().collect::<Vec<_>>(),
        ["chanels (did you mean `channels`?)"]
    );
}
