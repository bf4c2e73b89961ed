//! Responsible for the time that a job may take.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Time limit of a job or of a partition.
///
/// ```
/// use condense_jobs::TimeLimit;
/// let limit: TimeLimit = "1-12:00:00".parse()?;
/// assert_eq!(limit.slurm(), "1-12:00:00");
/// assert_eq!(limit.pbs(), "36:00:00");
/// assert_eq!(limit, "36:00:00".parse()?);
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeLimit {
    seconds: u64,
}

impl TimeLimit {
    /// Limit of one hour.
    pub const HOUR: Self = Self { seconds: HOUR };

    /// Returns the limit as Slurm writes it: `2-00:00:00` or `00:30:00`.
    #[must_use]
    pub fn slurm(self) -> String {
        let (days, rest) = (self.seconds / DAY, self.seconds % DAY);
        let rest = Self { seconds: rest }.pbs();
        if days == 0 {
            rest
        } else {
            format!("{days}-{rest}")
        }
    }

    /// Returns the limit as PBS writes it: `48:00:00`.
    #[must_use]
    pub fn pbs(self) -> String {
        let (hours, minutes) = (self.seconds / HOUR, self.seconds % HOUR / MINUTE);
        format!("{hours:02}:{minutes:02}:{:02}", self.seconds % MINUTE)
    }
}

impl FromStr for TimeLimit {
    type Err = String;

    /// Reads the forms of Slurm: `MINUTES`, `MINUTES:SECONDS`, `HOURS:MINUTES:SECONDS`,
    /// `DAYS-HOURS`, `DAYS-HOURS:MINUTES` and `DAYS-HOURS:MINUTES:SECONDS`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no time such as 30, 1:00:00 or 1-12:00:00");
        let (days, rest) = match text.split_once('-') {
            Some((days, rest)) => (Some(days), rest),
            None => (None, text),
        };
        let number = |word: &str| -> Result<u64, String> {
            let is_number = (1..=6).contains(&word.len());
            let is_number = is_number && word.bytes().all(|byte| byte.is_ascii_digit());
            if is_number {
                word.parse().map_err(|_| wrong())
            } else {
                Err(wrong())
            }
        };
        let words: Vec<u64> = rest.split(':').map(number).collect::<Result<_, _>>()?;
        let units: &[u64] = match (days, words.len()) {
            (None, 1) => &[MINUTE],
            (None, 2) => &[MINUTE, 1],
            (_, 3) => &[HOUR, MINUTE, 1],
            (Some(_), 1) => &[HOUR],
            (Some(_), 2) => &[HOUR, MINUTE],
            _ => return Err(wrong()),
        };
        let of_rest: u64 = words
            .iter()
            .zip(units)
            .map(|(word, unit)| word * unit)
            .sum();
        let of_days = days.map_or(Ok(0), number)? * DAY;
        match of_days + of_rest {
            0 => Err(wrong()),
            seconds => Ok(Self { seconds }),
        }
    }
}

impl TryFrom<String> for TimeLimit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TimeLimit> for String {
    fn from(limit: TimeLimit) -> Self {
        limit.slurm()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_read_as_slurm_reads_them() {
        for (text, expected) in [
            ("30", "00:30:00"),
            ("90", "01:30:00"),
            ("1:30", "00:01:30"),
            ("1:00:00", "01:00:00"),
            ("48:00:00", "2-00:00:00"),
            ("2-0", "2-00:00:00"),
            ("1-6:30", "1-06:30:00"),
            ("1-12:00:00", "1-12:00:00"),
        ] {
            assert_eq!(text.parse::<TimeLimit>().unwrap().slurm(), expected);
        }
        for text in ["", "0", "1h", "1:2:3:4", "-1", "1-", "1-2:3:4:5", "9999999"] {
            let error = text.parse::<TimeLimit>().unwrap_err();
            assert!(
                error.starts_with(&format!("`{text}` is no time")),
                "{error}"
            );
        }
    }
}
