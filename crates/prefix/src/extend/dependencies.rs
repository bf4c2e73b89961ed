//! Responsible for the dependencies between installed packages.

use std::collections::{HashMap, HashSet};

use crate::solution::Solution;

/// Names of the packages that each package needs.
pub(super) type Needs<'a> = HashMap<&'a str, Vec<&'a str>>;

/// Maps each package to the names of the packages that it needs.
pub(super) fn needs(solution: &Solution) -> Needs<'_> {
    solution
        .records
        .iter()
        .map(|record| {
            let depends = record.package_record.depends.iter();
            let names = depends.filter_map(|spec| {
                let spec = spec.rsplit("::").next()?;
                spec.split([' ', '=', '<', '>', '!', '~', '[', ';']).next()
            });
            (record.package_record.name.as_normalized(), names.collect())
        })
        .collect()
}

/// Collects those roots that are installed, and everything that they need.
pub(super) fn reached<'a>(
    needs: &Needs<'a>,
    roots: impl Iterator<Item = &'a str>,
) -> HashSet<&'a str> {
    let mut found = HashSet::new();
    let mut pending: Vec<&str> = roots.filter(|name| needs.contains_key(name)).collect();
    while let Some(name) = pending.pop() {
        if found.insert(name) {
            let needed = needs[name].iter().copied();
            pending.extend(needed.filter(|name| needs.contains_key(name)));
        }
    }
    found
}
