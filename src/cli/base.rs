//! Responsible for choosing the base image of a build: the one that the user names, else the
//! site's, else one like this machine.

use anyhow::bail;
use condense_base::Distribution;
use condense_build::plan::BaseChoice;
use condense_catalogue::{Catalogue, Site, expand};
use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};

use crate::console::Console;

/// Word of a site for the base image that is like this machine.
const AUTO: &str = "auto";
/// Base image for machines whose distribution has no known image. Programs see the machine's own
/// system directories, so that a small image is enough.
const SMALL: &str = "docker://debian:12-slim";

/// Reference to a base image that nobody has named, and the reason for it.
#[derive(Debug, PartialEq, Eq)]
struct DefaultBase {
    words: String,
    reason: String,
}

/// Chooses the base image: `--base-image`, else `CONDENSE_BASE_IMAGE`, else the site's default,
/// else the image of this machine's distribution. A default is said in one line.
///
/// # Errors
/// Returns an error if the site asks for the machine's distribution and that is unknown, or if an
/// image of the catalogue is not on this machine.
pub(crate) fn choose_base(
    flag: Option<String>,
    catalogue: &Catalogue,
    site: &Site,
    env_vars: &EnvVars,
    console: &Console,
) -> anyhow::Result<BaseChoice> {
    let look = |name: &str| env_vars.get(name).map(str::to_owned);
    let named = flag.or_else(|| look(env_vars::CONDENSE_BASE_IMAGE));
    let (words, reason) = if let Some(words) = named {
        (words, None)
    } else {
        let default = of_site(site, env_vars)?;
        (default.words, Some(default.reason))
    };
    let (reference, note) = catalogue.resolve_image(&words, site, env_vars)?;
    if let Some(note) = note {
        console.warning(note);
    }
    if let Some(reason) = &reason {
        console.info(format!(
            "base image: {reference} ({reason}; --base-image names another)"
        ));
    }
    Ok(if reason.is_none() || site.isolate {
        BaseChoice::Named(reference)
    } else {
        BaseChoice::Site(reference)
    })
}

/// Returns the base image that is used if no option names one.
///
/// # Errors
/// Returns an error if the site asks for the machine's distribution and that is unknown.
pub(crate) fn default_base(site: &Site, env_vars: &EnvVars) -> anyhow::Result<String> {
    match env_vars.get(env_vars::CONDENSE_BASE_IMAGE) {
        Some(words) => Ok(words.to_owned()),
        None => Ok(of_site(site, env_vars)?.words),
    }
}

/// Returns the site's default, else the image of this machine's distribution.
fn of_site(site: &Site, env_vars: &EnvVars) -> anyhow::Result<DefaultBase> {
    let look = |name: &str| env_vars.get(name).map(str::to_owned);
    Ok(match &site.container_src {
        Some(words) if words == AUTO => like_host(&Distribution::from_host())?,
        Some(words) => DefaultBase {
            words: expand(words, look),
            reason: "the site's default".to_owned(),
        },
        None => of_host(&Distribution::from_host()),
    })
}

/// Returns the image for a machine without a site: that of its distribution, or a small one.
fn of_host(host: &Distribution) -> DefaultBase {
    if let Some(words) = known_image(host) {
        return DefaultBase {
            words,
            reason: "this machine's distribution".to_owned(),
        };
    }
    let name = host.pretty_name.as_deref().or(host.id.as_deref());
    DefaultBase {
        words: SMALL.to_owned(),
        reason: format!(
            "a small one, since no image of {} is known",
            name.unwrap_or("this machine's distribution")
        ),
    }
}

/// Returns the image for Tykky's `auto`: that of the distribution that the machine runs.
fn like_host(host: &Distribution) -> anyhow::Result<DefaultBase> {
    let (Some(id), Some(version)) = (&host.id, &host.version_id) else {
        bail!(UserError::new(
            "this machine does not say which distribution it runs, so `container_src: auto` has no meaning",
            "name a base image with `--base-image REF` or CONDENSE_BASE_IMAGE",
        ));
    };
    Ok(DefaultBase {
        words: known_image(host).unwrap_or_else(|| format!("docker://{id}:{version}")),
        reason: "this machine's distribution".to_owned(),
    })
}

/// Returns the image of a distribution that is known to have one.
fn known_image(host: &Distribution) -> Option<String> {
    let (id, version) = (host.id.as_deref()?, host.version_id.as_deref()?);
    let major = version.split('.').next().unwrap_or(version);
    let repository = match id {
        "sles" | "sle_hpc" => "registry.suse.com/bci/bci-base",
        "opensuse-leap" => "opensuse/leap",
        "rhel" => return Some(format!("docker://redhat/ubi{major}:{version}")),
        "centos" if major == "7" => "centos",
        "centos" => return Some(format!("docker://quay.io/centos/centos:stream{major}")),
        "rocky" => "rockylinux/rockylinux",
        "ol" => "oraclelinux",
        "amzn" => "amazonlinux",
        "almalinux" | "debian" | "fedora" | "ubuntu" => id,
        _ => return None,
    };
    Some(format!("docker://{repository}:{version}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn auto_is_the_distribution_of_the_machine() {
        for (text, expected) in [
            (
                "ID=sles\nVERSION_ID=\"15.5\"\n",
                "docker://registry.suse.com/bci/bci-base:15.5",
            ),
            (
                "ID=\"rhel\"\nVERSION_ID=\"8.10\"\n",
                "docker://redhat/ubi8:8.10",
            ),
            (
                "ID=rocky\nVERSION_ID=9.4\n",
                "docker://rockylinux/rockylinux:9.4",
            ),
            ("ID=almalinux\nVERSION_ID=9.4\n", "docker://almalinux:9.4"),
            ("ID=ubuntu\nVERSION_ID=24.04\n", "docker://ubuntu:24.04"),
            ("ID=debian\nVERSION_ID=12\n", "docker://debian:12"),
            (
                "ID=opensuse-leap\nVERSION_ID=15.6\n",
                "docker://opensuse/leap:15.6",
            ),
            (
                "ID=centos\nVERSION_ID=9\n",
                "docker://quay.io/centos/centos:stream9",
            ),
            ("ID=amzn\nVERSION_ID=2023\n", "docker://amazonlinux:2023"),
        ] {
            let host = Distribution::parse(text);
            assert_eq!(like_host(&host).unwrap().words, expected);
            assert_eq!(of_host(&host).words, expected);
        }
        let unknown = Distribution::parse("ID=own\nVERSION_ID=1\n");
        assert_eq!(like_host(&unknown).unwrap().words, "docker://own:1");
        assert!(like_host(&Distribution::parse("ID=arch\n")).is_err());
    }

    #[test]
    fn a_machine_whose_distribution_has_no_image_gets_a_small_one() {
        for (text, name) in [
            ("ID=arch\nPRETTY_NAME=\"Arch Linux\"\n", "Arch Linux"),
            ("ID=linuxmint\nVERSION_ID=22\n", "linuxmint"),
            ("", "this machine's distribution"),
        ] {
            let default = of_host(&Distribution::parse(text));
            assert_eq!(default.words, SMALL, "{text}");
            let expected = format!("a small one, since no image of {name} is known");
            assert_eq!(default.reason, expected);
        }
    }
}
