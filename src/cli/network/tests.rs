//! Tests that options, environment variables and files become settings of the network.
#![allow(clippy::unwrap_used)]

use std::{path::Path, time::Duration};

use condense_prefix::NetworkSettings;

use super::{NetworkArguments, condarc};
use crate::console::Console;
use condense_env_vars::EnvVars;

fn settings(
    arguments: &NetworkArguments,
    variables: &[(&str, &str)],
    cwd: &Path,
) -> anyhow::Result<NetworkSettings> {
    let mut env_vars = EnvVars::of(variables);
    env_vars.cwd = cwd.to_owned();
    let console = Console::new(
        &EnvVars::of(&[("CW_LOG_LEVEL", "0")]),
        std::sync::Arc::default(),
    );
    let condarc = condarc(&env_vars, &console)?;
    arguments.settings(&env_vars, "/cache".into(), condarc.as_ref())
}

fn plain(variables: &[(&str, &str)]) -> NetworkSettings {
    settings(&NetworkArguments::default(), variables, Path::new("/cwd")).unwrap()
}

fn jobs(jobs: u16) -> NetworkArguments {
    NetworkArguments {
        jobs: Some(jobs),
        ..NetworkArguments::default()
    }
}

#[test]
fn proxies_come_from_the_variables_in_either_case() {
    let found = plain(&[
        ("http_proxy", "http://small"),
        ("HTTP_PROXY", "http://large"),
        ("HTTPS_PROXY", "http://tls"),
        ("all_proxy", "socks5h://all"),
        ("NO_PROXY", "localhost"),
    ]);
    assert_eq!(found.proxies.http.as_deref(), Some("http://small"));
    assert_eq!(found.proxies.https.as_deref(), Some("http://tls"));
    assert_eq!(found.proxies.all.as_deref(), Some("socks5h://all"));
    assert_eq!(found.proxies.no_proxy.as_deref(), Some("localhost"));
    assert_eq!(plain(&[]).proxies, condense_prefix::Proxies::default());
}

#[test]
fn certificates_replace_the_system_s_or_are_added() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = format!("{}:/not/there", dir.path().display());
    let found = plain(&[
        ("SSL_CERT_FILE", "ca.pem"),
        ("SSL_CERT_DIR", &dirs),
        ("REQUESTS_CA_BUNDLE", "/etc/bundle.pem"),
        ("CURL_CA_BUNDLE", "/etc/curl.pem"),
    ]);
    assert_eq!(found.trust.files, [Path::new("/cwd/ca.pem")]);
    assert_eq!(found.trust.dirs, [dir.path()]);
    let extra = ["/etc/bundle.pem", "/etc/curl.pem"].map(Path::new);
    assert_eq!(found.trust.extra, extra);
    assert!(found.trust.verify);
}

#[test]
fn credentials_lie_where_the_variables_say_or_at_home() {
    let home = tempfile::tempdir().unwrap();
    let at_home = ("HOME", home.path().to_str().unwrap());
    let found = plain(&[at_home]);
    assert_eq!((found.auth_files.len(), found.netrc), (0, None));
    std::fs::create_dir(home.path().join(".rattler")).unwrap();
    let usual = home.path().join(".rattler/credentials.json");
    std::fs::write(&usual, "{}").unwrap();
    let netrc = home.path().join(".netrc");
    std::fs::write(&netrc, "").unwrap();
    let found = plain(&[at_home]);
    assert_eq!(found.auth_files, [usual.as_path()]);
    assert_eq!(found.netrc.as_deref(), Some(netrc.as_path()));
    let found = plain(&[
        at_home,
        ("RATTLER_AUTH_FILE", "keys.json"),
        ("NETRC", "/etc/netrc"),
    ]);
    assert_eq!(found.auth_files, [Path::new("/cwd/keys.json"), &usual]);
    assert_eq!(found.netrc.as_deref(), Some(Path::new("/etc/netrc")));
}

#[test]
fn the_flag_wins_over_the_variable_and_that_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"
[mirrors]
"https://conda.anaconda.org/conda-forge" = ["https://mirror.example.org/forge"]
[concurrency]
downloads = 5
[network]
retries = 7
connect-timeout = 8
read-timeout = 9
"#;
    std::fs::write(dir.path().join("net.toml"), text).unwrap();
    let config = ("CONDENSE_CONFIG", "net.toml");
    let variable = ("CONDENSE_JOBS", "4");
    let found = settings(&jobs(3), &[config, variable], dir.path()).unwrap();
    assert_eq!(found.concurrent_downloads, 3);
    let none = NetworkArguments::default();
    let found = settings(&none, &[config, variable], dir.path()).unwrap();
    assert_eq!(found.concurrent_downloads, 4);
    let found = settings(&none, &[config], dir.path()).unwrap();
    assert_eq!(found.concurrent_downloads, 5);
    assert_eq!(found.retries, 7);
    assert_eq!(found.connect_timeout, Duration::from_secs(8));
    assert_eq!(found.read_timeout, Duration::from_secs(9));
    assert_eq!(
        found.mirrors.describe(),
        ["https://conda.anaconda.org/conda-forge/ from https://mirror.example.org/forge/"]
    );
    assert_eq!(plain(&[]).concurrent_downloads, NetworkSettings::DOWNLOADS);

    // Default paths of the configuration file.
    for (variable, place) in [
        ("HOME", ".config/condense"),
        ("XDG_CONFIG_HOME", "condense"),
    ] {
        let place = dir.path().join(place);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("config.toml"), text).unwrap();
        let found = settings(
            &none,
            &[(variable, dir.path().to_str().unwrap())],
            dir.path(),
        );
        assert_eq!(found.unwrap().retries, 7, "{variable}");
    }
}

#[test]
fn what_makes_no_sense_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let said = |variables: &[(&str, &str)]| {
        let error = settings(&NetworkArguments::default(), variables, dir.path()).unwrap_err();
        format!("{error:#}")
    };
    for text in ["0", "-1", "many", "70000"] {
        let said = said(&[("CONDENSE_JOBS", text)]);
        assert!(
            said.contains("CONDENSE_JOBS") && said.contains(text),
            "{said}"
        );
    }
    assert!(said(&[("CONDENSE_CONFIG", "missing.toml")]).contains("missing.toml"));
    for (text, expected) in [
        (
            "[mirrors]\n\"conda-forge\" = [\"https://m\"]",
            "`conda-forge` is not a URL",
        ),
        ("[mirrors]\n\"https://c\" = []", "no mirror is given"),
        ("[mirrors]\n\"https://c\" = \"https://m\"", "line 2"),
        ("[miror]", "miror"),
        ("[concurrency]\ndownloads = 0", "line 2"),
        ("[network]\nread-timeout = 0", "line 2"),
        ("what", "line 1"),
    ] {
        std::fs::write(dir.path().join("bad.toml"), text).unwrap();
        let said = said(&[("CONDENSE_CONFIG", "bad.toml")]);
        assert!(
            said.contains("bad.toml") && said.contains(expected),
            "{said}"
        );
    }
}

#[test]
fn conda_s_configuration_is_followed_when_it_is_asked_for_and_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    let text = "fetch_threads: 2\nremote_max_retries: 9\nssl_verify: /ca.pem\n\
                proxy_servers: {http: 'http://${USER}.org', https: 'http://conda'}\n";
    std::fs::write(dir.path().join(".condarc"), text).unwrap();
    let home = ("HOME", dir.path().to_str().unwrap());
    let asked = ("CW_ENABLE_CONDARC", "1");
    let user = ("USER", "me");
    let found = plain(&[home, user]);
    assert_eq!(found.concurrent_downloads, NetworkSettings::DOWNLOADS);
    assert_eq!(found.proxies.http, None);
    let found = plain(&[home, user, asked]);
    assert_eq!((found.concurrent_downloads, found.retries), (2, 9));
    assert_eq!(found.proxies.http.as_deref(), Some("http://me.org"));
    assert_eq!(found.trust.extra, [Path::new("/ca.pem")]);
    let variables = [
        home,
        user,
        asked,
        ("http_proxy", "http://mine"),
        ("CONDENSE_JOBS", "4"),
        ("REQUESTS_CA_BUNDLE", "/b.pem"),
    ];
    let found = plain(&variables);
    assert_eq!(found.concurrent_downloads, 4);
    assert_eq!(found.proxies.http.as_deref(), Some("http://mine"));
    assert_eq!(found.proxies.https.as_deref(), Some("http://conda"));
    let extra = ["/b.pem", "/ca.pem"].map(Path::new);
    assert_eq!(found.trust.extra, extra);
    let missing = [asked, ("CONDARC", "/not/there")];
    let none = NetworkArguments::default();
    let error = settings(&none, &missing, dir.path()).unwrap_err();
    assert!(format!("{error:#}").contains("/not/there"), "{error:#}");
}
