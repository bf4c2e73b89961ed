//! Responsible for the post-link scripts of packages.

use std::path::Path;

use rattler_conda_types::PrefixRecord;

use condense_within::Within;

/// Post-link script, which a package runs after it was linked.
#[derive(Debug)]
pub(crate) struct PostLink {
    pub(crate) package: String,
    pub(crate) version: String,
    pub(crate) build_number: u64,
    pub(crate) script: String,
}

impl PostLink {
    /// Returns the line of the script in the file that run.sh reads.
    pub(crate) fn line(&self) -> String {
        format!(
            "{}\t{}\t{}\t{}\n",
            self.script, self.package, self.version, self.build_number
        )
    }
}

/// Finds the post-link scripts of newly linked packages.
pub(crate) fn post_link_scripts(records: &[PrefixRecord], env_dir: &Within) -> Vec<PostLink> {
    let script_of = |record: &PrefixRecord| {
        let package = &record.repodata_record.package_record;
        let script = format!(".{}-post-link.sh", package.name.as_normalized());
        env_dir
            .is_file(Path::new("bin").join(&script))
            .then(|| PostLink {
                package: package.name.as_normalized().to_owned(),
                version: package.version.to_string(),
                build_number: package.build_number,
                script,
            })
    };
    records.iter().filter_map(script_of).collect()
}
