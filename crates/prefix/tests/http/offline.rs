//! Tests of builds that send no requests.

use condense_diagnostics::Hint as _;
use condense_prefix::Error;

use crate::{
    channel, noisy, room,
    server::{Act, Door, serve},
    write_channel,
};

#[test]
fn a_warm_cache_is_enough() {
    for door in [Door::Open, Door::Password] {
        let (channel, mut room) = (channel(), room());
        let server = serve(channel.path(), door, |_, _| Act::Serve);
        let online = room.build(&server.url()).unwrap();
        let before = server.requests().len();
        room.settings.offline = true;
        let offline = room.build(&server.url()).unwrap();
        assert_eq!(online.lock, offline.lock);
        assert_eq!(server.requests().len(), before);
    }
}

#[test]
fn a_cold_cache_says_all_that_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    write_channel(dir.path(), &[noisy("tool", 0), noisy("other", 1)]);
    let mut room = room();
    room.packages = "tool, other".to_owned();
    let server = serve(dir.path(), Door::Password, |_, _| Act::Serve);
    let url = server.open_url();

    room.settings.offline = true;
    let error = room.build(&server.url()).unwrap_err();
    let Error::Offline { missing } = &error else {
        panic!("{error}");
    };
    let expected = ["linux-64", "noarch"].map(|subdir| format!("the index {url}/{subdir}"));
    assert_eq!(*missing, expected);
    assert_eq!(server.requests().len(), 0);
    assert!(error.hint().unwrap().contains("--offline"));

    room.settings.offline = false;
    room.build(&server.url()).unwrap();
    room.settings.offline = true;
    for name in room.archives() {
        std::fs::remove_file(room.settings.cache_dir.join("archives").join(name)).unwrap();
    }
    let before = server.requests().len();
    let error = room.build(&server.url()).unwrap_err();
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
    let (channel, mut room) = (channel(), room());
    room.settings.offline = true;
    let url = format!("file://{}", channel.path().display());
    room.build(&url).unwrap();
}

#[test]
fn a_channel_without_this_platform_is_enough_as_well() {
    let (both, room) = (channel(), room());
    let only = tempfile::tempdir().unwrap();
    std::fs::create_dir(only.path().join("noarch")).unwrap();
    let index = only.path().join("noarch/repodata.json");
    std::fs::copy(both.path().join("noarch/repodata.json"), index).unwrap();
    let full = serve(both.path(), Door::Open, |_, _| Act::Serve);
    let other = serve(only.path(), Door::Open, |_, _| Act::Serve);
    let channels = format!("{}', '{}", full.url(), other.url());
    let mut room = room;
    room.build(&channels).unwrap();
    room.settings.offline = true;
    room.build(&channels).unwrap();
}

#[test]
fn a_package_by_its_url_is_named_when_it_is_missing() {
    let (channel, mut room) = (channel(), room());
    let server = serve(channel.path(), Door::Password, |_, _| Act::Serve);
    let url = format!("{}/linux-64/tool-1.0-0.conda", server.open_url());
    room.packages = format!("'{url}'");
    room.settings.offline = true;
    let error = room
        .build(&format!("file://{}", channel.path().display()))
        .unwrap_err();
    let Error::Offline { missing } = &error else {
        panic!("{}", crate::whole(&error));
    };
    assert_eq!(*missing, [url]);
    assert_eq!(server.requests().len(), 0);
}
