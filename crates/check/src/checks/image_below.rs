//! Responsible for adding the files of the image below an update to the inventory of the update.

use std::{collections::BTreeSet, path::PathBuf};

use condense_image::Reader;

use super::mpi;
use crate::{
    elf::Elf,
    error::Error,
    inventory::{Inventory, Use, elf_of, use_of},
};

impl Inventory {
    /// Adds the files of an image below, which were judged when they were added. New files can then
    /// find them as libraries. If new files need an MPI, the image's files that need an MPI are
    /// read as well. Paths in `removed` are left out. If a path is in both, the new file counts.
    ///
    /// # Errors
    /// Returns an error if the image is damaged.
    pub fn add_image_below(
        mut self,
        reader: &Reader,
        removed: &BTreeSet<PathBuf>,
    ) -> Result<Self, Error> {
        // Most additions do not use MPI, and reading the files of an image means reading gigabytes.
        let needs_mpi = mpi::has_users(&self);
        for entry in reader.walk()? {
            let (path, node) = entry?;
            let inside = self.root.join(&path);
            let is_new = self.elves.contains_key(&inside) || self.links.contains_key(&inside);
            if is_new || removed.contains(&inside) {
                continue;
            }
            if node.is_symlink() {
                self.links.insert(inside, reader.read_link(&node)?);
            } else if node.is_file() && use_of(&inside, u32::from(node.mode)) == Some(Use::Elf) {
                if needs_mpi && let Some(elf) = elf_of(reader, &node)?.filter(Elf::needs_mpi) {
                    self.mpi_users_below.insert(inside.clone(), elf);
                }
                self.elves.insert(inside, Elf::default());
            }
        }
        Ok(self)
    }
}
