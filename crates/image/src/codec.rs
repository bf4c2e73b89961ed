//! Responsible for the codecs' libraries: the only module that calls them, and the only one with
//! `unsafe`.
#![allow(unsafe_code)]

pub(crate) mod decode;
pub(crate) mod encode;
mod lzo;
