//! What all tests stand on: the parts where both accounts reach them, a room for each test, and one
//! installation that the wrappers' tests share.

mod account;
mod command;
mod parts;
mod registry;
mod room;
mod tykky;

pub(crate) use account::{Account, as_both};
pub(crate) use command::{Ended, Run, finish, start_until_ready};
pub(crate) use parts::{Tmpfs, names, need, stage};
pub(crate) use registry::Registry;
pub(crate) use room::{Installation, Room, said_by_shared_build, shared};
pub(crate) use tykky::{Tykky, about_own_lines};
