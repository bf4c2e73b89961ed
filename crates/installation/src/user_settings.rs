//! Responsible for keeping a user's settings of containers out of the containers of builds.

use std::process::Command;

/// Ends of the names of variables that say nothing about what a container shows: the runtime's own
/// directories, and how it may start.
const OF_RUNTIMES_THEMSELVES: [&str; 8] = [
    "_TMPDIR",
    "_CACHEDIR",
    "_LOCALCACHEDIR",
    "_CONFIGDIR",
    "_DROP_CAPS",
    "_KEEP_PRIVS",
    "_NO_PRIVS",
    "_USERNS",
];

/// Removes the variables by which the user or a loaded module sets what containers show: a bind
/// mount for jobs may have no place in a base, and would end a build. The runtime's own
/// directories, and the ways in which it may start a container, stay.
///
/// Inside a container, such variables describe this container. A second container would take them
/// for the user's settings.
pub fn remove_user_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let rest = text
            .strip_prefix("APPTAINER")
            .or_else(|| text.strip_prefix("SINGULARITY"));
        if rest.is_some_and(|rest| !OF_RUNTIMES_THEMSELVES.contains(&rest)) {
            command.env_remove(&name);
        }
    }
}
