//! Responsible for mirrors that are directories. A request gets a response with the contents of a
//! file, like that of a server.

use std::io::SeekFrom;

use http::{
    Method, StatusCode,
    header::{CONTENT_RANGE, RANGE},
};
use reqwest::{Body, Request, Response, ResponseBuilderExt};
use tokio::io::AsyncSeekExt;
use url::Url;

/// Returns a response with the file of `url`, from the first byte that the request's range has.
/// Returns status 404 if there is no file.
///
/// # Errors
/// Returns a middleware error for a file that cannot be read.
pub(super) async fn answer(request: &Request, url: &Url) -> reqwest_middleware::Result<Response> {
    let failed = |error: std::io::Error| {
        let text = format!("failed to read `{}`: {error}", url.path());
        reqwest_middleware::Error::middleware(std::io::Error::other(text))
    };
    let Ok(path) = url.to_file_path() else {
        return Ok(empty(StatusCode::NOT_FOUND, url));
    };
    let found = match tokio::fs::metadata(&path).await {
        Ok(found) if found.is_file() => found,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(failed(error));
        }
        _ => return Ok(empty(StatusCode::NOT_FOUND, url)),
    };
    if *request.method() == Method::HEAD {
        return Ok(empty(StatusCode::OK, url));
    }
    let range = request.headers().get(RANGE).and_then(|value| {
        let start = value.to_str().ok()?.strip_prefix("bytes=")?;
        start.strip_suffix('-')?.parse::<u64>().ok()
    });
    let length = found.len();
    let mut response = http::Response::builder().url(url.clone());
    if let Some(start) = range {
        if start >= length {
            return Ok(empty(StatusCode::RANGE_NOT_SATISFIABLE, url));
        }
        let rest = format!("bytes {start}-{}/{length}", length - 1);
        response = response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(CONTENT_RANGE, rest);
    }
    let mut file = tokio::fs::File::open(&path).await.map_err(failed)?;
    if let Some(start) = range {
        file.seek(SeekFrom::Start(start)).await.map_err(failed)?;
    }
    let response = response
        .body(Body::from(file))
        .expect("status and headers are those of a response");
    Ok(response.into())
}

fn empty(status: StatusCode, url: &Url) -> Response {
    let response = http::Response::builder()
        .status(status)
        .url(url.clone())
        .body(Body::default());
    response
        .expect("a response without headers can be made")
        .into()
}
