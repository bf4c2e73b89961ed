//! Responsible for fetching tokens from the token server that a registry names.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::Registry;
use super::retry::{self, Failure};
use crate::Error;
use crate::credentials::{Credentials, Found};

/// Maximum length of a token server's answer in bytes. Tokens have a few kilobytes.
const TOKEN_LEN_MAX: u64 = 1 << 20;
/// Client name of this program for token servers.
const CLIENT_ID: &str = "condense";

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// Fetches a token from the token server `realm`, and returns the value of the header
/// `Authorization`.
pub(super) async fn fetch(
    registry: &Registry<'_>,
    realm: &str,
    service: Option<&str>,
    scope: Option<&str>,
    found: Option<&Found>,
) -> Result<HeaderValue, Failure> {
    let credentials = found.map(|found| &found.credentials);
    if let Some(Credentials::RegistryToken(token)) = credentials {
        return Ok(bearer(token)?);
    }
    let mut url = Url::parse(realm).map_err(|_| {
        registry.invalid_answer("it names no place that gives out tokens".to_owned())
    })?;
    let is_secure =
        url.scheme() == "https" || (url.scheme() == "http" && registry.access.plain_http);
    if !is_secure {
        let problem = "it wants the login to be sent over plain HTTP";
        return Err(registry.invalid_answer(problem.to_owned()).into());
    }
    let own_scope = format!("repository:{}:pull", registry.name.repository());
    let scope = scope.unwrap_or(&own_scope);
    let request = if let Some(Credentials::IdentityToken(token)) = credentials {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.append_pair("grant_type", "refresh_token")
            .append_pair("client_id", CLIENT_ID)
            .append_pair("refresh_token", token)
            .append_pair("scope", scope);
        if let Some(service) = service {
            body.append_pair("service", service);
        }
        registry
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body.finish())
    } else {
        url.query_pairs_mut().append_pair("scope", scope);
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        let request = registry.client.get(url);
        match credentials {
            Some(Credentials::Password { user, password }) => {
                request.header(AUTHORIZATION, basic(user, password))
            }
            _ => request,
        }
    };
    let response = registry
        .cancel
        .or(async { Ok(request.send().await) })
        .await?
        .map_err(|error| registry.unreachable(error))?;
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        let reason = match found {
            Some(found) => format!("the login from {} is refused", found.origin),
            None => "it wants a login, and there is none for it".to_owned(),
        };
        return Err(registry.denied(&reason).into());
    }
    if !status.is_success() {
        let wait = retry::asked_to_wait(&response);
        let error = registry.invalid_answer(format!(
            "the place that gives out its tokens answers {}",
            status.as_u16()
        ));
        let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        return Err(if passes {
            Failure::Temporary { error, wait }
        } else {
            error.into()
        });
    }
    let body = registry.body(response, TOKEN_LEN_MAX).await?;
    let token = serde_json::from_slice::<Answer>(&body)
        .ok()
        .and_then(|answer| answer.token.or(answer.access_token))
        .ok_or_else(|| {
            registry.invalid_answer("the place that gives out its tokens gave none".to_owned())
        })?;
    Ok(bearer(&token)?)
}

pub(super) fn basic(user: &str, password: &str) -> HeaderValue {
    let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
    secret(&format!("Basic {encoded}")).expect("base64 is valid in a header")
}

fn bearer(token: &str) -> Result<HeaderValue, Error> {
    secret(&format!("Bearer {token}")).ok_or_else(|| Error::Registry {
        host: "the registry".to_owned(),
        problem: "the token for it has characters that no token has".to_owned(),
    })
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
