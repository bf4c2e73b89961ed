#![allow(clippy::unwrap_used)]

use condense_diagnostics::Hint as _;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::paths::LINKS;
use super::*;
use crate::bind::HostView;
use crate::error::Error;
use crate::receipt::{Placement, Receipt};
use crate::update_state::{AliasedFile, FileAlias};
use crate::wrapper::{Launch, Shell};

/// A scratch directory with an image, a base, and a place for an installation.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        let scratch = Self(tempfile::tempdir().unwrap());
        fs::write(scratch.path("base.sif"), "base").unwrap();
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn claim(&self, replace: bool) -> crate::error::Result<Claim> {
        Destination::inspect(&self.path("inst"))?.claim(replace)
    }

    fn stage(&self, claim: Claim, image: &str) -> crate::error::Result<Staged> {
        self.stage_programs(claim, image, &["python", "pip"])
    }

    fn stage_programs(
        &self,
        claim: Claim,
        image: &str,
        names: &[&str],
    ) -> crate::error::Result<Staged> {
        fs::write(self.path("img"), image).unwrap();
        let programs: Vec<Program> = names
            .iter()
            .map(|name| Program {
                name: name.into(),
                target: Path::new("/M/env1/bin").join(name),
            })
            .collect();
        claim.stage(&Assembly {
            image: Some(&self.path("img")),
            base: &self.path("base.sif"),
            base_mode: BaseMode::Link,
            launch: &launch(),
            programs: &programs,
            landmarks: &[],
            share: &[("inputs/env.yml".into(), b"name: x\n".to_vec())],
            receipt: &self.receipt(),
        })
    }

    /// Returns a receipt that has the site's own name of the image, if the file `name` contains
    /// one.
    fn receipt(&self) -> Receipt {
        let mut receipt = crate::receipt::tests::example();
        if let Ok(name) = fs::read_to_string(self.path("name")) {
            receipt.update_state.file_aliases = vec![FileAlias {
                name,
                file: AliasedFile::Image,
            }];
        }
        receipt
    }

    /// Returns the names in the scratch directory, except those of the parts.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["base.sif", "img", "name"].contains(&name.as_str()))
            .collect();
        names.sort();
        names
    }
}

fn launch() -> Launch {
    Launch {
        has_image: true,
        container_marker: "/M_ab12cd3/env".into(),
        mount_point: "/M".into(),
        env_prefix: "/M/env1".into(),
        runtime: None,
        host_view: HostView::Host,
        binds: Vec::new(),
        flags: Vec::new(),
        variables: Vec::new(),
        base_env_vars: BTreeMap::new(),
        interpreter: None,
        activation: Vec::new(),
        launcher: None,
        extra_text: None,
        hand_written: None,
        shell: Shell::Sh,
        no_user_site: false,
        host_mpi: None,
        hot_parts: Vec::new(),
    }
}

fn state(dir: &Path) -> State {
    Destination::inspect(dir).unwrap().state().clone()
}

#[test]
fn a_directory_that_is_not_there_appears_whole() {
    let scratch = Scratch::new();
    let inst = scratch.path("inst");
    let staged = scratch.stage(scratch.claim(false).unwrap(), "one").unwrap();
    assert!(!inst.exists());
    let installation = staged.publish().unwrap();
    assert_eq!((installation.generation, installation.wrappers), (1, 2));
    assert_eq!(scratch.names(), ["inst"]);
    assert_eq!(fs::read_to_string(inst.join("img.sqfs")).unwrap(), "one");
    assert_eq!(
        fs::read_link(inst.join("bin")).unwrap(),
        Path::new(".condense/current/bin")
    );
    assert_eq!(
        fs::read_link(inst.join("_bin/pip")).unwrap(),
        Path::new("/M/env1/bin/pip")
    );
    assert_eq!(
        fs::read_to_string(inst.join("share/inputs/env.yml")).unwrap(),
        "name: x\n"
    );
    assert!(
        fs::read_to_string(inst.join("common.sh"))
            .unwrap()
            .contains("generation=1")
    );
    for name in ["python", "pip", "_debug_shell", "_debug_exec"] {
        let metadata = fs::metadata(inst.join("bin").join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o755, "{name}");
        assert_eq!(metadata.nlink(), 4, "{name}");
    }
    assert_eq!(
        fs::metadata(&inst).unwrap().permissions().mode() & 0o7777,
        0o755
    );
    let State::Condense {
        generation: 1,
        receipt: Some(receipt),
    } = state(&inst)
    else {
        panic!("{:?}", state(&inst))
    };
    assert_eq!(receipt.generation, 1);
}

#[test]
fn an_empty_directory_becomes_an_installation_by_one_link() {
    let scratch = Scratch::new();
    let inst = scratch.path("inst");
    fs::create_dir(&inst).unwrap();
    let staged = scratch.stage(scratch.claim(false).unwrap(), "one").unwrap();
    assert_eq!(state(&inst), State::Empty);
    staged.publish().unwrap();
    assert!(matches!(
        state(&inst),
        State::Condense { generation: 1, .. }
    ));
    assert_eq!(fs::read_to_string(inst.join("img.sqfs")).unwrap(), "one");
}

#[test]
fn an_installation_is_replaced_only_when_asked_and_keeps_what_runs() {
    let scratch = Scratch::new();
    let inst = scratch.path("inst");
    scratch
        .stage(scratch.claim(false).unwrap(), "one")
        .unwrap()
        .publish()
        .unwrap();
    let running = fs::File::open(inst.join("img.sqfs")).unwrap();
    assert!(matches!(
        scratch.claim(false),
        Err(Error::AlreadyInstalled { .. })
    ));
    let staged = scratch.stage(scratch.claim(true).unwrap(), "two").unwrap();
    assert_eq!(fs::read_to_string(inst.join("img.sqfs")).unwrap(), "one");
    assert_eq!(staged.publish().unwrap().generation, 2);
    assert_eq!(fs::read_to_string(inst.join("img.sqfs")).unwrap(), "two");
    assert_eq!(
        fs::read_to_string(inst.join(".condense/1/img.sqfs")).unwrap(),
        "one"
    );
    assert_eq!(std::io::read_to_string(running).unwrap(), "one");
}

#[test]
fn an_unpublished_generation_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let inst = scratch.path("deep/er/inst");
    drop(Destination::inspect(&inst).unwrap().claim(false).unwrap());
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
    drop(scratch.stage(scratch.claim(false).unwrap(), "one").unwrap());
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
    fs::create_dir(scratch.path("inst")).unwrap();
    drop(scratch.stage(scratch.claim(false).unwrap(), "one").unwrap());
    assert_eq!(fs::read_dir(scratch.path("inst")).unwrap().count(), 0);
    scratch
        .stage(scratch.claim(false).unwrap(), "one")
        .unwrap()
        .publish()
        .unwrap();
    drop(scratch.stage(scratch.claim(true).unwrap(), "two").unwrap());
    assert!(matches!(
        state(&scratch.path("inst")),
        State::Condense { generation: 1, .. }
    ));
    assert!(
        !scratch.path("inst/.condense/2").exists()
            && !scratch.path("inst/.condense/2.tmp").exists()
    );
}

#[test]
fn an_assembly_that_makes_no_sense_is_refused() {
    let scratch = Scratch::new();
    let refused = |names: &[&str]| {
        scratch
            .stage_programs(scratch.claim(false).unwrap(), "one", names)
            .unwrap_err()
    };
    assert!(matches!(refused(&[]), Error::NoPrograms));
    assert_eq!(
        refused(&["a", "a"]).to_string(),
        "Multiple binaries with the same name: `a`"
    );
    for name in ["", ".", "..", "a/b", "_debug_exec"] {
        assert!(
            matches!(refused(&[name]), Error::ProgramName { .. }),
            "{name}"
        );
    }
    assert!(scratch.names().is_empty());
}

#[test]
fn a_second_build_into_a_destination_is_refused() {
    let scratch = Scratch::new();
    let first = scratch.claim(false).unwrap();
    let error = scratch.claim(false).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }) && error.hint().is_some());
    scratch.stage(first, "one").unwrap().publish().unwrap();
    let first = scratch.claim(true).unwrap();
    assert!(matches!(scratch.claim(true), Err(Error::Busy { .. })));
    drop(first);
    scratch.claim(true).unwrap();
    // In an empty directory, the second build removes nothing of the first.
    let empty = scratch.path("empty");
    fs::create_dir(&empty).unwrap();
    let claim = || Destination::inspect(&empty).unwrap().claim(false);
    let first = claim().unwrap();
    assert!(matches!(claim(), Err(Error::Busy { .. })));
    scratch.stage(first, "one").unwrap().publish().unwrap();
    assert!(matches!(state(&empty), State::Condense { .. }));
}

#[test]
fn remains_of_killed_builds_are_removed() {
    let scratch = Scratch::new();
    let stale = scratch.path(".inst.condense-abc123");
    fs::create_dir_all(stale.join(".condense/1")).unwrap();
    fs::write(stale.join(".condense/lock"), "").unwrap();
    let other = scratch.path(".inst.condense-longer");
    fs::create_dir(&other).unwrap();
    fs::rename(&other, scratch.path(".other.condense-abc123")).unwrap();
    scratch
        .stage(scratch.claim(false).unwrap(), "one")
        .unwrap()
        .publish()
        .unwrap();
    assert_eq!(scratch.names(), [".other.condense-abc123", "inst"]);
    fs::create_dir_all(scratch.path("inst/.condense/2.tmp/bin")).unwrap();
    symlink("9", scratch.path("inst/.condense/link.tmp")).unwrap();
    scratch
        .stage(scratch.claim(true).unwrap(), "two")
        .unwrap()
        .publish()
        .unwrap();
    assert!(!scratch.path("inst/.condense/2.tmp").exists());
    // The directory is so young that its builder may not have locked it yet.
    fs::create_dir(scratch.path(".new.condense-abc123.new")).unwrap();
    drop(
        Destination::inspect(&scratch.path("new"))
            .unwrap()
            .claim(false)
            .unwrap(),
    );
    assert_eq!(
        scratch.names(),
        [".new.condense-abc123.new", ".other.condense-abc123", "inst"]
    );
}

#[test]
fn states_of_destinations() {
    let scratch = Scratch::new();
    let dir = scratch.path("inst");
    assert_eq!(state(&dir), State::Absent);
    fs::create_dir(&dir).unwrap();
    assert_eq!(state(&dir), State::Empty);
    // This is the state after a first build that was killed after making its links and before
    // making `current`.
    fs::create_dir_all(dir.join(".condense/1")).unwrap();
    for name in LINKS {
        symlink(Path::new(".condense/current").join(name), dir.join(name)).unwrap();
    }
    assert_eq!(state(&dir), State::Empty);
    scratch
        .stage(scratch.claim(false).unwrap(), "two")
        .unwrap()
        .publish()
        .unwrap();
    assert!(matches!(state(&dir), State::Condense { generation: 2, .. }));
    let tykky = scratch.path("tykky");
    for name in ["bin", "_bin"] {
        fs::create_dir_all(tykky.join(name)).unwrap();
    }
    assert_eq!(state(&tykky), State::Foreign);
    fs::write(tykky.join("common.sh"), "").unwrap();
    assert_eq!(state(&tykky), State::Tykky);
    let claim = |path: &Path| Destination::inspect(path).unwrap().claim(true).unwrap_err();
    assert!(matches!(claim(&tykky), Error::TykkyInstallation { .. }));
    fs::create_dir(scratch.path("foreign")).unwrap();
    fs::write(scratch.path("foreign/file"), "").unwrap();
    assert!(matches!(
        claim(&scratch.path("foreign")),
        Error::NotEmpty { .. }
    ));
    assert!(!scratch.path("foreign/.condense").exists());
    assert!(matches!(
        Destination::inspect(&scratch.path("base.sif")),
        Err(Error::NotADirectory { .. })
    ));
    symlink("nowhere", scratch.path("dangling")).unwrap();
    assert!(matches!(
        Destination::inspect(&scratch.path("dangling")),
        Err(Error::NotADirectory { .. })
    ));
    assert!(matches!(
        Destination::inspect(Path::new("/tmp/a:b")),
        Err(Error::CannotBind { .. })
    ));
}

#[test]
fn files_that_appeared_at_the_destination_meanwhile_are_kept() {
    let scratch = Scratch::new();
    let staged = scratch.stage(scratch.claim(false).unwrap(), "one").unwrap();
    fs::create_dir(scratch.path("inst")).unwrap();
    fs::write(scratch.path("inst/mine"), "").unwrap();
    assert!(matches!(staged.publish(), Err(Error::NotEmpty { .. })));
    assert_eq!(scratch.names(), ["inst"]);
    assert_eq!(fs::read_dir(scratch.path("inst")).unwrap().count(), 1);
}

#[test]
fn a_base_is_placed_without_a_copy_where_that_is_safe() {
    let scratch = Scratch::new();
    let place = |base: &str, target: &str, mode| {
        base::place(&scratch.path(base), &scratch.path(target), mode).unwrap()
    };
    let shared = place("base.sif", "linked", BaseMode::Link);
    assert!(
        matches!(shared, Placement::Reflink | Placement::HardLink),
        "{shared:?}"
    );
    let copied = place("base.sif", "copied", BaseMode::Copy);
    assert!(
        matches!(copied, Placement::Reflink | Placement::Copy),
        "{copied:?}"
    );
    assert_ne!(
        fs::metadata(scratch.path("copied")).unwrap().ino(),
        fs::metadata(scratch.path("base.sif")).unwrap().ino()
    );
    fs::create_dir(scratch.path("sandbox")).unwrap();
    assert_eq!(
        place("sandbox", "directory", BaseMode::Copy),
        Placement::Symlink
    );
    assert!(
        fs::read_link(scratch.path("directory"))
            .unwrap()
            .is_absolute()
    );
    assert_eq!(
        base::sha256(&scratch.path("base.sif")).unwrap(),
        // The digest is the output of `printf base | sha256sum`.
        "cae662172fd450bb0cd710a769079c05bfc5d8e35efa6576edc7d0377afdd4a2"
    );
}

fn build(scratch: &Scratch, image: &str, names: &[&str]) {
    let again = scratch.path("inst").exists();
    let claim = scratch.claim(again).unwrap();
    let staged = scratch.stage_programs(claim, image, names).unwrap();
    staged.publish().unwrap();
}

fn image(scratch: &Scratch) -> String {
    fs::read_to_string(scratch.path("inst/img.sqfs")).unwrap()
}

fn numbers(scratch: &Scratch) -> Vec<(u32, bool)> {
    let history = History::open(&scratch.path("inst")).unwrap();
    let generations = history.generations().unwrap();
    generations
        .iter()
        .map(|generation| (generation.number, generation.is_current))
        .collect()
}

#[test]
fn an_older_generation_can_be_brought_back() {
    let scratch = Scratch::new();
    let inst = scratch.path("inst");
    build(&scratch, "one", &["python", "old"]);
    build(&scratch, "two", &["python", "new"]);
    build(&scratch, "three", &["python"]);
    let back = |to| History::open(&inst).unwrap().roll_back(to);
    assert_eq!(back(None).unwrap().number, 2);
    assert_eq!(image(&scratch), "two");
    assert!(inst.join("bin/new").exists());
    assert_eq!(back(None).unwrap().number, 1);
    assert!(inst.join("bin/old").exists() && !inst.join("bin/new").exists());
    assert!(matches!(
        back(None),
        Err(Error::NoGeneration { asked: None, .. })
    ));
    assert!(matches!(
        back(Some(7)),
        Err(Error::NoGeneration { asked: Some(7), .. })
    ));
    assert_eq!(back(Some(3)).unwrap().number, 3);
    assert_eq!(numbers(&scratch), [(1, false), (2, false), (3, true)]);
    // A build after a rollback gets the highest number.
    assert_eq!(back(Some(1)).unwrap().number, 1);
    build(&scratch, "four", &["python"]);
    assert_eq!(numbers(&scratch).last(), Some(&(4, true)));
}

#[test]
fn older_generations_are_removed_when_asked_and_never_the_visible_one() {
    let scratch = Scratch::new();
    let inst = scratch.path("inst");
    for image in ["one", "two", "three", "four"] {
        build(&scratch, image, &["python"]);
    }
    let running = fs::File::open(inst.join(".condense/1/img.sqfs")).unwrap();
    let collect = |keep, dry_run| {
        let removed = History::open(&inst)
            .unwrap()
            .collect(keep, dry_run)
            .unwrap();
        removed
            .iter()
            .map(|generation| generation.number)
            .collect::<Vec<_>>()
    };
    assert_eq!(collect(1, true), [1, 2]);
    assert_eq!(numbers(&scratch).len(), 4);
    assert_eq!(collect(1, false), [1, 2]);
    assert_eq!(numbers(&scratch), [(3, false), (4, true)]);
    assert_eq!(std::io::read_to_string(running).unwrap(), "one");
    History::open(&inst).unwrap().roll_back(None).unwrap();
    assert_eq!(collect(0, false), [4]);
    assert_eq!(image(&scratch), "three");
    assert!(collect(0, false).is_empty());
}

#[test]
fn generations_stay_as_they_are_while_a_build_runs() {
    let scratch = Scratch::new();
    build(&scratch, "one", &["python"]);
    build(&scratch, "two", &["python"]);
    let claim = scratch.claim(true).unwrap();
    let open = || History::open(&scratch.path("inst")).unwrap();
    assert!(matches!(open().roll_back(None), Err(Error::Busy { .. })));
    assert!(matches!(open().collect(0, false), Err(Error::Busy { .. })));
    drop(claim);
    assert!(open().roll_back(None).is_ok());
    fs::create_dir(scratch.path("empty")).unwrap();
    assert!(matches!(
        History::open(&scratch.path("empty")),
        Err(Error::NoInstallation { .. })
    ));
}

#[test]
fn a_site_s_names_come_and_go_with_their_generation() {
    let scratch = Scratch::new();
    let inst = scratch.path("inst");
    let build = |name: Option<&str>| {
        let _ = fs::remove_file(scratch.path("name"));
        if let Some(name) = name {
            fs::write(scratch.path("name"), name).unwrap();
        }
        let claim = scratch.claim(true).unwrap();
        let generation = claim.generation();
        let image = format!("image {generation}");
        scratch.stage(claim, &image).unwrap().publish().unwrap();
    };
    build(Some("my.sqfs"));
    let read = |name: &str| fs::read_to_string(inst.join(name)).ok();
    assert_eq!(read("my.sqfs").as_deref(), Some("image 1"));
    assert!(
        read("share/conf.yaml")
            .unwrap()
            .contains("sqfs_image: my.sqfs\n")
    );
    build(Some("other.sqfs"));
    assert_eq!(
        (read("my.sqfs"), read("other.sqfs")),
        (None, read("img.sqfs"))
    );
    build(None);
    assert_eq!(read("other.sqfs"), None);
    History::open(&inst).unwrap().roll_back(Some(1)).unwrap();
    assert_eq!(read("my.sqfs").as_deref(), Some("image 1"));
    remove(&inst).unwrap().finish().unwrap();
    assert!(!inst.exists());
}
