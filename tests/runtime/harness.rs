//! Harness of the tests with the real runtime: the shared harness of `tests/support`, the real
//! parts where both accounts can read them, a directory for each test, and an installation that the
//! tests of wrappers share.

mod account;
mod parts;
mod registry;
mod slurm;
mod test_dir;
mod tykky;

pub(crate) use crate::support::{
    files::names,
    output::{CommandOutput, Run, finish, start_until_ready},
};
pub(crate) use account::{Account, as_both};
pub(crate) use parts::{Tmpfs, need, parts};
pub(crate) use registry::Registry;
pub(crate) use slurm::Slurm;
pub(crate) use test_dir::{Installation, TestDir, said_by_shared_build, shared};
pub(crate) use tykky::{Tykky, about_own_lines};
