//! Tests of builds that send no requests.

use condense_diagnostics::Hint as _;
use condense_prefix::Error;

use crate::{
    channel, noisy,
    server::{Act, Door, serve},
    test_dir, write_channel,
};

#[test]
fn a_warm_cache_is_enough() {
    for door in [Door::Open, Door::Password] {
        let (channel, mut test_dir) = (channel(), test_dir());
        let server = serve(channel.path(), door, |_, _| Act::Serve);
        let online = test_dir.build(&server.url()).unwrap();
        let before = server.requests().len();
        test_dir.settings.offline = true;
        let offline = test_dir.build(&server.url()).unwrap();
        assert_eq!(online.lock, offline.lock);
        assert_eq!(server.requests().len(), before);
    }
}

#[test]
fn a_cold_cache_says_all_that_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    write_channel(dir.path(), &[noisy("tool", 0), noisy("other", 1)]);
    let mut test_dir = test_dir();
    test_dir.packages = "tool, other".to_owned();
    let server = serve(dir.path(), Door::Password, |_, _| Act::Serve);
    let url = server.open_url();

    test_dir.settings.offline = true;
    let error = test_dir.build(&server.url()).unwrap_err();
    let Error::Offline { missing } = &error else {
        panic!("{error}");
    };
    let expected = ["linux-64", "noarch"].map(|subdir| format!("the index {url}/{subdir}"));
    assert_eq!(*missing, expected);
    assert_eq!(server.requests().len(), 0);
    assert!(error.hint().unwrap().contains("--offline"));

    test_dir.settings.offline = false;
    test_dir.build(&server.url()).unwrap();
    test_dir.settings.offline = true;
    for name in test_dir.archives() {
        std::fs::remove_file(test_dir.settings.cache_dir.join("archives").join(name)).unwrap();
    }
    let before = server.requests().len();
    let error = test_dir.build(&server.url()).unwrap_err();
    let Error::Offline { mut missing } = error else {
        panic!("{error}");
    };
    missing.sort();
    let expected = ["other", "tool"].map(|name| format!("{url}/linux-64/{name}-1.0-0.conda"));
    assert_eq!(missing, expected);
    assert_eq!(server.requests().len(), before);
}

#[test]
fn channels_on_disk_need_no_network() {
    let (channel, mut test_dir) = (channel(), test_dir());
    test_dir.settings.offline = true;
    let url = format!("file://{}", channel.path().display());
    test_dir.build(&url).unwrap();
}

#[test]
fn a_channel_without_this_platform_is_enough_as_well() {
    let (both, test_dir) = (channel(), test_dir());
    let only = tempfile::tempdir().unwrap();
    std::fs::create_dir(only.path().join("noarch")).unwrap();
    let index = only.path().join("noarch/repodata.json");
    std::fs::copy(both.path().join("noarch/repodata.json"), index).unwrap();
    let full = serve(both.path(), Door::Open, |_, _| Act::Serve);
    let other = serve(only.path(), Door::Open, |_, _| Act::Serve);
    let channels = format!("{}', '{}", full.url(), other.url());
    let mut test_dir = test_dir;
    test_dir.build(&channels).unwrap();
    test_dir.settings.offline = true;
    test_dir.build(&channels).unwrap();
}

#[test]
fn a_package_by_its_url_is_named_when_it_is_missing() {
    let (channel, mut test_dir) = (channel(), test_dir());
    let server = serve(channel.path(), Door::Password, |_, _| Act::Serve);
    let url = format!("{}/linux-64/tool-1.0-0.conda", server.open_url());
    test_dir.packages = format!("'{url}'");
    test_dir.settings.offline = true;
    let error = test_dir
        .build(&format!("file://{}", channel.path().display()))
        .unwrap_err();
    let Error::Offline { missing } = &error else {
        panic!("{}", crate::whole(&error));
    };
    assert_eq!(*missing, [url]);
    assert_eq!(server.requests().len(), 0);
}
