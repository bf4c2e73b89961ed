//! Responsible for the CPU masks with which each task of a node runs on the cores beside its GPU.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Cores of a node with GPUs. They are in groups of equal size which share a cache, and each group
/// belongs to one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoreGroups {
    /// Number of cores in a group.
    pub cores: u32,
    /// Number of cores at the start of each group that belong to the operating system.
    pub reserved: u32,
    /// Number of the group of each GPU, in the order of the GPUs.
    pub of_gpus: Vec<u32>,
}

/// Order in which the tasks of a node take its GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskOrder {
    /// Task 0 has GPU 0, and the cores beside it.
    Gpus,
    /// Task 0 has the first group of cores, and the GPU beside it.
    Groups,
}

/// Masks of the tasks of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuMasks {
    /// Mask of each task, in hexadecimal digits.
    pub masks: Vec<String>,
    /// First core of each task.
    pub first_cores: Vec<u32>,
    /// Number of each task's GPU.
    pub gpus: Vec<u32>,
}

impl CoreGroups {
    /// Returns the largest number of cores that a task can have.
    #[must_use]
    pub fn most_cores(&self) -> u32 {
        self.cores.saturating_sub(self.reserved)
    }

    /// Returns the masks for tasks with this number of cores each.
    ///
    /// ```
    /// use condense_jobs::{CoreGroups, TaskOrder};
    /// let groups = CoreGroups { cores: 4, reserved: 1, of_gpus: vec![1, 0] };
    /// let masks = groups.masks(2, TaskOrder::Gpus)?;
    /// assert_eq!(masks.list(), "0x60,0x6");
    /// # Ok::<(), condense_jobs::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if a group does not have this number of cores for tasks.
    pub fn masks(&self, cores: u32, order: TaskOrder) -> Result<CpuMasks> {
        let most = self.most_cores();
        if cores == 0 || cores > most {
            return Err(Error::Cores { cores, most });
        }
        let numbers: Vec<u32> = (0..).zip(&self.of_gpus).map(|(gpu, _)| gpu).collect();
        let gpus = match order {
            TaskOrder::Gpus => numbers,
            TaskOrder::Groups => {
                let mut gpus = numbers;
                gpus.sort_by_key(|gpu| self.of_gpus[*gpu as usize]);
                gpus
            }
        };
        let groups = gpus.iter().map(|gpu| self.of_gpus[*gpu as usize]);
        let bits = ((1_u64 << cores) - 1) << self.reserved;
        // A group has as many digits as its cores need, so that its mask can be read in the list.
        let width = self.cores.div_ceil(4) as usize;
        let mask = |group: u32| {
            let behind = self.cores * group;
            if behind.is_multiple_of(4) {
                format!("0x{bits:0width$x}{}", "0".repeat(behind as usize / 4))
            } else {
                format!("0x{:x}", u128::from(bits) << behind)
            }
        };
        Ok(CpuMasks {
            masks: groups.clone().map(mask).collect(),
            first_cores: groups
                .map(|group| group * self.cores + self.reserved)
                .collect(),
            gpus,
        })
    }

    /// Checks the values of a catalogue.
    ///
    /// # Errors
    /// Returns a sentence about the value that is wrong.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        if self.cores == 0 || self.cores > 64 || self.reserved >= self.cores {
            return Err(format!(
                "`core_groups`: {} of {} cores cannot be reserved",
                self.reserved, self.cores
            ));
        }
        let mut sorted = self.of_gpus.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let is_small = sorted.iter().all(|group| *group < 128 / self.cores);
        if sorted.len() != self.of_gpus.len() || sorted.is_empty() || !is_small {
            return Err("`core_groups`: `of_gpus` is no list of different groups".to_owned());
        }
        Ok(())
    }
}

impl CpuMasks {
    /// Returns the masks as `--cpu-bind=mask_cpu:` takes them.
    #[must_use]
    pub fn list(&self) -> String {
        self.masks.join(",")
    }

    /// Returns the first cores as `--cpu-bind=map_cpu:` takes them.
    #[must_use]
    pub fn first_core_list(&self) -> String {
        join(&self.first_cores)
    }

    /// Returns the numbers of the GPUs as the run scripts' `CONDENSE_GPU_ORDER` has them.
    #[must_use]
    pub fn gpu_list(&self) -> String {
        join(&self.gpus)
    }
}

/// Returns numbers with commas between them.
pub(crate) fn join(numbers: &[u32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    numbers.join(",")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn groups() -> CoreGroups {
        CoreGroups {
            cores: 8,
            reserved: 1,
            of_gpus: vec![6, 7, 2, 3, 0, 1, 4, 5],
        }
    }

    /// J1: all strings, by the template that the sites' documents have.
    #[test]
    fn masks_are_those_of_the_documents() {
        let most = groups().masks(7, TaskOrder::Gpus).unwrap();
        assert_eq!(
            most.list(),
            "0xfe000000000000,0xfe00000000000000,0xfe0000,0xfe000000,0xfe,0xfe00,0xfe00000000,\
             0xfe0000000000"
        );
        for (cores, c) in (1..).zip(["02", "06", "0e", "1e", "3e", "7e", "fe"]) {
            let template = "0x{c}000000000000,0x{c}00000000000000,0x{c}0000,0x{c}000000,0x{c},\
                            0x{c}00,0x{c}00000000,0x{c}0000000000";
            let masks = groups().masks(cores, TaskOrder::Gpus).unwrap();
            assert_eq!(masks.list(), template.replace("{c}", c));
            assert_eq!(masks.gpu_list(), "0,1,2,3,4,5,6,7");
        }
        assert_eq!(most.first_core_list(), "49,57,17,25,1,9,33,41");
        let linear = groups().masks(7, TaskOrder::Groups).unwrap();
        assert_eq!(linear.gpu_list(), "4,5,2,3,6,7,0,1");
        assert_eq!(linear.first_core_list(), "1,9,17,25,33,41,49,57");
        assert!(linear.list().starts_with("0xfe,0xfe00,0xfe0000,"));
    }

    /// J1, J5: each task has cores of its own, none of the system's, and no second hardware thread.
    #[test]
    fn masks_share_no_core() {
        for order in [TaskOrder::Gpus, TaskOrder::Groups] {
            for cores in 1..=7 {
                let masks = groups().masks(cores, order).unwrap();
                let mut all = 0_u64;
                for (mask, first) in masks.masks.iter().zip(&masks.first_cores) {
                    let bits = u64::from_str_radix(&mask[2..], 16).unwrap();
                    assert_eq!(bits.count_ones(), cores);
                    assert_eq!(bits.trailing_zeros(), *first);
                    assert_eq!(all & bits, 0);
                    all |= bits;
                }
                assert_eq!(all & 0x0101_0101_0101_0101, 0);
            }
        }
    }

    #[test]
    fn groups_have_no_more_cores_than_they_have() {
        for cores in [0, 8] {
            let error = groups().masks(cores, TaskOrder::Gpus).unwrap_err();
            assert!(
                error.to_string().contains("a task can have 1 to 7"),
                "{error}"
            );
        }
        for (cores, reserved, of_gpus) in [(8, 8, vec![0]), (8, 1, vec![1, 1]), (8, 1, vec![16])] {
            let groups = CoreGroups {
                cores,
                reserved,
                of_gpus,
            };
            assert!(groups.check().is_err(), "{groups:?}");
        }
    }
}
