//! Responsible for calling the libraries of the codecs. This is the only module that calls them,
//! and the only module with `unsafe`.
#![allow(unsafe_code)]

pub(crate) mod decode;
pub(crate) mod encode;
mod lzo;
