//! The loads: what is announced, by whom, to whom, and how large.

use serde::{Deserialize, Serialize};

use super::daemon::{DaemonKind, ImportPolicy};
use super::message::Families;
use super::table::Table;

/// A load to put on a daemon.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Load {
    /// One client announces a full IPv4 table to ten others.
    A,
    /// 200,000 routes to 50 clients.
    B50,
    /// 100,000 routes to 500 clients.
    B500,
    /// Ten clients announce the same 200,000 prefixes with different paths, to each other and to ten more.
    C,
    /// A fleet of 500 boots: each announces one or two prefixes and receives all others.
    D500,
    /// A fleet of 1,000.
    D1000,
    /// A fleet of 2,000.
    D2000,
    /// 2,000 changes a second on a table of 200,000, to ten clients.
    E2k,
    /// 20,000 changes a second.
    E20k,
    /// The client that announced 200,000 routes goes away.
    F,
    /// Two clients announce the same full table, to one: memory per path.
    G,
    /// A client joins late, on a full table that changes 2,000 times a second.
    H,
    /// One of ten receivers does not read while a full table arrives and then changes; later it reads again.
    Stall,
    /// 200,000 IPv6 routes to ten clients.
    A6,
    /// A fleet of 500 with IPv6 prefixes.
    D500v6,
    /// A full IPv4 and an IPv6 table together, to ten clients.
    Mixed,
    /// The announcing client of load `a` flaps three times and comes back with a somewhat different table.
    Flap,
    /// A full table to one client, through an import policy that accepts everything: the base of the next three.
    Policy0,
    /// Through 10 statements of which none matches.
    Policy10,
    /// Through 100 statements.
    Policy100,
    /// Through a prefix set of 10,000 entries.
    Policyset,
    /// Through a filter in Roto that asks what the 10 statements ask.
    Roto10,
    /// Through one that asks what the 100 statements ask.
    Roto100,
}

/// The course a load takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Course {
    /// Feeders announce, all converge.
    Converge,
    /// Every client connects, announces, converges.
    Boot,
    /// Converge, then this many changes a second.
    Churn(u32),
    /// Converge, then the feeder leaves.
    Leave,
    /// Converge, then churn and a late joiner.
    Join,
    /// Converge with one receiver that does not read.
    Stall,
    /// The feeder comes and goes.
    Flap,
}

/// How large a load is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) course: Course,
    /// Clients that announce (the first ones).
    pub(crate) feeders: u32,
    /// All clients.
    pub(crate) clients: u32,
    v4: usize,
    v6: usize,
    /// How long churn lasts, in seconds.
    pub(crate) churn_seconds: u32,
}

impl Load {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 23] = [
        Self::A,
        Self::B50,
        Self::B500,
        Self::C,
        Self::D500,
        Self::D1000,
        Self::D2000,
        Self::E2k,
        Self::E20k,
        Self::F,
        Self::G,
        Self::H,
        Self::Stall,
        Self::A6,
        Self::D500v6,
        Self::Mixed,
        Self::Flap,
        Self::Policy0,
        Self::Policy10,
        Self::Policy100,
        Self::Policyset,
        Self::Roto10,
        Self::Roto100,
    ];

    /// Its name on the command line and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B50 => "b50",
            Self::B500 => "b500",
            Self::C => "c",
            Self::D500 => "d500",
            Self::D1000 => "d1000",
            Self::D2000 => "d2000",
            Self::E2k => "e2k",
            Self::E20k => "e20k",
            Self::F => "f",
            Self::G => "g",
            Self::H => "h",
            Self::Stall => "stall",
            Self::A6 => "a6",
            Self::D500v6 => "d500v6",
            Self::Mixed => "mixed",
            Self::Flap => "flap",
            Self::Policy0 => "policy0",
            Self::Policy10 => "policy10",
            Self::Policy100 => "policy100",
            Self::Policyset => "policyset",
            Self::Roto10 => "roto10",
            Self::Roto100 => "roto100",
        }
    }

    /// Its size; `quick` is for checking results, not for measuring.
    pub(crate) fn shape(self, quick: bool) -> Shape {
        let shape = self.full();
        if !quick {
            return shape;
        }
        let smaller = |count: usize| if count == 0 { 0 } else { (count / 10).clamp(5_000, 20_000) };
        Shape {
            clients: shape.clients.min(50),
            v4: smaller(shape.v4),
            v6: smaller(shape.v6),
            churn_seconds: 1,
            ..shape
        }
    }

    fn full(self) -> Shape {
        let feed = |course, feeders, receivers: u32, v4, v6| Shape {
            course,
            feeders,
            clients: feeders + receivers,
            v4,
            v6,
            churn_seconds: 10,
        };
        let fleet = |nodes, v4: bool, v6: bool| feed(Course::Boot, nodes, 0, usize::from(v4), usize::from(v6));
        match self {
            Self::A => feed(Course::Converge, 1, 10, 1_000_000, 0),
            Self::B50 => feed(Course::Converge, 1, 50, 200_000, 0),
            Self::B500 => feed(Course::Converge, 1, 500, 100_000, 0),
            Self::C => feed(Course::Converge, 10, 10, 200_000, 0),
            Self::D500 => fleet(500, true, false),
            Self::D1000 => fleet(1_000, true, false),
            Self::D2000 => fleet(2_000, true, false),
            Self::D500v6 => fleet(500, false, true),
            Self::E2k => feed(Course::Churn(2_000), 1, 10, 200_000, 0),
            Self::E20k => feed(Course::Churn(20_000), 1, 10, 200_000, 0),
            Self::F => feed(Course::Leave, 1, 10, 200_000, 0),
            Self::G => feed(Course::Converge, 2, 1, 1_000_000, 0),
            Self::H => feed(Course::Join, 1, 10, 1_000_000, 0),
            Self::Stall => feed(Course::Stall, 1, 10, 1_000_000, 0),
            Self::A6 => feed(Course::Converge, 1, 10, 0, 200_000),
            Self::Mixed => feed(Course::Converge, 1, 10, 1_000_000, 200_000),
            Self::Flap => feed(Course::Flap, 1, 10, 1_000_000, 0),
            Self::Policy0 | Self::Policy10 | Self::Policy100 | Self::Policyset | Self::Roto10 | Self::Roto100 => {
                feed(Course::Converge, 1, 1, 1_000_000, 0)
            }
        }
    }

    /// What the daemon asks about the routes that come in.
    pub(crate) fn import(self) -> ImportPolicy {
        let asks = |statements, prefixes| ImportPolicy { statements, prefixes, as_filter: false };
        let filter = |statements| ImportPolicy { as_filter: true, ..asks(statements, 0) };
        match self {
            Self::Policy10 => asks(10, 0),
            Self::Policy100 => asks(100, 0),
            Self::Policyset => asks(0, 10_000),
            Self::Roto10 => filter(10),
            Self::Roto100 => filter(100),
            _ => asks(0, 0),
        }
    }

    /// Whether the load can be put on a daemon.
    pub(crate) fn is_for(self, kind: DaemonKind) -> bool {
        let is_about_policy = matches!(self, Self::Policy0 | Self::Policy10 | Self::Policy100 | Self::Policyset);
        if self.import().as_filter {
            // bgpd has filters where it is built with them, as the harness is.
            return kind == DaemonKind::Bgpd && cfg!(feature = "roto");
        }
        match kind {
            DaemonKind::Bgpd | DaemonKind::Bird | DaemonKind::Frr => true,
            DaemonKind::Gobgp | DaemonKind::Openbgpd => !is_about_policy,
            DaemonKind::Copier => !is_about_policy && self.is_plain_copy(),
        }
    }

    /// True where copying bytes gives the right result, so that "bytes alone" can be measured. Not for a fleet: its
    /// thousands of tiny UPDATEs would be copied one by one, which costs more than packing them.
    fn is_plain_copy(self) -> bool {
        matches!(self.full(), Shape { feeders: 1, course: Course::Converge | Course::Churn(_), .. })
    }
}

impl Shape {
    /// A full table from one client to eleven, most of which changes; and how many changes a second. In small it goes on
    /// for a while, too.
    pub(crate) fn changing_table(quick: bool) -> (Self, u32) {
        let (v4, rate, churn_seconds) = if quick { (20_000, 1_000, 15) } else { (1_000_000, 20_000, 40) };
        (Self { course: Course::Churn(rate), feeders: 1, clients: 12, v4, v6: 0, churn_seconds }, rate)
    }

    pub(crate) fn families(&self) -> Families {
        Families { v4: self.v4 > 0, v6: self.v6 > 0 }
    }

    pub(crate) fn table(&self) -> Table {
        match self.course {
            Course::Boot => Table::fleet(self.clients, self.v4 > 0, self.v6 > 0),
            _ => Table::internet(self.v4, self.v6),
        }
    }

    /// Whether client `feeder` announces `group`.
    pub(crate) fn announces(&self, feeder: u32, group: u32) -> bool {
        match self.course {
            Course::Boot => {
                let families = u32::from(self.v4 > 0) + u32::from(self.v6 > 0);
                group / families == feeder
            }
            _ => feeder < self.feeders,
        }
    }

    /// By how many ASes the path of `feeder` is longer than the best one. With several feeders each wins its share of
    /// the groups, and the others lose by different lengths.
    pub(crate) fn detour(&self, feeder: u32, group: u32) -> u8 {
        match self.course {
            Course::Boot => 0,
            _ => ((feeder + self.feeders - group % self.feeders) % self.feeders) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_load_has_the_name_it_is_asked_for_by() {
        assert_eq!(Load::ALL.len(), Load::value_variants().len());
        for load in Load::ALL {
            assert_eq!(Load::from_str(load.name(), false), Ok(load));
        }
    }

    #[test]
    fn every_group_has_one_winner() {
        for load in [Load::A, Load::C, Load::G] {
            let shape = load.shape(true);
            for group in 0..40 {
                let best = (0..shape.feeders).filter(|&feeder| shape.detour(feeder, group) == 0);
                assert_eq!(best.count(), 1);
            }
        }
    }

    #[test]
    fn quick_loads_stay_quick() {
        for load in Load::ALL {
            let shape = load.shape(true);
            assert!(shape.clients <= 50 && shape.table().len() <= 45_000);
        }
    }
}
