//! Responsible for everything that is added to the base: the environment, the user's files and the
//! files of runtimes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use condense_image::{Existing, KnownBlocks, Tree};
use condense_installation::{ContainerFiles, ContainerSite};
use condense_jobs::RUN_SCRIPTS_DIR;
use condense_prefix::{ImageKind, Recipe};
use sha2::{Digest, Sha256};

use super::{
    base::{Beginning, Found, Origin},
    install::{Installed, KEPT, LOCK},
};
use crate::{
    build::Build,
    held, os_packages,
    plan::{Layout, SifContent, SifPlan},
    recipe,
};

/// Label with the packages of the distribution that were added to the image and to its bases.
const OS_PACKAGES: &str = "condense.os-packages";

/// Everything that is added to the base.
pub(super) struct Contents<'a> {
    pub(super) build: &'a Build<'a>,
    plan: &'a SifPlan,
    installed: Option<&'a Installed>,
    /// Files that describe the image to runtimes.
    pub(super) container: ContainerFiles,
    /// Time of everything that is added, so that the same inputs give the same bytes.
    pub(super) stamp: u32,
    /// Lock of conda's and pip's packages.
    lock: Option<Vec<u8>>,
}

impl<'a> Contents<'a> {
    /// Describes the image for runtimes.
    ///
    /// # Errors
    /// Returns an error if a rule of the site has no meaning for the base.
    pub(super) fn new(
        build: &'a Build<'a>,
        plan: &'a SifPlan,
        beginning: &Beginning,
        installed: Option<&'a Installed>,
        base_digest: Option<String>,
    ) -> anyhow::Result<Self> {
        let (settings, base) = (build.settings(), &build.prepared.base);
        let lock = installed.and_then(|installed| installed.lock.as_ref());
        let of_lock = lock.and_then(|facts| facts.of_lock.as_ref());
        recipe::warn_of_others(of_lock, base_digest.as_deref(), build.report());
        // A base has several names: that of the lock stays if the base is the same.
        let same = of_lock.filter(|_| base_digest.is_some());
        let same = same.filter(|recipe| recipe.base_digest == base_digest);
        let reference = same.map_or_else(
            || recipe::base_name(plan.base.reference()),
            |recipe| recipe.base.clone(),
        );
        let origin = Origin::parse(&reference)?;
        let no_user_site =
            settings.rules.no_user_site || of_lock.is_some_and(|recipe| recipe.no_user_site);
        let site = &settings.checks.machine.site;
        let recipe = Recipe {
            kind: ImageKind::Sif,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            mount_point: plan.output.mount_point.clone(),
            environment: plan.input.env_path.clone(),
            compression: None,
            block_size: None,
            time: build.source_date_epoch,
            base: reference.clone(),
            base_digest: base_digest.clone(),
            site: Some(site.clone()),
            no_user_site,
            hot_files: installed.and_then(|installed| installed.hot_files.clone()),
            updated: false,
            os_packages: os_packages::records(&base.os_packages),
        };
        let lock = lock.map(|facts| facts.render(&recipe)).transpose()?;
        let Origin { transport, from } = &origin;
        let container = ContainerFiles {
            base: beginning.files.clone(),
            labels: {
                let mut labels = labels(plan, lock.as_deref(), &reference, base_digest, &origin);
                if !base.os_packages.is_empty() {
                    let old = beginning.files.labels.get(OS_PACKAGES);
                    let old = old.map_or("", String::as_str).split_whitespace();
                    let old = old.map(str::to_owned).collect();
                    let all = os_packages::merged(old, &base.os_packages);
                    labels.insert(OS_PACKAGES.to_owned(), all.join(" "));
                }
                labels
            },
            definition: format!("bootstrap: {transport}\nfrom: {from}\n\n"),
            environment: installed.map(|installed| installed.environment.clone()),
            site: ContainerSite {
                name: settings.checks.machine.site.clone(),
                variables: settings.rules.variables_for(base.known())?,
                binds: base.site_binds(settings)?,
                flags: settings.rules.flags_for(base.known())?,
                no_user_site,
            },
            last_on_path: Some(RUN_SCRIPTS_DIR.into()),
        };
        let stamp = build
            .source_date_epoch
            .or_else(|| installed?.newest)
            .or_else(|| beginning.created())
            .unwrap_or(0);
        Ok(Self {
            build,
            plan,
            installed,
            container,
            stamp,
            lock,
        })
    }

    /// Returns the paths of the files that come first in the image.
    pub(super) fn hot_paths(&self) -> Vec<PathBuf> {
        let files = self
            .installed
            .iter()
            .flat_map(|installed| &installed.hot_files);
        let environment = self.plan.output.mount_point.join(&self.plan.input.env_path);
        files.flatten().map(|file| environment.join(file)).collect()
    }

    /// Returns blocks of the environment that are compressed already.
    pub(super) fn packed_ahead(&self) -> Option<Arc<dyn KnownBlocks>> {
        self.installed?.packed_ahead.clone()
    }

    /// Puts everything into the tree of the base.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read, or if it has no place in the tree.
    pub(super) fn graft(&self, beginning: &mut Beginning) -> anyhow::Result<()> {
        let run_scripts = self.run_scripts(beginning)?;
        let tree = &mut beginning.tree;
        tree.set_mtime_of_additions(self.stamp);
        tree.graft("/", run_scripts, Existing::Merge)?;
        if let Some(installed) = self.installed {
            let held = installed.held.as_ref();
            let environments = held::scan(&installed.root, self.build.env_path, held, self.stamp)?;
            let mount_point = &self.plan.output.mount_point;
            tree.graft(mount_point, environments, Existing::Merge)?;
        }
        tree.graft("/", self.records()?, Existing::Merge)?;
        for copy in &self.plan.output.copies {
            let copied = self.build.copied(copy, self.stamp)?;
            tree.graft("/", copied, Existing::Merge)
                .with_context(|| format!("cannot copy `{}`", copy.source.display()))?;
        }
        Ok(())
    }

    /// Returns a tree of the run scripts. The base's files of these names stay.
    fn run_scripts(&self, beginning: &Beginning) -> anyhow::Result<Tree> {
        let mut files = Tree::new();
        files.set_mtime_of_additions(self.stamp);
        let dir = Path::new(RUN_SCRIPTS_DIR);
        if beginning.find(dir)? == Some(Found::Other) {
            return Ok(files);
        }
        for script in condense_jobs::run_scripts() {
            let path = dir.join(script.name);
            if beginning.find(&path)?.is_none() {
                files.add_bytes(path, script.text.into_bytes(), script.mode)?;
            }
        }
        Ok(files)
    }

    /// Returns a tree of the runtimes' files and of the files that record how the image was made.
    fn records(&self) -> anyhow::Result<Tree> {
        let mut files = Tree::new();
        files.set_mtime_of_additions(self.stamp);
        for (path, bytes, mode) in self.container.files()? {
            files.add_bytes(path, bytes, mode)?;
        }
        let kept = self.installed.iter().flat_map(|installed| &installed.kept);
        let kept: Vec<&(PathBuf, Vec<u8>)> = kept.collect();
        for (path, bytes) in kept {
            files.add_bytes(path, bytes.clone(), 0o644)?;
        }
        if let Some(lock) = &self.lock {
            files.add_bytes(Path::new(KEPT).join(LOCK), lock.clone(), 0o644)?;
        }
        Ok(files)
    }
}

fn labels(
    plan: &SifPlan,
    lock: Option<&[u8]>,
    reference: &str,
    base_digest: Option<String>,
    origin: &Origin,
) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = plan.output.labels.iter().cloned().collect();
    let mut put = |name: &str, value: String| labels.insert(name.to_owned(), value);
    put("condense.version", env!("CARGO_PKG_VERSION").to_owned());
    put("condense.base", reference.to_owned());
    put("cotainr.command", command(plan, lock.is_some(), reference));
    let definition = "org.label-schema.usage.singularity.deffile";
    put(&format!("{definition}.bootstrap"), origin.transport.clone());
    put(&format!("{definition}.from"), origin.from.clone());
    if let Some(digest) = base_digest {
        put("condense.base.digest", digest);
    }
    if let Some(lock) = lock {
        let digest = hex::encode(Sha256::digest(lock));
        put("condense.lock.digest", format!("sha256:{digest}"));
    }
    labels
}

/// Returns a command that makes the same image, with the lock that is in the image. The command
/// line of this build may differ in names of files and in the order of options, which decide no
/// byte.
fn command(plan: &SifPlan, has_lock: bool, reference: &str) -> String {
    let (input, output) = (&plan.input, &plan.output);
    let mut words = vec![
        "cotainr build".to_owned(),
        format!("--base-image {reference}"),
    ];
    if has_lock {
        words.push(format!("--lock {LOCK}"));
        words.push(format!("--mount-point {}", output.mount_point.display()));
    }
    if input.content == SifContent::OnTop {
        words.push("--on-top --requirements requirements.txt".to_owned());
    }
    if !input.extra.os_packages.is_empty() {
        let names = input.extra.os_packages.join(" ");
        words.push(format!("--os-packages \"{names}\""));
    }
    let posts = input.post.iter();
    words.extend(posts.map(|post| format!("--post {}", condense_prefix::without_secrets(post))));
    if output.layout == Layout::Overlay {
        words.push("--layout overlay".to_owned());
    }
    let copies = output.copies.iter();
    words.extend(copies.map(|copy| {
        let name = copy.source.file_name().unwrap_or_default();
        let (name, to) = (name.to_string_lossy(), copy.destination.display());
        format!("--copy {name}:{to}")
    }));
    words.push("IMAGE.sif".to_owned());
    words.join(" ")
}
