//! Responsible for checking what programs with windows need besides libraries: fonts, and a
//! renderer for OpenGL on nodes without a graphics card.

use std::path::Path;

use crate::{
    code,
    context::{BaseSystem, RuntimeContext},
    elf::Elf,
    finding::{Finding, some_of},
    inventory::Inventory,
};

/// Libraries through which programs open windows.
const X11: [&str; 2] = ["libX11.so.6", "libxcb.so.1"];
/// Libraries through which programs draw with OpenGL. They have no renderer themselves.
const OPENGL: [&str; 3] = ["libGL.so.1", "libEGL.so.1", "libOpenGL.so.0"];
/// Beginnings of names of files that use these libraries and open no window by themselves: the
/// libraries of X and OpenGL, and parts of packages that are seldom asked for because of windows.
const OPENS_NONE: [&str; 22] = [
    "libEGL",
    "libGL",
    "libICE",
    "libOpenGL",
    "libSM",
    "libX",
    "libavdevice",
    "libawt",
    "libcairo",
    "libgallium",
    "libgbm",
    "libglapi",
    "libjawt",
    "libpango",
    "libtk",
    "libva",
    "libvdpau",
    "libvulkan",
    "libxcb",
    "libxkb",
    "_tkinter",
    "cv2",
];
/// Directories of fonts that fontconfig looks into.
const FONT_DIRS: [&str; 3] = [
    "/usr/share/fonts",
    "/usr/share/X11/fonts",
    "/usr/local/share/fonts",
];
/// Beginnings of names of conda packages that are fonts.
const FONT_PACKAGES: [&str; 2] = ["font-ttf-", "fonts-conda-"];
/// Libraries of Mesa that glvnd loads.
const MESA: [&str; 2] = ["libGLX_mesa.so.0", "libEGL_mesa.so.0"];

pub(super) fn check(inventory: &Inventory, context: &RuntimeContext) -> Vec<Finding> {
    let Some(system) = context.system else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let windows = users(inventory, &X11);
    if !windows.is_empty() && !has_fonts(inventory, system) {
        findings.push(Finding::new(
            &code::GUI_PARTS,
            "programs that open windows find no fonts",
            some_of(&windows),
        ));
    }
    let drawing = users(inventory, &OPENGL);
    if !drawing.is_empty() && !has_renderer(inventory, system) {
        findings.push(Finding::new(
            &code::GUI_PARTS,
            "programs that draw with OpenGL find no renderer for the CPU",
            some_of(&drawing),
        ));
    }
    findings
}

/// Returns the files that need one of the libraries and may open a window.
fn users(inventory: &Inventory, libraries: &[&str]) -> Vec<String> {
    let opens_window = |path: &Path, elf: &Elf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !OPENS_NONE.iter().any(|begin| name.starts_with(begin))
            && elf
                .needed
                .iter()
                .any(|needed| libraries.contains(&needed.as_str()))
    };
    let elves = inventory.elves.iter();
    let users = elves.filter(|(path, elf)| opens_window(path, elf));
    users
        .map(|(path, _)| inventory.display_path(path))
        .collect()
}

fn has_fonts(inventory: &Inventory, system: &dyn BaseSystem) -> bool {
    let is_font = |name: &str| FONT_PACKAGES.iter().any(|begin| name.starts_with(begin));
    inventory.conda.iter().any(|package| is_font(&package.name))
        || FONT_DIRS.iter().any(|dir| system.exists(Path::new(dir)))
}

fn has_renderer(inventory: &Inventory, system: &dyn BaseSystem) -> bool {
    let is_renderer = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name == "swrast_dri.so" || name.starts_with("libgallium") || MESA.contains(&&*name)
    };
    inventory.elves.keys().any(|path| is_renderer(path))
        || inventory.links.keys().any(|path| is_renderer(path))
        || MESA.iter().any(|name| system.library(name).is_some())
}
