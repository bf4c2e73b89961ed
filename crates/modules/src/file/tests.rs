#![allow(clippy::unwrap_used)]

use std::process::Command;

use super::*;
use crate::{record::ImageDir, root::RootFiles};

/// Characters that have a meaning in Lua, in Tcl or in a shell.
const ODD: &str = "/o dd/it's \"q\" $HOME [exit] \\ {x";

fn module(root: &str) -> ModuleFile {
    ModuleFile {
        module: ModuleName::new("aws-ofi-rccl", "1.4").unwrap(),
        description: "a \"plain\" [image] of $5".to_owned(),
        keywords: vec!["torch".to_owned(), "numpy".to_owned()],
        root: root.to_owned(),
        facts: vec![Named::new("distribution", "Test 1")],
        packages: vec![Named::new("torch", "2.7.1"), Named::new("numpy", "2.2")],
        commands: vec!["start-shell".to_owned(), "python".to_owned()],
        conflicts: vec!["singularity-AI-bindings".to_owned()],
        container: Some(ContainerModule {
            image: ImageRecord {
                file: "my image.sif".to_owned(),
                path: format!("{root}/my image.sif"),
                dirs: vec![
                    ImageDir::parse("${IMAGES_ROOT:-/appl/local/containers}/sif-images"),
                    ImageDir::parse("/other/images"),
                ],
                size: 4096,
                sha256: "0123456789abcdef".to_owned(),
            },
            binds: vec![
                ModuleBind {
                    source: "/scratch".to_owned(),
                    destination: "/scratch".to_owned(),
                },
                ModuleBind {
                    source: "/lib/x".to_owned(),
                    destination: "/opt/x".to_owned(),
                },
            ],
            keeps_missing_binds: false,
            path: vec![
                "/runscripts".to_owned(),
                "/user-software/venv/a/bin".to_owned(),
            ],
            variables: vec![
                Named::new("NCCL_SOCKET_IFNAME", "hsn"),
                Named::new("SINGULARITYENV_WITH_VENV", "true"),
            ],
        }),
    }
}

#[test]
fn a_module_is_rendered_in_lua() {
    let text = module("/sw/x").render(Language::Lua).unwrap();
    insta::assert_snapshot!("module_lua", text);
}

#[test]
fn a_module_is_rendered_in_tcl() {
    let text = module("/sw/x").render(Language::Tcl).unwrap();
    insta::assert_snapshot!("module_tcl", text);
}

#[test]
fn an_installation_has_no_settings_of_containers() {
    let mut file = module("/sw/x");
    file.container = None;
    file.keywords.clear();
    file.packages.clear();
    let text = file.render(Language::Lua).unwrap();
    for word in ["SIF", "SINGULARITY", "family", "Keywords", "extensions"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    assert!(text.contains("prepend_path(\"PATH\", root .. \"/bin\")"));
    let text = file.render(Language::Tcl).unwrap();
    for word in ["SIF", "SINGULARITY", "family", "Keywords", "extensions"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
}

/// M13, M19: paths that would be split are refused.
#[test]
fn paths_that_a_bind_cannot_have_are_refused() {
    for root in ["/a:b", "/a,b", "/a\nb"] {
        let error = module(root).render(Language::Lua).unwrap_err();
        assert!(
            error.to_string().contains("cannot hold a module"),
            "{error}"
        );
    }
    module(ODD).render(Language::Tcl).unwrap();
}

/// M2, M11, M18: help names the variables that the module sets, and no element of a path is empty.
#[test]
fn the_help_names_what_the_module_sets() {
    let file = module("/sw/x");
    let help = file.help(WRITER).join("\n");
    for name in [
        "SIF, SIFAWSMINOFIMINRCCL",
        "RUNSCRIPTS, RUNSCRIPTSAWSMINOFIMINRCCL",
        "CONTAINERROOT, EBROOTAWSMINOFIMINRCCL",
        "EBVERSIONAWSMINOFIMINRCCL",
        "SINGULARITY_BIND",
        "WITH_VENV=true",
        "NCCL_SOCKET_IFNAME  hsn",
        "torch  2.7.1",
    ] {
        let words: Vec<&str> = name.split_whitespace().collect();
        let found = help.lines().any(|line| {
            words.join(" ") == line.split_whitespace().collect::<Vec<_>>().join(" ")
                || line.contains(name)
        });
        assert!(found, "no `{name}` in\n{help}");
    }
}

/// B3, B7: the settings of the commands are shell code that keeps all characters.
#[test]
fn settings_are_shell_code() {
    let file = module(ODD);
    let container = file.container.as_ref().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let root = crate::Root::new(dir.path().join("x"));
    root.write(&RootFiles {
        module: &file.module,
        container,
        variables: &[],
        host_mpi: None,
        flags: &["--rocm".to_owned(), "--cleanenv".to_owned()],
        commands: &file.commands,
        packages: &[],
        venv: None,
        has_bash: true,
        runtime: None,
        condense: "/usr/bin/condense".as_ref(),
        copied: None,
    })
    .unwrap();
    let script = "try() { printf 'try %s\\n' \"$1\"; false; }\n\
         show() { printf 'show %s %s\\n' \"$1\" \"$2\"; }\n\
         inside() { printf 'inside %s %s\\n' \"$1\" \"$2\"; }\n\
         read_part() { . \"$settings\"; }\n\
         settings=$0; read_part; printf '%s|%s\\n' \"$image\" \"$suffix\"; read_part binds; read_part variables\n\
         printf '<%s>\\n' \"$flags\"; IMAGES_ROOT='/my images'; read_part copies one\n";
    let settings = root.dir().join("share/condense/settings.sh");
    let output = Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg(settings)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        said,
        format!(
            "{ODD}/my image.sif|AWSMINOFIMINRCCL\n\
             show /scratch /scratch\n\
             show /lib/x /opt/x\n\
             inside WITH_VENV true\n\
             <--cleanenv>\n\
             try one\n\
             try /my images/sif-images/my image.sif\n\
             try /other/images/my image.sif\n"
        ),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let commands: Vec<_> = fs_err::read_dir(root.dir().join("bin")).unwrap().collect();
    assert_eq!(commands.len(), 2);
}
