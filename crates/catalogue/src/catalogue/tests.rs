#![allow(clippy::unwrap_used)]
use super::*;

fn write(text: &str, name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs_err::write(&path, text).unwrap();
    (dir, path)
}

fn machine<'a>(host: &str, env_vars: &'a EnvVars, exists: fn(&Path) -> bool) -> Machine<'a> {
    Machine {
        host: host.to_owned(),
        env_vars,
        exists,
    }
}

fn detected(host: &str, variables: &[(&str, &str)], exists: fn(&Path) -> bool) -> String {
    let env_vars = EnvVars::of(variables);
    let machine = machine(host, &env_vars, exists);
    Catalogue::built_in()
        .unwrap()
        .site(None, &machine)
        .unwrap()
        .name
}

#[test]
fn every_site_of_the_built_in_catalogue_is_whole() {
    let catalogue = Catalogue::built_in().unwrap();
    let env_vars = EnvVars::of(&[]);
    let machine = machine("", &env_vars, |_| false);
    let mut names = Vec::new();
    for (name, description) in catalogue.sites() {
        let site = catalogue.site(Some(name), &machine).unwrap();
        assert!(site.installation_path.starts_with('/'), "{name}");
        assert!(!description.is_empty(), "{name}");
        names.push(name.to_owned());
    }
    assert_eq!(
        names,
        [
            "local",
            "lumi-c",
            "lumi-g",
            "mahti",
            "polaris",
            "puhti",
            "roihu",
            "roihu-cpu",
            "roihu-gpu"
        ]
    );
}

#[test]
fn machines_are_told_apart() {
    assert_eq!(detected("laptop", &[], |_| false), "local");
    assert_eq!(detected("puhti-login11", &[], |_| false), "puhti");
    assert_eq!(
        detected("r07c01", &[("SLURM_CLUSTER_NAME", "mahti")], |_| false),
        "mahti"
    );
    assert_eq!(detected("roihu-gpu-login1", &[], |_| false), "roihu-gpu");
    assert_eq!(detected("roihu-login1", &[], |_| false), "roihu");
    let of_roihu = [("SLURM_CLUSTER_NAME", "roihu")];
    assert_eq!(detected("rc5183", &of_roihu, |_| false), "roihu-cpu");
    assert_eq!(detected("other", &of_roihu, |_| false), "roihu");
    let job = "308834.polaris-pbs-01.hsn.cm.polaris.alcf.anl.gov";
    let node = "x3004c0s7b0n0";
    assert_eq!(detected(node, &[("PBS_JOBID", job)], |_| false), "polaris");
    // Other machines of ALCF have the same file systems.
    let job = "1234.crux-pbs-01.hsn.cm.crux.alcf.anl.gov";
    let shared = |path: &Path| path.starts_with("/lus") || path.starts_with("/soft");
    assert_eq!(detected(node, &[("PBS_JOBID", job)], shared), "local");
    assert_eq!(
        detected("uan01", &[], |path| path == Path::new("/appl/lumi")),
        "lumi-c"
    );
    assert_eq!(
        detected("nid005000", &[], |path| {
            path == Path::new("/appl/lumi") || path == Path::new("/dev/kfd")
        }),
        "lumi-g"
    );
    assert_eq!(
        detected("workstation", &[], |path| path == Path::new("/dev/kfd")),
        "local"
    );
}

#[test]
fn a_site_takes_what_it_does_not_say_from_the_one_that_it_is_like() {
    let env_vars = EnvVars::of(&[]);
    let machine = machine("", &env_vars, |_| false);
    let catalogue = Catalogue::built_in().unwrap();
    let site = catalogue.site(Some("lumi-g"), &machine).unwrap();
    assert_eq!(site.installation_path, "/LUMI_TYKKY");
    let flags = site.flags.iter().map(|rule| rule.text.as_str());
    assert_eq!(flags.collect::<Vec<_>>(), ["--rocm"]);
    assert!(site.binds.contains(&"/opt/cray".to_owned().into()));
    // A build on a login node is for the nodes with GPUs.
    let of_login = catalogue.site(Some("lumi-c"), &machine).unwrap();
    assert_eq!(of_login.flags, site.flags);
    let error = catalogue.site(Some("nowhere"), &machine).unwrap_err();
    assert!(error.to_string().contains("`nowhere`"), "{error}");
}

#[test]
fn layers_are_laid_over_each_other() {
    let (_dir, path) = write(
        "schema = 1\n[site.local]\ncache_dir = \"/cache\"\n[site.mine]\ninstallation_path = \"/MINE\"\n\
         [image.lumi-c]\nlocation = [\"/own.sif\"]\n",
        "more.toml",
    );
    let env_vars = EnvVars::of(&[]);
    let catalogue = Catalogue::load(&env_vars, Some(&path)).unwrap();
    let machine = machine("", &env_vars, |_| false);
    let site = catalogue.site(None, &machine).unwrap();
    assert_eq!(site.cache_dir.as_deref(), Some("/cache"));
    assert_eq!(site.installation_path, "/LOCAL_TYKKY");
    assert_eq!(
        catalogue
            .site(Some("mine"), &machine)
            .unwrap()
            .installation_path,
        "/MINE"
    );
    assert_eq!(catalogue.images["lumi-c"].location, ["/own.sif"]);
    assert!(catalogue.images.contains_key("lumi-g"));
}

#[test]
fn mistakes_are_told_with_their_line() {
    for (text, words) in [
        (
            "schema = 1\n\n[site.x]\nbnids = []\n",
            ":4: unknown field `bnids`",
        ),
        ("schema = 1\n[site.x]\nbinds = 7\n", ":3: invalid type"),
        (
            "schema = 1\n[image.x]\nrocm = \"6\"\n",
            "missing field `location`",
        ),
        ("schema = 1\n[site.x\n", ":2: "),
        ("schema = 9\n", "schema 9 is not known"),
        ("[site.x]\n", "missing field `schema`"),
        ("schema = 1\n[site.x]\ndetect = [\"file:/x\"]\n", "[site.x]"),
        (
            "schema = 1\n[site.x]\ndetect = [\"env:A=[b\"]\n",
            "[site.x]",
        ),
        (
            "schema = 1\n[site.x]\nenvironment = [{ name = \"A\", value = \"1\", driver = \"6.2\" }]\n",
            "[site.x]",
        ),
        ("schema = 1\n[site.x]\nflags = [\"rocm\"]\n", "[site.x]"),
        ("schema = 1\n[site.x]\ncodecs = [\"zip\"]\n", "[site.x]"),
        (
            "schema = 1\n[site.x]\nbinds = [7]\n",
            ":3: invalid type: integer `7`, expected a path, or a table",
        ),
        (
            "schema = 1\n[site.x]\nbinds = [{ bind = \"/a\", images = { rcom = \"6..\" } }]\n",
            ":3: unknown field `rcom`",
        ),
        (
            "schema = 1\n[site.x]\nbinds = [{ bind = \"/a\", images = { rocm = \"6.2\" } }]\n",
            "[site.x]",
        ),
    ] {
        let (_dir, path) = write(text, "c.toml");
        let error = Catalogue::load(&EnvVars::of(&[]), Some(&path)).expect_err(text);
        let error = error.to_string();
        assert!(error.contains(words) && error.contains("c.toml"), "{error}");
    }
}

#[test]
fn a_circle_of_sites_is_refused() {
    let (_dir, path) = write(
        "schema = 1\n[site.a]\nlike = \"b\"\n[site.b]\nlike = \"a\"\n",
        "c.toml",
    );
    let env_vars = EnvVars::of(&[]);
    let catalogue = Catalogue::load(&env_vars, Some(&path)).unwrap();
    let machine = machine("", &env_vars, |_| false);
    let error = catalogue.site(Some("a"), &machine).unwrap_err().to_string();
    assert!(error.contains("leads nowhere"), "{error}");
}

#[test]
fn cotainr_s_systems_are_images() {
    let (_dir, path) = write(
        r#"{"lumi-g": {"base-image": "docker://rocm/dev:6"}, "mine": {"base-image": "/a.sif", "more": 1}}"#,
        "systems.json",
    );
    let catalogue = Catalogue::load(&EnvVars::of(&[]), Some(&path)).unwrap();
    assert_eq!(catalogue.images["lumi-g"].location, ["docker://rocm/dev:6"]);
    assert_eq!(catalogue.images["mine"].location, ["/a.sif"]);
    let (_dir, path) = write(r#"{"x": {}}"#, "systems.json");
    let error = Catalogue::load(&EnvVars::of(&[]), Some(&path)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("missing the argument base-image"),
        "{error}"
    );
    let (_dir, path) = write("{\n\"x\": 7}", "systems.json");
    let error = Catalogue::load(&EnvVars::of(&[]), Some(&path)).unwrap_err();
    assert!(error.to_string().contains("systems.json:2: "), "{error}");
}

#[test]
fn tykky_s_configuration_lies_over_the_site() {
    let (_dir, path) = write(
        "defaults:\n  container_src: /site.sif\nforce:\n  installation_path: /OTHER\n",
        "site.yaml",
    );
    let env_vars = EnvVars::of(&[]);
    let catalogue = Catalogue::load(&env_vars, Some(&path)).unwrap();
    let machine = machine("", &env_vars, |_| false);
    let site = catalogue.site(None, &machine).unwrap();
    assert_eq!(site.container_src.as_deref(), Some("/site.sif"));
    assert_eq!(site.installation_path, "/OTHER");
}

#[test]
fn names_of_images_stand_for_their_newest_file() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    for name in [
        "a-rocm-6.1.0-singularity-20240101.sif",
        "a-rocm-6.2.0-singularity-20240101.sif",
    ] {
        fs_err::write(dir.path().join(name), "").unwrap();
    }
    let (_dir, path) = write(
        &format!(
            "schema = 1\n[image.a]\nlocation = [\"{at}/a-*.sif\"]\nuntil = \"2027-01-01\"\nreplacement = \"b\"\n\
             [image.b]\nlocation = [\"{at}/b-*.sif\"]\nreplacement = \"a\"\n[image.c]\nlocation = [\"docker://x:1\"]\n"
        ),
        "c.toml",
    );
    let env_vars = EnvVars::of(&[]);
    let catalogue = Catalogue::load(&env_vars, Some(&path)).unwrap();
    let resolve = |name: &str| catalogue.resolve_image(name, &Site::default(), &env_vars);
    let (reference, note) = resolve("a").unwrap();
    assert!(
        reference.ends_with("a-rocm-6.2.0-singularity-20240101.sif"),
        "{reference}"
    );
    assert!(note.unwrap().contains("`b` replaces it"));
    assert_eq!(resolve("c").unwrap().0, "docker://x:1");
    assert_eq!(resolve("/some/file.sif").unwrap().0, "/some/file.sif");
    let error = resolve("b").unwrap_err().to_string();
    assert!(error.contains("is not here"), "{error}");
}
