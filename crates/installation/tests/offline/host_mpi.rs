//! Tests of programs that start with the host's MPI in place of the image's. The libraries of the
//! host are compiled here.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use condense_installation::{HostMpi, HostView};

use super::{Call, Scene, each_shell};

/// Directory in the container in front of LD_LIBRARY_PATH.
const PLACE: &str = "/.condense-mpi";

/// Directory with libraries of a host: `mpich/VERSION/lib/libmpi.so.12`, which needs `libfab.so.1`
/// in another directory.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new(versions: &[&str]) -> Self {
        let host = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        host.library(
            "fabric/1.2/lib/libfab.so.1",
            "int fab(void) { return 1; }",
            &[],
        );
        for version in versions {
            host.mpi(&format!("mpich/{version}/lib/libmpi.so.12"));
        }
        host
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(below)
    }

    fn mpi(&self, below: &str) {
        let fabric = self.path("fabric/1.2/lib/libfab.so.1");
        let source = "int fab(void); int MPI_Init(void) { return fab(); }";
        self.library(below, source, &[fabric.to_str().unwrap()]);
    }

    fn library(&self, below: &str, source: &str, more: &[&str]) {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let code = self.path("code.c");
        std::fs::write(&code, source).unwrap();
        let soname = format!(
            "-Wl,-soname,{}",
            path.file_name().unwrap().to_str().unwrap()
        );
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-nostdlib", &soname, "-o"])
            .args([&path, &code])
            .args(more)
            .status()
            .unwrap();
        assert!(done.success());
    }

    /// Returns settings of an image that needs MPICH, with the host's MPI by default.
    fn settings(&self) -> HostMpi {
        let pattern = |below: &str| self.path(below).to_str().unwrap().to_owned();
        HostMpi {
            is_default: true,
            needed: vec!["libmpi.so.12".to_owned()],
            versions: vec!["GLIBC_2.99".to_owned()],
            libraries: vec![pattern("mpich/*/lib/libmpi.so.12")],
            search: vec![pattern("fabric/*/lib")],
            binds: vec![self.path("socket"), self.path("no-socket")],
            ..HostMpi::default()
        }
    }

    fn scene(&self, change: impl FnOnce(&mut HostMpi)) -> Scene {
        let mut settings = self.settings();
        change(&mut settings);
        Scene::new(|launch| {
            launch.host_view = HostView::Base;
            launch.host_mpi = Some(settings);
        })
    }

    /// Returns the wrapper, whose links are kept below the directory of this host.
    fn wrapper(&self, scene: &Scene, shell: &[&str]) -> Command {
        let mut command = scene.wrapper(shell, "python3");
        // A name with another character is a directory of all such users.
        let name = self.dir.path().file_name().unwrap().to_str().unwrap();
        command.env("USER", name.trim_start_matches('.'));
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let name = self.dir.path().file_name().unwrap().to_str().unwrap();
        let links = format!("/tmp/condense-mpi-{}", name.trim_start_matches('.'));
        let _ = std::fs::remove_dir_all(links);
    }
}

/// Returns the path on the host of a library that the container has in front, through the links.
fn in_front(call: &Call, name: &str) -> Option<PathBuf> {
    let source = |destination: &str| {
        let binds = call.binds().into_iter();
        let found = binds
            .filter_map(|bind| bind.split_once(':'))
            .find(|(_, rest)| *rest == format!("{destination}:ro"))?;
        Some(PathBuf::from(found.0))
    };
    let link = std::fs::read_link(source(PLACE)?.join(name)).ok()?;
    let (number, file) = link.to_str()?.split_once('/')?;
    Some(source(&format!("{PLACE}/{number}"))?.join(file))
}

fn failure(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

/// I5 (2), (3), (5), (6): the newest library, its own closure without the C library, one directory
/// in front, and the sockets that are there.
#[test]
fn the_newest_mpi_of_the_host_comes_first() {
    let host = Host::new(&["8.1.9", "8.1.29"]);
    std::fs::write(host.path("socket"), "").unwrap();
    let scene = host.scene(|_| {});
    each_shell(|shell| {
        for _ in 0..2 {
            let call = Call::of(&mut host.wrapper(&scene, shell));
            let newest = host.path("mpich/8.1.29/lib/libmpi.so.12");
            assert_eq!(
                in_front(&call, "libmpi.so.12"),
                Some(newest.clone()),
                "{shell:?}"
            );
            let fabric = host.path("fabric/1.2/lib/libfab.so.1");
            assert_eq!(in_front(&call, "libfab.so.1"), Some(fabric));
            assert_eq!(in_front(&call, "libc.so.6"), None);
            assert_eq!(
                call.variable("SINGULARITYENV_LD_LIBRARY_PATH"),
                Some("/.condense-mpi${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}")
            );
            assert_eq!(call.variable("CONDENSE_MPI_FILE"), newest.to_str());
            let socket = host.path("socket").display().to_string();
            assert!(
                call.binds()
                    .contains(&format!("{socket}:{socket}").as_str())
            );
            assert!(!call.binds().iter().any(|bind| bind.contains("no-socket")));
        }
        // A newer library is taken as soon as it is there, and the old one when it is gone.
        host.mpi("mpich/8.1.100/lib/libmpi.so.12");
        let call = Call::of(&mut host.wrapper(&scene, shell));
        let newer = host.path("mpich/8.1.100/lib/libmpi.so.12");
        assert_eq!(in_front(&call, "libmpi.so.12"), Some(newer));
        std::fs::remove_dir_all(host.path("mpich/8.1.100")).unwrap();
    });
}

/// T21: the user's and the image's own LD_LIBRARY_PATH stay behind the host's directory.
#[test]
fn the_library_path_is_not_replaced() {
    let host = Host::new(&["1"]);
    let scene = host.scene(|_| {});
    each_shell(|shell| {
        let mut command = host.wrapper(&scene, shell);
        command.env("SINGULARITYENV_LD_LIBRARY_PATH", "/mine");
        let call = Call::of(&mut command);
        assert_eq!(
            call.variable("SINGULARITYENV_LD_LIBRARY_PATH"),
            Some("/.condense-mpi:/mine")
        );
    });
    let mut settings = host.settings();
    settings.versions.clear();
    let scene = Scene::new(|launch| launch.host_mpi = Some(settings));
    each_shell(|shell| {
        let mut command = host.wrapper(&scene, shell);
        command.env("LD_LIBRARY_PATH", "/of-host");
        let call = Call::of(&mut command);
        assert_eq!(
            call.variable("SINGULARITYENV_LD_LIBRARY_PATH"),
            Some("/.condense-mpi:/of-host")
        );
    });
}

/// CONDENSE_MPI chooses at a start; an image without an MPI has nothing to choose.
#[test]
fn the_variable_chooses_at_a_start() {
    let host = Host::new(&["1"]);
    for is_default in [true, false] {
        let scene = host.scene(|settings| settings.is_default = is_default);
        each_shell(|shell| {
            for (value, expected) in [
                (None, is_default),
                (Some(""), is_default),
                (Some("host"), true),
                (Some("image"), false),
            ] {
                let mut command = host.wrapper(&scene, shell);
                command.envs(value.map(|value| ("CONDENSE_MPI", value)));
                let call = Call::of(&mut command);
                assert_eq!(
                    in_front(&call, "libmpi.so.12").is_some(),
                    expected,
                    "{value:?}"
                );
            }
            let mut command = host.wrapper(&scene, shell);
            let said = failure(command.env("CONDENSE_MPI", "cray"));
            assert_eq!(
                said,
                "python3: CONDENSE_MPI is neither host nor image: cray\n"
            );
        });
    }
    let without = Scene::new(|_| {});
    let mut command = without.wrapper(&["sh"], "python3");
    let call = Call::of(command.env("CONDENSE_MPI", "host"));
    assert!(!call.binds().iter().any(|bind| bind.contains(PLACE)));
}

/// CONDENSE_MPI_LIBRARY names another library of the host.
#[test]
fn another_library_can_be_named() {
    let host = Host::new(&["2"]);
    host.mpi("old/libmpi.so.12");
    let scene = host.scene(|_| {});
    each_shell(|shell| {
        let mut command = host.wrapper(&scene, shell);
        let named = host.path("old/libmpi.so.12");
        let call = Call::of(command.env("CONDENSE_MPI_LIBRARY", &named));
        assert_eq!(in_front(&call, "libmpi.so.12"), Some(named));
        let mut command = host.wrapper(&scene, shell);
        let said = failure(command.env("CONDENSE_MPI_LIBRARY", "/nowhere/libmpi.so.12"));
        assert!(
            said.contains("there is no file /nowhere/libmpi.so.12"),
            "{said}"
        );
    });
}

/// Bad input of the issue: a vanished MPI is one clear line, as is a library that it needs.
#[test]
fn a_vanished_mpi_is_one_clear_line() {
    let host = Host::new(&["1"]);
    let scene = host.scene(|_| {});
    each_shell(|shell| {
        Call::of(&mut host.wrapper(&scene, shell));
        let fabric = host.path("fabric/1.2/lib/libfab.so.1");
        let away = host.path("away");
        std::fs::rename(&fabric, &away).unwrap();
        let said = failure(&mut host.wrapper(&scene, shell));
        assert!(
            said.contains("needs libfab.so.1, which the host does not have"),
            "{said}"
        );
        std::fs::rename(&away, &fabric).unwrap();
        std::fs::rename(host.path("mpich"), &away).unwrap();
        let said = failure(&mut host.wrapper(&scene, shell));
        let pattern = host.path("mpich/*/lib/libmpi.so.12");
        assert_eq!(
            said,
            format!(
                "python3: the host's MPI is gone: no file has the name {}; CONDENSE_MPI=image uses the MPI of the image\n",
                pattern.display()
            )
        );
        std::fs::rename(&away, host.path("mpich")).unwrap();
    });
    let nowhere = host.scene(|settings| settings.libraries.clear());
    let said = failure(&mut host.wrapper(&nowhere, &["sh"]));
    assert!(
        said.contains("CONDENSE_MPI_LIBRARY=FILE names its libmpi.so"),
        "{said}"
    );
}

/// I5 (4): a host whose libraries need a newer C library is refused with both versions.
#[test]
fn a_newer_c_library_of_the_host_is_refused() {
    let host = Host::new(&[]);
    let source = "#include <stdlib.h>\n__asm__(\".symver quick_exit,quick_exit@GLIBC_2.24\");\n\
        void MPI_Init(void) { quick_exit(1); }";
    host.library("mpich/1/lib/libmpi.so.12", source, &["-lc"]);
    for (version, refused) in [
        ("2.9", true),
        ("2.23", true),
        ("2.24", false),
        ("2.100", false),
    ] {
        let scene = host.scene(|settings| settings.versions = vec![format!("GLIBC_{version}")]);
        each_shell(|shell| {
            let mut command = host.wrapper(&scene, shell);
            if refused {
                let said = failure(&mut command);
                let library = host.path("mpich/1/lib/libmpi.so.12");
                assert!(
                    said.contains(&format!(
                        "the host's {} needs glibc 2.24, and the image has {version};",
                        library.display()
                    )),
                    "{said}"
                );
            } else {
                Call::of(&mut command);
            }
        });
    }
}

/// I7: pairs of host and container.
#[test]
fn the_numbers_of_the_libraries_are_compared() {
    for (on_host, image, expected) in [
        ("libmpi.so.12.1", "12.0", Ok(false)),
        ("libmpi.so.12.0", "12.1", Ok(true)),
        ("libmpi.so.12.1.8", "12.1.9", Ok(false)),
        ("libmpi.so.12.10", "12.9", Ok(false)),
        ("libmpi_gnu_123.so.12", "12.2.2", Ok(false)),
        (
            "libmpi.so.13.0",
            "12.1",
            Err("has the ABI 13, and the image needs libmpi.so.12"),
        ),
        (
            "libmpi.so.40.30.2",
            "",
            Err("has the ABI 40, and the image needs libmpi.so.12"),
        ),
        ("libmpi.so", "12.1", Err("has no number in its name")),
    ] {
        let host = Host::new(&[]);
        host.mpi(&format!("mpich/1/lib/{on_host}"));
        let named = if on_host == "libmpi.so" {
            host.path("mpich/1/lib/libmpi.so")
        } else {
            let named = host.path("mpich/1/lib/libmpi.so.12");
            if !named.exists() {
                symlink(on_host, &named).unwrap();
            }
            named
        };
        let number = (!image.is_empty()).then(|| image.to_owned());
        let scene = host.scene(|settings| settings.number = number);
        let wrapper = || {
            let mut command = host.wrapper(&scene, &["sh"]);
            command.env("CONDENSE_MPI_LIBRARY", &named);
            command
        };
        match expected {
            Ok(warned) => {
                for rank in ["0", "3"] {
                    let output = wrapper().env("SLURM_PROCID", rank).output().unwrap();
                    assert!(output.status.success(), "{on_host} {output:?}");
                    let said = String::from_utf8(output.stderr).unwrap();
                    let is_warned = said.contains("which is older than");
                    assert_eq!(is_warned, warned && rank == "0", "{on_host} {said}");
                }
            }
            Err(text) => {
                let said = failure(&mut wrapper());
                assert!(said.contains(text), "{on_host}: {said}");
            }
        }
    }
}

/// I6: an image that knows the network keeps its own MPI. I5 (1): what the image refuses is said.
#[test]
fn images_keep_their_mpi_or_refuse_the_host_s() {
    let host = Host::new(&["1"]);
    let own = host.scene(|settings| {
        settings.has_own_network = true;
        settings.refusal = Some("no".to_owned());
    });
    let call = Call::of(&mut host.wrapper(&own, &["sh"]));
    assert_eq!(in_front(&call, "libmpi.so.12"), None);
    let refused = host.scene(|settings| {
        settings.refusal = Some("bin/it's takes libmpi.so.12 from lib by its RPATH".to_owned());
    });
    each_shell(|shell| {
        let said = failure(&mut host.wrapper(&refused, shell));
        assert!(
            said.contains("bin/it's takes libmpi.so.12 from lib by its RPATH; CONDENSE"),
            "{said}"
        );
    });
}

/// Debian's names of MPICH lead to the common names, and the library of Fortran must be there too.
#[test]
fn each_needed_library_has_one_of_the_host() {
    let host = Host::new(&["1"]);
    host.mpi("mpich/1/lib/libmpifort.so.12");
    let debian = host.scene(|settings| {
        settings.needed = ["libmpich.so.12", "libmpichfort.so.12"]
            .map(str::to_owned)
            .into();
    });
    let call = Call::of(&mut host.wrapper(&debian, &["sh"]));
    let path = |name: &str| Some(host.path("mpich/1/lib").join(name));
    assert_eq!(in_front(&call, "libmpich.so.12"), path("libmpi.so.12"));
    assert_eq!(
        in_front(&call, "libmpichfort.so.12"),
        path("libmpifort.so.12")
    );
    let cxx = host.scene(|settings| settings.needed.push("libmpicxx.so.12".to_owned()));
    let said = failure(&mut host.wrapper(&cxx, &["sh"]));
    assert!(
        said.contains("need libmpicxx.so.12, which is not beside"),
        "{said}"
    );
}

/// Several ranks of a node start at the same moment, and none sees half of the links.
#[test]
fn many_ranks_may_start_at_once() {
    let host = Host::new(&["1"]);
    let scene = host.scene(|_| {});
    let expected = Some(host.path("mpich/1/lib/libmpi.so.12"));
    std::thread::scope(|scope| {
        let ranks: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| Call::of(&mut host.wrapper(&scene, &["sh"]))))
            .collect();
        for rank in ranks {
            assert_eq!(in_front(&rank.join().unwrap(), "libmpi.so.12"), expected);
        }
    });
    // Nothing else is left behind.
    let call = Call::of(&mut host.wrapper(&scene, &["sh"]));
    let all = links(&call).parent().unwrap().to_owned();
    assert_eq!(std::fs::read_dir(&all).unwrap().count(), 1, "{all:?}");
}

/// A directory that belongs to another user, or a link, is not trusted.
#[test]
fn links_of_others_are_not_followed() {
    let host = Host::new(&["1"]);
    let scene = host.scene(|_| {});
    let mut command = host.wrapper(&scene, &["sh"]);
    let name = host.dir.path().file_name().unwrap().to_str().unwrap();
    let place = PathBuf::from(format!(
        "/tmp/condense-mpi-{}",
        name.trim_start_matches('.')
    ));
    symlink(host.path("."), &place).unwrap();
    let cache = host.path("cache");
    let call = Call::of(command.env("XDG_CACHE_HOME", &cache));
    std::fs::remove_file(&place).unwrap();
    assert!(links(&call).starts_with(cache));
}

/// Returns the directory of the host that a program has in front, with its links.
fn links(call: &Call) -> PathBuf {
    let binds = call.binds();
    let mut places = binds.iter().filter_map(|it| it.split_once(':'));
    let found = places.find(|(_, rest)| *rest == format!("{PLACE}:ro"));
    PathBuf::from(found.unwrap().0)
}

/// Makes the directory look as if nobody had used it for some days.
fn make_old(directory: &Path, days: u64) {
    let time = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 24 * 60 * 60);
    let directory = std::fs::File::open(directory).unwrap();
    directory.set_modified(time).unwrap();
}

/// When all hundred directories of an image are of libraries that have changed since, those that
/// are a week old are removed, and younger ones stay, since running programs may use them.
#[test]
fn old_links_make_room_for_new_ones() {
    let host = Host::new(&["1"]);
    let scene = host.scene(|_| {});
    let first = links(&Call::of(&mut host.wrapper(&scene, &["sh"])));
    let settings = std::fs::read_to_string(first.join("settings")).unwrap();
    let other = settings.replace("mpi_key='", "mpi_key='/gone");
    assert_ne!(settings, other);
    let all: Vec<_> = (0..100)
        .map(|number| first.with_extension(number.to_string()))
        .collect();
    for (number, directory) in all.iter().enumerate() {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(directory.join("settings"), &other).unwrap();
        make_old(directory, if number < 5 { 9 } else { 1 });
    }
    let now = links(&Call::of(&mut host.wrapper(&scene, &["sh"])));
    assert_eq!(now, all[0]);
    let there = all.iter().filter(|it| it.exists()).count();
    assert_eq!(there, 96);
    // With a hundred young ones, no directory can be made here.
    for directory in &all {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(directory.join("settings"), &other).unwrap();
        make_old(directory, 1);
    }
    let cache = host.path("cache");
    let mut command = host.wrapper(&scene, &["sh"]);
    let call = Call::of(command.env("XDG_CACHE_HOME", &cache));
    assert!(links(&call).starts_with(&cache));
}

/// Programs of an environment may have the names of tools that a wrapper needs. Their wrappers come
/// first in PATH, and must not be started by a wrapper.
#[test]
fn tools_are_those_of_the_system() {
    let host = Host::new(&["1"]);
    let scene = host.scene(|_| {});
    let tools = host.path("tools");
    std::fs::create_dir(&tools).unwrap();
    let started = host.path("started");
    for name in [
        "stat", "readlink", "mkdir", "awk", "sort", "find", "ln", "mv", "rm",
    ] {
        let path = tools.join(name);
        std::fs::write(
            &path,
            format!("#!/bin/sh\necho {name} >>'{}'\nexit 1\n", started.display()),
        )
        .unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
    }
    each_shell(|shell| {
        for _ in 0..2 {
            let mut command = host.wrapper(&scene, shell);
            let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
            let call = Call::of(command.env("PATH", path));
            assert!(links(&call).is_dir());
            assert!(!started.exists(), "{:?}", std::fs::read_to_string(&started));
        }
    });
}
