//! Responsible for the catalogue of sites and base images. Its layers are the built-in catalogue, a
//! site's catalogue and the user's catalogue; later layers override earlier ones.

mod catalogue;
mod conditional;
mod find;
mod keys;
mod known;
mod module_rules;
mod mpi_rules;
mod name;
mod rules;
mod site;

pub use catalogue::{Catalogue, ImageEntry};
pub use find::{Found, NearMisses, NearestImage, Query, WordMatches, find};
pub use keys::Names;
pub use keys::{is_default, is_of_site, site_keys, yes_or_no};
pub use module_rules::ModuleRules;
pub use mpi_rules::MpiRules;
pub use name::ImageName;
pub use rules::{BaseView, SiteRules};
pub use site::{Machine, Site, expand};
