//! Responsible for asking the servers that builds need: channels, the index of pip and the registry
//! of the default base image.

use anyhow::Context;
use condense_check::doctor::{Answer, Server};
use condense_oci::Reference;
use condense_prefix::{Reach, reach, without_secrets};

use crate::{plan::PackageSettings, request};

/// Servers that are asked.
#[derive(Debug)]
pub struct ServerPlan<'a> {
    /// Channels; without any, conda-forge and those of conda's configuration.
    pub channels: &'a [String],
    /// Directory at which relative paths of channels start.
    pub folder: &'a std::path::Path,
    /// Index of pip, if pip uses one.
    pub pip_index: Option<String>,
    /// Reference of the default base image.
    pub base: Option<String>,
    /// Whether registries are reached by plain HTTP.
    pub plain_http: bool,
    /// Access to the network.
    pub packages: &'a PackageSettings,
}

/// Asks all servers at the same time.
///
/// # Errors
/// Returns an error if a channel, the index or a setting of the network is invalid.
pub fn ask_servers(plan: &ServerPlan) -> anyhow::Result<Vec<Server>> {
    let mut asked = Vec::new();
    let spec = request::read_channels(plan.channels, plan.folder, plan.packages)?;
    let indices = spec.index_addresses().into_iter();
    asked.extend(indices.map(|url| ("channel", url)));
    if let Some(index) = &plan.pip_index {
        let url = index
            .parse()
            .with_context(|| format!("pip's index `{}` is not a URL", without_secrets(index)))?;
        asked.push(("PyPI", url));
    }
    let reference = plan.base.as_deref().map(Reference::parse).transpose()?;
    if let Some(Reference::Image(source)) = reference
        && let Some(address) = source.registry_address(plan.plain_http)
    {
        asked.push(("registry", address.parse()?));
    }
    let addresses: Vec<_> = asked.iter().map(|(_, url)| url.clone()).collect();
    let runtime = condense_threads::network()?;
    let answers = runtime.block_on(reach(&plan.packages.network, &addresses))?;
    let servers = asked.into_iter().zip(answers);
    Ok(servers
        .map(|((role, url), answer)| Server {
            role,
            address: without_secrets(url.as_str()).into_owned(),
            answer: judge(role, answer),
        })
        .collect())
}

/// Returns the meaning of an answer.
fn judge(role: &str, answer: Reach) -> Answer {
    match answer {
        Reach::Answer { status, time } => {
            // A registry asks everybody for a token first.
            let is_good = (200..400).contains(&status) || (role == "registry" && status == 401);
            if is_good {
                let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                Answer::Available { milliseconds }
            } else if status == 401 {
                Answer::Unreachable {
                    reason: "the server wants a password (401)".to_owned(),
                    advice: "credentials come from netrc, RATTLER_AUTH_FILE or the address itself"
                        .to_owned(),
                }
            } else {
                Answer::Missing { status }
            }
        }
        Reach::Failure { reason, advice } => Answer::Unreachable { reason, advice },
    }
}
