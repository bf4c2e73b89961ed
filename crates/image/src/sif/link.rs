//! Responsible for the relations between the objects of a SIF file.

/// Relation of an object to another object or group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// No relation to anything.
    None,
    /// Relation to the object with this number.
    Object(u32),
    /// Relation to all objects of this group.
    Group(u32),
}

impl Link {
    /// Bits that distinguish the number of a group from that of an object.
    pub(super) const GROUP_MARK: u32 = 0xf000_0000;

    pub(super) fn from_raw(raw: u32) -> Link {
        match raw {
            0 => Link::None,
            raw if raw & Self::GROUP_MARK == Self::GROUP_MARK => {
                Link::Group(raw & !Self::GROUP_MARK)
            }
            id => Link::Object(id),
        }
    }

    pub(super) fn raw(self) -> u32 {
        match self {
            Link::None => 0,
            Link::Object(id) => id,
            Link::Group(group) => Self::GROUP_MARK | group,
        }
    }
}
