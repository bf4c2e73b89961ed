//! Responsible for the names of processor architectures.

use std::fmt;

/// Processor architecture that SIF files can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
#[non_exhaustive]
pub enum Arch {
    I386,
    X86_64,
    Arm,
    Aarch64,
    Ppc64,
    Ppc64le,
    Mips,
    Mipsle,
    Mips64,
    Mips64le,
    S390x,
    Riscv64,
    Loongarch64,
}

impl Arch {
    /// Returns the architecture for the two digits in a SIF file.
    pub(super) fn from_sif(digits: [u8; 2]) -> Option<Arch> {
        Some(match &digits {
            b"01" => Arch::I386,
            b"02" => Arch::X86_64,
            b"03" => Arch::Arm,
            b"04" => Arch::Aarch64,
            b"05" => Arch::Ppc64,
            b"06" => Arch::Ppc64le,
            b"07" => Arch::Mips,
            b"08" => Arch::Mipsle,
            b"09" => Arch::Mips64,
            b"10" => Arch::Mips64le,
            b"11" => Arch::S390x,
            b"12" => Arch::Riscv64,
            b"13" => Arch::Loongarch64,
            _ => return None,
        })
    }

    /// Returns the two digits of the architecture in a SIF file.
    pub(super) fn sif_digits(self) -> [u8; 2] {
        *match self {
            Arch::I386 => b"01",
            Arch::X86_64 => b"02",
            Arch::Arm => b"03",
            Arch::Aarch64 => b"04",
            Arch::Ppc64 => b"05",
            Arch::Ppc64le => b"06",
            Arch::Mips => b"07",
            Arch::Mipsle => b"08",
            Arch::Mips64 => b"09",
            Arch::Mips64le => b"10",
            Arch::S390x => b"11",
            Arch::Riscv64 => b"12",
            Arch::Loongarch64 => b"13",
        }
    }

    /// Returns the architecture for a name that `uname -m` prints or that Go and OCI images use.
    pub fn from_name(name: &str) -> Option<Arch> {
        Some(match name {
            "i386" | "i686" | "386" => Arch::I386,
            "x86_64" | "amd64" => Arch::X86_64,
            "arm" | "armv7l" => Arch::Arm,
            "aarch64" | "arm64" => Arch::Aarch64,
            "ppc64" => Arch::Ppc64,
            "ppc64le" => Arch::Ppc64le,
            "mips" => Arch::Mips,
            "mipsle" => Arch::Mipsle,
            "mips64" => Arch::Mips64,
            "mips64le" => Arch::Mips64le,
            "s390x" => Arch::S390x,
            "riscv64" => Arch::Riscv64,
            "loongarch64" | "loong64" => Arch::Loongarch64,
            _ => return None,
        })
    }

    /// Returns the architecture of an ELF file from its first bytes, of which at least 20 are
    /// needed.
    pub fn from_elf(head: &[u8]) -> Option<Arch> {
        let head: &[u8; 20] = head.first_chunk()?;
        if head[..4] != *b"\x7fELF" {
            return None;
        }
        let is_little = head[5] == 1;
        let machine = [head[18], head[19]];
        let machine = if is_little {
            u16::from_le_bytes(machine)
        } else {
            u16::from_be_bytes(machine)
        };
        let is_64_bit = head[4] == 2;
        Some(match (machine, is_64_bit, is_little) {
            (3, _, _) => Arch::I386,
            (62, true, _) => Arch::X86_64,
            (40, ..) => Arch::Arm,
            (183, ..) => Arch::Aarch64,
            (21, _, false) => Arch::Ppc64,
            (21, _, true) => Arch::Ppc64le,
            (8, false, false) => Arch::Mips,
            (8, false, true) => Arch::Mipsle,
            (8, true, false) => Arch::Mips64,
            (8, true, true) => Arch::Mips64le,
            (22, true, _) => Arch::S390x,
            (243, true, _) => Arch::Riscv64,
            (258, true, _) => Arch::Loongarch64,
            _ => return None,
        })
    }

    /// Returns the architecture that this program was built for.
    pub fn host() -> Option<Arch> {
        let is_little = cfg!(target_endian = "little");
        Some(match (std::env::consts::ARCH, is_little) {
            ("x86", _) => Arch::I386,
            ("x86_64", _) => Arch::X86_64,
            ("arm", _) => Arch::Arm,
            ("aarch64", _) => Arch::Aarch64,
            ("powerpc64", false) => Arch::Ppc64,
            ("powerpc64", true) => Arch::Ppc64le,
            ("s390x", _) => Arch::S390x,
            ("riscv64", _) => Arch::Riscv64,
            ("loongarch64", _) => Arch::Loongarch64,
            _ => return None,
        })
    }

    /// Returns the name as `uname -m` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Arch::I386 => "i386",
            Arch::X86_64 => "x86_64",
            Arch::Arm => "arm",
            Arch::Aarch64 => "aarch64",
            Arch::Ppc64 => "ppc64",
            Arch::Ppc64le => "ppc64le",
            Arch::Mips => "mips",
            Arch::Mipsle => "mipsle",
            Arch::Mips64 => "mips64",
            Arch::Mips64le => "mips64le",
            Arch::S390x => "s390x",
            Arch::Riscv64 => "riscv64",
            Arch::Loongarch64 => "loongarch64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the first 20 bytes of an ELF file of this class (1: 32 bits, 2: 64 bits), byte order
    /// (1: little endian, 2: big endian) and machine.
    fn elf(class: u8, order: u8, machine: u16) -> [u8; 20] {
        let mut head = [0; 20];
        head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order]);
        let machine = if order == 1 {
            machine.to_le_bytes()
        } else {
            machine.to_be_bytes()
        };
        head[18..].copy_from_slice(&machine);
        head
    }

    #[test]
    fn every_architecture_has_its_digits_names_and_programs() {
        for (arch, digits, name, other_names, (class, order, machine)) in [
            (Arch::I386, b"01", "i386", &["i686", "386"][..], (1, 1, 3)),
            (Arch::X86_64, b"02", "x86_64", &["amd64"], (2, 1, 62)),
            (Arch::Arm, b"03", "arm", &["armv7l"], (1, 1, 40)),
            (Arch::Aarch64, b"04", "aarch64", &["arm64"], (2, 1, 183)),
            (Arch::Ppc64, b"05", "ppc64", &[], (2, 2, 21)),
            (Arch::Ppc64le, b"06", "ppc64le", &[], (2, 1, 21)),
            (Arch::Mips, b"07", "mips", &[], (1, 2, 8)),
            (Arch::Mipsle, b"08", "mipsle", &[], (1, 1, 8)),
            (Arch::Mips64, b"09", "mips64", &[], (2, 2, 8)),
            (Arch::Mips64le, b"10", "mips64le", &[], (2, 1, 8)),
            (Arch::S390x, b"11", "s390x", &[], (2, 2, 22)),
            (Arch::Riscv64, b"12", "riscv64", &[], (2, 1, 243)),
            (
                Arch::Loongarch64,
                b"13",
                "loongarch64",
                &["loong64"],
                (2, 1, 258),
            ),
        ] {
            assert_eq!(Arch::from_sif(*digits), Some(arch), "{name}");
            assert_eq!(arch.sif_digits(), *digits, "{name}");
            assert_eq!((arch.name(), &*arch.to_string()), (name, name));
            for known in [&[name][..], other_names].concat() {
                assert_eq!(Arch::from_name(known), Some(arch), "{known}");
            }
            let head = elf(class, order, machine);
            assert_eq!(Arch::from_elf(&head), Some(arch), "{name}");
        }
    }

    #[test]
    fn programs_of_no_known_architecture_are_none() {
        assert_eq!(Arch::from_name("vax"), None);
        assert_eq!(Arch::from_sif(*b"14"), None);
        // These are x32, s390, and the 32-bit forms of RISC-V and LoongArch.
        for machine in [62, 22, 243, 258] {
            assert_eq!(Arch::from_elf(&elf(1, 1, machine)), None, "{machine}");
        }
        assert_eq!(Arch::from_elf(&elf(2, 1, 2)), None);
        let head = elf(2, 1, 62);
        assert_eq!(Arch::from_elf(&head[..19]), None);
        let mut script = head;
        script[..2].copy_from_slice(b"#!");
        assert_eq!(Arch::from_elf(&script), None);
    }
}
