//! Responsible for asking servers whether they answer, and for explaining why one does not.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use url::Url;

use crate::{
    error::Error,
    network::{NetworkSettings, plain_client},
    secrets::without_secrets,
};

/// Longest time that all servers together may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Answer of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// There is an answer.
    Answer {
        /// Status of HTTP; 200 for a file that exists.
        status: u16,
        /// Time until the answer.
        time: Duration,
    },
    /// There is no answer that could be used.
    Failure {
        /// Reason without a full stop.
        reason: String,
        /// Advice for this reason.
        advice: String,
    },
}

/// Asks all addresses at the same time, and returns one answer for each. No body is read. The
/// mirrors, the credentials, the proxies and the certificates of the settings are used.
///
/// # Errors
/// Returns [`Error::NetworkSetting`] for a file or an address of the settings that cannot be used.
pub async fn reach(settings: &NetworkSettings, addresses: &[Url]) -> Result<Vec<Reach>, Error> {
    let settings = NetworkSettings {
        retries: 0,
        connect_timeout: settings.connect_timeout.min(LIMIT),
        read_timeout: settings.read_timeout.min(LIMIT),
        ..settings.clone()
    };
    let client = plain_client(&settings)?;
    let asked = addresses.iter().map(|address| async {
        let started = Instant::now();
        if let Ok(path) = address.to_file_path() {
            return of_file(path, started);
        }
        let asking = async {
            let head = client.request(Method::HEAD, address.clone()).send().await?;
            // Some servers answer only to GET.
            if [StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED]
                .contains(&head.status())
            {
                return client.get(address.clone()).send().await;
            }
            Ok(head)
        };
        match tokio::time::timeout(LIMIT, asking).await {
            Ok(Ok(answer)) => of_status(answer.status(), started),
            Ok(Err(error)) => of_error(&error),
            Err(_) => failure(format!("no answer within {} s", LIMIT.as_secs()), NO_ANSWER),
        }
    });
    Ok(futures::future::join_all(asked).await)
}

/// Advice for a server that does not answer at all.
const NO_ANSWER: &str =
    "compute nodes often reach nothing but a proxy: set https_proxy, or build on a login node";
/// Advice for a certificate that is not trusted.
const NOT_TRUSTED: &str =
    "name the file of your site's certificate authority with SSL_CERT_FILE or REQUESTS_CA_BUNDLE";

fn failure(reason: impl Into<String>, advice: &str) -> Reach {
    Reach::Failure {
        reason: reason.into(),
        advice: advice.to_owned(),
    }
}

fn of_file(path: PathBuf, started: Instant) -> Reach {
    match fs_err::metadata(path) {
        Ok(_) => Reach::Answer {
            status: 200,
            time: started.elapsed(),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Reach::Answer {
            status: 404,
            time: started.elapsed(),
        },
        Err(error) => failure(
            error.to_string(),
            "look at the permissions of the directory",
        ),
    }
}

fn of_status(status: StatusCode, started: Instant) -> Reach {
    match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => of_proxy(),
        StatusCode::FORBIDDEN => failure(
            "refused (403)",
            "the server wants other credentials, or a filter of the site refuses the address",
        ),
        StatusCode::TOO_MANY_REQUESTS => {
            failure("too many requests (429)", "wait for some minutes")
        }
        status if status.is_server_error() => failure(
            format!("the server fails ({})", status.as_u16()),
            "try again later, or name a mirror in config.toml",
        ),
        status => Reach::Answer {
            status: status.as_u16(),
            time: started.elapsed(),
        },
    }
}

fn of_proxy() -> Reach {
    failure(
        "the proxy wants a password (407)",
        "write it into https_proxy: http://USER:PASSWORD@HOST:PORT",
    )
}

/// Returns a text without addresses, which may have any words and numbers.
fn without_addresses(text: &str) -> String {
    let words = text.split_whitespace();
    let words: Vec<&str> = words.filter(|word| !word.contains("://")).collect();
    words.join(" ")
}

/// Returns whether a number is a word of a text.
fn has_number(text: &str, number: &str) -> bool {
    let is_sign = |sign: char| !sign.is_ascii_digit();
    let mut words = text.split_whitespace();
    words.any(|word| word.trim_matches(is_sign) == number)
}

/// Explains an error by the texts of its causes, since the types of most of them are private.
fn of_error(error: &reqwest_middleware::Error) -> Reach {
    let mut texts = Vec::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        texts.push(cause.to_string());
        next = cause.source();
    }
    let all = without_addresses(&texts.join(": ").to_lowercase());
    let last = texts.last().map(|text| without_secrets(text).into_owned());
    let last = last.unwrap_or_default();
    let has = |words: &[&str]| words.iter().any(|word| all.contains(word));
    if has(&["proxy authorization required"]) || has_number(&all, "407") {
        of_proxy()
    } else if has(&["certificate"]) {
        failure(
            format!("its certificate is not trusted ({last})"),
            NOT_TRUSTED,
        )
    } else if has(&["dns error", "lookup address", "name resolution"]) {
        failure(
            "its name is not known here",
            "check the spelling and the name servers; compute nodes often know a proxy only: set https_proxy",
        )
    } else if has(&["tls", "handshake", "ssl"]) {
        failure(
            format!("no encrypted connection ({last})"),
            "check whether the address is https, and the proxy between",
        )
    } else if has(&["connection refused"]) {
        failure("connection refused", NO_ANSWER)
    } else if has(&["timed out", "timeout"]) {
        failure("no answer in time", NO_ANSWER)
    } else {
        failure(last, NO_ANSWER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_proxy_is_no_part_of_an_address() {
        let wants_password = |text: &str| has_number(&without_addresses(text), "407");
        assert!(wants_password(
            "unsuccessful tunnel: http 407 proxy authentication"
        ));
        assert!(wants_password("(407)"));
        for text in [
            "error sending request for url (https://127.0.0.1:407/noarch/407)",
            "tcp connect error to 10.0.0.1:44073",
            "no answer",
        ] {
            assert!(!wants_password(text), "{text}");
        }
    }
}
