//! Responsible for the part of a lock that says what was asked for. conda's own records of an
//! environment repeat it, so that it decides bytes of the image.

use std::{borrow::Cow, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    secrets::without_secrets,
    solution::Solution,
    spec::{ChannelPriority, EnvironmentSpec},
};

/// Packages that were asked for, as the environment file or the command line had them.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Requests for conda packages, in the order of the file and without credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) packages: Vec<String>,
    /// Lines of an `@EXPLICIT` file, without credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) archives: Vec<String>,
    /// True if `pip` was added because there are lines for pip.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pip_added: bool,
    /// Lines for pip as written, without credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pip: Vec<String>,
    /// URLs of the channels, by priority.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) channels: Vec<String>,
    /// Priority of channels; absent if it is conda's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) channel_priority: Option<String>,
    /// Text of the environment file, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) environment_file: Option<String>,
    /// Text of the requirements file, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) requirements_file: Option<String>,
}

impl Request {
    /// Returns what a spec asks for.
    pub(super) fn of(spec: &EnvironmentSpec) -> Self {
        let priority = spec.channel_priority();
        let archives = spec.archives.iter();
        Self {
            packages: spec.package_texts().map(clean).collect(),
            archives: archives.map(|archive| archive.written.clone()).collect(),
            pip_added: spec.has_added_pip(),
            pip: spec.pip_as_written().to_vec(),
            channels: spec.channels(),
            channel_priority: (priority != ChannelPriority::default())
                .then(|| priority.as_str().to_owned()),
            environment_file: spec.environment_file().map(Cow::into_owned),
            requirements_file: spec.requirements_file().map(str::to_owned),
        }
    }

    /// Returns true if nothing was asked for, as in the locks of other programs.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Puts the requests into the spec of a lock, so that the same records are written again.
    pub(super) fn apply(&self, spec: &mut EnvironmentSpec) {
        spec.request_archives(&self.archives);
        for package in &self.packages {
            // A request that cannot be read any more names a file of another machine.
            let _ = spec.add_package(package);
        }
        if self.pip_added {
            spec.add_pip();
        }
        for channel in &self.channels {
            let _ = spec.add_channel(channel);
        }
        if let Some(priority) = &self.channel_priority {
            spec.set_channel_priority(ChannelPriority::parse(priority).unwrap_or_default());
        }
        spec.set_files(
            self.environment_file.clone(),
            self.requirements_file.clone(),
            &self.pip,
        );
    }

    /// Returns true if the request of an environment file is this one, in whatever words. Lines for
    /// pip are compared as written.
    pub(super) fn is_of(&self, spec: &EnvironmentSpec) -> bool {
        let of_file = Self::of(spec);
        let names = |request: &Self| {
            (
                request.packages.clone(),
                request.archives.clone(),
                request.pip.clone(),
                request.channels.clone(),
                request.channel_priority.clone(),
            )
        };
        names(self) == names(&of_file)
    }
}

fn clean(text: &str) -> String {
    without_secrets(text).into_owned()
}

impl Solution {
    /// Takes over the requests of a spec. conda's records name them.
    pub(super) fn request(&mut self, spec: &EnvironmentSpec) {
        let specs = spec.specs.iter();
        self.specs = specs.map(|requested| requested.spec.clone()).collect();
    }
}

impl EnvironmentSpec {
    fn request_archives(&mut self, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let text = format!("@EXPLICIT\n{}\n", lines.join("\n"));
        if let Ok(listed) = Self::parse(&text, Path::new("lock"), Path::new("/")) {
            self.archives = listed.archives;
        }
    }
}
