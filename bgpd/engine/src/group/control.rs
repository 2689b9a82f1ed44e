//! What the owner of groups is told besides changes, and what that means for a group.

use bytes::Bytes;

use super::{AnyGroup, Handover, Outlet};
use crate::export::ExportSpec;
use crate::id::{GroupIndex, PeerIndex};
use crate::stage::Member;

/// What the owner of a group is told besides changes. None of it waits for room anywhere. `Q` leads to the connection of
/// a member.
pub enum GroupControl<Q> {
    /// There is such a group from now on.
    Add {
        /// What is announced to it.
        spec: ExportSpec,
    },
    /// Nobody joins the group any more: it ends when the last of those that leave it has been handed over.
    Remove,
    /// A session joins.
    Join {
        /// Whose.
        member: PeerIndex,
        /// Where what it is sent goes.
        queue: Q,
        /// Its End-of-RIB is to wait for [`GroupControl::ReleaseEnd`].
        hold_end: bool,
    },
    /// A member's End-of-RIB may go.
    ReleaseEnd {
        /// Whose.
        member: PeerIndex,
    },
    /// A session leaves.
    Leave {
        /// Whose.
        member: PeerIndex,
    },
    /// Send everything again, as what is about to go or as what stays (RFC 8326).
    ShutDown {
        /// To whom.
        member: PeerIndex,
        /// It is about to go.
        on: bool,
    },
    /// Send everything again, then `end`.
    Refresh {
        /// To whom.
        member: PeerIndex,
        /// EoRR (RFC 7313 §4).
        end: Option<Bytes>,
    },
    /// A member's queue has drained after it had been full.
    Drained {
        /// Whose.
        member: PeerIndex,
    },
    /// A member comes from another group.
    Arrive {
        /// It, with the number of its passage.
        member: Member,
        /// Its session is about to be shut down (RFC 8326).
        shut_down: bool,
    },
    /// A member goes to another group.
    Depart {
        /// It, with the number of its passage.
        member: Member,
        /// Where to.
        to: GroupIndex,
    },
    /// From the group that a member leaves to the one that it comes to.
    TakeOver {
        /// It, with the number of its passage.
        member: Member,
        /// What is left of its former membership.
        handover: Handover,
        /// Where what it is sent goes.
        queue: Option<Q>,
    },
}

impl AnyGroup {
    /// Does what its owner is told. The members' queues, and whether there is a group at all, are the owner's matter.
    pub fn control<Q>(&mut self, message: GroupControl<Q>, outlet: &mut impl Outlet) {
        match message {
            GroupControl::Add { .. } => {}
            GroupControl::Remove => self.flush(outlet),
            GroupControl::Join { member, hold_end, .. } => {
                self.join(member, outlet);
                self.hold_end(member, hold_end, outlet);
            }
            GroupControl::ReleaseEnd { member } => self.hold_end(member, false, outlet),
            GroupControl::Leave { member } => self.leave(member, outlet),
            GroupControl::ShutDown { member, on } => self.shut_down(member, on, outlet),
            GroupControl::Refresh { member, end } => self.refresh(member, end, outlet),
            GroupControl::Drained { member } => self.drained(member, outlet),
            GroupControl::Arrive { member, shut_down } => self.arrive(member, shut_down, outlet),
            GroupControl::Depart { member, to } => self.depart(member, to, outlet),
            GroupControl::TakeOver { member, handover, .. } => self.take_over(member, handover, outlet),
        }
    }
}
