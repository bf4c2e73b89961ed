//! Responsible for judging the answers of servers that builds need.

use serde::Serialize;

use super::Health;
use crate::code;

/// Time in milliseconds from which on an answer is slow.
const SLOW_MS: u64 = 2000;

/// Server that builds ask, with its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Use of the server: `channel`, `PyPI` or `registry`.
    pub role: &'static str,
    /// Address that was asked, without credentials.
    pub address: String,
    /// Answer of the server.
    #[serde(flatten)]
    pub answer: Answer,
}

/// Answer of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// The server has what was asked for.
    Available {
        /// Time until the answer.
        milliseconds: u64,
    },
    /// The server has nothing at this address.
    Missing {
        /// Status of the answer, such as 404.
        status: u16,
    },
    /// There is no answer, or the server refuses to give one.
    Unreachable {
        /// Reason without a full stop.
        reason: String,
        /// Advice for this reason.
        advice: String,
    },
}

impl Server {
    /// Returns the answer in words.
    pub fn describe(&self) -> String {
        let address = &self.address;
        match &self.answer {
            Answer::Available { milliseconds } => {
                format!("{address} answers in {}", seconds(*milliseconds))
            }
            Answer::Missing { status } => format!("{address} is missing ({status})"),
            Answer::Unreachable { reason, .. } => format!("{address}: {reason}"),
        }
    }
}

fn seconds(milliseconds: u64) -> String {
    format!("{:.1} s", milliseconds as f64 / 1000.0)
}

/// Adds the servers and the findings about them.
pub fn judge_servers(servers: Vec<Server>, health: &mut Health) {
    for server in &servers {
        let Server { role, address, .. } = server;
        match &server.answer {
            Answer::Available { milliseconds } if *milliseconds > SLOW_MS => {
                let time = seconds(*milliseconds);
                let what = format!("the {role} took {time} to answer");
                health.finding(&code::SLOW_SERVER, what, address);
            }
            Answer::Available { .. } => {}
            Answer::Missing { status } => {
                let what = format!("the {role} answers {status}: there is nothing");
                health.finding(&code::MISSING_INDEX, what, address);
            }
            Answer::Unreachable { reason, advice } => {
                let what = format!("the {role} cannot be reached: {reason}");
                health.finding(&code::UNREACHABLE, what, address);
                if let Some(finding) = health.findings.last_mut().filter(|_| !advice.is_empty()) {
                    finding.fix.clone_from(advice);
                }
            }
        }
    }
    health.servers.extend(servers);
}
