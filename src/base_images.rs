//! Responsible for what is known of sites and base images: the built-in catalogue, and a site's and
//! the user's own over it.

mod catalogue;
mod find;
mod keys;
mod limited;
mod name;
mod rules;
mod site;

pub(crate) use catalogue::{Catalogue, ImageEntry};
pub(crate) use find::{Found, Query, find};
pub(crate) use keys::{is_default, is_of_site, yes_or_no};
pub(crate) use name::ImageName;
pub(crate) use rules::{Known, SiteRules};
#[cfg(test)]
pub(crate) use site::Names;
pub(crate) use site::{Machine, Site, expand};
