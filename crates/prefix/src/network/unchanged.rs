//! Responsible for servers that answer `304 Not Modified` without a validator. The readers of
//! indices in parts accept such an answer only when it repeats the validator that they sent.

use http::{
    Extensions, StatusCode,
    header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED},
};
use reqwest::{Request, Response};
use reqwest_middleware::{Middleware, Next};

/// Copies the validators of the request into an answer that lacks them.
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
