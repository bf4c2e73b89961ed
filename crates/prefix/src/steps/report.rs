//! Responsible for the report of the packages that pip has installed, and for checking whether a
//! lock can be made of it.

use crate::{
    error::Error,
    lock,
    progress::{Progress, Warning},
};
use condense_within::Within;

/// Returns pip's report from a build directory, if there is one that a lock can be made of. Warns
/// the user if the report is unusable or pip could not write one.
///
/// # Errors
/// Returns [`Error::Io`] if the report cannot be read.
pub(crate) fn read(build_dir: &Within, progress: &dyn Progress) -> Result<Option<String>, Error> {
    if let Some(reason) = build_dir.read_text("pip-cannot")? {
        let reason = reason.trim().to_owned();
        progress.warn(Warning::PipNotLocked { reason });
        return Ok(None);
    }
    let report = build_dir.read_text("pip-report.json")?;
    if let Some(Err(reason)) = report.as_deref().map(lock::check_report) {
        progress.warn(Warning::PipNotLocked { reason });
        return Ok(None);
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    const OLD_REPORT_PY: &str = include_str!("old_report.py");

    /// Covers the forms of logs that pip 19.1, 20.3 and 21.3 write.
    #[test]
    #[ignore = "needs: python3"]
    fn the_log_of_an_old_pip_becomes_a_report() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (first, second) = ("ab".repeat(32), "cd".repeat(32));
        let log = format!(
            "2026-11-28T12:57:51 Collecting click==7.1.2\n\
             2026-11-28T12:57:52   The package https://h/click-8.0.tar.gz#sha256={second} (from https://h/simple/click/) is ignored\n\
             2026-11-28T12:57:52   Added click==7.1.2 from https://h/p/click-7.1.2-py2.py3-none-any.whl#sha256={first} to build tracker '/tmp/t-1'\n\
             2026-11-28T12:57:56,881   Added My.Lib>=1 from https://h/p/my_lib-1.0.tar.gz#sha256={first} (from -r requirements.txt (line 2)) to build tracker '/tmp/t'\n\
             2026-11-28T12:57:56,882   Added My.Lib>=1 from https://h/p/my_lib-1.1.tar.gz#sha256={second} (from x->y) to build tracker '/tmp/t'\n\
             2026-11-28T12:57:57,100   Added undigested from https://h/p/undigested-2-py3-none-any.whl to build tracker '/tmp/t'\n\
             2026-11-28T12:58:00,000 Successfully installed My.Lib-1.1 click-7.1.2 undigested-2 unseen-3\n"
        );
        fs_err::write(path("log"), log).unwrap();
        fs_err::write(path("old_report.py"), OLD_REPORT_PY).unwrap();
        let status = Command::new("/usr/bin/python3")
            .args(["old_report.py", "log", "report"])
            .current_dir(dir.path())
            .status()
            .unwrap();
        assert!(status.success());
        let text = fs_err::read_to_string(path("report")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        let found: Vec<[String; 4]> = report["install"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                let text = |pointer: &str| {
                    let value = item.pointer(pointer).and_then(|value| value.as_str());
                    value.unwrap_or_default().to_owned()
                };
                [
                    text("/metadata/name"),
                    text("/metadata/version"),
                    text("/download_info/url"),
                    text("/download_info/archive_info/hashes/sha256"),
                ]
            })
            .collect();
        let click = "https://h/p/click-7.1.2-py2.py3-none-any.whl";
        let undigested = "https://h/p/undigested-2-py3-none-any.whl";
        let expected = [
            ["My.Lib", "1.1", "https://h/p/my_lib-1.1.tar.gz", &second],
            ["click", "7.1.2", click, &first],
            ["undigested", "2", undigested, ""],
            ["unseen", "3", "unknown:", ""],
        ];
        assert_eq!(found, expected.map(|row| row.map(str::to_owned)));
        let refused = crate::lock::check_report(&text).unwrap_err();
        assert_eq!(refused, "pip reports no sha256 for `undigested`");
    }
}
