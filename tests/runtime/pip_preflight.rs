//! Tests of the check of pip's packages before pip downloads them, for sites with certain GPUs and
//! MPIs: a real index with real metadata, and a list of its requests.

use std::process::Command;

use crate::{
    harness::{Account, CommandOutput, Run, TestDir, parts, shared},
    support::server::{Act, Door, Server, serve},
};

/// Script that writes a small PyPI: `edge-model` depends on packages for CUDA, `edge-calm` does
/// not. It has wheels, and their metadata beside them (PEP 658).
const INDEX_PY: &str = r#"
import hashlib, os, zipfile
os.makedirs("index/files")
for name, version, requires in [("edge_model", "1.0", ["torch"]), ("torch", "2.5.1", ["nvidia-cublas-cu12"]),
                                ("nvidia_cublas_cu12", "12.1.3", []), ("edge_calm", "1.0", []), ("edge_mpi", "1.0", []),
                                ("edge_mpi", "2.0", []), ("edge_mpich", "1.0", [])]:
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {r}\n" for r in requires)
    files = {f"{name}.py": "", f"{info}/METADATA": metadata,
             f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    wheel = f"index/files/{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(file, (2023, 11, 14, 0, 0, 0)), text)
        if "mpi" in name:
            archive.write("openmpi.so" if (name, version) == ("edge_mpi", "1.0") else "mpich.so", f"{name}_module.so")
    with open(wheel + ".metadata", "w") as file:
        file.write(metadata)
    digest = lambda path: hashlib.sha256(open(path, "rb").read()).hexdigest()
    folder = "index/simple/" + name.replace("_", "-")
    os.makedirs(folder, exist_ok=True)
    with open(folder + "/index.html", "a") as page:
        attribute = f'data-dist-info-metadata="sha256={digest(wheel + ".metadata")}"'
        page.write(f'<a href="../../files/{os.path.basename(wheel)}#sha256={digest(wheel)}" {attribute}>{os.path.basename(wheel)}</a>\n')
"#;

struct Site {
    test: TestDir,
    server: Server,
}

impl Site {
    fn new(account: Account, name: &str) -> Self {
        Self::serving(account, name, |_| Act::Serve)
    }

    /// Makes a site whose index answers each path as `act` says.
    fn serving(
        account: Account,
        name: &str,
        act: impl Fn(&str) -> Act + Send + Sync + 'static,
    ) -> Self {
        let test = TestDir::new(account, name);
        test.write("mpi.c", "int f(void) { return 1; }\n");
        for (module, soname) in [("openmpi.so", "libmpi.so.40"), ("mpich.so", "libmpi.so.12")] {
            for words in [
                &["-Wl,-soname,SONAME", "-o", "libmpi.so"][..],
                &["-Wl,--no-as-needed", "-o", module, "./libmpi.so"],
            ] {
                let words = words.iter().map(|word| word.replace("SONAME", soname));
                let mut compiler = test.command("cc");
                compiler.args(["-shared", "-fPIC", "mpi.c"]).args(words);
                compiler.run().succeeded();
            }
        }
        test.command("/usr/bin/python3")
            .args(["-c", INDEX_PY])
            .run()
            .succeeded();
        let server = serve(&test.path("index"), Door::Open, move |request, _| {
            act(&request.path)
        });
        let site = |name: &str, gpu: &str| {
            format!(
                "[site.{name}]\ninstallation_path = \"/LOCAL_TYKKY\"\ngpu = \"{gpu}\"\nmpi = \"mpich\"\n"
            )
        };
        let text = format!(
            "schema = 1\n{}{}",
            site("with-amd", "amd"),
            site("with-nvidia", "nvidia")
        );
        test.write("sites.toml", &text);
        Self { test, server }
    }

    fn of(&self, command: &mut Command, site: &str, words: &[&str]) -> CommandOutput {
        command
            .args(["--catalogue", "sites.toml", "--site", site])
            .args(words)
            .env("PIP_INDEX_URL", format!("{}/simple", self.server.url()))
            .env(
                "PATH",
                format!(
                    "{}:/usr/local/bin:/usr/bin:/bin",
                    parts().path("uv").display()
                ),
            )
            .run()
    }

    fn build(&self, site: &str, packages: &str, words: &[&str]) -> CommandOutput {
        let packages = format!("python=3.11, pip, {{pip: [{packages}]}}");
        let environment = self.test.environment(&packages);
        let mut command = self
            .test
            .new_command(&self.test.installation().dir, &environment);
        self.of(&mut command, site, words)
    }

    /// Returns the wheels that were requested so far.
    fn fetched(&self) -> Vec<String> {
        let requests = self.server.requests().into_iter();
        let paths = requests.map(|request| request.path);
        paths.filter(|path| path.ends_with(".whl")).collect()
    }

    #[track_caller]
    fn refused(&self, said: CommandOutput) {
        self.test.refused(
            said,
            &[
                "[cuda-on-amd] `torch 2.5.1` is built for CUDA, and with-amd has AMD GPUs",
                "what pip would fetch",
                "CONDENSE_ALLOW=cuda-on-amd",
            ],
        );
        assert_eq!(self.fetched(), Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn cuda_in_the_train_of_a_package_is_refused_before_it_is_fetched() {
    for words in [&[][..], &["--uv"]] {
        let site = Site::new(Account::Ordinary, "preflight-new");
        site.refused(site.build("with-amd", "edge-model", words));
        // A package without dependencies for CUDA is checked as well, and installed.
        site.build("with-amd", "edge-calm", words).succeeded();
        assert_eq!(site.fetched(), ["files/edge_calm-1.0-py3-none-any.whl"]);
    }
}

/// pip before 25.3 would download everything for a dry run, so no dry run is made. Instead, the
/// lines that it prints while downloading are checked.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn wheels_of_an_older_pip_are_judged_when_it_names_them() {
    // All other downloads of wheels hang, so the build can only end because it is stopped.
    let site = Site::serving(Account::Ordinary, "preflight-older", |path| {
        if path.ends_with(".whl") && !path.contains("edge_calm") {
            Act::HalfThenSilence
        } else {
            Act::Serve
        }
    });
    // This pip is changed to report version 25.2, and works as before.
    let old = "init=$(python -c 'import pip; print(pip.__file__)')\n\
               sed -i 's/^__version__ = .*/__version__ = \"25.2\"/' \"$init\" && pip --version\n";
    site.test.write("old.sh", old);
    let words = ["--pre-install", "old.sh"];
    let said = site.build("with-amd", "edge-model", &words);
    assert!(said.text().contains("pip 25.2 from"), "{said:?}");
    let found = [
        "[cuda-on-amd] `torch 2.5.1` is built for CUDA, and with-amd has AMD GPUs",
        "what pip is about to fetch",
        "CONDENSE_ALLOW=cuda-on-amd",
    ];
    site.test.refused(said, &found);
    assert_eq!(site.fetched().len(), 1);
    site.build("with-amd", "edge-calm", &words).succeeded();
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn without_a_container_pip_is_asked_as_well() {
    let site = Site::new(Account::Ordinary, "preflight-here");
    let programs = site.test.make_dir("programs");
    for name in ["mkdir", "sleep"] {
        std::os::unix::fs::symlink(format!("/usr/bin/{name}"), programs.join(name)).unwrap();
    }
    let build = |packages: &str| {
        let packages = format!("python=3.11, pip, {{pip: [{packages}]}}");
        let environment = site.test.environment(&packages);
        let dir = site.test.installation().dir;
        let mut command = site.test.new_command(&dir, &environment);
        command
            .args(["--catalogue", "sites.toml", "--site", "with-amd"])
            .env("PIP_INDEX_URL", format!("{}/simple", site.server.url()))
            .env("PATH", &programs);
        command.run()
    };
    let said = build("edge-model");
    assert!(!said.text().contains("the build container"), "{said:?}");
    site.refused(said);
    build("edge-calm").succeeded();
    assert_eq!(site.fetched(), ["files/edge_calm-1.0-py3-none-any.whl"]);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn nobody_asks_where_it_does_not_matter() {
    let site = Site::new(Account::Ordinary, "preflight-not");
    let asked = |site: &Site| {
        let requests = site.server.requests();
        let of_model = requests
            .iter()
            .filter(|request| request.path.ends_with("simple/edge-model/"));
        of_model.count()
    };
    site.build("with-nvidia", "edge-model", &[]).succeeded();
    assert_eq!((asked(&site), site.fetched().len()), (1, 3));
    let packages = "python=3.11, pip, {pip: [edge-model]}";
    let environment = site.test.environment(packages);
    let mut command = site
        .test
        .new_command(&site.test.installation().dir, &environment);
    command.env("CONDENSE_ALLOW", "cuda-on-amd");
    site.of(&mut command, "with-amd", &["--force"]).succeeded();
    assert_eq!((asked(&site), site.fetched().len()), (2, 6));
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn an_update_is_asked_about_too() {
    let site = Site::new(Account::Ordinary, "preflight-update");
    site.build("with-amd", "edge-calm", &[]).succeeded();
    let before = site.fetched().len();
    let more = site.test.write("more.txt", "edge-model\n");
    let mut command = site.test.program(["update", "-r"]);
    command.arg(&more);
    let dir = site.test.installation().dir;
    let said = site.of(&mut command, "with-amd", &[dir.to_str().unwrap()]);
    let words = ["[cuda-on-amd] `torch 2.5.1`", "what pip would fetch"];
    said.failed_on_either_stream(1, &words);
    assert_eq!(site.fetched().len(), before);
    assert_eq!(site.test.installation().receipt()["generation"], 1);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_an_update_brings_is_judged_with_what_is_there() {
    let site = Site::new(Account::Ordinary, "preflight-graft");
    site.build("with-nvidia", "edge-calm", &[]).succeeded();
    let update = |wanted: &str, allowed: &str| {
        let more = site.test.write("more.txt", wanted);
        let mut command = site.test.program(["update", "-r"]);
        command.arg(&more).env("CONDENSE_ALLOW", allowed);
        let dir = site.test.installation().dir;
        let said = site.of(&mut command, "with-nvidia", &[dir.to_str().unwrap()]);
        assert!(!said.text().contains("is unpacked first"), "{said:?}");
        said
    };
    let generation = || site.test.installation().receipt()["generation"].clone();
    let words = ["[mpi-abi] Open MPI is built in", "edge_mpi_module.so"];
    update("edge-mpi==1.0\n", "").failed_on_either_stream(1, &words);
    assert_eq!(generation(), 1);
    let said = update("edge-mpi==1.0\n", "mpi-abi").succeeded().text();
    // The libraries of the packages that stay exist.
    let warnings = said.lines().filter(|line| line.contains("[missing-"));
    let warnings: Vec<&str> = warnings.collect();
    assert!(
        warnings.len() == 1 && warnings[0].contains("`libmpi.so.40`"),
        "{said}"
    );
    // The package uses the site's MPI, but another one than the packages that are now installed.
    let words = [
        "[mpi-mixed] some files need MPICH's library and some Open MPI's",
        "edge_mpich_module.so and ",
        "edge_mpi_module.so)",
    ];
    update("edge-mpich\n", "").failed_on_either_stream(1, &words);
    assert_eq!(generation(), 2);
    update("edge-mpich\nedge-mpi==2.0\n", "").succeeded();
    assert_eq!(generation(), 3);
}

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn what_goes_over_an_images_own_python_is_asked_about_too() {
    let site = Site::new(Account::Root, "preflight-on-top");
    site.test.write("requirements.txt", "edge-model\n");
    let base = site.test.path("with-python.sif");
    let build = |base: &std::path::Path, words: &[&str]| {
        let mut command = site.test.command(parts().path("programs/condense"));
        command
            .args(["cotainr", "build", "--yes", "--base-image"])
            .arg(base)
            .env("TMPDIR", site.test.scratch())
            .env("CONDENSE_CACHE_DIR", site.test.path("cache"));
        site.of(&mut command, "with-amd", words)
    };
    site.test.environment("python=3.11, pip");
    let words = ["--conda-env", "env.yml", base.to_str().unwrap()];
    build(&parts().base(), &words).succeeded();
    let words = [
        "--on-top",
        "--requirements",
        "requirements.txt",
        "--mount-point",
        "/opt/more",
        "out.sif",
    ];
    let said = build(&base, &words);
    let words = [
        "[cuda-on-amd] `torch 2.5.1` is built for CUDA",
        "what pip would fetch",
    ];
    said.failed_on_either_stream(1, &words);
    assert_eq!(site.fetched(), Vec::<String>::new());
}

/// Checks that real packages give no finding, on any site.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn real_packages_are_in_order() {
    let test = TestDir::new(Account::Ordinary, "preflight-real");
    let dir = shared().dir.display().to_string();
    for site in ["local", "lumi-g", "puhti"] {
        let mut command = test.command(parts().path("programs/condense"));
        command.args(["check", &dir, "--site", site, "--json"]);
        // The image is compressed for the runtime of this machine, not for LUMI's.
        command.args(["--allow", "image-codec"]);
        let said = command.run().succeeded().text();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let findings = said["findings"].as_array().unwrap();
        assert!(findings.is_empty(), "{site}: {findings:#?}");
    }
}
