//! Tests of directories of blocks that are links or cannot be used, of notices that blocks are not
//! kept, and of blocks that a site has stored.

use super::*;

/// Returns what a build says about blocks that are not kept.
fn lost(cache: &Cache, tree: &Tree, settings: &BlockCacheSettings) -> Vec<String> {
    let (report, said) = Report::heard();
    cache.build_with(&report, tree, settings);
    let mut said = std::mem::take(&mut *said.lock().unwrap());
    said.retain(|text| text.contains("not kept"));
    said
}

#[test]
fn blocks_that_are_not_kept_are_told_once() {
    let cache = Cache::new();
    let all = tree(0..4);
    let none = BlockCacheSettings {
        size_max: 1000,
        ..cache.settings()
    };
    let said = lost(&cache, &all, &none);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("CONDENSE_BLOCK_CACHE_SIZE allows 1000 B"),
        "{said:?}"
    );
    fs_err::remove_dir(cache.blocks()).unwrap();
    fs_err::write(cache.blocks(), "").unwrap();
    let said = lost(&cache, &all, &cache.settings());
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].ends_with("/blocks` is no directory"), "{said:?}");
    assert_eq!(cache.settings().verify()[0].faults.len(), 1);
    fs_err::remove_file(cache.blocks()).unwrap();
    assert!(lost(&cache, &all, &cache.settings()).is_empty());
    assert!(
        lost(&cache, &all, &none).is_empty(),
        "this build has no new blocks"
    );
}

/// Returns what a build of two images says about their blocks.
fn said_of_two(cache: &Cache, trees: [&Tree; 2], settings: &BlockCacheSettings) -> Vec<String> {
    let (report, said) = Report::heard();
    report.use_blocks(Some(settings));
    for (number, tree) in trees.into_iter().enumerate() {
        let options = report.with_blocks(PackOptions::default());
        let out = cache.path(&format!("of-two-{number}.sqfs"));
        let image = pack(tree, &out, &options).unwrap();
        report.hold_blocks(&image);
        fs_err::remove_file(&out).unwrap();
    }
    report.keep_blocks();
    let mut said = std::mem::take(&mut *said.lock().unwrap());
    said.retain(|text| text.contains("kept"));
    said
}

#[test]
fn a_build_with_two_images_says_that_some_blocks_are_kept_and_some_are_not() {
    let (small, large) = (tree(0..2), tree(2..20));
    let cache = Cache::new();
    let said = said_of_two(&cache, [&small, &large], &cache.settings());
    assert!(said.len() == 1 && said[0].contains("are kept for later"));
    let sizes = cache.files();
    let mut sizes: Vec<u64> = sizes
        .iter()
        .map(|it| it.metadata().unwrap().len())
        .collect();
    sizes.sort_unstable();
    // There is room for the small image, for the large one, or for either of them.
    for (size_max, order) in [
        (sizes[1] - 1, [&small, &large]),
        (sizes[1] - 1, [&large, &small]),
        (sizes[1] + 200, [&small, &large]),
        (sizes[1] + 200, [&large, &small]),
    ] {
        fs_err::remove_dir_all(cache.blocks()).unwrap();
        let settings = BlockCacheSettings {
            size_max,
            ..cache.settings()
        };
        let said = said_of_two(&cache, order, &settings);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].starts_with("some blocks of this build are not kept in `"),
            "{said:?}"
        );
        assert!(said[1].contains(" are kept for later"), "{said:?}");
        assert_eq!(cache.files().len(), 1);
    }
    fs_err::remove_dir_all(cache.blocks()).unwrap();
    let none = BlockCacheSettings {
        size_max: 1000,
        ..cache.settings()
    };
    let said = said_of_two(&cache, [&small, &large], &none);
    assert!(
        said.len() == 1 && said[0].starts_with("the blocks of this build"),
        "{said:?}"
    );
}

/// Whoever links `blocks` to a directory of theirs may have files there with such an end.
#[test]
fn a_file_with_blocks_that_condense_has_not_named_is_not_changed() {
    let cache = Cache::new();
    let all = tree([0]);
    let (plain, bytes) = cache.build(&all, &cache.settings());
    let backup = cache.blocks().join("backup.blocks");
    fs_err::rename(cache.files().remove(0), &backup).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(100_000);
    let open = || File::options().write(true).open(&backup).unwrap();
    open().set_modified(long_ago).unwrap();
    let content = fs_err::read(&backup).unwrap();
    assert_eq!(cache.build(&all, &cache.settings()), (plain, 0));
    for number in 2..=FILES_BEFORE_MERGE as u32 + 2 {
        cache.build(&tree([number, number + 100]), &cache.settings());
    }
    assert!(
        cache.files().len() <= FILES_BEFORE_MERGE,
        "some were merged"
    );
    assert_eq!(fs_err::read(&backup).unwrap(), content);
    assert_eq!(backup.metadata().unwrap().modified().unwrap(), long_ago);
    let mut damaged = content;
    damaged[500] ^= 4;
    fs_err::write(&backup, &damaged).unwrap();
    let (found, anew) = cache.build(&all, &cache.settings());
    assert!(found == plain && anew > 0 && anew < bytes, "{anew}");
    assert_eq!(fs_err::read(&backup).unwrap(), damaged);
}

#[test]
fn a_directory_with_the_name_of_a_file_of_blocks_is_in_nobody_s_way() {
    let cache = Cache::new();
    let all = tree(0..4);
    let (plain, _) = cache.build(&all, &cache.settings());
    let file = cache.files().remove(0);
    fs_err::remove_file(&file).unwrap();
    fs_err::create_dir(&file).unwrap();
    fs_err::write(file.join("thesis.tex"), "years").unwrap();
    assert!(lost(&cache, &all, &cache.settings()).is_empty());
    assert_eq!(cache.build(&all, &cache.settings()), (plain, 0));
    assert!(file.join("thesis.tex").exists());
}

#[test]
fn a_link_to_a_directory_of_this_user_alone_is_followed() {
    let cache = Cache::new();
    let all = tree(0..4);
    let elsewhere = cache.path("elsewhere");
    for dir in [&elsewhere, &cache.path("cache")] {
        fs_err::create_dir(dir).unwrap();
    }
    symlink(&elsewhere, cache.blocks()).unwrap();
    let (plain, bytes) = cache.build(&all, &cache.settings());
    assert_eq!(cache.build(&all, &cache.settings()), (plain, 0));
    assert_eq!(list(&elsewhere).len(), 1);
    let checked = cache.settings().verify();
    assert!(checked[0].files == 1 && checked[0].faults.is_empty());
    fs_err::set_permissions(&elsewhere, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(cache.build(&all, &cache.settings()), (plain, bytes));
    let said = lost(&cache, &all, &cache.settings());
    assert!(said[0].contains("everybody can write into"), "{said:?}");
    assert!(
        cache.settings().verify()[0].faults[0]
            .1
            .contains("everybody can write")
    );
}

#[test]
fn what_a_site_has_stored_is_kept_in_the_own_cache() {
    let all = tree(0..4);
    let cache = Cache::new();
    let (plain, bytes) = cache.build(&all, &cache.settings());
    let site = cache.path("site");
    let settings = BlockCacheSettings {
        dir: cache.path("mine"),
        own: cache.path("mine"),
        sites: vec![site.clone()],
        ..cache.settings()
    };
    forge(&cache, &site, |blocks| {
        for block in blocks {
            block.is_stored = true;
        }
    });
    assert_eq!(cache.build(&all, &settings), (plain, bytes));
    assert_eq!(cache.build(&all, &settings), (plain, 0));
    assert_eq!(list(&cache.path("mine/blocks")).len(), 1);
}
