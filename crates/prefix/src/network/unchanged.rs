//! Responsible for responses `304 Not Modified` without a validator. rattler's reader of sharded
//! indices accepts such a response only if it repeats the validator of the request.

use http::{
    Extensions, StatusCode,
    header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED},
};
use reqwest::{Request, Response};
use reqwest_middleware::{Middleware, Next};

/// Middleware that copies the validators of a request into a response that lacks them.
pub(super) struct BareUnchanged;

#[async_trait::async_trait]
impl Middleware for BareUnchanged {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let sent = request.headers();
        let validators = [
            (ETAG, sent.get(IF_NONE_MATCH).cloned()),
            (LAST_MODIFIED, sent.get(IF_MODIFIED_SINCE).cloned()),
        ];
        let mut response = next.run(request, extensions).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            for (name, value) in validators {
                if let Some(value) = value {
                    response.headers_mut().entry(name).or_insert(value);
                }
            }
        }
        Ok(response)
    }
}
