//! Responsible for channels without packages for this platform. Most servers of such channels have
//! no index for the platform.

use http::{Extensions, Method, StatusCode};
use reqwest::{Request, Response, ResponseBuilderExt};
use reqwest_middleware::{Middleware, Next};

/// Middleware that returns an empty index for a missing one. The empty index is cached, so that
/// offline builds know that nothing is missing. The index of `noarch` must exist in each channel,
/// so a misspelt channel still gives an error.
pub(super) struct EmptySubdirs;

#[async_trait::async_trait]
impl Middleware for EmptySubdirs {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let url = request.url().clone();
        let subdir = subdir_of_index(url.path())
            .filter(|_| request.method() == Method::GET)
            .map(str::to_owned);
        let answer = next.run(request, extensions).await;
        match (subdir, &answer) {
            (Some(subdir), Ok(response)) if response.status() == StatusCode::NOT_FOUND => {
                let index = format!(
                    r#"{{"info":{{"subdir":"{subdir}"}},"packages":{{}},"packages.conda":{{}},"repodata_version":1}}"#
                );
                let response = http::Response::builder()
                    .url(url)
                    .body(index)
                    .expect("a response without headers can be made");
                Ok(response.into())
            }
            _ => answer,
        }
    }
}

/// Returns the platform in a path like `…/linux-64/repodata.json`, if it is a Linux platform.
fn subdir_of_index(path: &str) -> Option<&str> {
    let (_, subdir) = path.strip_suffix("/repodata.json")?.rsplit_once('/')?;
    subdir.starts_with("linux-").then_some(subdir)
}

#[cfg(test)]
mod tests {
    use super::subdir_of_index;

    #[test]
    fn only_indices_of_platforms_may_be_absent() {
        for (path, expected) in [
            ("/c/linux-64/repodata.json", Some("linux-64")),
            ("/a/b/linux-aarch64/repodata.json", Some("linux-aarch64")),
            ("/c/noarch/repodata.json", None),
            ("/c/linux-64/repodata.json.zst", None),
            ("/linux-64/repodata.json", Some("linux-64")),
            ("/c/linux-64/x.conda", None),
        ] {
            assert_eq!(subdir_of_index(path), expected, "{path}");
        }
    }
}
