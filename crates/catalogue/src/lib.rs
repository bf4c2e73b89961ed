//! Responsible for what is known of sites and base images: the built-in catalogue, and a site's and
//! the user's own over it.

mod catalogue;
mod conditional;
mod find;
mod keys;
mod name;
mod rules;
mod site;

pub use catalogue::{Catalogue, ImageEntry};
pub use find::{Found, Query, find};
pub use keys::{is_default, is_of_site, yes_or_no};
pub use name::ImageName;
pub use rules::{BaseView, SiteRules};
pub use site::{Machine, Names, Site, expand};
